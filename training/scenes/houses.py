"""Houses: a front along the road with rows of windows, an end wall, perhaps a roof and shops."""

from __future__ import annotations

import numpy as np

from training.scenes.codes import BUILDING
from training.scenes.painter import Painter

DEPTH = 14.0  # metres from the front to the back
_PLASTER = np.array(
    [
        (214, 196, 160), (190, 180, 170), (168, 110, 84), (150, 84, 66), (222, 214, 200),
        (150, 150, 152), (196, 164, 124), (128, 118, 108), (204, 184, 178), (170, 180, 184),
    ],
    float,
)  # fmt: skip


class House:
    """A random house of two to six floors whose front stands at x from z0 to z1, in metres.

    side is -1 left of the road, 1 right of it.
    """

    def __init__(
        self, rng: np.random.Generator, side: int, x: float, z0: float, z1: float, night: bool
    ) -> None:
        self.side, self.x, self.z0, self.z1, self.night = side, x, z0, z1, night
        self.floor, floors = rng.uniform(2.9, 3.5), int(rng.integers(2, 7))  # height of a floor
        self.height = floors * self.floor + rng.uniform(0.6, 1.2)
        plaster = _PLASTER[rng.integers(len(_PLASTER))]
        self.colour = np.clip(plaster + rng.normal(0, 12, 3), 30, 245)
        self.glass = np.array((58, 68, 80)) * rng.uniform(0.7, 1.4)
        # windows that reflect the sky, or are lit at night
        self.bright = np.array((250, 214, 140)) if night else self.glass * rng.uniform(1.1, 1.7)
        windows = _any_windows(rng, x, z0, z1, self.floor, floors)
        shine = rng.random(len(windows)) < (0.45 if night else 0.3)
        self.windows, self.bright_windows = windows[~shine], windows[shine]
        self.end_windows = _end_windows(x, x + side * DEPTH, z0, self.floor, floors)
        self.shop = rng.random() < 0.5
        gabled = rng.random() < 0.45  # else the roof is flat
        self.roof = np.array((120, 70, 54)) * rng.uniform(0.6, 1.2) if gabled else None

    def paint(self, painter: Painter) -> None:
        """Paint the faces that can be seen from the road."""
        x, z0, z1, h = self.x, self.z0, self.z1, self.height
        front = painter.light.shade(np.array([-self.side, 0.0, 0.0]))
        end = painter.light.shade(np.array([0.0, 0.0, -1.0]))
        if self.roof is not None:
            self._paint_roof(painter, end)
        deep = x + self.side * DEPTH
        wall = [(x, 0, z0), (deep, 0, z0), (deep, h, z0), (x, h, z0)]
        painter.polygon(wall, self.colour, BUILDING, end)
        wall = [(x, 0, z0), (x, 0, z1), (x, h, z1), (x, h, z0)]
        painter.polygon(wall, self.colour, BUILDING, front)
        ledges = [(h - 0.5, h), (self.floor - 0.25, self.floor + 0.05), (0, 0.5)]
        painter.quads(strips(x, z0, z1, ledges), self.colour * 0.78, BUILDING, front)
        if z0 - painter.camera.z < 70:
            painter.quads(self.end_windows, self.glass, BUILDING, end)
        if z1 - painter.camera.z > 1:
            self._paint_windows(painter, front)
        if self.shop:
            columns = np.arange(z0 + 2, z1 - 1.5, 3.4)
            shops = grid(x, columns, np.array([0.45]), 2.7, self.floor - 0.9)
            painter.quads(shops, self.glass * 0.8, BUILDING, front)

    def _paint_roof(self, painter: Painter, end: float) -> None:
        x, z0, z1, h = self.x, self.z0, self.z1, self.height
        ridge = x + self.side * 5
        slope = [(x, h, z0), (x, h, z1), (ridge, h + 3.6, z1), (ridge, h + 3.6, z0)]
        painter.polygon(slope, self.roof, BUILDING)
        gable = [(x, h, z0), (ridge, h + 3.6, z0), (x + self.side * 10, h, z0)]
        painter.polygon(gable, self.colour, BUILDING, end)

    def _paint_windows(self, painter: Painter, front: float) -> None:
        everyone = np.concatenate([self.windows, self.bright_windows])
        centre = everyone.mean(axis=1, keepdims=True)
        frames = centre + (everyone - centre) * np.array([1, 1.14, 1.2])
        painter.quads(frames, np.minimum(self.colour * 1.25, 250), BUILDING, front)
        painter.quads(self.windows, self.glass, BUILDING, front)
        painter.quads(self.bright_windows, self.bright, BUILDING, 1.0 if self.night else front)


def _any_windows(
    rng: np.random.Generator, x: float, z0: float, z1: float, floor: float, floors: int
) -> np.ndarray:
    """Windows [K, 4, 3] of all floors on a front along z."""
    step = rng.uniform(2.0, 3.4)
    wide, tall = step * rng.uniform(0.38, 0.68), floor * rng.uniform(0.42, 0.62)
    columns = np.arange(z0 + step / 2, z1 - step / 3, step)
    rows = np.arange(0, floors) * floor + floor * 0.3
    return grid(x, columns, rows, wide, tall)


def _end_windows(x: float, deep: float, z: float, floor: float, floors: int) -> np.ndarray:
    columns = np.linspace(min(x, deep) + 2, max(x, deep) - 2, 4)
    along = grid(0, columns, np.arange(1, floors) * floor + 0.9, 1.1, 1.4)
    return np.stack([along[..., 2], along[..., 1], np.full(along.shape[:2], z)], axis=-1)


def grid(x: float, columns: np.ndarray, rows: np.ndarray, wide: float, tall: float) -> np.ndarray:
    """Rectangles [K, 4, 3] in the plane x: columns are centres along z, rows lower edges."""
    z, y = np.tile(columns, len(rows)), np.repeat(rows, len(columns))
    quads = np.empty((len(z), 4, 3))
    quads[..., 0] = x
    quads[..., 1] = y[:, None] + np.array([0, 0, tall, tall])
    quads[..., 2] = z[:, None] + np.array([-0.5, 0.5, 0.5, -0.5]) * wide
    return quads


def strips(x: float, z0: float, z1: float, spans: list[tuple[float, float]]) -> np.ndarray:
    """Rectangles [K, 4, 3] in the plane x from z0 to z1, one for each span of heights."""
    return np.array([[(x, a, z0), (x, a, z1), (x, b, z1), (x, b, z0)] for a, b in spans])

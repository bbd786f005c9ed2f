"""Houses of real towns: shop fronts with signs and awnings, sashes, sills, doors and chimneys."""

from __future__ import annotations

import numpy as np

from training.scenes.codes import BUILDING
from training.scenes.houses import DEPTH, House, grid, strips
from training.scenes.painter import Painter
from training.scenes.roadside import Standing
from training.scenes.vehicles import any_colour

_NEAR = 60.0  # metres from which on details do not show


def building(
    rng: np.random.Generator, side: int, x: float, z0: float, z1: float, night: bool
) -> Standing:
    """As roadside.building, with details; it throws a shadow."""
    house, deep = _DetailedHouse(rng, side, x, z0, z1, night), x + side * DEPTH
    return Standing(min(x, deep), max(x, deep), z0, z1, house.paint, house.height)


class _DetailedHouse(House):
    """A house with what is drawn on its front at ground level and around its windows."""

    def __init__(
        self, rng: np.random.Generator, side: int, x: float, z0: float, z1: float, night: bool
    ) -> None:
        super().__init__(rng, side, x, z0, z1, night)
        self.shop = False
        self.colour = np.clip(self.colour * rng.uniform(0.45, 1.5), 12, 252)
        self.glass = self.glass * rng.uniform(0.4, 1.6)
        self.trim = np.clip(self.colour * rng.uniform(0.6, 1.6), 10, 250)
        self.sashes = rng.random() < 0.6
        if self.roof is not None and rng.random() < 0.6:
            self.roof = rng.uniform(35, 120) * np.array([1.0, 1.0, 1.04])  # of slate
        if rng.random() < 0.15:
            self._set_bands_of_windows(rng)
        self.decals: list[tuple[np.ndarray, np.ndarray]] = []  # quads [K, 4, 3], colour
        edge = z0 + 0.3
        trade = rng.random() < 0.6
        while trade and edge < z1 - 2.5:
            end = min(edge + rng.uniform(3, 8), z1 - 0.2)
            self._add_shop(rng, edge, end)
            edge = end + 0.15
        for at in rng.uniform(z0 + 1, z1 - 2, 0 if trade else 2):
            self._add(any_colour(rng) * 0.5, at, at + 1.0, 0.1, 2.3)
        self.chimneys = rng.uniform(z0 + 1, z1 - 1, int(rng.integers(0, 4)))

    def _set_bands_of_windows(self, rng: np.random.Generator) -> None:
        """As on offices: glass from end to end, some panes of it bright."""
        low, high = rng.uniform(0.7, 1.1), self.floor - rng.uniform(0.3, 0.7)
        floors = self.floor * np.arange(1, int(self.height / self.floor))
        z0, z1 = self.z0 + 0.3, self.z1 - 0.3
        self.windows = strips(self.x, z0, z1, [(y + low, y + high) for y in floors]).reshape(
            -1, 4, 3
        )
        wide = rng.uniform(1.0, 2.2)
        panes = grid(self.x, np.arange(z0 + wide, z1 - wide, wide), floors + low, wide, high - low)
        self.bright_windows = panes[rng.random(len(panes)) < 0.4]
        self.sashes = False

    def _add(self, colour: np.ndarray, z0: float, z1: float, y0: float, y1: float) -> None:
        self.decals.append((strips(self.x, z0, z1, [(y0, y1)]), np.asarray(colour, float)))

    def _add_shop(self, rng: np.random.Generator, z0: float, z1: float) -> None:
        """A front of glass between pilasters, things behind it, a board with letters above it."""
        low, high = rng.uniform(0.2, 0.7), self.floor - rng.uniform(0.7, 0.95)
        board = any_colour(rng)
        self._add(board * rng.uniform(0.4, 1.0), z0, z1, 0, self.floor)
        glass = rng.uniform(14, 70) * np.array([0.95, 1.0, 1.06])
        self._add(glass, z0 + 0.2, z1 - 0.2, low, high)
        for _ in range(int(rng.integers(2, 7))):  # goods, posters and lamps behind the glass
            at, up = rng.uniform(z0 + 0.3, z1 - 1.2), rng.uniform(low, high - 0.6)
            self._add(
                any_colour(rng) * rng.uniform(0.4, 1),
                at,
                at + rng.uniform(0.2, 0.9),
                up,
                up + rng.uniform(0.2, 0.6),
            )
        door = rng.uniform(z0 + 0.3, z1 - 1.3)
        self._add(glass * 0.5, door, door + 0.95, 0.05, high - 0.2)
        self._add(board, z0, z1, high + 0.1, self.floor - 0.1)
        ink = np.full(3, 240.0 if board.mean() < 130 else 30.0)
        for at in np.arange(z0 + 0.8, z1 - 1, rng.uniform(0.32, 0.5)):
            if rng.random() < 0.8:
                self._add(ink, at, at + 0.22, high + 0.25, self.floor - 0.25)

    def paint(self, painter: Painter) -> None:
        super().paint(painter)
        near = self.z0 - painter.camera.z < _NEAR and self.z1 - painter.camera.z > 1
        if not near:
            return
        front = painter.light.shade(np.array([-self.side, 0.0, 0.0]))
        for quads, colour in self.decals:
            painter.quads(quads, colour, BUILDING, 1.0 if self.night else front)
        self._paint_chimneys(painter, front)

    def _paint_windows(self, painter: Painter, front: float) -> None:
        super()._paint_windows(painter, front)
        windows = np.concatenate([self.windows, self.bright_windows])
        if not self.sashes or not len(windows) or self.z0 - painter.camera.z > _NEAR:
            return
        middle = windows.mean(axis=1)
        wide, tall = np.ptp(windows[0, :, 2]), np.ptp(windows[0, :, 1])
        for size, shift in (((0.07, tall), 0.0), ((wide, 0.07), 0.0), ((wide * 1.15, 0.12), -0.55)):
            bars = middle[:, None] + np.array(
                [(0, b * size[1] / 2 + shift * tall, a * size[0] / 2) for a, b in _CORNERS]
            )
            painter.quads(bars, self.trim, BUILDING, front)

    def _paint_chimneys(self, painter: Painter, front: float) -> None:
        if self.roof is None:
            return
        x, base = self.x + self.side * 4, self.height + 2
        stacks = grid(x, self.chimneys, np.array([base]), 0.9, 2.4)
        painter.quads(stacks, self.colour * 0.8, BUILDING, front)


_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))

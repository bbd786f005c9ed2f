"""How far away everything in a picture is, from the surfaces that it is painted of."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from training.scenes.camera import Camera
from training.scenes.codes import SKY, VOID
from training.scenes.painter import FRACTION, Light, Painter

_PATCH = 8  # pixels
_EDGE_ON = 1e-3  # square pixels: a surface that is seen edge-on to so much has one depth


class DepthPainter(Painter):
    """A painter that keeps which surface covers each pixel.

    Surfaces are flat, so that 1 / depth is affine in the pixel; what is the hull of balls is taken
    for the flat shape through their nearest points. What was never painted over is ground.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        super().__init__(camera, light)
        self._covering = np.zeros(camera.size, np.int32)
        self._points = [_ground(camera)]  # [n, 3]: column, row, depth of the corners
        self._counts = [np.array([3])]
        self._number = 1  # of surfaces

    def depth(self, every: int) -> np.ndarray:
        """Metres float32 [H, W] along the optical axis, of one pixel of `every` in each direction.

        It is that in the middle of the larger pixel; 0 is sky, the own car, or the frame.
        """
        covering = self._covering[::every, ::every]
        planes, nearest, farthest = self._planes()
        rows, columns = (np.arange(n) * every + (every - 1) / 2 for n in covering.shape)
        a, b, c = planes[:, covering]
        inverse = a * columns + b * rows[:, None] + c
        depth = 1 / np.maximum(inverse, 1e-9)
        depth = np.clip(depth, nearest[covering], farthest[covering])
        codes = self.canvas[::every, ::every, 3]
        return np.where((codes == SKY) | (codes == VOID), 0, depth).astype(np.float32)

    def _planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of all surfaces: 1 / depth by column, row and 1 [3, K], least and greatest depth [K]."""
        counts = np.concatenate(self._counts)
        starts = np.cumsum(counts) - counts
        points = np.concatenate(self._points)
        nearest = np.minimum.reduceat(points[:, 2], starts)
        farthest = np.maximum.reduceat(points[:, 2], starts)
        farthest[0] = np.inf
        points[:, 2] = 1 / points[:, 2]
        means = np.add.reduceat(points, starts) / counts[:, None]
        x, y, w = (points - np.repeat(means, counts, axis=0)).T
        xx, yy, xy, xw, yw = (
            np.add.reduceat(p, starts) for p in (x * x, y * y, x * y, x * w, y * w)
        )
        xx, yy = xx + _EDGE_ON, yy + _EDGE_ON
        a, b = np.stack([yy * xw - xy * yw, xx * yw - xy * xw]) / (xx * yy - xy * xy)
        return np.stack([a, b, means[:, 2] - a * means[:, 0] - b * means[:, 1]]), nearest, farthest

    def _surfaces(self, pixels: np.ndarray, depth: np.ndarray, counts: Sequence[int]) -> int:
        self._points.append(np.column_stack([pixels.reshape(-1, 2), depth.ravel()]))
        self._counts.append(np.asarray(counts))
        self._number += len(counts)
        return self._number - len(counts)

    def _fill(self, polygons: list[np.ndarray], tone: list[int], code: int, surface: int) -> None:
        super()._fill(polygons, tone, code, surface)
        cv2.fillPoly(self._covering, polygons, surface, cv2.LINE_8, FRACTION)

    def _fill_convex(self, polygon: np.ndarray, tone: list[int], code: int, surface: int) -> None:
        super()._fill_convex(polygon, tone, code, surface)
        cv2.fillConvexPoly(self._covering, polygon, surface, cv2.LINE_8, FRACTION)


def measured(
    depth: np.ndarray, noise: float = 0.0, holes: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Depth [H, W] in metres as a sensor measures it, uint16 millimetres; 0 for nothing.

    noise: its standard deviation as a share of the depth; holes: the share of the pixels that are
    not measured. Both come in patches of eight pixels, as those of stereo do.
    """
    found = 1000 * depth.astype(np.float64)
    if noise or holes:
        rng = np.random.default_rng([seed, 8])
        wrong, missing = (_patchy(rng, depth.shape) for _ in range(2))
        found *= 1 + noise * wrong / wrong.std()
        found[missing < np.quantile(missing, holes)] = 0
    found[found > np.iinfo(np.uint16).max] = 0
    return np.round(np.maximum(found, 0)).astype(np.uint16)


def _patchy(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Noise [H, W] that changes from patch to patch."""
    few = rng.normal(size=[max(n // _PATCH, 2) for n in shape])
    return cv2.resize(few, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _ground(camera: Camera) -> np.ndarray:
    """Three points of the ground: column, row, depth."""
    at = np.array([(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 10.0)])
    pixels, depth = camera.project(at + np.array([camera.x, 0.0, camera.z]))
    return np.column_stack([pixels, depth])

"""The camera of a scene: a pinhole above flat ground.

World coordinates are metres: x to the right, y up from the ground, z forward, where the camera
looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 0.6  # metres before the camera at which polygons are cut


@dataclass(frozen=True)
class Camera:
    """A pinhole at (x, elevation, z); focal, centre and horizon in pixels of the canvas."""

    size: tuple[int, int]  # (height, width) of the canvas in pixels
    focal: float
    centre: float  # column of the vanishing point
    horizon: float  # row of the horizon
    elevation: float  # metres above the ground
    x: float = 0.0
    z: float = 0.0

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [..., 3] in the world as pixels [..., 2] and their depth [...] in metres."""
        depth = points[..., 2] - self.z
        scale = self.focal / np.maximum(depth, NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + (points[..., 0] - self.x) * scale
        pixels[..., 1] = self.horizon + (self.elevation - points[..., 1]) * scale
        return pixels, depth

    def cut(self, polygon: np.ndarray) -> np.ndarray:
        """The part [m, 3] of a polygon [n, 3] before the camera; m is 0 when nothing is."""
        depth = polygon[:, 2] - self.z - NEAR
        if depth.min() >= 0:
            return polygon
        kept = []
        for k in range(len(polygon)):
            here, there = depth[k - 1], depth[k]
            if (here < 0) != (there < 0):
                share = here / (here - there)
                kept.append(polygon[k - 1] + share * (polygon[k] - polygon[k - 1]))
            if there >= 0:
                kept.append(polygon[k])
        return np.array(kept).reshape(-1, 3)


def placed(points: np.ndarray, x: float, z: float, heading: float) -> np.ndarray:
    """Points [..., 3] of what looks along z, turned by heading (clockwise), moved to (x, z)."""
    cos, sin = np.cos(heading), np.sin(heading)
    world = points.copy()
    world[..., 0] = points[..., 0] * cos + points[..., 2] * sin + x
    world[..., 2] = points[..., 2] * cos - points[..., 0] * sin + z
    return world

"""The painter: colours and codes, polygon by polygon, from far to near.

A canvas has four planes: red, green, blue and the code of what covers the pixel. One call fills
all four, so the labels are exact by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.scenes.camera import NEAR, Camera, placed
from training.scenes.shapes import Mesh, Parts

FRACTION = 4  # bits behind the point in the coordinates that OpenCV gets
_CIRCLE = np.stack([f(np.arange(8) * np.pi / 4 + 0.2) for f in (np.cos, np.sin)], axis=1)


@dataclass(frozen=True)
class Light:
    """How a street is lit: direction of the sun, share of ambient light, fog."""

    sun: np.ndarray  # [3], unit length, towards the sun
    ambient: float
    fog_colour: np.ndarray  # [3], RGB
    fog_density: float  # per metre

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """Brightness [...] of surfaces with unit normals [..., 3]."""
        direct = np.maximum(normals @ self.sun, 0)
        return self.ambient + (1.08 - self.ambient) * direct + 0.06 * normals[..., 1]

    def through_air(self, colours: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Colours [..., 3] as seen from a distance [...] in metres: uint8 range, not rounded."""
        share = np.exp(-self.fog_density * np.maximum(depth, 0))[..., None]
        seen = colours * share + self.fog_colour * (1 - share)
        return np.minimum(np.maximum(seen, 0), 255)


class Painter:
    """Paints metric shapes into a canvas [H, W, 4] through one camera, in one light."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.canvas = np.zeros((*camera.size, 4), np.uint8)
        self._last = (np.zeros((1, 2)), 0.0)  # pixels [n, 2] of a solid, and how far it reaches

    def polygon(
        self, points: np.ndarray, colour: np.ndarray, code: int, shade: float = 1.0
    ) -> None:
        """Fill one polygon [n, 3]."""
        points = self.camera.cut(np.asarray(points, float))
        if len(points) < 3:
            return
        pixels, depth = self.camera.project(points)
        surface = self._surfaces(pixels, depth, [len(points)])
        self._fill([_fixed(pixels)], self._seen(colour, shade, depth.mean()), code, surface)

    def quads(self, points: np.ndarray, colour: np.ndarray, code: int, shade: float = 1.0) -> None:
        """Fill quadrilaterals [K, 4, 3] of one plane that do not overlap in one colour."""
        if not len(points):
            return
        pixels, depth = self.camera.project(points)
        if depth.min() < NEAR:
            near = depth.min(axis=1) < NEAR
            for polygon in points[near]:
                self.polygon(polygon, colour, code, shade)
            if near.all():
                return
            pixels, depth = pixels[~near], depth[~near]
        surface = self._surfaces(pixels, depth, [depth.size])
        self._fill(list(_fixed(pixels)), self._seen(colour, shade, depth.mean()), code, surface)

    def mesh(self, mesh: Mesh, x: float, z: float, heading: float, code: int) -> None:
        """Paint the faces of a solid that look at the camera, far ones first."""
        world = placed(mesh.points, x, z, heading)
        normals = placed(mesh.normals, 0, 0, heading)
        eye = np.array([self.camera.x, self.camera.elevation, self.camera.z])
        anchors = world[mesh.starts[mesh.bases]]
        seen = ((eye - anchors) * normals[mesh.bases]).sum(axis=1) > 0
        pixels, depth = self.camera.project(world)
        near = (np.minimum.reduceat(depth, mesh.starts) < NEAR).tolist()
        distance = np.add.reduceat(depth, mesh.starts) / mesh.counts
        tones = mesh.colours * self.light.shade(normals)[mesh.bases, None]
        tones = self.light.through_air(tones, distance).astype(int).tolist()
        grid, first = _fixed(pixels), self._surfaces(pixels, depth, mesh.counts)
        self._last = (pixels, np.inf if any(near) else 0.0)
        order = np.lexsort((-distance[mesh.bases], mesh.layers))
        for k in order[seen[order]].tolist():
            if near[k]:
                self._fill_cut(world[mesh.spans[k]], tones[k], code)
            else:
                self._fill([grid[mesh.spans[k]]], tones[k], code, first + k)

    def parts(
        self, parts: Parts, x: float, z: float, heading: float, codes: Sequence[int | None]
    ) -> None:
        """Paint convex parts, far ones first; part k gets codes[its slot], None leaves it out."""
        pixels, depth = self.camera.project(placed(parts.points, x, z, heading))
        if depth.min() < NEAR:
            self._last = (np.zeros((1, 2)), 0.0)
            return
        radii = np.maximum(parts.radii * self.camera.focal / depth, 0.55)
        self._last = (pixels, radii.max())
        points = _fixed(pixels)
        balls = points[:, None] + _fixed(radii[:, None, None] * _CIRCLE)
        first = self._surfaces(pixels, depth - parts.radii, parts.counts)
        distance = np.add.reduceat(depth, parts.starts) / parts.counts
        tones = self.light.through_air(parts.colours, distance).astype(int).tolist()
        for k in np.argsort(parts.layers - distance, kind="stable").tolist():
            code = codes[parts.slots[k]]
            if code is None:
                continue
            span = parts.spans[k]
            corners = points[span] if parts.sharp[k] else balls[span].reshape(-1, 2)
            self._fill_convex(cv2.convexHull(corners), tones[k], code, first + k)

    def touched(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 around what mesh() or parts() painted last."""
        height, width = self.camera.size
        pixels, margin = self._last
        x0, y0 = np.maximum(pixels.min(axis=0) - margin - 2, 0).astype(int).tolist()
        x1, y1 = np.minimum(pixels.max(axis=0) + margin + 3, (width, height)).astype(int).tolist()
        return x0, y0, max(x0, x1), max(y0, y1)

    def relabel(self, points: np.ndarray, code: int) -> None:
        """Give a polygon [n, 3] another code and leave its colours, as of a fence."""
        points = self.camera.cut(np.asarray(points, float))
        if len(points) < 3:
            return
        self._relabel(_fixed(self.camera.project(points)[0]), code)

    def _relabel(self, polygon: np.ndarray, code: int) -> None:
        first = np.maximum(polygon.min(axis=0) >> FRACTION, 0)
        last = np.minimum((polygon.max(axis=0) >> FRACTION) + 2, self.camera.size[::-1])
        if (first >= last).any():
            return
        (x0, y0), (x1, y1) = first.tolist(), last.tolist()
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(inside, [polygon - (first << FRACTION)], 1, cv2.LINE_8, FRACTION)
        self.canvas[y0:y1, x0:x1, 3][inside > 0] = code

    def _seen(self, colour: np.ndarray, shade: float, depth: float) -> list[int]:
        colour = np.asarray(colour, float) * shade
        return self.light.through_air(colour, np.float64(depth)).astype(int).tolist()

    def depth(self, every: int) -> np.ndarray | None:
        """How far away what is painted is; only a DepthPainter keeps that."""
        return None

    def _surfaces(self, pixels: np.ndarray, depth: np.ndarray, counts: Sequence[int]) -> int:
        """Told of surfaces before they are filled, by their corners; the number of the first."""
        return 0

    def _fill(self, polygons: list[np.ndarray], tone: list[int], code: int, surface: int) -> None:
        cv2.fillPoly(self.canvas, polygons, (*tone, code), cv2.LINE_8, FRACTION)

    def _fill_convex(self, polygon: np.ndarray, tone: list[int], code: int, surface: int) -> None:
        cv2.fillConvexPoly(self.canvas, polygon, (*tone, code), cv2.LINE_8, FRACTION)

    def _fill_cut(self, polygon: np.ndarray, tone: list[int], code: int) -> None:
        polygon = self.camera.cut(polygon)
        if len(polygon) >= 3:
            pixels, depth = self.camera.project(polygon)
            surface = self._surfaces(pixels, depth, [len(polygon)])
            self._fill([_fixed(pixels)], tone, code, surface)


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """Coordinates as OpenCV gets them: int32 with FRACTION bits behind the point."""
    return np.rint(pixels * (1 << FRACTION)).astype(np.int32)

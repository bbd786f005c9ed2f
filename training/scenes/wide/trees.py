"""Trees as they stand in real streets: dense, bare or in rows, and bushes."""

from __future__ import annotations

import cv2
import numpy as np

from training.scenes.codes import VEGETATION
from training.scenes.painter import Painter
from training.scenes.roadside import Standing
from training.scenes.shapes import Parts

WOODS = np.array([(40, 54, 32), (56, 72, 40), (34, 46, 34), (72, 80, 46), (84, 76, 54)], float)
BARE = 0.15  # share of trees without leaves


def tree(rng: np.random.Generator, x: float, z: float, scale: float = 1.0) -> Standing:
    """A tree in leaf, round or tall, or a bare one."""
    if rng.random() < BARE:
        return _bare_tree(rng, x, z, scale)
    h, bark = rng.uniform(5, 13) * scale, rng.uniform(30, 90) * np.array([1.0, 0.86, 0.72])
    crown, low = h * rng.uniform(0.2, 0.42), h * rng.uniform(0.1, 0.4)
    parts = Parts()
    parts.hull([(0, 0, 0), (0, h * 0.6, 0)], [0.028 * h, 0.015 * h], bark)
    count = 50 if z < 25 else 30 if z < 50 else 14
    foliage(parts, rng, (0, (low + h) / 2, 0), crown, (h - low) / 2, count)
    return _standing(parts, x, z, crown, h)


def bush(rng: np.random.Generator, x: float, z: float, size: float) -> Standing:
    """A low bush without a trunk."""
    parts, h = Parts(), size * rng.uniform(0.6, 1.4)
    foliage(parts, rng, (0, h * 0.5, 0), size, h * 0.5, 14)
    return _standing(parts, x, z, size, 0.0)


def _bare_tree(rng: np.random.Generator, x: float, z: float, scale: float) -> Standing:
    """Branches that fork; what one sees between them counts as vegetation."""
    h, bark = rng.uniform(6, 13) * scale, rng.uniform(20, 100) * np.array([1.0, 0.92, 0.84])
    parts, tops = Parts(), []
    foot, way = np.zeros((1, 3)), np.array([[0, h * rng.uniform(0.2, 0.35), 0]])
    thick = 0.022 * h
    for _ in range(6 if z < 25 else 5 if z < 50 else 4):
        top, half = foot + way, np.array([thick, 0, 0])
        corners = [foot - half, foot + half, top + half * 0.6, top - half * 0.6]
        parts.hulls(np.stack(corners, axis=1), bark * rng.uniform(0.8, 1.2, (len(foot), 1)))
        tops.append(top)
        foot, thick = np.repeat(top, 3, axis=0), thick * 0.55
        long = np.repeat(np.linalg.norm(way, axis=1, keepdims=True), 3, axis=0)
        way = np.repeat(way, 3, axis=0) * rng.uniform(0.5, 0.8, (len(foot), 1))
        way += rng.normal(0, (0.36, 0.36, 0.15), way.shape) * long + (
            0,
            0.06 * h * 0.75 ** len(tops),
            0,
        )
    crown = np.concatenate(tops[1:])
    reach = float(np.abs(crown).max(axis=0)[[0, 2]].max())
    away = ((crown - crown.mean(axis=0)) ** 2).sum(axis=1)
    inner = crown[away <= np.quantile(away, 0.85), :2].astype(np.float32)
    hull = cv2.convexHull(np.ascontiguousarray(inner))[:, 0]
    outline = np.pad(hull.astype(float), ((0, 0), (0, 1)))
    outline += (x, 0, z)

    def paint(painter: Painter) -> None:
        if z - painter.camera.z > reach + 1:
            painter.parts(parts, x, z, 0.0, [VEGETATION])
            painter.relabel(outline, VEGETATION)

    return Standing(x - reach, x + reach, z - 0.1, z + 0.1, paint)


def _standing(parts: Parts, x: float, z: float, reach: float, height: float) -> Standing:
    paint = lambda painter: painter.parts(parts, x, z, 0.0, [VEGETATION])  # noqa: E731
    return Standing(x - reach, x + reach, z - 0.1, z + 0.1, paint, height, round=True)


def wood(
    rng: np.random.Generator, x: float, z: tuple[float, float], size: float, foot: float = 0.0
) -> Standing:
    """A dense row of trees along the road, from z[0] to z[1]; foot is the height they stand at."""
    base = WOODS[rng.integers(5)] * rng.uniform(0.7, 1.3)
    parts = Parts()
    at = z[0]
    while at < z[1]:
        tall = size * rng.uniform(0.5, 1.1)
        reach = tall * rng.uniform(0.28, 0.5)
        centre = (rng.normal(0, 0.15) * size, foot + tall * 0.55, at - z[0])
        foliage(
            parts, rng, centre, reach, tall * 0.5, 24 if at < 45 else 9 if at < 120 else 4, base
        )
        at += reach * rng.uniform(0.7, 1.6)
    return Standing(
        x - size / 3,
        x + size / 3,
        *z,
        lambda painter: painter.parts(parts, x, z[0], 0.0, [VEGETATION]),
    )


def foliage(
    parts: Parts,
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    reach: float,
    half: float,
    count: int,
    green: np.ndarray | None = None,
) -> None:
    """Many small clumps of leaves in an ellipsoid, dark below and inside."""
    green = WOODS[rng.integers(5)] * rng.uniform(0.8, 1.4) if green is None else green
    way = rng.normal(size=(count, 3))
    way *= rng.uniform(0.3, 1.0, (count, 1)) / np.linalg.norm(way, axis=1, keepdims=True)
    clump = min(0.45, 0.95 * count**-0.38)  # so that few clumps fill the crown as well
    corners = rng.normal(size=(count, 7, 3))
    corners *= rng.uniform(clump, 2.2 * clump, (count, 7, 1)) / np.linalg.norm(
        corners, axis=2, keepdims=True
    )
    clumps = np.array(centre) + (way[:, None] * 0.9 + corners) * (reach, half, reach)
    clumps[..., 1] = np.maximum(clumps[..., 1], 0.0)
    bright = 0.9 + way @ np.array([0.2, 0.45, -0.1]) + rng.normal(0, 0.12, count)
    parts.hulls(clumps, np.clip(bright, 0.25, 1.8)[:, None] * green)

"""Trees as they stand in real streets: dense, bare or in rows, and bushes."""

from __future__ import annotations

import numpy as np

from training.scenes.codes import VEGETATION
from training.scenes.painter import Painter
from training.scenes.roadside import Standing
from training.scenes.shapes import Parts

WOODS = np.array([(40, 54, 32), (56, 72, 40), (34, 46, 34), (72, 80, 46), (84, 76, 54)], float)
BARE = 0.35  # share of trees without leaves


def tree(rng: np.random.Generator, x: float, z: float, scale: float = 1.0) -> Standing:
    """A tree in leaf, round or tall, or a bare one."""
    if rng.random() < BARE:
        return _bare_tree(rng, x, z, scale)
    h, bark = rng.uniform(5, 13) * scale, rng.uniform(30, 90) * np.array([1.0, 0.86, 0.72])
    crown, low = h * rng.uniform(0.2, 0.42), h * rng.uniform(0.1, 0.4)
    parts = Parts()
    parts.hull([(0, 0, 0), (0, h * 0.6, 0)], [0.028 * h, 0.015 * h], bark)
    count = 40 if z < 25 else 22 if z < 50 else 10
    foliage(parts, rng, (0, (low + h) / 2, 0), crown, (h - low) / 2, count)
    return _standing(parts, x, z, crown, h)


def bush(rng: np.random.Generator, x: float, z: float, size: float) -> Standing:
    """A low bush without a trunk."""
    parts, h = Parts(), size * rng.uniform(0.6, 1.4)
    foliage(parts, rng, (0, h * 0.5, 0), size, h * 0.5, 14)
    return _standing(parts, x, z, size, 0.0)


def _bare_tree(rng: np.random.Generator, x: float, z: float, scale: float) -> Standing:
    """Branches that fork; what one sees between them counts as vegetation."""
    h, bark = rng.uniform(6, 13) * scale, rng.uniform(25, 110) * np.array([1.0, 0.92, 0.84])
    parts, tips = Parts(), []
    ends = [(np.zeros(3), np.array([0, h * rng.uniform(0.2, 0.35), 0]), 0.022 * h)]
    for _ in range(4 if z < 45 else 3):
        grown = []
        for foot, way, thick in ends:
            top = foot + way
            parts.hull([foot, top], [thick, thick * 0.6], bark * rng.uniform(0.8, 1.2))
            tips.append(top)
            for _ in range(3):
                turn = rng.normal(0, 0.45, 3) * np.linalg.norm(way)
                grown.append((top, way * rng.uniform(0.55, 0.8) + turn, thick * 0.55))
        ends = grown
    tips += [foot + way * 0.5 for foot, way, _ in ends]
    crown = np.array(tips)[1:]
    reach = float(np.abs(crown[:, 0]).max())
    angle = np.arange(12) * np.pi / 6
    middle, half = crown.mean(axis=0), crown.std(axis=0) * 1.9
    ring = np.stack([np.cos(angle) * half[0], np.sin(angle) * half[1], np.zeros(12)], axis=1)
    outline = middle + ring + (x, 0, z)

    def paint(painter: Painter) -> None:
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
        foliage(parts, rng, centre, reach, tall * 0.5, 16 if at < 60 else 7, base)
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
    corners = rng.normal(size=(count, 7, 3))
    corners *= rng.uniform(0.35, 0.7, (count, 7, 1)) / np.linalg.norm(
        corners, axis=2, keepdims=True
    )
    clumps = np.array(centre) + (way[:, None] * 0.8 + corners) * (reach, half, reach)
    clumps[..., 1] = np.maximum(clumps[..., 1], 0.0)
    bright = 0.9 + way @ np.array([0.2, 0.45, -0.1]) + rng.normal(0, 0.12, count)
    parts.hulls(clumps, np.clip(bright, 0.25, 1.8)[:, None] * green)

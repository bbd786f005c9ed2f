"""Open country beside a road: hills, slopes of grass, woods, rails and barriers of highways."""

from __future__ import annotations

import numpy as np

from training.scenes.codes import POLE, SIGN, TERRAIN, VEGETATION, VOID, WALL
from training.scenes.houses import strips
from training.scenes.painter import Painter
from training.scenes.roadside import Standing
from training.scenes.shapes import Parts
from training.scenes.wide.trees import WOODS, foliage

_GRASSES = np.array([(186, 160, 112), (164, 140, 96), (104, 122, 62), (78, 100, 50)], float)
SKY_LINE = 900.0  # metres: where the far hills stand


def hills(rng: np.random.Generator, near: float) -> Standing:
    """A range of hills across the view at a depth, wooded or of grass."""
    wooded = rng.random() < 0.6
    colour = (WOODS if wooded else _GRASSES)[rng.integers(4)] * rng.uniform(0.7, 1.2)
    code = VEGETATION if wooded else TERRAIN
    x = np.linspace(-1.6, 1.6, 60) * near
    waves = rng.uniform(1, 9, 4)[:, None] * x / near + rng.uniform(0, 6.3, 4)[:, None]
    height = near * rng.uniform(0.02, 0.09) * (1 + (np.sin(waves).T * (0.5, 0.3, 0.15, 0.1)).sum(1))
    height += near * 0.001 * rng.normal(size=60)  # crowns at the ridge
    ridge = np.stack([x, np.maximum(height, 0.5), np.full(60, near)], axis=1)
    outline = np.concatenate([ridge, [(x[-1], -2, near), (x[0], -2, near)]])
    return Standing(
        x[0], x[-1], near, near + 1, lambda painter: painter.polygon(outline, colour, code)
    )


def slope(
    rng: np.random.Generator, side: int, x: float, z: tuple[float, float], rise: float
) -> Standing:
    """A bank of grass that rises from x away from the road, with shrubs on it."""
    colour = _GRASSES[rng.integers(4)] * rng.uniform(0.75, 1.15)
    wide = rng.uniform(1.5, 4) * rise
    crest = x + side * wide
    z0, z1 = z
    bank = [(x, 0, z0), (x, 0, z1), (crest, rise, z1), (crest, rise, z0)]
    count = int(rng.integers(0, 10))
    shrubs = []
    for share, at in zip(rng.random(count), np.sort(rng.uniform(z0, z1, count))[::-1], strict=True):
        parts = Parts()
        size = rng.uniform(0.6, 1.8)
        foliage(parts, rng, (0, rise * share + size * 0.5, 0), size, size * 0.6, 8)
        shrubs.append((parts, x + side * wide * share, at))

    def paint(painter: Painter) -> None:
        lit = painter.light.shade(np.array([-side * rise, wide, 0]) / np.hypot(rise, wide))
        painter.polygon(bank, colour, TERRAIN, lit)
        for parts, at, depth in shrubs:
            painter.parts(parts, at, depth, 0.0, [VEGETATION])

    return Standing(min(x, crest), max(x, crest), z0, z1, paint)


def guard_rail(rng: np.random.Generator, side: int, x: float, z: tuple[float, float]) -> Standing:
    """A beam of steel on posts: of no class, as in Cityscapes."""
    tone = np.full(3, rng.uniform(110, 200))
    posts = np.arange(z[0], z[1], 2.0)
    quads = np.zeros((len(posts), 4, 3))
    quads[..., 0] = x
    quads[..., 1] = np.array([0, 0, 0.6, 0.6])
    quads[..., 2] = posts[:, None] + np.array([0, 0.12, 0.12, 0])

    def paint(painter: Painter) -> None:
        lit = painter.light.shade(np.array([-side, 0.0, 0.0]))
        painter.quads(quads, tone * 0.6, VOID, lit)
        painter.quads(strips(x, *z, [(0.45, 0.6), (0.62, 0.78)]), tone, VOID, lit)
        painter.quads(strips(x, *z, [(0.59, 0.63)]), tone * 0.6, VOID, lit)

    return Standing(x - 0.1, x + 0.1, *z, paint)


def barrier(
    rng: np.random.Generator, side: int, x: float, z: tuple[float, float], height: float
) -> Standing:
    """A barrier or a noise wall of concrete, in panels with dark joints and streaks."""
    grey = rng.uniform(110, 200)
    colour = np.array([grey, grey * 0.97, grey * 0.92])
    joints = np.arange(z[0], min(z[1], z[0] + 90), rng.uniform(3, 7))
    streaks = rng.uniform(z[0], min(z[1], z[0] + 60), 12)
    wide = np.where(np.arange(len(joints) + 12) < len(joints), 0.06, rng.uniform(0.2, 1.2))
    at = np.append(joints, streaks)
    quads = np.zeros((len(at), 4, 3))
    quads[..., 0] = x
    quads[..., 1] = np.array([0, 0, 1, 1]) * height * 0.97
    quads[..., 2] = at[:, None] + wide[:, None] * np.array([0, 1, 1, 0])

    def paint(painter: Painter) -> None:
        lit = painter.light.shade(np.array([-side, 0.0, 0.0]))
        end = painter.light.shade(np.array([0.0, 0.0, -1.0]))
        thick = x + side * 0.3
        face = [(x, 0, z[0]), (thick, 0, z[0]), (thick, height, z[0]), (x, height, z[0])]
        painter.polygon(face, colour, WALL, end)
        painter.quads(strips(x, *z, [(0, height)]), colour, WALL, lit)
        painter.quads(quads, colour * 0.85, WALL, lit)
        painter.quads(strips(x, *z, [(height * 0.93, height)]), colour * 1.15, WALL, lit)

    return Standing(min(x, x + side * 0.3), max(x, x + side * 0.3), *z, paint)


def overhead_sign(rng: np.random.Generator, x: float, z: float, reach: float) -> Standing:
    """A large board beside the road, or on a gantry across it: green, blue or brown, with lines."""
    parts = Parts()
    board = np.array([(22, 92, 62), (24, 70, 150), (110, 76, 50), (235, 235, 230)])[rng.integers(4)]
    steel = np.full(3, rng.uniform(80, 170))
    low, tall, wide = (5.2, 2.2, 2.4) if reach else (rng.uniform(1.6, 3), 1.5, 1.2)
    parts.hull([(0, 0, 0.1), (0, low + tall, 0.1)], 0.14, steel, slot=0)
    if reach:
        parts.hull([(0, low + 1, 0.1), (reach, low + 1, 0.1)], 0.12, steel, slot=0)
    for middle in (reach * 0.35, reach * 0.8) if reach else (0.0,):
        corners = [(middle + a * wide, low + b * tall, -0.1) for a in (-1, 1) for b in (0, 1)]
        parts.hull(corners, 0.03, board, slot=1, layer=0.3)
        ink = (240, 240, 236) if board.sum() < 600 else (40, 40, 44)
        for row in rng.uniform(0.2, 0.8, 3):
            ends = middle + np.sort(rng.uniform(-0.8, 0.8, 2)) * wide
            words = [(end, low + row * tall, -0.1) for end in ends]
            parts.hull(words, 0.1, ink, slot=1, layer=0.5)
    paint = lambda painter: painter.parts(parts, x, z, 0.0, [POLE, SIGN])  # noqa: E731
    return Standing(x - 0.2, x + 0.2, z - 0.1, z + 0.1, paint)

"""What stands beside a road: buildings, walls, fences, trees, poles, traffic lights and signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.scenes.codes import FENCE, LIGHT, POLE, SIGN, VEGETATION, WALL
from training.scenes.houses import DEPTH, House, grid, strips
from training.scenes.painter import Painter
from training.scenes.shapes import Parts
from training.scenes.vehicles import any_colour

_GREENS = np.array([(58, 92, 40), (74, 104, 44), (44, 78, 40), (92, 112, 52), (96, 100, 46)], float)


@dataclass(frozen=True)
class Standing:
    """Something that stands still: its footprint in metres, and how to paint it."""

    x0: float
    x1: float
    z0: float
    z1: float
    paint: Callable[[Painter], None]
    height: float = 0.0  # of what throws a shadow on the ground
    round: bool = False  # the crown of a tree, whose shadow is round


@dataclass(frozen=True)
class Kit:
    """What a street is built from; the arguments are those of the functions below."""

    building: Callable[..., Standing]
    tree: Callable[..., Standing]
    bush: Callable[..., Standing]
    sign: Callable[..., Standing]


def plain_kit(night: bool) -> Kit:
    """Houses, trees and signs of flat colours."""
    return Kit(partial(building, night=night), tree, bush, traffic_sign)


def building(
    rng: np.random.Generator, side: int, x: float, z0: float, z1: float, night: bool
) -> Standing:
    """A house whose front stands at x; side is -1 left of the road, 1 right of it."""
    deep = x + side * DEPTH
    paint = House(rng, side, x, z0, z1, night).paint
    return Standing(min(x, deep), max(x, deep), z0, z1, paint)


def wall(rng: np.random.Generator, side: int, x: float, z0: float, z1: float) -> Standing:
    """A wall of stone along the road."""
    h, thick = rng.uniform(1.3, 3.2), side * 0.35
    grey = rng.uniform(100, 190)
    colour = np.clip(np.array([grey, grey * 0.96, grey * 0.9]) + rng.normal(0, 6, 3), 0, 255)
    courses = np.arange(0.45, h - 0.1, 0.45)

    def paint(painter: Painter) -> None:
        front = painter.light.shade(np.array([-side, 0.0, 0.0]))
        face = painter.light.shade(np.array([0.0, 0.0, -1.0]))
        end = [(x, 0, z0), (x + thick, 0, z0), (x + thick, h, z0), (x, h, z0)]
        painter.polygon(end, colour, WALL, face)
        painter.polygon([(x, 0, z0), (x, 0, z1), (x, h, z1), (x, h, z0)], colour, WALL, front)
        painter.quads(
            strips(x, z0, z1, [(y, y + 0.05) for y in courses]), colour * 0.75, WALL, front
        )
        painter.quads(strips(x, z0, z1, [(h - 0.14, h)]), colour * 1.15, WALL, front)

    return Standing(min(x, x + thick), max(x, x + thick), z0, z1, paint)


def fence(rng: np.random.Generator, side: int, x: float, z0: float, z1: float) -> Standing:
    """A fence of bars or pickets; what one sees through it counts as fence."""
    h, dark = rng.uniform(1.1, 2.0), rng.random() < 0.6
    colour = any_colour(rng) * 0.4 if dark else np.full(3, rng.uniform(130, 235))
    step = rng.uniform(0.22, 0.5)
    posts = np.arange(z0, z1, step)
    bars = grid(x, posts, np.array([0.0]), 0.06 if step < 0.35 else 0.12, h)
    rails = strips(x, z0, z1, [(0.2, 0.28), (h - 0.22, h - 0.12)])

    def paint(painter: Painter) -> None:
        front = painter.light.shade(np.array([-side, 0.0, 0.0]))
        near = bars[bars[:, 0, 2] - painter.camera.z < 45]
        painter.quads(rails, colour, FENCE, front)
        painter.quads(near, colour, FENCE, front)
        painter.relabel([(x, 0, z0), (x, 0, z1), (x, h, z1), (x, h, z0)], FENCE)

    return Standing(x - 0.05, x + 0.05, z0, z1, paint)


def tree(rng: np.random.Generator, x: float, z: float, scale: float = 1.0) -> Standing:
    """A tree with a trunk and a crown of balls of leaves."""
    green = _GREENS[rng.integers(len(_GREENS))] * rng.uniform(0.8, 1.25) + rng.normal(0, 6, 3)
    h = rng.uniform(4.5, 8.5) * scale
    crown = rng.uniform(1.3, 2.3) * scale
    parts = Parts()
    parts.hull([(0, 0, 0), (0, h * 0.6, 0)], [0.17 * scale, 0.1 * scale], (74, 58, 46))
    parts.hull([(0, h * 0.45, 0), (crown * 0.5, h * 0.7, 0)], 0.06 * scale, (70, 54, 42))
    _leaves(parts, rng, (0, h * 0.72, 0), (crown, h * 0.28, crown), green, 12 if z < 50 else 7)
    return _figure(parts, x, z, crown, VEGETATION)


def bush(rng: np.random.Generator, x: float, z: float, size: float) -> Standing:
    """A low bush without a trunk."""
    green = _GREENS[rng.integers(len(_GREENS))] * rng.uniform(0.75, 1.25)
    parts = Parts()
    h = size * rng.uniform(0.5, 0.9)
    _leaves(parts, rng, (0, h * 0.6, 0), (size, h * 0.45, size), green, 6)
    return _figure(parts, x, z, size, VEGETATION)


def _leaves(
    parts: Parts,
    rng: np.random.Generator,
    centre: tuple,
    extent: tuple,
    green: np.ndarray,
    count: int,
) -> None:
    """Irregular balls, brighter above and on the right."""
    way, corners = rng.normal(size=(count, 1, 3)), rng.normal(size=(count, 9, 3))
    way *= rng.uniform(0.35, 0.85, (count, 1, 1)) / np.sqrt((way**2).sum(axis=-1, keepdims=True))
    corners *= rng.uniform(0.75, 1.05, (count, 9, 1)) / np.sqrt(
        (corners**2).sum(axis=-1, keepdims=True)
    )
    balls = np.array(centre) + (way + corners * 0.5) * extent
    bright = 1 + way[:, 0] @ np.array([0.12, 0.32, 0]) + rng.normal(0, 0.06, count)
    parts.hulls(balls, bright[:, None] * green)


def _figure(parts: Parts, x: float, z: float, reach: float, code: int) -> Standing:
    paint = lambda painter: painter.parts(parts, x, z, 0.0, [code, POLE, LIGHT, SIGN])  # noqa: E731
    return Standing(x - reach, x + reach, z - 0.1, z + 0.1, paint)


def _pole(parts: Parts, rng: np.random.Generator, h: float, radius: float) -> np.ndarray:
    grey = np.full(3, rng.uniform(60, 170))
    parts.hull([(0, 0, 0), (0, h, 0)], [radius, radius * 0.7], grey, slot=1)
    return grey


def street_lamp(rng: np.random.Generator, side: int, x: float, z: float) -> Standing:
    """A lamp on a tall pole with an arm over the road."""
    parts, h = Parts(), rng.uniform(4.5, 7.5)
    grey = _pole(parts, rng, h, rng.uniform(0.07, 0.12))
    reach = rng.uniform(0.5, 1.8)
    parts.hull([(0, h, 0), (-side * reach, h + 0.25, 0)], 0.05, grey, slot=1)
    parts.hull(
        [(-side * reach, h + 0.2, 0), (-side * (reach + 0.5), h + 0.22, 0)],
        0.09,
        grey * 0.8,
        slot=1,
    )
    return _figure(parts, x, z, 0.1, POLE)


def bollard(rng: np.random.Generator, x: float, z: float) -> Standing:
    """A short post at the kerb."""
    parts = Parts()
    _pole(parts, rng, rng.uniform(0.8, 1.1), 0.08)
    return _figure(parts, x, z, 0.1, POLE)


def traffic_light(rng: np.random.Generator, side: int, x: float, z: float) -> Standing:
    """Three lamps in a dark housing on a pole; some poles carry a second one over the road."""
    parts, h = Parts(), rng.uniform(2.5, 3.3)
    arm = rng.random() < 0.35
    grey = _pole(parts, rng, 5.4 if arm else h + 0.9, 0.08)
    lamp, scale = int(rng.integers(3)), rng.uniform(1.0, 1.35)
    _lamps(parts, 0.0, h, lamp, scale)
    if arm:
        reach = -side * rng.uniform(2.2, 3.6)
        parts.hull([(0, 5.3, 0), (reach, 5.4, 0)], 0.06, grey, slot=1)
        _lamps(parts, reach, 4.6, lamp, scale)
    return _figure(parts, x, z, 0.2, POLE)


def _lamps(parts: Parts, x: float, y: float, lamp: int, scale: float) -> None:
    w, h = 0.15 * scale, 0.95 * scale
    corners = [(x + a * w, y + b * h, -0.1) for a in (-1, 1) for b in (0, 1)]
    parts.hull(corners, 0.02, (26, 28, 26), slot=2, layer=0.2)
    colours = ((40, 235, 130), (255, 190, 40), (255, 52, 40))
    for k in range(3):
        tone = colours[k] if k == lamp else (60, 56, 52)
        parts.hull([(x, y + h * (0.17 + 0.33 * k), -0.1)], 0.115 * scale, tone, slot=2, layer=0.4)


def traffic_sign(rng: np.random.Generator, x: float, z: float) -> Standing:
    """A disc, a triangle, a square or a board on a pole."""
    parts, h = Parts(), rng.uniform(1.9, 2.7)
    kind = rng.choice(["disc", "triangle", "square", "board", "diamond"])
    _pole(parts, rng, h + (0.4 if kind != "board" else 0.9), 0.045)
    size = rng.uniform(0.33, 0.5)
    red, blue, white = (196, 26, 30), (24, 70, 170), (240, 240, 236)
    outer, inner = [(red, white), (white, red), (blue, (60, 110, 200)), (red, (210, 60, 60))][
        rng.integers(4)
    ]
    turn = np.arange(16) * np.pi / 8
    shape = {
        "disc": np.stack([np.cos(turn), np.sin(turn)], 1),
        "triangle": np.array([(-1, -0.75), (1, -0.75), (0, 1.0)])
        * (1 if rng.random() < 0.7 else -1),
        "square": np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        "board": np.array([(-2.2, -1.0), (2.2, -1.0), (2.2, 1.0), (-2.2, 1.0)]),
        "diamond": np.array([(0, -1.1), (1.1, 0), (0, 1.1), (-1.1, 0)]),
    }[kind]
    for share, tone, layer in ((1.0, outer, 0.2), (0.7, inner, 0.4)):
        flat = shape * size * share
        points = [(a, h + b, -0.06) for a, b in flat]
        parts.hull(points, 0.01, tone, slot=3, layer=layer)
    mark = [(-0.05, h - size * 0.35, -0.06), (0.05, h + size * 0.3, -0.06)]
    parts.hull(mark, 0.035, (30, 30, 34) if inner == white else white, slot=3, layer=0.6)
    return _figure(parts, x, z, 0.1, POLE)

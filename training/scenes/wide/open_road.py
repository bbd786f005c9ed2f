"""Highways and country roads: their plan in metres, and what lies along them up to the hills."""

from __future__ import annotations

import numpy as np

from training.scenes import roadside
from training.scenes.ground import Layout
from training.scenes.roadside import Kit, Standing
from training.scenes.wide import landscape, trees

FAR = 500.0  # metres: where the road ends


def any_plan(rng: np.random.Generator) -> Layout:
    """A highway with a median, or a road without sidewalks where traffic meets."""
    wide, own = rng.uniform(3.0, 3.8), rng.normal(0, 0.2)
    divided = rng.random() < 0.7
    lanes = int(rng.integers(2, 6)) if divided else int(rng.integers(1, 3))
    mine = int(rng.integers(lanes))
    ahead = [own + wide * (k - mine) for k in range(lanes)]
    inner, outer = rng.uniform(0.4, 2.5), rng.uniform(0.6, 3.5)
    left, right = ahead[0] - wide / 2 - inner, ahead[-1] + wide / 2 + outer
    lines = [(ahead[-1] + wide / 2, bool(rng.random() < 0.1))]
    beyond = None
    if divided:
        first = left - (rng.uniform(0.6, 1.5) if rng.random() < 0.5 else rng.uniform(3, 14))
        count = int(rng.integers(2, 5))
        towards = [first - inner - wide * (k + 0.5) for k in range(count)]
        beyond = (towards[-1] - wide / 2 - outer, first)
        lines.append((ahead[0] - wide / 2, bool(rng.random() < 0.6)))
        lines.append((towards[-1] - wide / 2, False))
    else:
        towards = [ahead[0] - wide * (k + 1) for k in range(int(rng.integers(1, 3)))]
        left = towards[-1] - wide / 2 - outer
        lines.append((towards[-1] - wide / 2, False))
    return Layout(
        left=left,
        right=right,
        lanes=tuple((x, 1) for x in ahead) + tuple((x, -1) for x in towards),
        parking=(False, False),
        tracks=(),
        sidewalks=(0.0, 0.0),
        verges=(0.0, 0.0),
        crossing=None,
        zebra=None,
        far=FAR,
        beyond=beyond,
        edge_lines=tuple(lines) if rng.random() < 0.9 else (),
        yellow=bool(rng.random() < 0.5),
        reach=120.0,
    )


def any_roadside(rng: np.random.Generator, plan: Layout, kit: Kit) -> list[Standing]:
    """What stands along an open road, on both sides, in the median and at the horizon."""
    things = _side(rng, 1, plan.right, kit)
    things += _side(rng, -1, plan.beyond[0] if plan.beyond else plan.left, kit)
    if plan.beyond:
        things += _median(rng, plan.beyond[1], plan.left)
    for depth in landscape.SKY_LINE * np.array([1.0, 0.75, 0.6]):
        if rng.random() < 0.6:
            things.append(landscape.hills(rng, depth))
    if rng.random() < 0.3:
        wide = plan.right - plan.left
        reach = -wide if rng.random() < 0.5 else 0.0
        x, z = plan.right + rng.uniform(0.8, 3), rng.uniform(18, 80)
        things.append(landscape.overhead_sign(rng, x, z, reach))
    return things + [trees.wood(rng, x, (480.0, 481.0), 10) for x in rng.uniform(-300, 300, 12)]


def _stretches(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Consecutive stretches of a road from behind the camera to the end."""
    edges = np.append(np.cumsum(rng.uniform(25, 60, 12)), FAR) - 15
    edges = np.append(-6.0, np.sort(edges[edges < FAR]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _side(rng: np.random.Generator, side: int, edge: float, kit: Kit) -> list[Standing]:
    things: list[Standing] = []
    rail, ground = rng.choice(["none", "rail", "barrier"], p=[0.4, 0.3, 0.3]), None
    height = rng.uniform(0.75, 1.1) if rng.random() < 0.5 else rng.uniform(2.5, 6)
    for z in _stretches(rng):
        if ground is None or rng.random() < 0.45:
            ground = rng.choice(["slope", "wood", "fence", "flat", "houses"], p=_GROUNDS)
            rise, off = rng.uniform(1, 9), rng.uniform(2, 9)
        if rail == "rail":
            things.append(landscape.guard_rail(rng, side, edge + side * 0.6, z))
        elif rail == "barrier":
            things.append(landscape.barrier(rng, side, edge + side * 0.6, z, height))
        things += _land(rng, side, edge + side * off, z, (ground, rise), kit)
        if rng.random() < 0.4:
            at = rng.uniform(max(z[0], 6), max(z[1], 10))
            kind = roadside.street_lamp(rng, side, edge + side * 1.2, at)
            if rng.random() < 0.4:
                kind = kit.sign(rng, edge + side * 1.2, at)
            things.append(kind)
    return things


_GROUNDS = (0.3, 0.3, 0.15, 0.15, 0.1)


def _land(
    rng: np.random.Generator,
    side: int,
    x: float,
    z: tuple[float, float],
    ground: tuple[str, float],
    kit: Kit,
) -> list[Standing]:
    """One stretch of land beside the road, from its foot at x outwards."""
    kind, rise = ground
    size = rng.uniform(5, 16)
    if kind == "slope":
        things = [landscape.slope(rng, side, x, z, rise)]
        if rng.random() < 0.5:
            crest = x + side * (4 * rise + size / 2)
            things.append(trees.wood(rng, crest, z, size * 0.7, rise * 0.8))
        return things
    if kind == "fence":
        near = min(z[1], z[0] + 40)
        things = [roadside.fence(rng, side, x, z[0], near)] if z[0] < 90 else []
        return [*things, trees.wood(rng, x + side * (4 + size / 2), z, size * 0.6)]
    if kind == "houses" and z[0] < 250:
        start = rng.uniform(*z)
        house = kit.building(rng, side, x + side * 8, start, start + rng.uniform(8, 20))
        return [house, *_scattered(rng, side, x, z)]
    if kind == "wood":
        return [trees.wood(rng, x + side * size / 2, z, size)]
    return _scattered(rng, side, x, z)


def _scattered(
    rng: np.random.Generator, side: int, x: float, z: tuple[float, float]
) -> list[Standing]:
    """Single trees and low shrubs."""
    things = []
    for at in rng.uniform(*z, int(rng.integers(1, 5))):
        things.append(
            trees.wood(rng, x + side * rng.uniform(1, 20), (at, at + 1), rng.uniform(2, 11))
        )
    return things


def _median(rng: np.random.Generator, x0: float, x1: float) -> list[Standing]:
    """Between the carriageways: a barrier, rails, or shrubs on grass."""
    middle, kind = (x0 + x1) / 2, rng.choice(["barrier", "rail", "shrubs", "none"])
    height, things = rng.uniform(0.75, 1.15), []
    for z in _stretches(rng):
        if kind == "barrier" or (x1 - x0 < 2 and kind == "none"):
            things.append(landscape.barrier(rng, -1, middle, z, height))
        elif kind == "rail":
            things.append(landscape.guard_rail(rng, -1, middle, z))
        elif kind == "shrubs" and x1 - x0 > 2:
            things.append(trees.wood(rng, middle, z, rng.uniform(1, 2.5)))
    return things

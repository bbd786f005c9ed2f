"""People, riders, bicycles and motorcycles: figures of limbs and tubes, posed by a phase."""

from __future__ import annotations

import numpy as np

from training.scenes.shapes import Parts
from training.scenes.vehicles import any_colour

_SKINS = np.array([(232, 196, 172), (206, 160, 130), (160, 112, 84), (104, 72, 54)], float)
_HAIRS = np.array([(40, 30, 26), (92, 62, 40), (190, 160, 110), (130, 130, 130)], float)


class Looks:
    """What does not change about a random person from frame to frame; one of eight is a child."""

    def __init__(self, rng: np.random.Generator) -> None:
        child = rng.random() < 0.12
        # of a person of 1.75 m
        self.scale = rng.uniform(0.62, 0.8) if child else rng.uniform(0.92, 1.1)
        self.girth = rng.uniform(0.9, 1.25)
        self.coat = any_colour(rng)
        self.trousers = any_colour(rng) * 0.85
        self.shoes = any_colour(rng) * 0.4
        self.skin, self.hair = _SKINS[rng.integers(4)], _HAIRS[rng.integers(4)]
        self.bag = any_colour(rng) if rng.random() < 0.35 else None
        self.long_coat = rng.random() < 0.25
        # radians; some stand
        self.stride = rng.uniform(0.3, 0.5) if rng.random() < 0.8 else rng.uniform(0.0, 0.12)


def person(looks: Looks, phase: float) -> Parts:
    """Somebody who walks; one step is pi of phase."""
    parts, s, g = Parts(), looks.scale, looks.girth
    swing = looks.stride * np.sin(phase)
    for side in (-1, 1):
        _leg(parts, looks, side, side * swing)
        _arm(parts, looks, side, side * swing)
        if looks.bag is not None and side > 0:
            bag = np.array([(0.3, 0.85, 0), (0.3, 0.6, 0.12), (0.3, 0.6, -0.12)]) * s
            parts.hull(bag, 0.05 * s, looks.bag)
    hem = 0.55 if looks.long_coat else 0.9
    torso = [(-0.14 * g, 1.36, 0), (0.14 * g, 1.36, 0), (-0.11 * g, hem, 0), (0.11 * g, hem, 0)]
    parts.hull(np.array(torso) * s, 0.095 * s, looks.coat, layer=0.02)
    _head(parts, (0, 1.6 * s, 0.02 * s), s, looks)
    return parts


def _leg(parts: Parts, looks: Looks, side: int, angle: float) -> None:
    """A leg turned forward by an angle in radians; the knee bends on the way back."""
    s = looks.scale
    hip = np.array((side * 0.09, 0.92, 0)) * s
    knee = np.array((side * 0.1, 0.92 - 0.43 * np.cos(angle), 0.43 * np.sin(angle))) * s
    bend = angle - 0.7 * max(0.0, -angle)
    foot = knee + 0.42 * s * np.array((0, -np.cos(bend), np.sin(bend)))
    parts.hull([hip, knee], [0.095 * s * looks.girth, 0.07 * s], looks.trousers)
    parts.hull([knee, foot], [0.068 * s, 0.05 * s], looks.trousers * 0.92)
    x, y, z = foot
    shoe = [(x, max(0.05, y - 0.02), z), (x, max(0.04, y - 0.02), z + 0.14 * s)]
    parts.hull(shoe, 0.05 * s, looks.shoes)


def _arm(parts: Parts, looks: Looks, side: int, angle: float) -> None:
    """An arm that swings against the leg of its side."""
    s, g, swing = looks.scale, looks.girth, np.sin(angle)
    shoulder = np.array((side * 0.2 * g, 1.4, 0)) * s
    elbow = np.array((side * 0.26 * g, 1.13, -0.27 * swing)) * s
    hand = np.array((side * 0.25 * g, 0.9, -0.3 * swing + 0.1)) * s
    parts.hull([shoulder, elbow], [0.07 * s, 0.055 * s], looks.coat * 0.86)
    parts.hull([elbow, hand], [0.055 * s, 0.045 * s], looks.coat * 0.8)
    parts.hull([hand], 0.045 * s, looks.skin)


def _head(parts: Parts, centre: tuple, s: float, looks: Looks, slot: int = 0) -> None:
    x, y, z = centre
    before = 0.31 * slot + 0.02
    parts.hull([(x, y - 0.14 * s, z)], 0.06 * s, looks.skin * 0.9, slot, layer=before)
    parts.hull(
        [(x, y, z), (x, y - 0.05 * s, z + 0.02)], 0.098 * s, looks.skin, slot, layer=before + 0.01
    )
    back = [(x, y + 0.05 * s, z - 0.03 * s), (x, y, z - 0.06 * s)]
    parts.hull(back, 0.1 * s, looks.hair, slot, layer=before + 0.01)


class Bike:
    """A random bicycle or motorcycle."""

    def __init__(self, rng: np.random.Generator, motor: bool) -> None:
        self.motor = motor
        self.colour, self.second = any_colour(rng), any_colour(rng)
        self.scooter = rng.random() < 0.35


def two_wheels(bike: Bike, looks: Looks | None, phase: float) -> Parts:
    """A bicycle or motorcycle in slot 0, parked without looks, else with somebody in slot 1."""
    parts = Parts()
    if bike.motor:
        _motorcycle(parts, bike)
    else:
        _bicycle(parts, bike, phase)
    if looks:
        _rider(parts, bike, looks, phase)
    return parts


def _bicycle(parts: Parts, bike: Bike, phase: float) -> None:
    tube = lambda a, b, r=0.025, c=bike.colour: parts.hull([a, b], r, c, layer=0.05)  # noqa: E731
    for z in (-0.52, 0.54):
        parts.disc(z, 0.34, 0.34, 0.05, (30, 30, 32))
        parts.disc(z, 0.34, 0.27, 0.04, (142, 144, 146), layer=0.02)
        parts.disc(z, 0.34, 0.05, 0.06, (60, 60, 62), layer=0.03)
    crank, saddle, neck = (0, 0.3, -0.08), (0, 0.86, -0.24), (0, 0.86, 0.36)
    tube(crank, saddle)
    tube(crank, neck)
    tube((0, 0.78, -0.22), neck)
    tube((0, 0.34, -0.52), crank)
    tube((0, 0.34, -0.52), (0, 0.78, -0.22))
    tube(neck, (0, 0.34, 0.54))
    tube(neck, (0, 1.02, 0.36))
    tube((-0.27, 1.03, 0.32), (0.27, 1.03, 0.32), 0.025, (36, 36, 38))
    tube((0, 0.9, -0.34), (0, 0.9, -0.14), 0.05, (30, 30, 30))
    turn = np.array([0, -0.16 * np.cos(phase), 0.16 * np.sin(phase)])
    tube(np.array(crank) - turn, np.array(crank) + turn, 0.03, (44, 44, 46))


def _motorcycle(parts: Parts, bike: Bike) -> None:
    add = lambda points, r, c, layer=0.05: parts.hull(points, r, c, layer=layer)  # noqa: E731
    dark, steel = (34, 34, 36), (136, 138, 142)
    for z in (-0.68, 0.7):
        parts.disc(z, 0.31, 0.28, 0.16, (28, 28, 30))
        parts.disc(z, 0.31, 0.15, 0.17, steel, layer=0.02)
    add([(0, 0.34, -0.65), (0, 0.42, 0)], [0.06, 0.1], dark)
    if bike.scooter:
        add([(0, 0.42, -0.75), (0, 0.62, -0.6), (0, 0.55, -0.1), (0, 0.35, 0)], 0.17, bike.colour)
        add([(0, 0.3, -0.1), (0, 0.3, 0.4)], 0.14, bike.second)
        add([(0, 0.35, 0.42), (0, 0.95, 0.34)], 0.16, bike.colour)
    else:
        engine = [(0, 0.36, -0.22), (0, 0.36, 0.25), (0, 0.55, 0.15), (0, 0.55, -0.2)]
        add(engine, 0.14, (84, 86, 90))
        add([(0, 0.74, 0.3), (0, 0.76, -0.05), (0, 0.66, 0.1)], 0.16, bike.colour)
        add([(0, 0.76, -0.5), (0, 0.84, -0.85)], 0.1, bike.colour)
        add([(0.17, 0.34, -0.1), (0.17, 0.42, -0.85)], 0.055, steel)
    add([(0, 0.8, -0.15), (0, 0.82, -0.65)], 0.11, dark)
    add([(0, 0.31, 0.7), (0, 0.95, 0.42)], 0.055, steel)
    add([(0, 0.62, 0.72), (0, 0.6, 0.5)], 0.07, bike.colour)
    add([(-0.36, 1.04, 0.32), (0.36, 1.04, 0.32)], 0.035, dark)
    add([(0, 0.9, 0.52)], 0.13, (240, 236, 214))
    for side in (-1, 1):
        add([(side * 0.33, 1.1, 0.34)], 0.06, dark)
    add([(0, 0.74, -0.92)], 0.06, (205, 28, 24))
    add([(-0.07, 0.56, -0.95), (0.07, 0.5, -0.95)], 0.03, (230, 230, 220))


def _rider(parts: Parts, bike: Bike, looks: Looks, phase: float) -> None:
    """Sitting, hands on the bar; feet on the pedals or on the rests; most wear a helmet."""
    s, g = np.clip(looks.scale, 0.9, 1.1), looks.girth
    seat, lean = (0.92, 0.28) if bike.motor else (0.98, 0.36)
    hips = np.array([0, seat, -0.3 if bike.motor else -0.22])
    chest = hips + s * np.array([0, 0.46, lean])
    for side in (-1, 1):
        _limbs_of_rider(parts, bike, looks, (hips, chest), side, phase)
    wide = np.array([0.13 * g, 0, 0])
    back = [chest - wide, chest + wide, hips - 0.8 * wide, hips + 0.8 * wide]
    parts.hull(back, 0.105, looks.coat, 1, layer=0.3)
    if looks.bag is not None:
        ends = np.array([chest, (hips + chest) / 2])
        ends[:, 2] -= (0.18, 0.2)
        parts.hull(ends, 0.13, looks.bag, 1, layer=0.3)
    _head(parts, tuple(chest + np.array([0, 0.25, 0.1])), 1.0, looks, 1)
    if bike.motor or looks.stride > 0.38:
        x, y, z = chest + np.array([0, 0.29, 0.08])
        parts.hull([(x, y, z), (x, y - 0.06, z - 0.04)], 0.135, looks.coat[::-1], 1, layer=0.36)


def _limbs_of_rider(
    parts: Parts, bike: Bike, looks: Looks, body: tuple, side: int, phase: float
) -> None:
    (hips, chest), x = body, np.array([side, 0, 0])
    turn = side * np.array([0, -0.16 * np.cos(phase), 0.16 * np.sin(phase)])
    rest = np.array([0, 0.3, -0.08])
    foot = rest + 0.24 * x if bike.motor else rest + turn + 0.13 * x
    knee = (hips + foot) / 2 + np.array([0, 0.12, 0.26]) + 0.07 * x
    hand = np.array([side * (0.33 if bike.motor else 0.25), 1.06, 0.3])
    elbow = (chest + hand) / 2 + 0.16 * x + np.array([0, -0.06, 0])
    toe = foot + np.array([0, -0.03, 0.13])
    for points, radii, colour in (
        ([hips + 0.1 * x, knee], [0.1 * looks.girth, 0.075], looks.trousers),
        ([knee, foot], [0.07, 0.05], looks.trousers * 0.9),
        ([foot, toe], [0.05, 0.05], looks.shoes),
        ([chest + 0.17 * x, elbow], [0.07, 0.055], looks.coat * 0.86),
        ([elbow, hand], [0.055, 0.045], looks.coat * 0.8),
    ):
        parts.hull(points, radii, colour, 1, layer=0.25)

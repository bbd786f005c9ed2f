"""Who is on the street: which things, where they start, how they move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from training.scenes import figures, vehicles
from training.scenes.camera import Camera
from training.scenes.ground import Layout
from training.scenes.shapes import Mesh, Parts

PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(8)
UNKNOWN, CARAVAN = -1, -2  # objects of no class

# how many of each kind stand on a street, on average
KINDS = {
    "crowd": 0.19,
    "train": 0.75,
    "bus": 0.85,
    "truck": 1.0,
    "car": 3.0,
    "cyclist": 0.75,
    "motorcyclist": 0.65,
    "motorcycle": 0.4,
    "bicycle": 0.5,
    "person": 3.1,
    "bin": 0.7,
    "caravan": 0.06,
}
OVERLAPS = 0.03  # how readily a place is taken from where one thing hides another
_MESHES = {
    "train": (TRAIN, vehicles.train),
    "bus": (BUS, vehicles.bus),
    "truck": (TRUCK, vehicles.truck),
    "car": (CAR, vehicles.car),
    "bin": (UNKNOWN, vehicles.bin_or_box),
    "caravan": (CARAVAN, vehicles.caravan),
}


@dataclass(frozen=True)
class Actor:
    """Something that may move: one thing, or a bicycle or motorcycle and its rider, or a crowd.

    x, z are metres at time 0, speed is metres a second along heading (clockwise from z).
    """

    labels: tuple[int, ...]  # one for each slot
    x: float
    z: float
    heading: float
    speed: float
    half: tuple[float, float]  # half extents of the footprint across and along the road
    mesh: Mesh | None = None
    pose: Callable[[float], Parts] | None = None
    phase: float = 0.0
    pace: float = 0.0  # radians of the pose a second
    members: tuple[Actor, ...] = field(default=())  # of a crowd

    def at(self, time: float) -> tuple[float, float]:
        """Position (x, z) in metres at a time in seconds."""
        way = self.speed * time
        return self.x + way * np.sin(self.heading), self.z + way * np.cos(self.heading)


def counts(spread: np.ndarray, busy: float, kinds: Mapping[str, float] = KINDS) -> dict[str, int]:
    """How many of each kind, from a number in [0, 1) each: right on average, to within one."""
    return {
        kind: int(mean * busy + u) for (kind, mean), u in zip(kinds.items(), spread, strict=True)
    }


def populate(
    rng: np.random.Generator,
    plan: Layout,
    camera: Camera,
    number: dict[str, int],
    depths: np.ndarray,
    ego_speed: float,
    car: Callable = vehicles.car,
) -> list[Actor]:
    """Place the things so that they do not stand in one another and are in view at time 0.

    `car` draws the mesh, length and width of one.
    `depths` [number of kinds] in [0, 1) are the depths of the first of each kind, as quantiles of
    their distribution; the others of a kind follow in golden steps, so that they spread evenly.
    """
    actors: list[Actor] = []
    spans: list[tuple[float, float]] = []
    for depth, (kind, count) in zip(depths, number.items(), strict=True):
        for k in range(count):
            place = _cast(rng, kind, plan, ego_speed, car)
            for attempt in range(50):
                actor = place((depth + 0.618034 * k + rng.normal(0, 0.01 * attempt)) % 1)
                if not _in_view(actor, camera) or not _free(actor, actors):
                    continue
                span = _columns(actor, camera)
                alone = not any(_overlap(span, other) for other in spans)
                if alone or attempt > 35 or rng.random() < OVERLAPS:
                    actors.append(actor)
                    spans.append(span)
                    break
    return actors


def _cast(
    rng: np.random.Generator, kind: str, plan: Layout, ego_speed: float, car: Callable
) -> Callable[[float], Actor]:
    """Draw the looks of a thing; what is returned puts it at a depth, given as a quantile."""
    if kind == "crowd":
        return partial(_crowd, rng, plan, car)
    if kind == "person":
        return partial(_person, rng, plan, figures.Looks(rng))
    if kind not in _MESHES:
        motor = kind.startswith("motor")
        looks = figures.Looks(rng) if kind.endswith("cyclist") else None
        return partial(_two_wheels, rng, plan, figures.Bike(rng, motor), looks)
    label, build = _MESHES[kind]
    mesh, length, width = (car if label == CAR else build)(rng)

    def place(depth: float) -> Actor:
        if kind == "bin":
            x, z = _on_sidewalk(rng, plan, _depth(depth, 4, 26))
            heading, speed = rng.uniform(0, 6), 0.0
        else:
            x, z, heading, speed = _on_road(rng, kind, plan, length, ego_speed, depth)
        return Actor((label,), x, z, heading, speed, _extent(length, width, heading), mesh)

    return place


def _depth(share: float, near: float, far: float) -> float:
    """The quantile `share` of depths whose logarithm is uniform between near and far, in metres."""
    return float(near * (far / near) ** share)


def _on_road(
    rng: np.random.Generator, kind: str, plan: Layout, length: float, ego_speed: float, depth: float
) -> tuple[float, float, float, float]:
    """A place in a lane, at the kerb, on the tracks or across: (x, z, heading, speed)."""
    nearest = {"train": 12.0, "bus": 10.0, "truck": 8.0}.get(kind, 5.5)
    z = _depth(depth, nearest, plan.reach if kind == "car" else 52) + length / 2
    across = plan.crossing is not None and rng.random() < (0.3 if kind != "car" else 0.25)
    if across:
        way = rng.choice([-1, 1])
        middle = (plan.crossing[0] + plan.crossing[1]) / 2
        x = rng.uniform(-0.5, 0.5) * (middle * 0.9 + length)
        bent = 0.0 if kind == "train" else rng.normal(0, 0.3)
        return x, middle - way * 2.6, way * np.pi / 2 + bent, rng.uniform(1, 6)
    if kind == "train" and plan.tracks:
        k = int(rng.integers(len(plan.tracks)))
        return plan.tracks[k], z, 0.0 if k else np.pi, rng.uniform(0, 6)
    sides = [k for k in (0, 1) if plan.parking[k]]
    if sides and kind != "train" and rng.random() < (0.5 if kind in ("car", "caravan") else 0.3):
        side = rng.choice(sides)
        x = plan.left + 1.15 if side == 0 else plan.right - 1.15
        turned = rng.random() < (0.3 if side else 0.7)
        return x, z, (np.pi if turned else 0.0) + rng.normal(0, 0.04), 0.0
    x, way = plan.lanes[rng.integers(len(plan.lanes))]
    speed = max(0.0, ego_speed + rng.normal(0, 1.5)) if way > 0 else rng.uniform(0, 7)
    turn = rng.normal(0, 0.05) if rng.random() < 0.75 else rng.normal(0, 0.5)
    return x + rng.normal(0, 0.2), z, (0.0 if way > 0 else np.pi) + turn, speed


def _on_sidewalk(rng: np.random.Generator, plan: Layout, z: float) -> tuple[float, float]:
    side = int(rng.integers(2))
    share = rng.uniform(0.12, 0.9) * plan.sidewalks[side]
    x = plan.left - share if side == 0 else plan.right + share
    return x, z


def _person(rng: np.random.Generator, plan: Layout, looks: figures.Looks, depth: float) -> Actor:
    if rng.random() < 0.62:
        x, z = _on_sidewalk(rng, plan, _depth(depth, 6, 42))
        heading = rng.choice([0.0, np.pi]) + rng.normal(0, 0.5)
    else:
        x, z = rng.uniform(plan.left, plan.right), _depth(depth, 8, 42)
        if plan.zebra is not None and rng.random() < 0.5:
            z = plan.zebra + rng.uniform(0.3, 2.7)
        heading = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.4)
    speed = looks.stride * 3.1 * looks.scale if looks.stride > 0.15 else 0.0
    pace = np.pi * speed / (1.5 * max(looks.stride, 0.1))
    pose = partial(figures.person, looks)
    return Actor((PERSON,), x, z, heading, speed, (0.3, 0.3), None, pose, rng.uniform(0, 6.3), pace)


def _two_wheels(
    rng: np.random.Generator,
    plan: Layout,
    bike: figures.Bike,
    looks: figures.Looks | None,
    depth: float,
) -> Actor:
    """A bicycle or motorcycle, ridden along or across the road, or parked on the sidewalk."""
    label = MOTORCYCLE if bike.motor else BICYCLE
    if looks is None:
        x, z = _on_sidewalk(rng, plan, _depth(depth, 5.5, 28))
        heading = rng.choice([np.pi / 2, -np.pi / 2, 0.0, np.pi]) + rng.normal(0, 0.35)
        pose = partial(figures.two_wheels, bike, None)
        return Actor((label,), x, z, heading, 0.0, _extent(1.8, 0.6, heading), None, pose, 0.6)
    z = _depth(depth, 6.5, 36)
    if rng.random() < 0.45:
        x = rng.uniform(plan.left, plan.right)
        heading = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.45)
    else:
        right = rng.random() < 0.6
        x = plan.right - rng.uniform(0.6, 3) if right else plan.left + rng.uniform(0.6, 3)
        heading = (0.0 if right else np.pi) + rng.normal(0, 0.3)
    speed = rng.uniform(2, 5) if abs(np.sin(heading)) < 0.6 else rng.uniform(1.5, 3)
    pose = partial(figures.two_wheels, bike, looks)
    half = _extent(1.8, 0.7, heading)
    return Actor(
        (label, RIDER), x, z, heading, speed, half, None, pose, rng.uniform(0, 6.3), speed * 1.3
    )


def _crowd(rng: np.random.Generator, plan: Layout, car: Callable, depth: float) -> Actor:
    """A knot of people, cars or bicycles that nobody would tell apart."""
    kind = rng.choice([PERSON, PERSON, CAR, BICYCLE])
    x, z = _on_sidewalk(rng, plan, _depth(depth, 18, 36))
    if kind == CAR:
        x, z = rng.choice([plan.left + 1, plan.right - 1]), rng.uniform(30, 50)
    cars = kind == CAR
    members = []
    for _ in range(int(rng.integers(5, 9))):
        dx, dz = rng.normal(0, 1.5 if cars else 0.7), rng.uniform(-1.5, 1.5)
        members.append(_member(rng, kind, car, x + dx, z + (5 * dz if cars else dz)))
    members.sort(key=lambda member: -member.z)
    half = (1.5, 8.0) if cars else (1.5, 1.5)
    return Actor((int(kind),), x, z, 0.0, 0.0, half, members=tuple(members))


def _member(rng: np.random.Generator, kind: int, car: Callable, x: float, z: float) -> Actor:
    """One of a crowd."""
    if kind == CAR:
        mesh, length, width = car(rng)
        heading = rng.choice([0.0, np.pi]) + rng.normal(0, 0.1)
        return Actor((CAR,), x, z, heading, 0.0, _extent(length, width, heading), mesh)
    if kind == PERSON:
        pose = partial(figures.person, figures.Looks(rng))
        heading, phase = rng.uniform(0, 6.3), rng.uniform(0, 6)
        return Actor((PERSON,), x, z, heading, 0.0, (0.3, 0.3), None, pose, phase)
    pose = partial(figures.two_wheels, figures.Bike(rng, motor=False), None)
    return Actor((BICYCLE,), x, z, rng.normal(1.5, 0.4), 0.0, (0.9, 0.9), None, pose)


def _extent(length: float, width: float, heading: float) -> tuple[float, float]:
    sin, cos = abs(np.sin(heading)), abs(np.cos(heading))
    return (length * sin + width * cos) / 2, (length * cos + width * sin) / 2


def _in_view(actor: Actor, camera: Camera) -> bool:
    depth = actor.z - camera.z
    column = camera.centre + camera.focal * (actor.x - camera.x) / max(depth, 1.0)
    own_way = abs(actor.x - camera.x) < actor.half[0] + 1.1
    behind_bonnet = own_way and depth - actor.half[1] < 5.5
    return 0.0 < column < camera.size[1] and depth - actor.half[1] > 2.5 and not behind_bonnet


def _columns(actor: Actor, camera: Camera) -> tuple[float, float]:
    scale = camera.focal / max(actor.z - camera.z, 1.0)
    return (actor.x - actor.half[0]) * scale, (actor.x + actor.half[0]) * scale


def _overlap(columns: tuple[float, float], others: tuple[float, float]) -> bool:
    """Whether one of two things may hide more than a little of the other."""
    (a0, a1), (b0, b1) = columns, others
    return min(a1, b1) - max(a0, b0) > 0.04 * min(a1 - a0, b1 - b0)


def _free(actor: Actor, others: list[Actor], gap: float = 0.25) -> bool:
    return all(
        abs(actor.x - other.x) > actor.half[0] + other.half[0] + gap
        or abs(actor.z - other.z) > actor.half[1] + other.half[1] + gap
        for other in others
    )

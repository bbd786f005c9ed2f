"""A street: plan, camera, light, what stands beside the road, who is on it, through which lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.scenes import roadside, traffic
from training.scenes.camera import Camera
from training.scenes.ground import FAR, GroundColours, Layout
from training.scenes.painter import Light
from training.scenes.roadside import Kit, Standing, plain_kit
from training.scenes.sensor import Sensor
from training.scenes.traffic import Actor

SUPERSAMPLING = 2
# A street is settled by so many numbers in [0, 1), which a drive spreads evenly over its streets:
# column and row of the vanishing point, side of traffic, amount of traffic, focal length,
# then the number and the depths of the things of each kind.
CHOICES = 5 + 2 * len(traffic.KINDS)
_SKY_LOW = np.array([(214, 224, 234), (230, 214, 190), (200, 204, 208)], float)
_SKY_HIGH = np.array([(96, 146, 208), (130, 160, 200), (176, 184, 192)], float)
_GRASS = np.array([(98, 124, 60), (122, 128, 74), (140, 124, 92), (84, 112, 58)], float)
BUSY = {"easy": 0.7, "default": 1.0, "hard": 1.3}


@dataclass(frozen=True)
class Street:
    """All about a street that does not change from frame to frame, in metres and seconds."""

    plan: Layout
    camera: Camera  # at time 0, for the canvas
    ego_speed: float
    light: Light
    colours: GroundColours
    clouds: np.ndarray
    stains: np.ndarray
    standing: tuple[Standing, ...]
    actors: tuple[Actor, ...]
    sensor: Sensor
    size: tuple[int, int]  # of the picture, (height, width)
    mirrored: bool  # traffic keeps left
    hood: float  # rows of the own bonnet as a share of the height
    border: int  # rows and columns of the frame without picture
    hood_colour: tuple[float, float, float] = (44, 46, 52)  # of its edge; the rest is darker


def any_street(
    rng: np.random.Generator,
    size: tuple[int, int],
    difficulty: str,
    spread: np.ndarray | None = None,
) -> Street:
    """Draw a street. `spread` [CHOICES] settles view and traffic; None draws these as well."""
    spread = rng.random(CHOICES) if spread is None else spread
    night = rng.random() < 0.05
    camera = _any_camera(rng, size, spread)
    plan = any_plan(rng)
    light, colours = _any_light(rng, night)
    ego_speed = 0.0 if rng.random() < 0.2 else rng.uniform(0, 7)
    amounts, depths = np.split(spread[5:], 2)
    number = traffic.counts(amounts, BUSY[difficulty] * (0.75 + 0.5 * spread[3]))
    return Street(
        plan=plan,
        camera=camera,
        ego_speed=ego_speed,
        actors=tuple(traffic.populate(rng, plan, camera, number, depths, ego_speed)),
        light=light,
        colours=colours,
        clouds=rng.normal(0, 0.6, (6, 12)) * (rng.random() < 0.8),
        stains=any_stains(rng, plan),
        standing=tuple(any_roadside(rng, plan, plain_kit(night))),
        sensor=Sensor(rng, night),
        size=size,
        mirrored=bool(spread[2] < 0.5),
        hood=rng.uniform(0.02, 0.08) if rng.random() < 0.6 else 0.0,
        border=int(rng.integers(1, 4)) if rng.random() < 0.2 else 0,
    )


def _any_camera(rng: np.random.Generator, size: tuple[int, int], spread: np.ndarray) -> Camera:
    height, width = (SUPERSAMPLING * s for s in size)
    return Camera(
        size=(height, width),
        focal=width * (0.72 + 0.28 * spread[4]),
        centre=width * (0.3 + 0.4 * spread[0]),
        horizon=height * (0.32 + 0.21 * spread[1]),
        elevation=rng.uniform(1.25, 1.75),
    )


def any_plan(rng: np.random.Generator) -> Layout:
    wide = rng.uniform(2.9, 3.4)
    own = rng.normal(0, 0.15)
    rails = int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))
    ahead = [own + wide * k for k in range(int(rng.choice([1, 2], p=[0.65, 0.35])))]
    tracks = [own - 0.2 - wide * (k + 1) for k in range(rails)]
    first = own - wide * (1 + rails)
    towards = [first - wide * k for k in range(int(rng.choice([1, 2], p=[0.75, 0.25])))]
    tracks = tracks or [rng.choice(ahead + towards)]
    parking = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
    crossing = zebra = None
    if rng.random() < 0.6:
        start = float(np.exp(rng.uniform(np.log(15), np.log(45))))
        crossing = (start, start + rng.uniform(9, 13))
        zebra = start - 4.0 if rng.random() < 0.7 else None
    elif rng.random() < 0.5:
        zebra = rng.uniform(10, 35)
    return Layout(
        left=towards[-1] - wide / 2 - 0.3 - 2.3 * parking[0],
        right=ahead[-1] + wide / 2 + 0.3 + 2.3 * parking[1],
        lanes=tuple((x, 1) for x in ahead) + tuple((x, -1) for x in towards),
        parking=parking,
        tracks=tuple(reversed(tracks)),
        sidewalks=(rng.uniform(1.8, 5.5), rng.uniform(1.8, 5.5)),
        verges=tuple(rng.uniform(0.8, 6) * (rng.random() < 0.35) for _ in range(2)),
        crossing=crossing,
        zebra=zebra,
    )


def _any_light(rng: np.random.Generator, night: bool) -> tuple[Light, GroundColours]:
    sun = np.array([rng.normal(), rng.uniform(0.5, 1.6), rng.normal(-0.4, 0.8)])
    overcast = rng.random()
    low = _SKY_LOW[rng.integers(3)] + rng.normal(0, 8, 3)
    high = _SKY_HIGH[int(overcast * 3)] + rng.normal(0, 10, 3)
    if night:
        low, high = np.array((70.0, 66, 74)), np.array((28.0, 30, 44))
    fog = rng.uniform(0.008, 0.022) if rng.random() < 0.2 else rng.uniform(0.001, 0.005)
    light = Light(sun / np.linalg.norm(sun), 0.62 + 0.25 * overcast, np.clip(low, 0, 255), fog)
    grey = rng.uniform(78, 140)
    pale = rng.uniform(130, 190)
    colours = GroundColours(
        road=np.array([grey, grey, grey * rng.uniform(0.98, 1.06)]),
        paint=np.full(3, rng.uniform(195, 240)),
        sidewalk=np.array([pale * rng.uniform(1, 1.08), pale, pale * rng.uniform(0.88, 1)]),
        kerb=np.full(3, pale * rng.uniform(1.08, 1.25)),
        terrain=_GRASS[rng.integers(4)] * rng.uniform(0.85, 1.15),
        sky_low=np.clip(low, 0, 255),
        sky_high=np.clip(high, 0, 255),
        cloud=rng.uniform(10, 60) * (0.2 if night else 1),
    )
    return light, colours


def any_stains(rng: np.random.Generator, plan: Layout) -> np.ndarray:
    count = int(rng.integers(2, 10))
    return np.stack(
        [
            rng.uniform(plan.left, plan.right, count),
            rng.uniform(3, 40, count),
            rng.uniform(0.2, 1.1, count),
            rng.uniform(0.3, 3.0, count),
            rng.normal(0, 0.2, count),
            rng.uniform(0.72, 1.12, count),
        ],
        axis=1,
    )


def any_roadside(rng: np.random.Generator, plan: Layout, kit: Kit) -> list[Standing]:
    town = rng.random()  # from open country to closed rows of houses
    things = []
    for side, kerb in ((-1, plan.left), (1, plan.right)):
        edge = kerb + side * (plan.sidewalks[(side + 1) // 2] + plan.verges[(side + 1) // 2])
        things += _lots(rng, side, edge, plan, town, kit)
        things += _furniture(rng, side, kerb, plan, kit)
    return things + _far_end(rng, kit)


def _lots(
    rng: np.random.Generator, side: int, edge: float, plan: Layout, town: float, kit: Kit
) -> list[Standing]:
    """One lot after the other along one side, with a gap where a road crosses."""
    things: list[Standing] = []
    z = rng.uniform(-6, 2)
    while z < FAR - 20:
        end = z + rng.uniform(8, 20)
        if plan.crossing and z < plan.crossing[1] + 2 and end > plan.crossing[0] - 2:
            end = plan.crossing[0] - 2
            if end - z < 4:
                z = plan.crossing[1] + 2
                continue
        things += _lot(rng, side, edge, (z, end), town, kit)
        z = end + (rng.uniform(0.5, 4) if rng.random() < 0.4 else 0.02)
    return things


def _lot(
    rng: np.random.Generator,
    side: int,
    edge: float,
    z: tuple[float, float],
    town: float,
    kit: Kit,
) -> list[Standing]:
    """A house at the sidewalk, or a garden."""
    if rng.random() < 0.1 + 0.6 * town:
        lawn = rng.uniform(1.5, 4) if rng.random() < 0.35 else rng.uniform(0, 0.4)
        things = [kit.building(rng, side, edge + side * lawn, *z)]
        if lawn > 1.5 and rng.random() < 0.6:
            things.append(roadside.fence(rng, side, edge + side * 0.15, *z))
        return things
    return _garden(rng, side, edge, z, kit)


def _garden(
    rng: np.random.Generator, side: int, edge: float, z: tuple[float, float], kit: Kit
) -> list[Standing]:
    """Trees and bushes behind a wall, a fence or nothing, perhaps with a house further back."""
    things: list[Standing] = []
    border = rng.random()
    if border < 0.34:
        things.append(roadside.wall(rng, side, edge + side * 0.2, *z))
    elif border < 0.68:
        things.append(roadside.fence(rng, side, edge + side * 0.2, *z))
    if rng.random() < 0.45:
        things.append(kit.building(rng, side, edge + side * rng.uniform(6, 12), *z))
    for _ in range(int(rng.integers(1, 4))):
        x, at = edge + side * rng.uniform(2.0, 6), rng.uniform(*z)
        if at > abs(x) - 3:  # else it is out of view
            things.append(kit.tree(rng, x, at, rng.uniform(0.7, 1.2)))
    for _ in range(int(rng.integers(1, 5))):
        x, at = edge + side * rng.uniform(0.9, 3), rng.uniform(*z)
        if abs(x) - 3 < at < 70:
            things.append(kit.bush(rng, x, at, rng.uniform(0.6, 1.3)))
    return things


def _furniture(
    rng: np.random.Generator, side: int, kerb: float, plan: Layout, kit: Kit
) -> list[Standing]:
    """Lamps, signs, trees and posts along the kerb; traffic lights where roads cross."""
    things: list[Standing] = []
    x = kerb + side * 0.6
    alley = rng.random() < 0.35
    z = rng.uniform(4, 10)
    while z < 90:
        if not (plan.crossing and plan.crossing[0] - 1 < z < plan.crossing[1] + 1):
            kind = rng.random()
            if kind < 0.34:
                things.append(roadside.street_lamp(rng, side, x, z))
            elif kind < 0.72 and z > 6.5:
                things.append(kit.sign(rng, x, z))
            elif kind < 0.8:
                things.append(roadside.bollard(rng, x, z))
            elif alley:
                things.append(kit.tree(rng, x + side * 0.4, z, rng.uniform(0.6, 0.9)))
        z += rng.uniform(5, 14) if z < 40 else rng.uniform(12, 25)
    stops = _stops(rng, plan)
    return things + [roadside.traffic_light(rng, side, x, stop) for stop in stops]


def _stops(rng: np.random.Generator, plan: Layout) -> list[float]:
    """Where traffic lights stand along the road."""
    if plan.crossing:
        return [plan.crossing[0] - 1.5, plan.crossing[1] + 1.5]
    return [rng.uniform(8, 28)] if rng.random() < 0.65 else []


def _far_end(rng: np.random.Generator, kit: Kit) -> list[Standing]:
    """What closes the view: houses or trees."""
    things: list[Standing] = []
    for x in np.arange(-100, 100, 12.0):
        if rng.random() < 0.3:
            things.append(kit.building(rng, 1, x, FAR, FAR + 10))
        else:
            aside, before = x + rng.uniform(-3, 3), FAR - rng.uniform(2, 18)
            things.append(kit.tree(rng, aside, before, rng.uniform(0.9, 2.0)))
    return things

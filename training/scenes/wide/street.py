"""Draw a street of the style `wide`: its plan, view, light, traffic and camera."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from training.scenes import roadside, traffic
from training.scenes.camera import Camera
from training.scenes.ground import GroundColours, Layout
from training.scenes.painter import Light
from training.scenes.roadside import Kit, Standing
from training.scenes.street import (
    BUSY,
    CHOICES,
    SUPERSAMPLING,
    Street,
    any_plan,
    any_roadside,
    any_stains,
)
from training.scenes.wide import cars, facades, open_road, trees
from training.scenes.wide.film import Film

_KINDS = {
    "crowd": 0.25,
    "train": 0.25,
    "bus": 0.4,
    "truck": 0.35,
    "car": 5.0,
    "cyclist": 1.1,
    "motorcyclist": 0.5,
    "motorcycle": 0.4,
    "bicycle": 1.0,
    "person": 5.0,
    "bin": 0.6,
    "caravan": 0.06,
}
_OPEN_ROAD_KINDS = dict.fromkeys(_KINDS, 0.0) | {
    "car": 7.0,
    "truck": 0.6,
    "bus": 0.15,
    "motorcyclist": 0.2,
    "caravan": 0.1,
}
OPEN_ROADS = 0.2  # their share; the others lead through towns
_SKIES = {  # how often; colour at the horizon, in the zenith, strength of clouds
    "white": (0.3, (252, 252, 252), (250, 250, 252), 4),
    "blue": (0.3, (196, 212, 228), (78, 122, 184), 25),
    "clouds": (0.25, (222, 224, 228), (168, 174, 184), 55),
    "dusk": (0.15, (214, 190, 160), (96, 104, 124), 40),
}
_GRASS = np.array([(98, 124, 60), (122, 128, 74), (168, 146, 100), (84, 112, 58)], float)


def wide_street(
    rng: np.random.Generator,
    size: tuple[int, int],
    difficulty: str,
    spread: np.ndarray | None = None,
) -> Street:
    """As any_street, in the style `wide`."""
    spread = rng.random(CHOICES) if spread is None else spread
    night = rng.random() < 0.08
    camera = _any_camera(rng, size, spread)
    country = rng.random() < OPEN_ROADS
    plan = open_road.any_plan(rng) if country else _town_plan(rng)
    along = open_road.any_roadside if country else _town_roadside
    kit = Kit(partial(facades.building, night=night), trees.tree, trees.bush, roadside.traffic_sign)
    kinds = _OPEN_ROAD_KINDS if country else _KINDS
    light, colours = _any_light(rng, night)
    ego_speed = 0.0 if rng.random() < 0.2 else rng.uniform(0, 7)
    amounts, depths = np.split(spread[5:], 2)
    number = traffic.counts(amounts, BUSY[difficulty] * (0.75 + 0.5 * spread[3]), kinds)
    return Street(
        plan=plan,
        camera=camera,
        ego_speed=ego_speed,
        actors=tuple(traffic.populate(rng, plan, camera, number, depths, ego_speed, cars.car)),
        light=light,
        colours=colours,
        clouds=rng.normal(0, 0.6, (6, 12)) * (rng.random() < 0.8),
        stains=any_stains(rng, plan),
        standing=tuple(along(rng, plan, kit)),
        sensor=Film(rng, night),
        size=size,
        mirrored=bool(spread[2] < 0.5),
        hood=rng.uniform(0.02, 0.15) if rng.random() < 0.5 else 0.0,
        hood_colour=tuple((rng.uniform(8, 110) * (1 + rng.normal(0, 0.08, 3))).tolist()),
        border=int(rng.integers(1, 4)) if rng.random() < 0.1 else 0,
    )


def _town_plan(rng: np.random.Generator) -> Layout:
    """As any_plan; few have tracks, many have lines along the kerbs, some have wide sidewalks."""
    plan = any_plan(rng)
    lines: list[float] = []
    if rng.random() < 0.5:
        offsets = (0.3, 0.5) if rng.random() < 0.6 else (0.35,)
        lines = [x for off in offsets for x in (plan.left + off, plan.right - off)]
    yellow = bool(rng.random() < 0.7)
    return replace(
        plan,
        tracks=plan.tracks if rng.random() < 0.15 else (),
        sidewalks=(rng.uniform(1.3, 7), rng.uniform(1.3, 7)),
        edge_lines=tuple((x, yellow) for x in lines),
    )


def _town_roadside(rng: np.random.Generator, plan: Layout, kit: Kit) -> list[Standing]:
    """As any_roadside, with railings that keep people from the road."""
    things = any_roadside(rng, plan, kit)
    for side, kerb in ((-1, plan.left), (1, plan.right)):
        if rng.random() < 0.3:
            start = rng.uniform(3, 30)
            end = start + rng.uniform(5, 25)
            things.append(roadside.fence(rng, side, kerb + side * 0.35, start, end))
    return things


def _any_camera(rng: np.random.Generator, size: tuple[int, int], spread: np.ndarray) -> Camera:
    height, width = (SUPERSAMPLING * s for s in size)
    return Camera(
        size=(height, width),
        focal=width * (0.6 + 0.7 * spread[4]),
        centre=width * (0.3 + 0.4 * spread[0]),
        horizon=height * (0.3 + 0.3 * spread[1]),
        elevation=rng.uniform(1.2, 1.9),
    )


def _any_light(rng: np.random.Generator, night: bool) -> tuple[Light, GroundColours]:
    sun = np.array([rng.normal(), rng.uniform(0.25, 1.4), rng.normal(0, 0.8)])
    kind = rng.choice(list(_SKIES), p=[sky[0] for sky in _SKIES.values()])
    _, low, high, cloud = _SKIES[kind]
    low, high = np.array(low) + rng.normal(0, 6, 3), np.array(high) + rng.normal(0, 12, 3)
    if night:
        low, high = np.full(3, rng.uniform(5, 70)), np.full(3, rng.uniform(2, 40))
    sunny = not night and kind in ("blue", "white") and rng.random() < 0.8
    ambient = rng.uniform(0.28, 0.6) if sunny else rng.uniform(0.55, 0.9)
    fog = rng.uniform(0.008, 0.022) if rng.random() < 0.1 else rng.uniform(0.0003, 0.003)
    light = Light(sun / np.linalg.norm(sun), ambient, np.clip(low, 0, 255), fog)
    grey, pale = _any_pavement(rng)
    colours = GroundColours(
        road=grey,
        paint=np.full(3, rng.uniform(170, 245)),
        sidewalk=pale,
        kerb=pale * rng.uniform(0.9, 1.3),
        terrain=_GRASS[rng.integers(4)] * rng.uniform(0.7, 1.25),
        sky_low=np.clip(low, 0, 255),
        sky_high=np.clip(high, 0, 255),
        cloud=cloud * rng.uniform(0.4, 1.6) * (0.2 if night else 1),
    )
    return light, colours


def _any_pavement(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the road and of the sidewalk, which is of the same asphalt or of pale slabs."""
    tint = 1 + rng.normal(0, 0.02, 3)
    road = rng.uniform(60, 150)
    if rng.random() < 0.4:
        return road * tint, road * rng.uniform(0.8, 1.3) * (1 + rng.normal(0, 0.03, 3))
    pale = rng.uniform(110, 190)
    return road * tint, pale * np.array([rng.uniform(1, 1.08), 1, rng.uniform(0.86, 1)])

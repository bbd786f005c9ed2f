"""One picture of a street with its annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cmp_to_key

import cv2
import numpy as np

from jointseg_core.classes import CITYSCAPES, UNLABELLED
from training.scenes import ground
from training.scenes.camera import NEAR, Camera, placed
from training.scenes.codes import FIRST_OBJECT, LAST_OBJECT, VOID
from training.scenes.painter import Painter
from training.scenes.roadside import Standing
from training.scenes.shapes import Mesh, Parts
from training.scenes.solids import Solid, solids
from training.scenes.street import SUPERSAMPLING, Street, any_street
from training.scenes.traffic import CARAVAN, UNKNOWN, Actor
from training.scenes.wide import wide_street

LEAST_AREA = 30  # visible pixels at 256 x 512; what shows less is void
LEAST_FRACTION = 0.2
DIFFICULTIES = ("easy", "default", "hard")
STYLES = {"plain": any_street, "wide": wide_street}


@dataclass(frozen=True)
class SceneObject:
    """An object that shows in a picture."""

    label: int  # of CITYSCAPES.things; -1: an object of no class
    crowd: bool  # several objects of one class that nobody can tell apart
    track_id: int
    box: tuple[float, float, float, float]  # of the visible part, x1, y1, x2, y2 in pixels
    visible_fraction: float  # visible pixels / pixels in the picture if nothing stood before it
    caravan: bool = False  # a caravan or trailer: of no class, yet Cityscapes numbers them
    position: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    """Where it stands: metres right of, below and before the camera to the middle of the near edge
    of its footprint, at least 0.6 before it."""
    solid: Solid | None = None  # the box around all of it; None of a crowd


@dataclass(frozen=True)
class Scene:
    """A picture with its annotations, all of one size."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    semantic: np.ndarray  # uint8 [H, W], 255 where there is no class
    instances: np.ndarray  # uint16 [H, W], k where objects[k - 1] shows, 0 elsewhere
    objects: tuple[SceneObject, ...]
    intrinsics: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels, where (0, 0) is the middle of the first pixel."""
    depth: np.ndarray | None = None
    """Metres float32 [H, W] along the optical axis, 0 where there is nothing; if asked for."""


def render_scene(
    seed: int,
    index: int,
    size: tuple[int, int] = (256, 512),
    difficulty: str = "default",
    style: str = "plain",
) -> Scene:
    """Picture number `index` of the endless set `seed`: one instant of a random street.

    Args:
        seed: of the set; training uses seeds below 1000.
        index: of the picture, from 0.
        size: (height, width) in pixels, both at least 64.
        difficulty: easy, default or hard: how much traffic there is.
        style: plain: flat colours in a town; wide: drawn wider than real streets are.

    The result depends on the arguments alone (with one version of OpenCV).
    """
    check_request(size, difficulty, style)
    rng = np.random.default_rng([seed, index])
    street = STYLES[style](rng, size, difficulty)
    return take_picture(street, 0.0, rng)


def check_request(size: tuple[int, int], difficulty: str, style: str = "plain") -> None:
    if min(size) < 64:
        raise ValueError(f"size is {size}, expected (height, width) of at least 64 pixels each")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty is {difficulty!r}, expected easy, default or hard")
    if style not in STYLES:
        raise ValueError(f"style is {style!r}, expected {' or '.join(STYLES)}")


@dataclass(frozen=True)
class _Claim:
    """An object as painted, and how many pixels it would cover alone."""

    code: int
    label: int
    crowd: bool
    track_id: int
    alone: int  # pixels
    position: tuple[float, float, float]  # in metres, as of a SceneObject
    solid: Solid | None


def take_picture(
    street: Street, time: float, rng: np.random.Generator, paint: type[Painter] = Painter
) -> Scene:
    """Paint a street at a time in seconds, from far to near; `rng` draws the noise."""
    camera = replace(street.camera, z=street.ego_speed * time)
    painter = paint(camera, street.light)
    ground.paint_sky(painter, street.colours, street.clouds)
    painter.light = replace(street.light, fog_density=0.0)  # its fog varies with depth: develop
    ground.paint_ground(painter, street.plan, street.colours, street.stains)
    painter.light = street.light
    claims = _paint_all(painter, street, time)
    _own_car(painter, street)
    return _scene(painter, street, time, claims, rng)


def _paint_all(painter: Painter, street: Street, time: float) -> list[_Claim]:
    """Paint what stands and what moves, far before near."""
    camera = painter.camera
    order: list[tuple[tuple[float, float, float, float], Standing | int]] = []
    for standing in street.standing:
        if standing.z1 - camera.z > 1.0 and _shows(standing, camera):
            order.append(((standing.x0, standing.x1, standing.z0, standing.z1), standing))
    for number, actor in enumerate(street.actors):
        x, z = actor.at(time)
        if z - camera.z + actor.half[1] > 1.0:
            extent = (x - actor.half[0], x + actor.half[0], z - actor.half[1], z + actor.half[1])
            order.append((extent, number))
    order.sort(key=lambda entry: -entry[0][3])
    order.sort(key=cmp_to_key(lambda a, b: _before(a[0], b[0], camera.x)))
    claims: list[_Claim] = []
    for _, thing in order:
        if isinstance(thing, Standing):
            thing.paint(painter)
        else:
            claims += _paint_actor(painter, street.actors[thing], time, 2 * thing, len(claims))
    return claims


def _shows(standing: Standing, camera: Camera) -> bool:
    """Whether something beside the road can lie between the edges of the canvas."""
    scale = camera.focal / (standing.z1 - camera.z)
    left = camera.centre + (standing.x1 - camera.x) * scale
    right = camera.centre + (standing.x0 - camera.x) * scale
    beyond_left = standing.x1 < camera.x and left < 0
    beyond_right = standing.x0 > camera.x and right > camera.size[1]
    return not beyond_left and not beyond_right


def _before(a: tuple, b: tuple, eye: float) -> int:
    """Negative when footprint a (x0, x1, z0, z1) has to be painted before b."""
    if a[2] >= b[3]:
        return -1
    if b[2] >= a[3]:
        return 1
    aside = [max(e[0] - eye, eye - e[1], 0.0) for e in (a, b)]
    if abs(aside[0] - aside[1]) > 0.3:
        return -1 if aside[0] > aside[1] else 1
    return -1 if a[2] + a[3] > b[2] + b[3] else 1


def _paint_actor(
    painter: Painter, actor: Actor, time: float, track: int, taken: int
) -> list[_Claim]:
    codes = [FIRST_OBJECT + taken + k for k in range(len(actor.labels))]
    if codes[-1] > LAST_OBJECT:
        return []
    shape = None if actor.members else _shape(actor, time)
    alone = _paint_and_measure(painter, actor, shape, time, codes)
    position, around = _position(painter.camera, actor, time), (None,)
    if shape is not None:
        around = solids(painter.camera, shape, *actor.at(time), actor.heading)
    return [
        _Claim(code, label, shape is None, track + k, area, position, solid)
        for k, (code, label, area, solid) in enumerate(
            zip(codes, actor.labels, alone, around, strict=True)
        )
    ]


def _position(camera: Camera, actor: Actor, time: float) -> tuple[float, float, float]:
    x, z = actor.at(time)
    before = max(z - actor.half[1] - camera.z, NEAR)
    return float(x - camera.x), float(camera.elevation), float(before)


def _paint_and_measure(
    painter: Painter, actor: Actor, shape: Mesh | Parts | None, time: float, codes: list[int]
) -> list[int]:
    """Paint an actor, of a crowd all members; returns for each code what it would cover alone."""
    if shape is None:
        for member in actor.members:
            _paint_figure(painter, member, _shape(member, time), time, codes)
        return [int(np.count_nonzero(_labels(painter) == codes[0]))]
    if len(codes) == 1:
        _paint_figure(painter, actor, shape, time, codes)
        return [_covered(painter, codes[0])]
    alone = []
    for only in codes:
        _paint_figure(painter, actor, shape, time, [c if c == only else None for c in codes])
        alone.append(_covered(painter, only))
    _paint_figure(painter, actor, shape, time, codes)
    return alone


def _shape(actor: Actor, time: float) -> Mesh | Parts:
    return actor.mesh or actor.pose(actor.phase + actor.pace * time)


def _paint_figure(
    painter: Painter, actor: Actor, shape: Mesh | Parts, time: float, codes: list[int | None]
) -> None:
    x, z = actor.at(time)
    if isinstance(shape, Mesh):
        painter.mesh(shape, x, z, actor.heading, codes[0])
    else:
        painter.parts(shape, x, z, actor.heading, codes)


def _labels(painter: Painter) -> np.ndarray:
    return painter.canvas[::SUPERSAMPLING, ::SUPERSAMPLING, 3]


def _covered(painter: Painter, code: int) -> int:
    """Pixels of the picture that were just painted with a code."""
    x0, y0, x1, y1 = (v // SUPERSAMPLING for v in painter.touched())
    return int(np.count_nonzero(_labels(painter)[y0 : y1 + 1, x0 : x1 + 1] == code))


def _own_car(painter: Painter, street: Street) -> None:
    """The own bonnet below and the frame of the rectified picture: void."""
    height, width = painter.camera.size
    if street.hood:
        top = height * (1 - street.hood)
        x = np.linspace(0, width, 24)
        y = top + (height - top) * ((x / width - 0.5) * 2) ** 4 * 0.9
        shape = np.stack([np.append(x, (width, 0)), np.append(y, (height, height))], axis=1)
        cv2.fillPoly(painter.canvas, [shape.astype(np.int32)], (*street.hood_colour, VOID))
        shape[:24, 1] += 3
        cv2.fillPoly(
            painter.canvas,
            [shape.astype(np.int32)],
            (*(0.58 * c for c in street.hood_colour), VOID),
        )
    if street.border:
        thick = 2 * street.border * SUPERSAMPLING - 1
        corner = (width - 1, height - 1)
        cv2.rectangle(painter.canvas, (0, 0), corner, (0, 0, 0, VOID), thick)


def _shadows(painter: Painter, street: Street, time: float) -> np.ndarray:
    """Where the ground lies in shadow: uint8 [H, W], 255 inside."""
    height, width = street.size
    plane = np.zeros((height, width), np.uint8)
    lean = street.light.sun[[0, 2]] / max(street.light.sun[1], 0.3)
    outlines = []
    for actor in street.actors:
        for body in actor.members or (actor,):
            x, z = body.at(time)
            outlines.append(_shadow_of(body, x, z, lean))
    outlines += [_shadow_of_standing(thing, lean) for thing in street.standing if thing.height]
    for outline in outlines:
        outline = painter.camera.cut(outline)
        if len(outline) >= 3:
            pixels = painter.camera.project(outline)[0] / SUPERSAMPLING
            hull = cv2.convexHull(np.round(pixels * 16).astype(np.int32))
            cv2.fillConvexPoly(plane, hull, 255, cv2.LINE_8, 4)
    return plane


def _shadow_of(actor: Actor, x: float, z: float, lean: np.ndarray) -> np.ndarray:
    """Outline [n, 3] on the ground."""
    if actor.mesh is None:
        w, e, h = 0.22, 0.22 if len(actor.labels) == 1 else 0.8, 1.2
    else:
        w, h, e = actor.mesh.points.max(axis=0)
        h *= 0.8
    corners = np.array([(-w, 0, -e), (w, 0, -e), (w, 0, e), (-w, 0, e)])
    foot = placed(corners, x, z, actor.heading)
    top = foot - np.array([lean[0], 0, lean[1]]) * min(h, 2.0) * 0.7
    return np.concatenate([foot, top])


def _shadow_of_standing(thing: Standing, lean: np.ndarray) -> np.ndarray:
    """Outline [n, 3] on the ground of a house or a wall, or of a round crown above it."""
    way = -np.array([lean[0], 0, lean[1]])
    if not thing.round:
        x, z = (thing.x0, thing.x1, thing.x1, thing.x0), (thing.z0, thing.z0, thing.z1, thing.z1)
        foot = np.stack([x, np.zeros(4), z], axis=1)
        return np.concatenate([foot, foot + way * thing.height])
    angle, reach = np.arange(10) * np.pi / 5, (thing.x1 - thing.x0) / 2
    ring = np.stack([np.cos(angle), np.zeros(10), np.sin(angle)], axis=1) * reach
    foot = np.array([(thing.x0 + thing.x1) / 2, 0, (thing.z0 + thing.z1) / 2])
    return np.concatenate([foot + ring + way * h for h in (thing.height * 0.4, thing.height)])


def _scene(
    painter: Painter, street: Street, time: float, claims: list[_Claim], rng: np.random.Generator
) -> Scene:
    height, width = street.size
    codes = np.ascontiguousarray(_labels(painter))
    small = cv2.resize(painter.canvas, (width, height), interpolation=cv2.INTER_AREA)
    picture = cv2.cvtColor(small, cv2.COLOR_RGBA2RGB)
    camera = painter.camera
    below = (camera.horizon / SUPERSAMPLING, camera.focal * camera.elevation / SUPERSAMPLING)
    shadows = _shadows(painter, street, time)
    depth, intrinsics = painter.depth(SUPERSAMPLING), _intrinsics(camera, street.mirrored)
    if street.mirrored:
        codes, shadows, picture = (cv2.flip(plane, 1) for plane in (codes, shadows, picture))
        depth = None if depth is None else cv2.flip(depth, 1)
    image = street.sensor.develop(picture, codes, shadows, street.light, below, rng)
    semantic, instances, objects = _annotate(codes, claims, street.mirrored)
    return Scene(image, semantic, instances, objects, intrinsics, depth)


def _intrinsics(camera: Camera, mirrored: bool) -> tuple[float, float, float, float]:
    """Of the picture, as a Scene has them."""
    focal = camera.focal / SUPERSAMPLING
    column, row = ((v + 0.5) / SUPERSAMPLING - 0.5 for v in (camera.centre, camera.horizon))
    if mirrored:
        column = camera.size[1] / SUPERSAMPLING - 1 - column
    return float(focal), float(focal), float(column), float(row)


def _annotate(
    codes: np.ndarray, claims: list[_Claim], mirrored: bool
) -> tuple[np.ndarray, np.ndarray, tuple[SceneObject, ...]]:
    """Semantic classes, instances and objects from the codes; what hardly shows becomes void."""
    to_class = np.full(256, UNLABELLED, np.uint8)
    to_class[:VOID] = np.arange(VOID)
    to_instance = np.zeros(256, np.uint16)
    visible = np.bincount(codes.ravel(), minlength=256)
    least = LEAST_AREA * codes.size / (256 * 512)
    objects: list[SceneObject] = []
    for claim in claims:
        area = int(visible[claim.code])
        if area < max(least, 1) or area < LEAST_FRACTION * claim.alone:
            continue
        x, y, w, h = cv2.boundingRect((codes == claim.code).view(np.uint8))
        box = (float(x), float(y), float(x + w), float(y + h))
        share = area / claim.alone
        label, caravan = max(claim.label, UNKNOWN), claim.label == CARAVAN
        (x, y, z), solid = claim.position, claim.solid
        if mirrored:
            x, solid = -x, solid and solid.mirrored()
        known = label, claim.crowd, claim.track_id, box, share, caravan
        objects.append(SceneObject(*known, (x, y, z), solid))
        to_instance[claim.code] = len(objects)
        if claim.label >= 0:
            to_class[claim.code] = CITYSCAPES.thing_to_semantic[claim.label]
    return cv2.LUT(codes, to_class), cv2.LUT(codes, to_instance), tuple(objects)

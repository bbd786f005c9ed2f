"""The ground: road with lanes, crossings and rails, sidewalks and terrain; the sky with clouds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from training.scenes.codes import ROAD, SIDEWALK, SKY, TERRAIN
from training.scenes.painter import Painter

FAR = 120.0  # metres: where the street ends
BEHIND = -40.0
_YELLOW = np.array([1.0, 0.78, 0.28])


@dataclass(frozen=True)
class Layout:
    """The plan of a street, in metres; x to the right, z along the road."""

    left: float  # kerb
    right: float
    lanes: tuple[tuple[float, int], ...]  # (centre, 1 ahead or -1 towards us)
    parking: tuple[bool, bool]  # a strip for parked vehicles on the left, on the right
    tracks: tuple[float, ...]  # centres of tram tracks
    sidewalks: tuple[float, float]  # widths
    verges: tuple[float, float]  # widths of the grass beyond the sidewalks
    crossing: tuple[float, float] | None  # where a road crosses: z from, to
    zebra: float | None  # z where a zebra crossing begins
    far: float = FAR
    beyond: tuple[float, float] | None = None  # edges of the other carriageway, behind a median
    edge_lines: tuple[tuple[float, bool], ...] = ()  # (x, whether it is yellow)
    yellow: bool = False  # the line between the two ways
    reach: float = 66.0  # depth of the last car


@dataclass(frozen=True)
class GroundColours:
    road: np.ndarray
    paint: np.ndarray
    sidewalk: np.ndarray
    kerb: np.ndarray
    terrain: np.ndarray
    sky_low: np.ndarray
    sky_high: np.ndarray
    cloud: float  # strength of clouds


def paint_sky(painter: Painter, colours: GroundColours, clouds: np.ndarray) -> None:
    """A gradient with clouds [h, w] from -1 to 1 above the horizon."""
    height, width = painter.camera.size
    rows = int(np.clip(painter.camera.horizon + 2, 1, height))
    share = (np.linspace(1, 0, rows) ** 1.3)[:, None, None]
    sky = colours.sky_high * share + colours.sky_low * (1 - share)
    cloud = cv2.resize(
        clouds.astype(np.float32), (width // 4, max(rows // 4, 2)), interpolation=cv2.INTER_CUBIC
    )
    small = cv2.resize(sky.astype(np.float32), (width // 4, max(rows // 4, 2)))
    small += cv2.merge([(np.clip(cloud, -0.3, 1) * colours.cloud).astype(np.float32)] * 3)
    planes = [
        *cv2.split(np.clip(small, 0, 255).astype(np.uint8)),
        np.full(cloud.shape, SKY, np.uint8),
    ]
    cv2.resize(cv2.merge(planes), (width, rows), dst=painter.canvas[:rows])


def paint_ground(painter: Painter, plan: Layout, colours: GroundColours, marks: np.ndarray) -> None:
    """Everything flat, the largest first.

    `marks` [K, 6] are stains: x, z, half width, half length, turn, tone.
    """
    height, width = painter.camera.size
    horizon = int(np.clip(painter.camera.horizon, 0, height - 1))
    tone = (*colours.terrain.astype(int).tolist(), TERRAIN)
    cv2.rectangle(painter.canvas, (0, horizon), (width - 1, height - 1), tone, cv2.FILLED)
    sides = [(k, x) for k, x in enumerate((plan.left, plan.right)) if plan.sidewalks[k]]
    for k, kerb in sides:
        outer = kerb + (2 * k - 1) * plan.sidewalks[k]
        _strip(painter, kerb, outer, (BEHIND, plan.far), colours.sidewalk, SIDEWALK)
        _paving(painter, kerb, outer, colours)
    for x0, x1 in filter(None, ((plan.left, plan.right), plan.beyond)):
        _strip(painter, x0, x1, (BEHIND, plan.far), colours.road, ROAD)
    for _, x in sides:
        side = 1 if x > 0 else -1
        _strip(painter, x, x + side * 0.18, (BEHIND, plan.far), colours.kerb, SIDEWALK)
        _strip(painter, x, x - side * 0.22, (BEHIND, plan.far), colours.road * 0.8, ROAD)
    if plan.crossing:
        _strip(painter, -90, 90, plan.crossing, colours.road, ROAD)
    _stains(painter, colours, marks)
    _lane_lines(painter, plan, colours)
    _rails(painter, plan)


def _rails(painter: Painter, plan: Layout) -> None:
    groove, steel = np.array((70, 68, 70)), np.array((176, 178, 182))
    for rail in (x + side for x in plan.tracks for side in (-0.72, 0.72)):
        _strip(painter, rail - 0.05, rail + 0.05, (BEHIND, FAR), groove, ROAD)
        _strip(painter, rail - 0.02, rail + 0.03, (BEHIND, FAR), steel, ROAD)


def _strip(painter: Painter, x0: float, x1: float, z: tuple, colour: np.ndarray, code: int) -> None:
    painter.polygon([(x0, 0, z[0]), (x1, 0, z[0]), (x1, 0, z[1]), (x0, 0, z[1])], colour, code)


def _rectangles(x: np.ndarray, z: np.ndarray, wide: float, long: float) -> np.ndarray:
    """Rectangles [K, 4, 3] on the ground, from their near left corners."""
    quads = np.zeros((len(x), 4, 3))
    quads[..., 0] = x[:, None] + np.array([0, wide, wide, 0])
    quads[..., 2] = z[:, None] + np.array([0, 0, long, long])
    return quads


def _paving(painter: Painter, kerb: float, outer: float, colours: GroundColours) -> None:
    first = np.floor(painter.camera.z / 1.5) * 1.5
    z = first + 1.5 * np.arange(1, 24)
    joints = _rectangles(np.full(len(z), min(kerb, outer)), z, abs(outer - kerb), 0.06)
    painter.quads(joints, colours.sidewalk * 0.84, SIDEWALK)
    middle = (kerb + outer) / 2
    _strip(painter, middle, middle + 0.05, (BEHIND, 45 + first), colours.sidewalk * 0.86, SIDEWALK)


def _stains(painter: Painter, colours: GroundColours, marks: np.ndarray) -> None:
    angle = np.arange(10) * np.pi / 5
    for x, z, wide, long, turn, tone in marks:
        a, b = wide * np.cos(angle), long * np.sin(angle)
        shape = np.zeros((10, 3))
        shape[:, 0] = x + a * np.cos(turn) - b * np.sin(turn)
        shape[:, 2] = z + a * np.sin(turn) + b * np.cos(turn)
        painter.polygon(shape, colours.road * tone, ROAD)


def _lane_lines(painter: Painter, plan: Layout, colours: GroundColours) -> None:
    lanes = sorted(plan.lanes)
    stop = plan.crossing[0] - 5 if plan.crossing else plan.far
    yellow = colours.paint * _YELLOW
    for x, is_yellow in plan.edge_lines:
        tone = yellow if is_yellow else colours.paint
        _strip(painter, x - 0.07, x + 0.07, (BEHIND, stop), tone, ROAD)
    for (x0, way0), (x1, way1) in pairwise(lanes):
        x = (x0 + x1) / 2 - 0.07
        if way0 != way1:
            if not plan.beyond:
                tone = yellow if plan.yellow else colours.paint
                _strip(painter, x, x + 0.14, (BEHIND, stop), tone, ROAD)
        else:
            first = np.floor(painter.camera.z / 7) * 7
            z = first + np.arange(-1, round(plan.far / 7.5)) * 7.0
            z = z[z < stop - 4]
            painter.quads(_rectangles(np.full(len(z), x), z, 0.14, 3.2), colours.paint, ROAD)
    for park, x in zip(plan.parking, (plan.left + 2.2, plan.right - 2.2), strict=True):
        if park:
            _strip(painter, x - 0.05, x + 0.05, (BEHIND, stop), colours.paint * 0.9, ROAD)
    if plan.zebra is not None:
        x = np.arange(plan.left + 0.4, plan.right - 0.5, 1.0)
        painter.quads(_rectangles(x, np.full(len(x), plan.zebra), 0.5, 3.0), colours.paint, ROAD)
    if plan.crossing:
        ahead = [x for x, way in lanes if way > 0]
        _strip(
            painter, min(ahead) - 1.5, max(ahead) + 1.5, (stop, stop + 0.45), colours.paint, ROAD
        )

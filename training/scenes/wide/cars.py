"""Cars of wide streets: rounded bodies with highlights, dark glass that mirrors the sky."""

from __future__ import annotations

import numpy as np

from training.scenes.shapes import Mesh
from training.scenes.vehicles import RED_LAMP, RUBBER, any_colour, pair

# share, length, height of belt and roof, bonnet, leaning of windscreen and rear window, in metres
_KINDS = {
    "hatch": (0.3, 3.9, 0.93, 1.47, 1.0, 0.75, 0.3),
    "saloon": (0.25, 4.6, 0.93, 1.44, 1.25, 0.8, 0.75),
    "estate": (0.12, 4.6, 0.95, 1.48, 1.2, 0.8, 0.25),
    "jeep": (0.18, 4.6, 1.08, 1.72, 1.15, 0.65, 0.2),
    "van": (0.1, 4.9, 1.1, 1.95, 0.8, 0.75, 0.08),
    "pickup": (0.05, 5.3, 1.08, 1.78, 1.2, 0.65, 0.1),
}
_GREYS = np.array([22, 34, 60, 95, 130, 170, 205, 235], float)


def car(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A car of one of six kinds: (mesh, length, width)."""
    kind = rng.choice(list(_KINDS), p=[k[0] for k in _KINDS.values()])
    _, length, belt, roof, bonnet, lean, rear = _KINDS[kind]
    length *= rng.uniform(0.92, 1.08)
    tall = rng.uniform(0.95, 1.06)
    belt, roof, e, w = belt * tall, roof * tall, length / 2, rng.uniform(0.84, 0.95)
    colour = _lacquer(rng)
    mesh = Mesh()
    left, right, edges = mesh.prism(_body(e, w, belt, bonnet), colour)
    _sides(mesh, rng, (left, right), colour, (e, w, belt))
    _nose(mesh, rng, edges, colour, (e, w, belt))
    _tail(mesh, rng, edges, colour, (e, w, belt))
    for z in (e - 0.84, -e + 0.8):
        mesh.side_quads(left, right, w, [(z - 0.38, z + 0.38, 0.22, 0.66)], (16, 16, 18))
        mesh.wheel(left, right, w, z, 0.33 if roof < 1.6 else 0.37)
    ends = (-e + 0.12, e - bonnet)
    if kind == "pickup":
        ends = (-0.35, e - bonnet)
    elif kind == "saloon":
        ends = (-e + 0.6, e - bonnet)
    top = (ends[0] + rear, ends[1] - lean)
    _cabin(mesh, rng, colour, ends, top, (belt, roof, w))
    return mesh, length, 2 * w


def _lacquer(rng: np.random.Generator) -> np.ndarray:
    """Most cars are grey, black or white."""
    if rng.random() < 0.35:
        return any_colour(rng) * rng.uniform(0.5, 1.0)
    return np.clip(_GREYS[rng.integers(8)] + rng.normal(0, 8) + rng.normal(0, 4, 3), 12, 248)


def _body(e: float, w: float, belt: float, bonnet: float) -> list[tuple[float, float, float]]:
    """The side profile with round ends: narrow at nose, tail and shoulders."""
    return [
        (-e + 0.15, 0.24, w * 0.93), (e - 0.18, 0.22, w * 0.93), (e - 0.02, 0.38, w * 0.9),
        (e, 0.56, w * 0.88), (e - 0.1, 0.72, w * 0.9), (e - 0.4, 0.84, w * 0.93),
        (e - bonnet, belt, w * 0.97), (-e + 0.2, belt + 0.02, w * 0.96),
        (-e + 0.04, 0.8, w * 0.93), (-e, 0.55, w * 0.92), (-e + 0.03, 0.36, w * 0.93),
    ]  # fmt: skip


def _sides(
    mesh: Mesh, rng: np.random.Generator, faces: tuple[int, int], colour: np.ndarray, size: tuple
) -> None:
    """Bands of shade and of mirrored sky that make the doors look round."""
    e, w, belt = size
    shine = rng.uniform(0.1, 0.5)
    bands = (
        (0.26, 0.4, 0.1, 0.45),
        (0.4, 0.52, 0.1, 0.72),
        (0.74, belt - 0.06, 1.1, 1 + shine * 0.6),
    )
    for low, high, nose, tone in bands:
        mesh.side_quads(
            *faces, w, [(-e + 0.12, e - nose, low, high)], np.minimum(colour * tone, 250)
        )
    edge = np.minimum(colour * (1 + shine) + 25 * shine, 252)
    mesh.side_quads(*faces, w, [(-e + 0.2, e - 1.1, belt - 0.06, belt - 0.01)], edge)
    joints = [(z, z + 0.025, 0.36, belt) for z in (-e * 0.42, e * 0.02, e * 0.46)]
    mesh.side_quads(*faces, w, joints, colour * 0.45)
    handles = [(z, z + 0.16, belt - 0.2, belt - 0.16) for z in (-e * 0.38, e * 0.06)]
    mesh.side_quads(*faces, w, handles, colour * 0.6)


def _nose(
    mesh: Mesh, rng: np.random.Generator, edges: list[int], colour: np.ndarray, size: tuple
) -> None:
    e, w, belt = size
    lamp = rng.uniform(150, 250) * np.array([1.0, 1.0, 0.97])
    low, high = edges[2], edges[3]
    mesh.end_quads(edges[1], e - 0.55, pair(w - 0.22, w - 0.03, 0.0, 0.3), RUBBER)
    mesh.end_quads(low, e, [(-w * 0.6, w * 0.6, 0.4, 0.5)], (24, 24, 26))
    grille = rng.uniform(0.3, 0.6) * w
    mesh.end_quads(high, e, [(-grille, grille, 0.58, 0.7)], (34, 35, 38))
    mesh.end_quads(high, e, [(-grille, grille, 0.63, 0.65)], (150, 152, 156))
    outer = rng.uniform(0.84, 0.88) * w
    inner = outer - rng.uniform(0.2, 0.4)
    mesh.end_quads(high, e, pair(inner, outer, 0.58, 0.71), lamp * 0.55)
    mesh.end_quads(high, e, pair(inner + 0.03, inner + 0.15, 0.6, 0.7), lamp)
    mesh.end_quads(low, e, [(-0.26, 0.26, 0.43, 0.53)], (226, 226, 220))
    glow = np.minimum(colour * rng.uniform(1.0, 1.35) + 12, 252)
    z0, z1 = e - 0.5, e - 1.0
    y0, y1 = 0.85, 0.88 + (belt - 0.9) * 0.5
    mesh.decal(edges[5], [(-w * 0.5, y0, z0), (w * 0.5, y0, z0), (w * 0.4, y1, z1),
                          (-w * 0.4, y1, z1)], glow)  # fmt: skip


def _tail(
    mesh: Mesh, rng: np.random.Generator, edges: list[int], colour: np.ndarray, size: tuple
) -> None:
    e, w, belt = size
    back, low = edges[8], edges[9]
    red = np.array(RED_LAMP) * rng.uniform(0.5, 1.1)
    mesh.end_quads(edges[10], 0.5 - e, pair(w - 0.24, w - 0.03, 0.0, 0.3), RUBBER)
    mesh.end_quads(low, -e, [(-w * 0.9, w * 0.9, 0.36, 0.44)], (30, 30, 32))
    mesh.end_quads(back, -e, [(-w * 0.88, w * 0.88, 0.55, 0.58)], colour * 0.5)
    upright = rng.random() < 0.5
    lamp = (w * 0.74, w * 0.92, 0.6, belt) if upright else (w * 0.5, w * 0.92, 0.66, 0.79)
    mesh.end_quads(back, -e, pair(*lamp), red)
    inner = lamp[0] + 0.4 * (lamp[1] - lamp[0])
    mesh.end_quads(back, -e, pair(inner, lamp[1] - 0.03, lamp[2] + 0.05, lamp[2] + 0.1), red * 1.4)
    plate = np.array([(228, 228, 222), (222, 196, 60)])[rng.integers(2)]
    mesh.end_quads(back, -e, [(-0.26, 0.26, 0.62, 0.73)], plate)


def _cabin(
    mesh: Mesh, rng: np.random.Generator, colour: np.ndarray, ends: tuple, top: tuple, size: tuple
) -> None:
    """The upper half: pillars, glass, and the sky that it mirrors."""
    belt, roof, w = size
    lower, upper = w * 0.95, w * rng.uniform(0.68, 0.8)
    crown, brow = roof, roof - 0.07
    profile = [
        (ends[0], belt, lower), (ends[1], belt, lower), (top[1], brow, upper),
        (top[1] - 0.3, crown, upper * 0.94), (top[0] + 0.3, crown, upper * 0.94),
        (top[0], brow, upper),
    ]  # fmt: skip
    left, right, edges = mesh.prism(profile, colour, layer=1)
    glass = rng.uniform(12, 60) * np.array([0.92, 1.0, 1.06])
    sky = np.minimum(glass + rng.uniform(0, 110), 230)
    frame = (belt + 0.05, brow - 0.05)
    pillars = np.linspace(ends[0] + 0.15, ends[1] - 0.12, 3)
    for side, face in ((-1, left), (1, right)):
        for z0, z1 in ((pillars[0], pillars[1] - 0.04), (pillars[1] + 0.04, pillars[2])):
            _pane(mesh, face, side, (z0, z1), top, frame, (lower, upper), glass)
    for face, k in ((edges[1], 1), (edges[5], 0)):
        inward = 1 if k == 0 else -1
        pane = _screen(belt, brow, ends[k] + inward * 0.05, top[k], (lower, upper), (0.04, 0.95))
        mesh.decal(face, pane, glass)
        start, share = rng.uniform(0.3, 0.6), rng.random()
        if share < 0.7:
            pane = _screen(
                belt, brow, ends[k] + inward * 0.05, top[k], (lower, upper), (start, 0.94)
            )
            mesh.decal(face, pane, glass + (sky - glass) * share)


def _screen(
    belt: float, brow: float, low: float, high: float, wide: tuple, span: tuple
) -> list[tuple[float, float, float]]:
    """The part of a front or rear window between two shares of its height."""
    corners = []
    for share, sign in ((span[0], -1), (span[0], 1), (span[1], 1), (span[1], -1)):
        half = (wide[0] + (wide[1] - wide[0]) * share) * 0.88
        corners.append((sign * half, belt + (brow - belt) * share, low + (high - low) * share))
    return corners


def _pane(
    mesh: Mesh, face: int, side: int, z: tuple, top: tuple, frame: tuple, wide: tuple, glass: object
) -> None:
    """A side window, cut off by the slopes of the cabin."""
    low, high = (side * wide[0], frame[0]), (side * wide[1], frame[1])
    t0, t1 = max(z[0], top[0] + 0.06), min(z[1], top[1] - 0.04)
    mesh.decal(face, [(*low, z[0]), (*low, z[1]), (*high, max(t0, t1)), (*high, t0)], glass)

"""Vehicles with four and more wheels, and boxes: meshes of metric size."""

from __future__ import annotations

import numpy as np

from training.scenes.shapes import Mesh

GLASS = (46, 54, 64)
DARK_GLASS = (34, 38, 44)
RUBBER = (28, 28, 30)
STEEL = (118, 120, 124)
WHITE_LAMP = (250, 246, 225)
RED_LAMP = (205, 28, 24)
PLATE = (232, 232, 222)
NOSE = 0.85  # metres that the nose of a tram leans back


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of lacquer or cloth [3], drawn alike for all things: it tells nothing."""
    if rng.random() < 0.45:
        grey = rng.choice([28, 60, 110, 165, 215, 238]) + rng.normal(0, 8)
        return np.clip(grey + rng.normal(0, 5, 3), 15, 248)
    hue, depth, value = rng.random(), rng.uniform(0.45, 0.95), rng.uniform(70, 235)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - depth * (1 - wheel))


def car(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A saloon, hatchback, estate or van: (mesh, length, width)."""
    kind = rng.choice(["saloon", "hatch", "estate", "van"], p=[0.3, 0.35, 0.2, 0.15])
    colour, tall = any_colour(rng), rng.uniform(0.94, 1.08)
    length = {"saloon": 4.5, "hatch": 3.9, "estate": 4.6, "van": 4.9}[kind]
    length *= rng.uniform(0.93, 1.07)
    w, e, belt = rng.uniform(0.84, 0.93), length / 2, 0.92 * tall
    roof = (1.95 if kind == "van" else 1.48) * tall
    mesh = Mesh()
    body = [
        (-e + 0.08, 0.28, w), (e - 0.08, 0.28, w), (e, 0.52, w), (e - 0.05, 0.74, w * 0.97),
        (e * 0.42, belt, w), (-e + 0.12, belt + 0.03, w), (-e, 0.6, w),
    ]  # fmt: skip
    left, right, edges = mesh.prism(body, colour)
    _ends_of_car(mesh, edges, e, w, belt)
    mesh.wheel(left, right, w, e - 0.82, 0.33)
    mesh.wheel(left, right, w, -e + 0.78, 0.33)
    mesh.side_quads(left, right, w, [(-e * 0.35, -e * 0.34 + 0.02, 0.4, belt)], colour * 0.6)
    back = {"saloon": 0.55, "hatch": 0.06, "estate": 0.05, "van": 0.02}[kind]
    rake = {"saloon": 0.55, "hatch": 0.35, "estate": 0.22, "van": 0.08}[kind]
    base = (-e + 0.1 + back, e * 0.44 if kind != "van" else e * 0.62)
    top = (base[0] + rake, base[1] - (0.85 if kind != "van" else 0.7))
    _cabin(mesh, colour, base, top, belt, roof, w)
    return mesh, length, 2 * w


def _ends_of_car(mesh: Mesh, edges: list[int], e: float, w: float, belt: float) -> None:
    """Lamps, plates, bumpers and tyres on the front (edges 1, 2) and the back (edges 5, 6)."""
    nose, tail = edges[1], edges[6]
    for base, z in ((nose, e), (tail, -e)):
        mesh.end_quads(base, z, pair(w - 0.2, w, 0, 0.34), RUBBER)
        mesh.end_quads(base, z, [(-w * 0.98, w * 0.98, 0.24, 0.4)], (52, 52, 55))
        mesh.end_quads(base, z, [(-0.26, 0.26, 0.42, 0.53)], PLATE)
    mesh.end_quads(edges[2], e, [(-0.5, 0.5, 0.54, 0.7)], (40, 40, 44))
    mesh.end_quads(edges[2], e, pair(w * 0.6, w * 0.95, 0.55, 0.71), WHITE_LAMP)
    mesh.end_quads(edges[5], -e, pair(w * 0.66, w * 0.97, 0.64, 0.84), RED_LAMP)


def _cabin(
    mesh: Mesh, colour: np.ndarray, base: tuple, top: tuple, belt: float, roof: float, w: float
) -> None:
    """The upper half of a car, with its glass."""
    lower, upper = w * 0.96, w * 0.8
    sill = [(z, belt, lower) for z in base]
    cabin = [*sill, (top[1], roof, upper), (top[0], roof, upper)]
    left, right, edges = mesh.prism(cabin, colour, layer=1)
    frame = (belt + 0.05, roof - 0.1)
    middle = (base[0] + base[1]) / 2 - 0.1
    for side, face in ((-1, left), (1, right)):
        for z0, z1 in ((base[0] + 0.18, middle - 0.05), (middle + 0.05, base[1] - 0.2)):
            low, high = (side * lower, frame[0]), (side * upper, frame[1])
            t0, t1 = max(z0, top[0] + 0.08), min(z1, top[1] - 0.02)
            mesh.decal(face, [(*low, z0), (*low, z1), (*high, t1), (*high, t0)], GLASS)
    for face, k in ((edges[1], 1), (edges[3], 0)):
        below, above = (belt + 0.04, base[k]), (roof - 0.07, top[k])
        wide, narrow = lower * 0.88, upper * 0.88
        glass = [(-wide, *below), (wide, *below), (narrow, *above), (-narrow, *above)]
        mesh.decal(face, glass, GLASS)


def bus(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A city bus: rows of windows, big windscreen, destination sign, two axles."""
    colour, e = any_colour(rng), rng.uniform(9.5, 12.5) / 2
    w, h = 1.27, rng.uniform(2.95, 3.2)
    mesh = Mesh()
    left, right, (_, front, _, back) = _box(mesh, (-e, e, 0.3, h), w, colour)
    stripe = any_colour(rng)
    mesh.side_quads(left, right, w, [(-e, e, 0.5, 0.8)], stripe)
    mesh.side_quads(left, right, w, [(-e + 0.3, e - 0.1, 1.25, 2.35)], np.array(colour) * 0.45)
    step = rng.uniform(1.3, 1.6)
    starts = np.arange(-e + 0.4, e - step, step)
    mesh.side_quads(left, right, w, [(z, z + step - 0.14, 1.3, 2.3) for z in starts], (66, 80, 94))
    doors = [(e - 1.5, e - 0.4, 0.4, 2.35), (-0.6, 0.6, 0.4, 2.35)]
    mesh.side_quads(left, right, w, doors, (40, 46, 52))
    for z in (e - 2.6, -e + 2.7):
        mesh.wheel(left, right, w, z, 0.48)
    _ends_of_bus(mesh, front, back, e, w, h)
    return mesh, 2 * e, 2 * w


def _ends_of_bus(mesh: Mesh, front: int, back: int, e: float, w: float, h: float) -> None:
    mesh.end_quads(front, e, [(-w * 0.95, w * 0.95, 0.95, h - 0.55)], GLASS)
    mesh.end_quads(front, e, [(-w * 0.7, w * 0.7, h - 0.45, h - 0.12)], (20, 20, 22))
    mesh.end_quads(front, e, [(-w * 0.5, w * 0.5, h - 0.37, h - 0.2)], (250, 180, 40))
    mesh.end_quads(back, -e, [(-w * 0.8, w * 0.8, 1.65, h - 0.4)], GLASS)
    mesh.end_quads(back, -e, [(-w * 0.7, w * 0.7, 0.75, 1.35)], (70, 70, 74))
    mesh.end_quads(front, e, pair(w * 0.6, w * 0.9, 0.55, 0.78), WHITE_LAMP)
    mesh.end_quads(back, -e, pair(w * 0.78, w * 0.95, 0.7, 1.35), RED_LAMP)
    for base, z in ((front, e), (back, -e)):
        mesh.end_quads(base, z, pair(w - 0.3, w, 0, 0.4), RUBBER)
        mesh.end_quads(base, z, [(-0.26, 0.26, 0.42, 0.54)], PLATE)


def truck(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A lorry: driver's cab in front, load behind, dark frame with three axles below."""
    colour, load = any_colour(rng), any_colour(rng)
    e, w = rng.uniform(6.5, 10) / 2, 1.25
    cab, h = rng.uniform(2.6, 3.0), rng.uniform(3.3, 3.9)
    mesh = Mesh()
    split = e - 2.1
    left, right, (*_, back) = _box(mesh, (-e, split - 0.15, 0.55, 1.0), 1.1, (48, 48, 50))
    for z in (-e + 0.8, -e + 1.95):
        mesh.wheel(left, right, 1.12, z, 0.5)
    mesh.end_quads(back, -e, pair(0.7, 1.1, 0, 0.7), RUBBER)
    mesh.end_quads(back, -e, pair(0.75, 1.1, 0.6, 0.82), RED_LAMP)
    mesh.end_quads(back, -e, [(-0.3, 0.3, 0.6, 0.75)], PLATE)
    toward = _load(mesh, rng, (-e, split - 0.2), h, w, load)
    _drivers_cab(mesh, colour, (split, e), cab, w, layer=1 if toward else 2)
    return mesh, 2 * e, 2 * w


def _load(
    mesh: Mesh, rng: np.random.Generator, z: tuple, h: float, w: float, colour: np.ndarray
) -> bool:
    """The box, tarpaulin or open bed behind the cab; returns whether it is the higher one."""
    kind = rng.choice(["box", "ribs", "bed"], p=[0.45, 0.35, 0.2])
    top = 2.2 if kind == "bed" else h
    left, right, (_, _, _, back) = _box(mesh, (*z, 1.0, top), w, colour, layer=1)
    if kind != "box":
        posts = np.arange(z[0] + 0.1, z[1] - 0.1, 0.95)
        mesh.side_quads(left, right, w, [(p, p + 0.12, 1.05, top) for p in posts], colour * 0.7)
    else:
        mesh.side_quads(left, right, w, [(z[0] + 0.8, z[1] - 0.8, 1.7, 2.6)], any_colour(rng))
    mesh.side_quads(left, right, w, [(*z, 1.0, 1.1)], (60, 60, 62))
    frame = [*pair(w - 0.1, w, 1, top), (-0.04, 0.04, 1, top), (-w, w, top - 0.1, top)]
    mesh.end_quads(back, z[0], frame, colour * 0.6)
    mesh.end_quads(back, z[0], pair(0.64, 0.7, 1.2, top - 0.2), STEEL)
    marks = [(x, x + 0.28, 1.02, 1.16) for x in (-1.2, -0.6, 0.35, 0.92)]
    mesh.end_quads(back, z[0], marks, RED_LAMP)
    return kind != "bed"


def _drivers_cab(mesh: Mesh, colour: np.ndarray, z: tuple, h: float, w: float, layer: int) -> None:
    back, front = z
    upright = [(back, 0.45, w), (front, 0.45, w), (front, 1.5, w)]
    profile = [*upright, (front - 0.3, h, w * 0.96), (back, h, w * 0.96)]
    left, right, edges = mesh.prism(profile, colour, layer)
    mesh.side_quads(left, right, w, [(front - 1.3, front - 0.35, 1.55, h - 0.35)], GLASS)
    mesh.wheel(left, right, w, front - 0.95, 0.5)
    below, above = (1.65, front - 0.3 * 0.1), (h - 0.3, front - 0.3 * 0.85)
    wide, narrow = w * 0.9, w * 0.88
    pane = [(-wide, *below), (wide, *below), (narrow, *above), (-narrow, *above)]
    mesh.decal(edges[2], pane, GLASS)
    nose = edges[1]
    mesh.end_quads(nose, front, [(-0.75, 0.75, 0.85, 1.4)], (44, 44, 48))
    mesh.end_quads(nose, front, [(-w, w, 0.45, 0.7)], (70, 70, 74))
    mesh.end_quads(nose, front, pair(w * 0.68, w * 0.95, 0.72, 0.95), WHITE_LAMP)
    mesh.end_quads(nose, front, pair(w - 0.3, w, 0, 0.47), RUBBER)


def train(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A tram of two or three cars: sloping noses, a dark band of glass, skirts, a pantograph."""
    colour, skirt = any_colour(rng), any_colour(rng)
    cars, each = int(rng.integers(2, 4)), rng.uniform(7, 9)
    e, w, h = cars * each / 2, 1.3, rng.uniform(3.35, 3.6)
    mesh = Mesh()
    front = [(e - 0.25, 0.12, w * 0.9), (e, 0.9, w * 0.86), (e - NOSE, h - 0.25, w * 0.92)]
    front.append((e - NOSE - 0.5, h, w * 0.85))
    behind = [(-z, y, width) for z, y, width in reversed(front)]
    left, right, edges = mesh.prism([behind[-1], *front, *behind[:-1]], colour)
    w *= 0.92
    mesh.side_quads(left, right, w, [(-e + 0.3, e - 0.3, 0.15, 0.85)], skirt)
    mesh.side_quads(left, right, w, [(-e + 0.9, e - 0.9, 1.35, 2.65)], DARK_GLASS)
    for k in range(cars):
        start = -e + k * each
        doors = [(d - 0.65, d + 0.65, 0.35, 2.75) for d in (start + s * each for s in (0.32, 0.68))]
        panes = [(d[0] + 0.12, d[1] - 0.12, 0.9, 2.55) for d in doors]
        mesh.side_quads(left, right, w, doors, (86, 92, 98))
        mesh.side_quads(left, right, w, panes, DARK_GLASS)
        if k:
            bellows = [(start - 0.4, start + 0.4, 0.2, h - 0.1)]
            mesh.side_quads(left, right, w, bellows, (38, 38, 40))
    _end_of_train(mesh, edges[2], edges[1], (e, w, h), 1, WHITE_LAMP)
    _end_of_train(mesh, edges[6], edges[7], (e, w, h), -1, RED_LAMP)
    _pantograph(mesh, h)
    return mesh, 2 * e, 2.4


def _end_of_train(mesh: Mesh, face: int, low: int, extent: tuple, sign: int, lamp: tuple) -> None:
    """The windscreen, the sign above it, the lamps and the coupling cover of one end."""
    e, w, h = extent

    def pane(x0: float, x1: float, y0: float, y1: float) -> list:
        """A rectangle on the nose, which leans back."""
        z0, z1 = (sign * (e - NOSE * (y - 0.9) / (h - 1.15)) for y in (y0, y1))
        return [(x0, y0, z0), (x1, y0, z0), (x1, y1, z1), (x0, y1, z1)]

    mesh.decal(face, pane(-w * 0.86, w * 0.86, 1.3, h - 0.75), (30, 35, 42))
    mesh.decal(face, pane(-w * 0.6, w * 0.6, h - 0.65, h - 0.4), (24, 24, 24))
    mesh.decal(face, pane(-w * 0.4, w * 0.4, h - 0.6, h - 0.46), (250, 190, 60))
    mesh.decal(face, pane(-w * 0.85, -w * 0.58, 0.95, 1.18), lamp)
    mesh.decal(face, pane(w * 0.58, w * 0.85, 0.95, 1.18), lamp)
    below, above = (0.14, sign * (e - 0.24)), (0.5, sign * (e - 0.12))
    mesh.decal(low, [(-w, *below), (w, *below), (w, *above), (-w, *above)], (50, 50, 54))


def _pantograph(mesh: Mesh, h: float) -> None:
    """The arm on the roof and the bow across it, each seen from both sides."""
    dark = (40, 40, 42)
    arm = [(-0.06, h, -0.3), (0.06, h, -0.3), (0.06, h + 0.6, 0.3), (-0.06, h + 0.6, 0.3)]
    low, high = h + 0.55, h + 0.66
    bow = [(-0.8, low, 0.3), (0.8, low, 0.3), (0.8, high, 0.3), (-0.8, high, 0.3)]
    for normal in ((0, 0, -1), (0, 0, 1)):
        mesh.face(arm, normal, dark, layer=1)
        mesh.face(bow, normal, dark, layer=1)
    side = [(0, h, -0.9), (0, h, -0.75), (0, h + 0.6, 0.5), (0, h + 0.6, 0.35)]
    for normal in ((-1, 0, 0), (1, 0, 0)):
        mesh.face(side, normal, dark, layer=1)


def caravan(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A caravan or a box trailer: not one of the classes."""
    colour, e, w, h = any_colour(rng), rng.uniform(3.6, 5) / 2, 1.05, rng.uniform(2.1, 2.6)
    mesh = Mesh()
    lower = [(-e + 0.2, 0.4, w), (e - 0.1, 0.4, w), (e, 1.1, w)]
    profile = [*lower, (e - 0.5, h, w), (-e + 0.5, h, w), (-e, 1.1, w)]
    left, right, edges = mesh.prism(profile, colour)
    mesh.side_quads(left, right, w, [(-0.9, 0.3, 1.25, 1.85)], GLASS)
    mesh.side_quads(left, right, w, [(-e + 0.3, e - 0.2, 0.75, 0.95)], any_colour(rng))
    mesh.wheel(left, right, w, -0.1, 0.3)
    mesh.end_quads(edges[5], -e, pair(w * 0.7, w * 0.9, 0.6, 0.75), RED_LAMP)
    return mesh, 2 * e, 2 * w


def bin_or_box(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A dustbin, a crate or a stack of crates: not one of the classes."""
    colour, w, h = any_colour(rng), rng.uniform(0.25, 0.5), rng.uniform(0.6, 1.25)
    mesh = Mesh()
    body = [(-w, 0, w * 0.9), (w, 0, w * 0.9), (w * 1.1, h, w), (-w * 1.1, h, w)]
    mesh.prism(body, colour)
    lid = [(-w * 1.15, h, w * 1.05), (w * 1.15, h, w * 1.05), (w, h + 0.1, w), (-w, h + 0.1, w)]
    mesh.prism(lid, colour * 0.6, layer=1)
    return mesh, 2 * w, 2 * w


def _box(
    mesh: Mesh, extent: tuple, w: float, colour: object, layer: int = 0
) -> tuple[int, int, list[int]]:
    """A box (z0, z1, y0, y1); the returned edges are bottom, front, top, back."""
    z0, z1, y0, y1 = extent
    return mesh.prism([(z0, y0, w), (z1, y0, w), (z1, y1, w), (z0, y1, w)], colour, layer)


def pair(x0: float, x1: float, y0: float, y1: float) -> list[tuple[float, float, float, float]]:
    """A rectangle on the right, x from x0 to x1, and its mirror image on the left."""
    return [(-x1, -x0, y0, y1), (x0, x1, y0, y1)]

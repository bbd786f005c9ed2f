"""Shapes in metres, built up piece by piece: solids with flat faces, and figures of convex parts.

A shape stands on the ground at the origin and looks along z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

Colour = Sequence[float] | np.ndarray
_SIDES = ((-1, 0, 0), (1, 0, 0))


class Shape:
    """Sets of points in one array, one after the other, each with a colour and a layer.

    spans, starts, counts   where each set lies in `points` [n, 3]
    """

    def __init__(self) -> None:
        self._sets: list[np.ndarray] = []
        self._colours: list[Colour] = []
        self._layers: list[float] = []

    @cached_property
    def points(self) -> np.ndarray:
        return np.concatenate(self._sets)

    @cached_property
    def counts(self) -> np.ndarray:
        return np.array([len(points) for points in self._sets])

    @cached_property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def spans(self) -> list[slice]:
        ends = (self.starts + self.counts).tolist()
        return list(map(slice, self.starts.tolist(), ends))

    @cached_property
    def colours(self) -> np.ndarray:
        return np.array(self._colours, float)

    @cached_property
    def layers(self) -> np.ndarray:
        return np.array(self._layers)


class Mesh(Shape):
    """Flat faces with outward normals; decals lie on a face and are painted right after it.

    Faces of a higher layer are painted after all faces of a lower one. `bases` are the faces that
    faces and decals lie on, `normals` those of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._normals: list[Sequence[float]] = []
        self._bases: list[int] = []

    def face(self, points: object, normal: Sequence[float], colour: Colour, layer: int = 0) -> int:
        """Add a face [n, 3]; returns its number, to put decals on."""
        self._bases.append(len(self._sets))
        self._add(points, normal, colour, layer)
        return len(self._sets) - 1

    def decal(self, base: int, points: object, colour: Colour) -> None:
        """Add a polygon [n, 3] on face `base`."""
        self._bases.append(base)
        self._add(points, self._normals[base], colour, self._layers[base])

    def prism(
        self, profile: Sequence[tuple], colour: Colour, layer: int = 0
    ) -> tuple[int, int, list[int]]:
        """Draw a side profile of (z, y, half width) out to both sides.

        The profile runs counter-clockwise as seen from the right.
        Returns the faces: left, right, and one along each edge of the profile.
        """
        z, y, w = np.array(profile, float).T
        flip = [np.stack([side * w, y, z], axis=1) for side in (-1, 1)]
        left, right = (self.face(flip[k], _SIDES[k], colour, layer) for k in (0, 1))
        edges = []
        for k in range(len(z)):
            n = (k + 1) % len(z)
            dz, dy = z[n] - z[k], y[n] - y[k]
            length = max(np.hypot(dz, dy), 1e-6)
            quad = [flip[0][k], flip[1][k], flip[1][n], flip[0][n]]
            edges.append(self.face(quad, (0, -dz / length, dy / length), colour, layer))
        return left, right, edges

    def wheel(self, left: int, right: int, half_width: float, z: float, radius: float) -> None:
        """A tyre with hub on both sides."""
        angle = np.arange(12) * np.pi / 6
        for base, x in ((left, -half_width), (right, half_width)):
            for share, colour in (
                (1.0, (28, 28, 30)),
                (0.58, (130, 132, 136)),
                (0.2, (60, 60, 62)),
            ):
                ring = share * radius
                rim = [np.full(12, x), radius + ring * np.sin(angle), z + ring * np.cos(angle)]
                self.decal(base, np.stack(rim, axis=1), colour)

    def side_quads(
        self, left: int, right: int, half_width: float, spans: object, colour: Colour
    ) -> None:
        """Rectangles (z0, z1, y0, y1) on both sides."""
        for z0, z1, y0, y1 in spans:
            for base, x in ((left, -half_width), (right, half_width)):
                self.decal(base, [(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], colour)

    def end_quads(self, base: int, z: float, spans: object, colour: Colour) -> None:
        """Rectangles (x0, x1, y0, y1) on a face across the way at z."""
        for x0, x1, y0, y1 in spans:
            self.decal(base, [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour)

    def _add(self, points: object, normal: Sequence[float], colour: Colour, layer: int) -> None:
        self._sets.append(np.asarray(points, float))
        self._normals.append(normal)
        self._colours.append(colour)
        self._layers.append(layer)

    @cached_property
    def normals(self) -> np.ndarray:
        return np.array(self._normals, float)

    @cached_property
    def bases(self) -> np.ndarray:
        return np.array(self._bases)


class Parts(Shape):
    """Convex parts, each the hull of balls: limbs, tubes, wheels, crowns of trees.

    `slot` says to which of the painted things a part belongs (0 the first, 1 the second, ...);
    `layer` in metres brings a part forward in the order of painting.
    """

    def __init__(self) -> None:
        super().__init__()
        self._radii: list[float] = []
        self.slots: list[int] = []

    def hull(
        self,
        points: object,
        radius: float | list[float],
        colour: Colour,
        slot: int = 0,
        layer: float = 0.0,
    ) -> None:
        """Add the hull of balls around points [n, 3] with a radius, one for all or one each."""
        points = np.array(points, float).reshape(-1, 3)
        self._sets.append(points)
        self._radii += list(radius) if isinstance(radius, list) else [radius] * len(points)
        self._colours.append(colour)
        self.slots.append(slot)
        self._layers.append(layer)

    def hulls(self, points: np.ndarray, colours: np.ndarray) -> None:
        """Add the hull of each row of points [K, n, 3] in its colour [K, 3]."""
        self._sets += list(points)
        self._radii += [0.0] * (points.shape[0] * points.shape[1])
        self._colours += list(colours)
        self.slots += [0] * len(points)
        self._layers += [0.0] * len(points)

    def disc(
        self,
        z: float,
        y: float,
        radius: float,
        thickness: float,
        colour: Colour,
        slot: int = 0,
        layer: float = 0.0,
    ) -> None:
        """A wheel in the plane x = 0."""
        angle = np.arange(12) * np.pi / 6
        rim = [np.zeros(12), y + radius * np.sin(angle), z + radius * np.cos(angle)]
        self.hull(np.stack(rim, axis=1), thickness / 2, colour, slot, layer)

    @cached_property
    def radii(self) -> np.ndarray:
        return np.array(self._radii)

    @cached_property
    def sharp(self) -> list[bool]:
        """Parts of points, without radius."""
        return (np.maximum.reduceat(self.radii, self.starts) == 0).tolist()

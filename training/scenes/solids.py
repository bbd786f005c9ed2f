"""The true boxes around things in space, as the camera has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.scenes.camera import Camera, placed
from training.scenes.shapes import Mesh, Parts


@dataclass(frozen=True)
class Solid:
    """An upright box around an object, in metres, in the optical frame of the camera.

    centre   x to the right, y down, z forward
    size     across, up, and along the object
    heading  radians from z towards x of where the object looks
    """

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    heading: float

    def mirrored(self) -> Solid:
        """The same in a picture that shows right and left exchanged."""
        x, y, z = self.centre
        return Solid((-x, y, z), self.size, -self.heading)


def solids(
    camera: Camera, shape: Mesh | Parts, x: float, z: float, heading: float
) -> tuple[Solid, ...]:
    """The boxes around what is painted of a shape at (x, z), one for each slot."""
    points, radii, slots = shape.points, 0.0, np.zeros(len(shape.points), int)
    if isinstance(shape, Parts):
        radii, slots = shape.radii[:, None], np.repeat(shape.slots, shape.counts)
    of = [slots == k for k in range(int(slots.max()) + 1)]
    extents = [((points - radii)[k].min(0), (points + radii)[k].max(0)) for k in of]
    return tuple(_solid(camera, *extent, x, z, heading) for extent in extents)


def _solid(
    camera: Camera, low: np.ndarray, high: np.ndarray, x: float, z: float, heading: float
) -> Solid:
    middle = placed((low + high) / 2, x, z, heading)
    centre = middle * (1, -1, 1) - (camera.x, -camera.elevation, camera.z)
    return Solid(tuple(centre.tolist()), tuple((high - low).tolist()), float(heading))

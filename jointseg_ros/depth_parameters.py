"""The parameters `depth.*`: how objects are placed in space."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jointseg_core.classes import Classes
from jointseg_objects.depth import Limits
from jointseg_ros.parameter_fields import now


@dataclass(frozen=True)
class DepthSettings:
    """A part of `parameters.Settings`; which cameras have depth is said by their own parameters."""

    depth_tolerance_ms: float = now(
        20.0, "by how much the stamps of a picture and its depth may differ", 0.0, 1000.0
    )
    depth_max_wait_ms: float = now(
        0.0,
        "how long the results of a picture wait for depth that comes after them; 0: not at all",
        0.0,
        500.0,
    )
    depth_min_m: float = now(0.1, "nearer depths are no measurements", 0.0, 1000.0)
    depth_max_m: float = now(200.0, "farther depths are no measurements", 0.1, 10000.0)
    depth_extents: tuple[str, ...] = now(
        (),
        "how far objects reach back from what is seen of them, such as car=4.2, in metres; of "
        "other classes: as far as is seen",
    )
    depth_points_step: int = now(4, "every so many pixels, across and down, one of `points`", 1, 64)

    def depth_problem(self) -> str | None:
        """What is wrong within the values, in a sentence."""
        if self.depth_min_m >= self.depth_max_m:
            return f"depth.min_m is {self.depth_min_m:g}, not below depth.max_m"
        for text in self.depth_extents:
            if not _extent(text)[1] > 0:
                return f"depth.extents has {text!r}; write a class and metres, such as car=4.2"
        return None

    def depth_limits(self, classes: Classes) -> Limits:
        """For `jointseg_objects.depth.lift`; extents of classes that the model lacks are unused."""
        extents = dict(_extent(text) for text in self.depth_extents)
        known = tuple(extents.get(name, 0.0) for name in classes.things)
        return Limits(self.depth_min_m, self.depth_max_m, extents=known)


def _extent(text: str) -> tuple[str, float]:
    """A class and its metres; 0 for a text that means nothing."""
    name, _, metres = text.partition("=")
    try:
        found = float(metres)
    except ValueError:
        found = 0.0
    return name.strip(), found if math.isfinite(found) else 0.0

"""Where the objects of a picture stand, by the parameters `cameras.*` and `depth.*`."""

from __future__ import annotations

from dataclasses import dataclass

from std_msgs.msg import Header

from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions
from jointseg_objects.depth import Limits, Objects3D, lift
from jointseg_objects.ground import from_ground
from jointseg_ros.depth_inputs import DepthInputs, Registered
from jointseg_ros.levels import described
from jointseg_ros.parameters import Camera, Settings
from jointseg_ros.region import Region


@dataclass(frozen=True, eq=False)
class Space:
    """The objects of a picture in space, and what they were placed by; None without calibration."""

    objects: Objects3D
    registered: Registered | None
    limits: Limits


class Places:
    """Places objects by depth, those without by flat ground where the camera's height is known."""

    def __init__(self, inputs: DepthInputs) -> None:
        self._inputs = inputs

    def __call__(
        self, camera: str, header: Header, found: Predictions, classes: Classes, settings: Settings
    ) -> Space | None:
        """The objects that have a place; None where the camera has neither depth nor height."""
        of = next(one for one in settings.cameras if one.name == camera)
        if not of.in_space:
            return None
        limits = settings.depth_limits(classes)
        times = settings.depth_tolerance_ms, settings.depth_max_wait_ms
        registered = self._inputs.of(of, header, found.image_size, *times)
        facts = self._inputs.facts[camera]
        try:
            objects = _placed(found, registered, of, limits)
        except Exception as error:  # must not cost the results in the picture
            facts.note("failed", described(error))
            objects, registered = Objects3D.empty(len(found)), None
        facts.lifted += len(objects)
        facts.without_depth += objects.without_depth
        return Space(objects, registered, limits)


def _placed(
    found: Predictions, registered: Registered | None, camera: Camera, limits: Limits
) -> Objects3D:
    if registered is None:
        return Objects3D.empty(len(found))
    intrinsics, depth = registered
    if depth is None or found.masks is None:
        objects = Objects3D.empty(len(found))
    else:
        objects = lift(found, depth, intrinsics, limits)
    if camera.ground_height and objects.without_depth:
        height, pitch, region = camera.ground_height, camera.ground_pitch, Region.of(camera.roi)
        lowest = region.y + region.height if region.height else None
        low = from_ground(found, intrinsics, height, pitch, limits, lowest)
        objects = objects.or_else(low)
    return objects

"""A synthetic drive as a recording: camera topics, and topics with the truth about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks
from jointseg_core.targets import Target
from jointseg_eval.recordings.bags import BagWriter
from jointseg_eval.recordings.messages import (
    camera_info,
    depth_message,
    detections_3d_message,
    detections_message,
    header_message,
    image_message,
    masks_message,
)
from jointseg_eval.recordings.topics import (
    CAMERA_INFO,
    DEPTH,
    FRAME_ID,
    IGNORED_MASKS,
    IMAGE,
    START_NS,
    TRUE_DETECTIONS,
    TRUE_DETECTIONS_3D,
    TRUE_MASKS,
    TRUE_SEMANTIC,
)
from training.scenes import Scene, SceneObject, render_drive
from training.scenes.depth import measured

RATE_HZ = 10.0
STREETS, FRAMES_PER_STREET = 24, 5


def write_driving_bag(
    path: Path,
    seed: int,
    streets: int = STREETS,
    frames_per_street: int = FRAMES_PER_STREET,
    size: tuple[int, int] = (256, 512),
    progress: Callable[[int, int], None] = lambda done, total: None,
    depth: bool = False,
) -> int:
    """Render a drive through some streets into an .mcap file; returns the number of frames.

    The result depends on the arguments alone. `progress` is told the frames done and all frames.
    depth: with depth images, the camera's calibration and the objects' true boxes in space, on
    topics of their own; the other topics stay as they are without, but for camera_info.
    """
    drive = render_drive(seed, streets, frames_per_street, RATE_HZ, size, depth)
    total = streets * frames_per_street
    with BagWriter(path) as bag:
        for done, (stamp, scene) in enumerate(drive, start=1):
            now = START_NS + stamp
            for topic, message in scene_messages(now, scene).items():
                bag.write(topic, message, now)
            progress(done, total)
    return total


def scene_messages(stamp: int, scene: Scene) -> dict[str, Any]:
    """The messages about one frame, by topic, all with the same header.

    Of a scene with depth also about that, with a camera that is calibrated: its focal length
    changes from street to street.
    """
    header, size = header_message(stamp, FRAME_ID), scene.semantic.shape
    things = [(k, o) for k, o in enumerate(scene.objects, start=1) if o.label >= 0]
    objects = [(k, o) for k, o in things if not o.crowd]
    names = [CITYSCAPES.things[o.label] for _, o in objects]
    ids = [str(o.track_id) for _, o in objects]
    boxes, positions = ([getattr(o, n) for _, o in objects] for n in ("box", "position"))
    found = {
        IMAGE: image_message(scene.image, header),
        CAMERA_INFO: camera_info(header, size),
        TRUE_DETECTIONS: detections_message(header, boxes, names, ids, positions),
        TRUE_MASKS: _masks(header, scene, objects),
        IGNORED_MASKS: _masks(header, scene, [(k, o) for k, o in things if o.crowd]),
        TRUE_SEMANTIC: image_message(scene.semantic, header),
    }
    if scene.depth is None:
        return found
    seen = visible_positions(scene, [k for k, _ in objects])
    solids = [(o.solid.centre, o.solid.size, o.solid.heading) for _, o in objects]
    return {
        **found,
        CAMERA_INFO: camera_info(header, size, scene.intrinsics),
        DEPTH: depth_message(measured(scene.depth), header),
        TRUE_DETECTIONS_3D: detections_3d_message(header, names, ids, seen, solids),
    }


def visible_positions(scene: Scene, numbers: Sequence[int]) -> list[tuple[float, float, float]]:
    """The middle of what is seen of these objects (number in `instances`), metres.

    That is where their pixels are on average, at the median of their depth.
    """
    fx, fy, cx, cy = scene.intrinsics
    found = []
    for number in numbers:
        rows, columns = (scene.instances == number).nonzero()
        z = float(np.median(scene.depth[rows, columns]))
        x, y = (columns.mean() - cx) / fx * z, (rows.mean() - cy) / fy * z
        found.append((float(x), float(y), z))
    return found


def scene_target(scene: Scene) -> Target:
    """The annotation of a scene for training and scoring; objects without a class are left out."""
    things = [(k, o) for k, o in enumerate(scene.objects, start=1) if o.label >= 0]
    numbers = torch.tensor([k for k, _ in things]).view(-1, 1, 1)
    instances = torch.from_numpy(scene.instances.astype(np.int64))
    return Target(
        torch.tensor([o.box for _, o in things], dtype=torch.float32).view(-1, 4),
        torch.tensor([o.label for _, o in things], dtype=torch.int64),
        (instances == numbers).view(-1, *instances.shape),
        torch.from_numpy(scene.semantic.astype(np.int64)),
        torch.tensor([o.crowd for _, o in things], dtype=torch.bool),
    )


def _masks(header: Any, scene: Scene, objects: list[tuple[int, SceneObject]]) -> Any:
    """An InstanceMaskArray of the visible pixels of these objects (number in `instances`)."""
    windows = torch.tensor([o.box for _, o in objects]).long().view(-1, 4)
    crops = [
        torch.from_numpy(scene.instances[y1:y2, x1:x2] == number)
        for (number, _), (x1, y1, x2, y2) in zip(objects, windows.tolist(), strict=True)
    ]
    labels, ids = [o.label for _, o in objects], [str(o.track_id) for _, o in objects]
    masks = Masks.from_crops(windows, crops) if crops else Masks.empty()
    return masks_message(header, scene.semantic.shape, masks, labels, ids)

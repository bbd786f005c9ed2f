"""What is wrong between or within the values of parameters, in a sentence; None for nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointseg_ros.parameters import Settings

SHORTEST_TIMEOUT_MS = 1000.0
"""What a healthy process on a busy machine may well stand still for is less."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def problem(settings: Settings) -> str | None:
    """What is wrong with the values apart from ranges, choices, and names of cameras and topics."""
    return (
        _bad_device(settings.device)
        or _bad_batch(settings)
        or _bad_timeout(settings)
        or settings.depth_problem()
    )


def bad_camera_names(names: tuple[str, ...]) -> str | None:
    """Why cameras cannot be called so."""
    if not names or len(set(names)) < len(names):
        return f"camera_names is {list(names)}; give one or more names, each once"
    for name in names:
        if not _NAME.fullmatch(name):
            return f"camera name {name!r} is not letters, digits and _, beginning with a letter"
    return None


def _bad_device(device: str) -> str | None:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        return None
    return f"device is {device!r}; it is auto, cpu, cuda or cuda:N"


def _bad_batch(settings: Settings) -> str | None:
    anchor = settings.batch_anchor_camera
    if settings.synchronised:
        if settings.batch_max_stamp_difference_ms <= 0:
            return "batch.sync is approximate; set batch.max_stamp_difference_ms, to 20.0 or so"
        if anchor or settings.batch_size < len(settings.camera_names):
            return "batch.sync is approximate; leave batch.anchor_camera and batch.max_size alone"
    if not anchor or anchor in settings.camera_names:
        return None
    return f"batch.anchor_camera is {anchor!r}; the cameras are {', '.join(settings.camera_names)}"


def _bad_timeout(settings: Settings) -> str | None:
    for name in ("watchdog.timeout_ms", "watchdog.loading_timeout_ms"):
        if 0 < (value := getattr(settings, name.replace(".", "_"))) < SHORTEST_TIMEOUT_MS:
            least = f"0 for never, or at least {SHORTEST_TIMEOUT_MS:g}"
            return f"{name} is {value:g}; it is {least}"
    return None

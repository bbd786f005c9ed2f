"""What /diagnostics says of depth: one entry for all cameras that have it."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from jointseg_ros.levels import OK, WARN, Level, worst
from jointseg_ros.monitor import DepthFacts
from jointseg_ros.statuses import status

RECENT = 3.0
"""Seconds that what was missing is told of."""


def depth_status(facts: Mapping[str, DepthFacts], now: float) -> DiagnosticStatus:
    """By camera; `now` in steady seconds. Pictures without depth are a WARN: 2D goes on."""
    levels = (
        Level(WARN, f"{camera}: {one.text}")
        for camera, one in facts.items()
        if now - one.last < RECENT
    )
    values: dict[str, object] = {}
    for camera, one in facts.items():
        values |= {
            f"{camera} pictures with depth": one.used,
            f"{camera} objects placed": one.lifted,
            f"{camera} objects without a place": one.without_depth,
            f"{camera} stamps backwards": one.backwards,
            **{f"{camera} {why}": count for why, count in sorted(dict(one.problems).items())},
        }
    return status(worst((*levels, Level(OK, "placing objects"))), values)

"""Entries of /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from jointseg_ros.levels import Level


def status(level: Level, values: Mapping[str, object]) -> DiagnosticStatus:
    """How bad it is and why, and the numbers behind it."""
    return DiagnosticStatus(
        level=bytes([level.level]),
        message=level.text,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )

"""Fields of dataclasses that are parameters: what they mean, their ranges, when they may change."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

_WHEN = {
    "now": "takes effect with the next batch",
    "reload": "used by configure and by ~/reload_model",
    "configure": "changeable while the node is unconfigured",
    "never": "read-only",
}


def parameter(default: Any, text: str, limits: tuple | None, choices: tuple, when: str) -> Any:
    metadata = {"text": text, "limits": limits, "choices": choices, "when": when}
    return field(default=default, metadata=metadata)


def now(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A parameter that takes effect with the next batch."""
    return parameter(default, text, None if low is None else (low, high), (), "now")


def on_reload(default: str, text: str) -> Any:
    """A parameter that may be set at any time and is read by configure and ~/reload_model."""
    return parameter(default, text, None, (), "reload")


def on_configure(
    default: Any, text: str, *, limits: tuple | None = None, choices: tuple = ()
) -> Any:
    """A parameter that may be changed while the node is unconfigured."""
    return parameter(default, text, limits, choices, "configure")


def fixed(default: Any, text: str) -> Any:
    """A read-only parameter."""
    return parameter(default, text, None, (), "never")


def plain(default: Any) -> Any:
    """A default as ROS has it."""
    return list(default) if isinstance(default, tuple) else default


def descriptor(spec: Field) -> ParameterDescriptor:
    when, choices, limits = (spec.metadata[key] for key in ("when", "choices", "limits"))
    constraints = [f"one of {', '.join(choices)}"] if choices else []
    found = ParameterDescriptor(
        description=spec.metadata["text"],
        additional_constraints="; ".join([*constraints, _WHEN[when]]),
        read_only=when == "never",
    )
    if limits and isinstance(spec.default, int):
        low, high = limits
        found.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif limits:
        low, high = limits
        found.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return found

"""How far an export may be from its checkpoint, and from what a manifest says of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class _Limits(NamedTuple):
    """What an export has to keep to."""

    error: float  # relative error of each tensor at most
    overlap: float  # IoU of boxes, and of masks, from which two objects are the same
    objects: float  # share of the objects that are found on both sides
    pixels: float  # share of pixels that have the same class


LIMITS = {
    "fp32": _Limits(1e-3, 0.95, 1.0, 0.999),
    "fp16": _Limits(0.02, 0.9, 0.95, 0.99),
    "bf16": _Limits(0.1, 0.7, 0.8, 0.97),
    "int8": _Limits(0.5, 0.5, 0.8, 0.9),
}


def problem(numbers: Mapping[str, Any], precision: str) -> str | None:
    """Why an export with these numbers of its self-check is none, or None."""
    limits = LIMITS[precision]
    if not numbers["largest_error"] <= limits.error:
        return (
            f"{numbers['largest_error_of']} is off by {numbers['largest_error']:.2g} of its size, "
            f"allowed are {limits.error:g}"
        )
    for what, limit in (("objects", limits.objects), ("pixels", limits.pixels)):
        if (share := numbers.get(f"same_{what}", 1.0)) < limit:
            return f"{share:.1%} of the {what} are the same, wanted are {limit:.1%}"
    return None

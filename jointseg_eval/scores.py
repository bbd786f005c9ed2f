"""Scores and latencies as documents hold them: rounded, and None for what is not known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core.files import completed


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """The 50th, 95th and 99th percentile, to a tenth of a millisecond; None when there are none."""
    names = {"p50": 50, "p95": 95, "p99": 99}
    if not len(latencies_ms):
        return dict.fromkeys(names)
    return {k: round(float(np.percentile(latencies_ms, q)), 1) for k, q in names.items()}


def known_or_none(value: float) -> float | None:
    """The number to four digits, None in place of NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, 4)


def rounded(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """The same of numbers by name."""
    return {name: known_or_none(value) for name, value in numbers.items()}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document for people and programs; the file is there when it is complete."""
    with completed(path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())

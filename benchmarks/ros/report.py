"""A table to read while the measurement goes on."""

from __future__ import annotations

from typing import Any

from jointseg_ros.monitor import STAGES

COLUMNS = (
    ("processes", 9),
    ("images", 10),
    ("cameras", 7),
    ("Hz", 13),
    ("published", 9),
    ("received", 8),
    ("results", 7),
    ("latency p50 p95 p99 [ms]", 24),
    ("queue conv. infer. post publ. [ms]", 34),
    ("CPU ms/frame", 12),
    ("", 30),
)
HEADINGS = "  ".join(title.ljust(width) for title, width in COLUMNS).rstrip()


def row(what: dict[str, Any], result: dict[str, Any], rate: str = "") -> str:
    """One line for one trial; `rate` is what to say instead of its rate."""
    cells = (
        what["processes"],
        what["transport"],
        what["cameras"],
        rate or f"{result['achieved_hz']:g}",
        result["published"],
        result["received"],
        result["results"],
        _numbers(result["latency_ms"]),
        " ".join(_stage(result, name) for name in STAGES),
        f"{1e3 * sum(result['load']['cpu_seconds'].values()) / max(1, result['processed']):.1f}",
        _remark(result),
    )
    padded = (str(cell).ljust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True))
    return "  ".join(padded).rstrip()


def searched_row(what: dict[str, Any], found: dict[str, Any]) -> str:
    """One line for the outcome of a search."""
    if found["trial"]:
        return row(what, found["trial"], f"highest {found['rate_hz']:g}")
    setup = (what["processes"], what["transport"], what["cameras"], "highest: none")
    padded = (str(cell).ljust(width) for cell, (_, width) in zip(setup, COLUMNS, strict=False))
    lowest = min(tried["rate_hz"] for tried in found["tried"])
    return "  ".join(padded) + f"  more than 5 % lost at {lowest:g} Hz as well"


def _numbers(quantiles: dict[str, float] | None) -> str:
    return " ".join(f"{value:.1f}" for value in quantiles.values()) if quantiles else "none"


def _stage(result: dict[str, Any], name: str) -> str:
    found = result["stages_ms"][name]
    return f"{found['p50']:.1f}" if found else "-"


def _remark(result: dict[str, Any]) -> str:
    """Who else used the machine, and what was dropped."""
    remarks = [f"{count} {reason}" for reason, count in result["dropped"].items()]
    if result["load"]["busy_machine"]:
        remarks.append(f"busy: others took {result['load']['cores_used_by_others']:.1f} cores")
    return "; ".join(remarks)

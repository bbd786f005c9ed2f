"""A table to read while the measurement goes on."""

from __future__ import annotations

from typing import Any

from jointseg_ros.monitor import STAGES

LINE = "{:9}  {:10}  {:7}  {:13}  {:9}  {:8}  {:7}  {:24}  {:34}  {:12}  {}"
HEADINGS = LINE.format(
    *("processes", "images", "cameras", "Hz", "published", "received", "results"),
    *("latency p50 p95 p99 [ms]", "queue conv. infer. post publ. [ms]", "CPU ms/frame", ""),
).rstrip()


def row(what: dict[str, Any], result: dict[str, Any] | None, rate: str = "") -> str:
    """One line for one trial, if there was one; `rate` is what to say instead of its rate."""
    setup = [what["processes"], what["transport"], what["cameras"]]
    if result is None:
        return LINE.format(*setup, rate, *[""] * 7).rstrip()
    latency, stages, load = result["latency_ms"], result["stages_ms"], result["load"]
    remarks = [f"{count} {reason}" for reason, count in result["dropped"].items()]
    if load["busy_machine"]:
        remarks.append(f"busy: others took {load['cores_used_by_others']:.1f} cores")
    return LINE.format(
        *setup,
        rate or f"{result['achieved_hz']:g}",
        *(result[name] for name in ("published", "received", "results")),
        " ".join(f"{ms:.1f}" for ms in latency.values()) if latency else "none",
        " ".join(f"{stages[name]['p50']:.1f}" if stages[name] else "-" for name in STAGES),
        f"{1e3 * sum(load['cpu_seconds'].values()) / max(1, result['processed']):.1f}",
        "; ".join(remarks),
    ).rstrip()

"""Draws what `python -m benchmarks.soak` measured: memory, threads, descriptors and times.

python -m benchmarks.soak.chart out/soak/soak.json       writes soak.png beside it
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.arguments import Parser
from jointseg_core.command import run_program

CHARTS = (  # title, unit, part of the document, its lines by name
    ("Memory of the node", "MB", "samples", {"rss_mb": "resident", "anon_mb": "its own"}),
    ("Threads and descriptors", "count", "samples", {n: n for n in ("threads", "descriptors")}),
    ("Frame to result, by ten seconds", "ms", "latency_ms", {n: n for n in ("p50", "p95", "p99")}),
    ("Control loop", "ms", "control_ms", {n: n for n in ("p50", "p99")}),
)


def chart(document: dict) -> Figure:
    """Four charts over minutes."""
    figure = Figure(figsize=(13, 8), dpi=100, layout="constrained")
    for axes, (title, unit, part, lines) in zip(figure.subplots(2, 2).flat, CHARTS, strict=True):
        minutes = [row["seconds"] / 60 for row in document[part]]
        for key, name in lines.items():
            axes.plot(minutes, [row[key] for row in document[part]], label=name)
        axes.set(title=title, xlabel="minutes", ylabel=unit)
        if unit != "MB":
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def main() -> None:
    """The command; see the module."""
    parser = Parser("benchmarks.soak.chart", __doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the soak.json")
    file = parser.parse_args().file
    chart(json.loads(file.read_text())).savefig(file.with_suffix(".png"))


if __name__ == "__main__":
    run_program(main)

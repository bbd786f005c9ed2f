"""Draws what `python -m benchmarks.soak` measured: memory, threads, descriptors and times.

python -m benchmarks.soak.chart out/soak/soak.json       writes soak.png beside it
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from jointseg_core.command import run_program
from training.ablations.charts import SIZE, Line, line_chart


def chart(document: dict) -> Image.Image:
    """Four charts below each other, over minutes."""
    samples, times = document["samples"], document["latency_ms"]
    control = document["control_ms"]
    minutes = [one["seconds"] / 60 for one in samples]

    def over_time(rows: list[dict], key: str, name: str) -> Line:
        return Line(name, [row["seconds"] / 60 for row in rows], [row[key] for row in rows])

    memory = [Line(n, *_thinned(minutes, [s[k] for s in samples])) for n, k in _MEMORY]
    counts = [Line(k, *_thinned(minutes, [s[k] for s in samples])) for k in _COUNTS]
    latency = [over_time(times, f"p{q}", f"p{q}") for q in (50, 95, 99)]
    steady = [over_time(control, f"p{q}", f"p{q}") for q in (50, 99)]
    charts = [
        line_chart("Memory of the node", "minutes", "MB", memory),
        line_chart("Threads and descriptors", "minutes", "count", counts, zero=True),
        line_chart("Frame to result, by ten seconds", "minutes", "ms", latency, zero=True),
        line_chart("Control loop", "minutes", "ms", steady, zero=True),
    ]
    picture = Image.new("RGB", (2 * SIZE[0], 2 * SIZE[1]), "white")
    for index, one in enumerate(charts):
        picture.paste(one, (index % 2 * SIZE[0], index // 2 * SIZE[1]))
    return picture


_MEMORY = (("resident", "rss_mb"), ("its own", "anon_mb"))
_COUNTS = ("threads", "descriptors")
_POINTS = 120


def _thinned(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """At most so many points, the highest of each stretch."""
    step = -(-len(x) // _POINTS)
    stretches = [slice(i, i + step) for i in range(0, len(x), step)]
    return [x[stretch][-1] for stretch in stretches], [max(y[stretch]) for stretch in stretches]


def main() -> None:
    """The command; see the module."""
    file = Path(sys.argv[1])
    chart(json.loads(file.read_text())).save(file.with_suffix(".png"))


if __name__ == "__main__":
    run_program(main)

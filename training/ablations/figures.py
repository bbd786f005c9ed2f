"""What a study draws, and the numbers behind its pictures that no table has.

Each function is handed the finished study and the folder for its pictures, and gives what goes
into the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jointseg_eval.evaluation import spread
from jointseg_eval.metrics import Difference
from training.ablations import proposal_maps, representations
from training.ablations.charts import Line, line_chart
from training.ablations.rdsnet import FIG_5, IOUS
from training.ablations.results import Measured, difference, rounded
from training.ablations.runs import Base, Means
from training.ablations.scoring import predictor_of
from training.ablations.statistics import mean_over_seeds

PICTURES = 3
"""Validation pictures that a figure shows."""
SWEPT = {"box_ap": "AP", "box_ap_from_75": "AP at IoU 0.75 to 0.95"}

NONE = Difference(0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Finished:
    """A study whose rows are scored: by table title and row name."""

    base: Base
    means: Means
    tables: Mapping[str, Mapping[str, Measured]]
    folder: Path  # for pictures

    def only(self) -> Mapping[str, Measured]:
        """The rows of a study of one table."""
        (rows,) = self.tables.values()
        return rows

    def save(self, name: str, picture: Image.Image) -> str:
        """Write a picture; its path."""
        path = self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, optimize=True)
        return str(path)


def refinement_sweeps(finished: Finished) -> dict[str, Any]:
    """RDSNet's figure 5: how much the refinement gains over its width, its length, and the IoU."""
    widths, lengths, ious = FIG_5.tables
    return {
        "pictures": [
            _sweep(finished, "gamma", widths.title, start=True),
            _sweep(finished, "s", lengths.title),
            _by_iou(finished, ious.title),
        ]
    }


def _sweep(finished: Finished, name: str, title: str, start: bool = False) -> str:
    """The gain over a number; where it starts, at 0, there is none."""
    rows = finished.tables[title]
    swept = [(float(key.split()[1]), row) for key, row in rows.items() if key != "off"]
    lines = []
    for metric, label in SWEPT.items():
        gains = [difference(row, rows["off"], metric) for _, row in swept]
        gains, x = [NONE] * start + gains, [0.0] * start + [value for value, _ in swept]
        lines.append(_line(label, x, gains))
    chart = line_chart(title, name, "box AP above that without", lines, zero=True)
    return finished.save(f"{name}_sweep", chart)


def _line(label: str, x: Sequence[float], found: Sequence[Difference]) -> Line:
    return Line(label, x, *([getattr(d, part) for d in found] for part in ("mean", "low", "high")))


def _by_iou(finished: Finished, title: str) -> str:
    rows = finished.tables[title]
    gains = [difference(rows["on"], rows["off"], metric) for metric in IOUS]
    line = _line("on", [int(metric[-2:]) / 100 for metric in IOUS], gains)
    chart = line_chart(title, "IoU", "box AP above that without", [line], zero=True)
    return finished.save("by_iou", chart)


def foreground_over_steps(finished: Finished) -> dict[str, Any]:
    """SegRPN's figure 6: what share of the proposals is foreground as training goes on."""
    lines, curves = [], {}
    for name, row in finished.only().items():
        steps, values = _curves(row, finished.means.out)
        lines.append(_line(name, steps, [mean_over_seeds(column) for column in values.T]))
        curves[name] = {"steps": steps, "seeds": [[rounded(v) for v in one] for one in values]}
    chart = line_chart(
        "Foreground proposals in training", "step", "% of at most 1000 proposals", lines, zero=True
    )
    return {"pictures": [finished.save("foreground_share", chart)], "curves": curves}


def _curves(row: Measured, out: Path) -> tuple[list[int], np.ndarray]:
    """Steps of the validations, and the share in percent at each [seeds, validations]."""
    records = [
        [r for r in run.folder(out).records() if r["kind"] == "validation"] for run in row.runs
    ]
    steps = [record["step"] for record in records[0]]
    shares = [[100 * (r["foreground_share"] or 0.0) for r in one] for one in records]
    return steps, np.array(shares)


def filtered_maps(finished: Finished) -> dict[str, Any]:
    """SegRPN's figure 3: right, wrong and missed anchors of each level, before and after."""
    rows, samples = finished.only(), finished.base.validation
    counts = {
        name: [
            proposal_maps.count(_predictor(finished, row, number), samples)
            for number in range(len(row.runs))
        ]
        for name, row in rows.items()
    }
    before, after = (_predictor(finished, row, 0) for row in rows.values())
    paths = [
        finished.save(f"maps_{number}", proposal_maps.picture(before, after, samples[number]))
        for number in spread(len(samples), PICTURES)
    ]
    return {"pictures": paths, "anchors": counts}


def learned_representations(finished: Finished) -> dict[str, Any]:
    """RDSNet's figure 3: pixels and objects in three principal components."""
    (row,) = finished.only().values()
    samples = finished.base.validation
    drawn = representations.picture(
        _predictor(finished, row, 0), samples, spread(len(samples), PICTURES)
    )
    return {"pictures": [finished.save("representations", drawn)]}


def _predictor(finished: Finished, row: Measured, number: int) -> Any:
    weights = row.runs[number].weights(finished.means.out)
    return predictor_of(weights, row.row.use, finished.means.device)


FIGURES: dict[str, Callable[[Finished], dict[str, Any]]] = {
    "rdsnet-fig-3": learned_representations,
    "rdsnet-fig-5": refinement_sweeps,
    "segrpn-fig-3": filtered_maps,
    "segrpn-fig-6": foreground_over_steps,
}
"""By the name of the study."""

"""What came out of a study: one document, as JSON for docs/results and as tables for people.

All numbers are in percent, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointseg_eval.metrics import Difference
from training.ablations.runs import Run
from training.ablations.scoring import Scores
from training.ablations.statistics import over_images_and_seeds, over_seeds, verdict
from training.ablations.study import METRICS, Row, Table

DIGITS = 2
SAME, RETRAINED = "the same weights", "trained separately"


@dataclass(frozen=True, eq=False)
class Measured:
    """A row, its training and its scores for each seed."""

    row: Row
    runs: Sequence[Run]
    scores: Sequence[Scores]

    def values(self, metric: str) -> list[float]:
        """One for each seed."""
        return [scores.values[metric] for scores in self.scores]

    def resampled(self, metric: str) -> np.ndarray:
        """[seeds, resamples]"""
        return np.stack([scores.resampled[metric] for scores in self.scores])

    def shares_weights(self, other: Measured) -> bool:
        """Whether the two differ in use, or in the boundary refinement, alone."""
        return [run.main.key for run in self.runs] == [run.main.key for run in other.runs]


def partners(table: Table) -> Iterable[tuple[Row, Row]]:
    """Pairs of a row and one that it is compared with."""
    return ((row, table.row(name)) for row in table.rows for name in row.against)


def difference(row: Measured, other: Measured, metric: str) -> Difference:
    """How much higher a row's number is than another's, as sure as their trainings allow."""
    ours, theirs = row.values(metric), other.values(metric)
    if row.shares_weights(other):
        drawn = other.resampled(metric), row.resampled(metric)
        return over_images_and_seeds(theirs, ours, *drawn)
    return over_seeds(theirs, ours)


def table_document(table: Table, rows: Mapping[str, Measured]) -> dict[str, Any]:
    """A table's part of the document."""
    return {
        "title": table.title,
        "scale": table.scale,
        "columns": {name: METRICS[name] for name in table.columns},
        "rows": [_row(table, rows[row.name]) for row in table.rows],
        "differences": [
            _comparison(table, rows[row.name], rows[other.name]) for row, other in partners(table)
        ],
    }


def _row(table: Table, measured: Measured) -> dict[str, Any]:
    seeds = {name: measured.values(name) for name in table.columns}
    return {
        "name": measured.row.name,
        "mean": {name: rounded(float(np.mean(values))) for name, values in seeds.items()},
        "paper": paper(table, measured.row),
        "seeds": {name: [rounded(v) for v in values] for name, values in seeds.items()},
        "trainings": [run.key for run in measured.runs],
    }


def paper(table: Table, row: Row) -> dict[str, float]:
    """The paper's numbers by name, as far as it has them."""
    pairs = zip(table.columns, row.paper, strict=False)
    return {name: value for name, value in pairs if value is not None}


def _comparison(table: Table, row: Measured, other: Measured) -> dict[str, Any]:
    published, reference = paper(table, row.row), paper(table, other.row)
    numbers = {}
    for name in table.columns:
        found = difference(row, other, name)
        numbers[name] = {
            "difference": rounded(found.mean),
            "interval": [rounded(found.low), rounded(found.high)],
            "verdict": verdict(found),
        }
        if name in published and name in reference:
            numbers[name]["paper"] = rounded(published[name] - reference[name])
    kind = SAME if row.shares_weights(other) else RETRAINED
    return {"row": row.row.name, "against": other.row.name, "kind": kind, "numbers": numbers}


def rounded(value: float) -> float | None:
    """As JSON can hold it."""
    return round(value, DIGITS) if math.isfinite(value) else None


# -- for people -----------------------------------------------------------------------------------


LEGEND = """\
Differences of the same weights (=) have 95 % intervals over resampled pictures and seeds, those of
separate trainings (t) by Student's t over seeds. * marks those whose interval excludes zero; the
others are not claimable."""


def as_text(document: Mapping[str, Any]) -> str:
    """All tables of a document, in Markdown."""
    parts = [f"# {document['study']}: {document['title']}", _setting(document)]
    for table in document["tables"]:
        parts += [f"## {table['title']}", _values(table), _differences(table)]
    if any(table["differences"] for table in document["tables"]):
        parts.append(LEGEND)
    parts.append("\n".join(f"- {note}" for note in document["notes"]))
    return "\n\n".join(part for part in parts if part)


def _setting(document: Mapping[str, Any]) -> str:
    settings = document["settings"]
    seeds = len(settings["seeds"])
    published = any(row["paper"] for table in document["tables"] for row in table["rows"])
    return (
        f"{settings['recipe']}, input {'x'.join(map(str, settings['input_size']))}, "
        f"{settings['steps']} steps, {seeds} seed{'s' if seeds > 1 else ''}, "
        f"{settings['validation_pictures']} validation pictures. In percent"
        + ("; the paper's numbers in brackets." if published else ".")
    )


def _values(table: Mapping[str, Any]) -> str:
    names = list(table["columns"])
    header = ["", *table["columns"].values()]
    body = [
        [row["name"], *(_cell(row["mean"][n], row["paper"].get(n)) for n in names)]
        for row in table["rows"]
    ]
    return markdown(header, body)


def _differences(table: Mapping[str, Any]) -> str:
    if not table["differences"]:
        return ""
    body = [_difference_row(table, one) for one in table["differences"]]
    return markdown(["", "", *table["columns"].values()], body)


def _difference_row(table: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    kind = "=" if one["kind"] == SAME else "t"
    cells = [_difference_cell(one["numbers"][name]) for name in table["columns"]]
    return [f"{one['row']} against {one['against']}", kind, *cells]


def _difference_cell(number: Mapping[str, Any]) -> str:
    if number["difference"] is None:
        return "-"
    clear = "*" if number["verdict"] in ("higher", "lower") else ""
    low, high = number["interval"]
    span = "no interval" if low is None else f"{low:+.2f} to {high:+.2f}"
    published = f" ({number['paper']:+.2f})" if "paper" in number else ""
    return f"{number['difference']:+.2f}{clear}{published} [{span}]"


def _cell(ours: float | None, published: float | None) -> str:
    brackets = "" if published is None else f" ({published:g})"
    return ("-" if ours is None else f"{ours:.2f}") + brackets


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up."""
    rows = [header, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])

"""What came out of a study: one document, as JSON for docs/results and as tables for people.

All numbers are in percent, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.ablations.objects import FEWEST, is_reported
from training.ablations.runs import Run
from training.ablations.scoring import Scores
from training.ablations.statistics import Tested, holm, over_images_and_seeds, over_seeds, verdict
from training.ablations.study import METRICS, Row, Table

DIGITS = 2
SAME, RETRAINED = "the same weights", "trained separately"
NOT_REPORTED = Tested(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Measured:
    """A row, and for each seed its training, its scores and with which numbers it was used."""

    row: Row
    runs: Sequence[Run]
    scores: Sequence[Scores]
    used: Sequence[Mapping[str, float]] = ()

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


def difference(row: Measured, other: Measured, metric: str) -> Tested:
    """How much higher a row's number is than another's, as sure as their trainings allow."""
    ours, theirs = row.values(metric), other.values(metric)
    if row.shares_weights(other):
        drawn = other.resampled(metric), row.resampled(metric)
        return over_images_and_seeds(theirs, ours, *drawn)
    return over_seeds(theirs, ours)


def table_document(
    table: Table, rows: Mapping[str, Measured], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """A table's part of the document; sizes say how many objects of each there are."""
    pairs = [(rows[row.name], rows[other.name]) for row, other in partners(table)]
    reported = [name for name in table.columns if is_reported(name, sizes)]
    found = [{name: difference(*pair, name) for name in reported} for pair in pairs]
    together = iter(holm([one.p for numbers in found for one in numbers.values()]))
    tested = [{name: (one, next(together)) for name, one in numbers.items()} for numbers in found]
    return {
        "title": table.title,
        "scale": table.scale,
        "columns": {name: METRICS[name] for name in table.columns},
        "rows": [_row(table, rows[row.name], reported) for row in table.rows],
        "differences": [
            _comparison(table, *pair, numbers) for pair, numbers in zip(pairs, tested, strict=True)
        ],
    }


def _row(table: Table, measured: Measured, reported: Sequence[str]) -> dict[str, Any]:
    seeds = {
        name: measured.values(name) if name in reported else [math.nan] * len(measured.scores)
        for name in table.columns
    }
    return {
        "name": measured.row.name,
        "mean": {name: rounded(float(np.mean(values))) for name, values in seeds.items()},
        "paper": paper(table, measured.row),
        "seeds": {name: [rounded(v) for v in values] for name, values in seeds.items()},
        "used": [dict(numbers) for numbers in measured.used],
        "trainings": [run.key for run in measured.runs],
    }


def paper(table: Table, row: Row) -> dict[str, float]:
    """The paper's numbers by name, as far as it has them."""
    pairs = zip(table.columns, row.paper, strict=False)
    return {name: value for name, value in pairs if value is not None}


def _comparison(
    table: Table, row: Measured, other: Measured, found: Mapping[str, tuple[Tested, float]]
) -> dict[str, Any]:
    published, reference = paper(table, row.row), paper(table, other.row)
    numbers: dict[str, dict[str, Any]] = {}
    for name in table.columns:
        one, together = found.get(name, (NOT_REPORTED, math.nan))
        numbers[name] = {
            "difference": rounded(one.mean),
            "interval": [rounded(one.low), rounded(one.high)],
            "p": rounded(together, 5),
            "verdict": verdict(one, together) if name in found else f"fewer than {FEWEST} objects",
        }
        if name in published and name in reference:
            numbers[name]["paper"] = rounded(published[name] - reference[name])
    kind = SAME if row.shares_weights(other) else RETRAINED
    return {"row": row.row.name, "against": other.row.name, "kind": kind, "numbers": numbers}


def rounded(value: float, digits: int = DIGITS) -> float | None:
    """As JSON can hold it."""
    return round(value, digits) if math.isfinite(value) else None


# -- for people -----------------------------------------------------------------------------------


LEGEND = """\
Differences of the same weights (=) have 95 % intervals over resampled pictures and seeds, those of
separate trainings (t) by Student's t over seeds. * marks those that are clear where all of a table
are tested together (Holm); the others are not claimable. - is not reported: too few objects."""


def as_text(document: Mapping[str, Any]) -> str:
    """All tables of a document, in Markdown."""
    parts = [f"# {document['study']}: {document['title']}", _setting(document)]
    for table in document["tables"]:
        parts += [f"## {table['title']}", _values(table), _differences(table)]
    parts.append(_objects(document["objects"]))
    if any(table["differences"] for table in document["tables"]):
        parts.append(LEGEND)
    parts.append("\n".join(f"- {note}" for note in document["notes"]))
    return "\n\n".join(part for part in parts if part)


def _setting(document: Mapping[str, Any]) -> str:
    settings = document["settings"]
    published = any(row["paper"] for table in document["tables"] for row in table["rows"])
    size = "x".join(map(str, settings["input_size"]))
    what = f"{settings['weights']}, input {size}" if "weights" in settings else _trained(settings)
    return f"{what}, {settings['validation_pictures']} validation pictures. In percent" + (
        "; the paper's numbers in brackets." if published else "."
    )


def _objects(found: Mapping[str, Mapping[str, float]]) -> str:
    sizes = ", ".join(f"{count} {size}" for size, count in found["sizes"].items())
    levels = ", ".join(f"{name} {share:g} %" for name, share in found["levels"].items())
    return f"Objects: {sizes}. By the level of their best anchor: {levels}."


def _trained(settings: Mapping[str, Any]) -> str:
    seeds, size = len(settings["seeds"]), "x".join(map(str, settings["input_size"]))
    steps = " and ".join(map(str, settings["steps"]))
    return f"{settings['recipe']}, input {size}, {steps} steps, {seeds} seed{'s' * (seeds > 1)}"


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

"""What a study is: tables whose rows say how a network is trained, how it is used, what was found.

Two rows of a table are compared where one names the other. Whether they share their weights, and so
how sure the difference is, follows from what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jointseg_core.checkpoint import Config

METRICS = {
    "box_ap": "AP^bb",
    "box_ap50": "AP^bb 50",
    "box_ap75": "AP^bb 75",
    "box_ap_from_75": "AP^bb 75-95",
    "box_ap_small": "S",
    "box_ap_medium": "M",
    "box_ap_large": "L",
    "mask_ap": "AP^m",
    "miou": "mIoU",
    "foreground_miou": "mIoU*",
    "pq": "PQ",
    "agreement": "agreement",
    "recall_50": "recall at 0.5",
    "ar_1000": "AR@1000",
    "foreground_share": "foreground",
    **{f"box_ap_at_{iou}": f"at 0.{iou}" for iou in range(50, 100, 5)},
}
"""What columns are called, by the names of scores."""


def of_the_recipe(config: Config) -> Config:
    """The network as it is."""
    return config


@dataclass(frozen=True)
class Row:
    """A row of a table.

    name     as the paper calls it, or near that
    paper    its numbers there in percent, one for each of the table's first columns; None where
             the paper has none
    against  names of rows that it is compared with
    network  makes the row's network out of the recipe's
    train    fields of the recipe that it trains with, by their names on the command line
    refine   the same of a second training that only the boundary refinement goes through, on the
             finished weights of the first; None: there is no such training
    use      fields of the network's config that it is used with, over the weights as they are
    pixels   name of a row whose network adds the classes of pixels to this one's objects
    boxes    where they come from: "" as the network gives them, "direct" as the tight rectangles
             of masks (RDSNet's baseline of Table 4), "camera" refined in camera pixels
    """

    name: str
    paper: tuple[float | None, ...] = ()
    against: tuple[str, ...] = ()
    network: Callable[[Config], Config] = of_the_recipe
    train: Mapping[str, Any] = field(default_factory=dict)
    refine: Mapping[str, Any] | None = None
    use: Mapping[str, Any] = field(default_factory=dict)
    pixels: str = ""
    boxes: Literal["", "direct", "camera"] = ""

    @property
    def needs_training(self) -> bool:
        """Whether its weights are others than those of the recipe."""
        other = self.network is not of_the_recipe or self.refine is not None
        return other or bool(self.train) or bool(self.pixels)


@dataclass(frozen=True)
class Choice:
    """A number that each training gets for itself, on pictures that it is not scored on.

    Where all rows share one threshold, those gain whose scores happen to suit it.

    field     of the network's config
    values    to choose from
    by        the score that has to be highest
    pictures  of the training set, on which it is measured
    """

    field: str
    values: tuple[float, ...]
    by: str
    pictures: int = 200


@dataclass(frozen=True)
class Table:
    """Rows that are trained on the same pictures, with what is measured of them.

    columns  names of scores, those of the paper first
    scale    share of the recipe's input size at which its networks see the pictures
    steps    of the first stage; None: those of the recipe
    choice   what is chosen for each training before it is scored, or None
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    scale: float = 1.0
    steps: int | None = None
    choice: Choice | None = None

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class Study:
    """Tables that belong together.

    name    what the command calls it: rdsnet-table-2
    title   what it answers
    family  its recipes are FAMILY_SIZE_synthetic
    notes   where it differs from the paper

    What a study of the tiny networks is decided before it is measured; the command can differ:

    seeds       trainings of each row
    input_size  of the networks
    lengths     steps of the first stage, each for all tables; none: those of the recipe, once
    """

    name: str
    title: str
    family: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    seeds: int = 8
    input_size: tuple[int, int] = (256, 512)
    lengths: tuple[int, ...] = ()


def of_lengths(study: Study) -> Study:
    """The same with all tables for each of its lengths."""
    tables = [
        replace(table, title=f"{table.title}, {steps} steps", steps=steps)
        for steps in study.lengths
        for table in study.tables
    ]
    return replace(study, tables=tuple(tables)) if tables else study


def of_given_weights(study: Study) -> Study:
    """What of a study one network answers, trained elsewhere: rows that differ in use alone."""
    tables = [_of_given_weights(table) for table in study.tables if table.scale == 1]
    return replace(study, tables=tuple(table for table in tables if table.rows))


def _of_given_weights(table: Table) -> Table:
    rows = [row for row in table.rows if not row.needs_training]
    names = {row.name for row in rows}
    kept = [replace(row, against=tuple(a for a in row.against if a in names)) for row in rows]
    return replace(table, rows=tuple(kept))

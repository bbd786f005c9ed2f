"""What a study is: tables whose rows say how a network is trained, how it is used, what was found.

Two rows of a table are compared where one names the other. Whether they share their weights, and so
how sure the difference is, follows from what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
    direct   whether boxes are the tight rectangles of masks (RDSNet's baseline of Table 4)
    """

    name: str
    paper: tuple[float | None, ...] = ()
    against: tuple[str, ...] = ()
    network: Callable[[Config], Config] = of_the_recipe
    train: Mapping[str, Any] = field(default_factory=dict)
    refine: Mapping[str, Any] | None = None
    use: Mapping[str, Any] = field(default_factory=dict)
    pixels: str = ""
    direct: bool = False


@dataclass(frozen=True)
class Table:
    """Rows that are trained on the same pictures, with what is measured of them.

    columns  names of scores, those of the paper first
    scale    share of the recipe's input size at which its networks see the pictures
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    scale: float = 1.0

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
    seeds   trainings of each row, unless the command says otherwise
    """

    name: str
    title: str
    family: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    seeds: int = 3

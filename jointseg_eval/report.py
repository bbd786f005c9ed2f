"""An evaluation as one HTML file that needs nothing else: numbers, curves, mistakes, pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from jointseg_core.classes import Classes
from jointseg_core.files import completed
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_core.visualize import draw
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.metrics.distances import EDGES, RANGES

HERE = Path(__file__).parent
PICTURE_WIDTH = 720
COLORS = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951"),
    *("#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"),
)
HEADLINES = {
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP50",
    "miou": "mIoU",
    "foreground_miou": "foreground mIoU",
    "pq": "PQ",
    "ar_1000": "proposal AR@1000",
    "recall_50": "proposal recall@0.5",
    "cityscapes_ap": "Cityscapes AP",
}
PIXELS = {
    "miou": "mIoU",
    "foreground_miou": "foreground mIoU",
    "agreement": "objects' pixels that have their class",
}
PANOPTIC = {"pq": "PQ", "sq": "SQ", "rq": "RQ"}
SIZES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP of small",
    "ap_medium": "AP of medium",
    "ap_large": "AP of large",
    "ar_100": "AR@100",
}
PROPOSALS = {
    "ar_10": "AR@10",
    "ar_100": "AR@100",
    "ar_1000": "AR@1000",
    "ar_1000_small": "AR of small",
    "ar_1000_medium": "AR of medium",
    "ar_1000_large": "AR of large",
    "recall_50": "at IoU 0.5",
    "recall_70": "at IoU 0.7",
}
FAR = (*(f"{a} to {b} m" for a, b in pairwise(EDGES)), f"{EDGES[-1]} m and more")
DISTANCES = dict(zip(RANGES, FAR, strict=True))
TABLES = {
    "Objects by size": {
        "boxes": {f"box_{name}": title for name, title in SIZES.items()},
        "masks": {f"mask_{name}": title for name, title in SIZES.items()},
        "masks, as Cityscapes scores them": {"cityscapes_ap": "AP", "cityscapes_ap50": "AP50"},
    },
    "Objects by distance": {
        "share that was found (score 0.3 or more, box IoU 0.5 or more)": {
            f"recall_{name}": title for name, title in DISTANCES.items()
        },
        "objects": {f"objects_{name}": title for name, title in DISTANCES.items()},
    },
    "Proposals of any class": {"recall": PROPOSALS},
    "Classes of pixels": {"all classes": PIXELS},
    "Objects and surfaces together": {
        "everything": PANOPTIC,
        "objects": {f"{name}_things": title for name, title in PANOPTIC.items()},
        "surfaces": {f"{name}_stuff": title for name, title in PANOPTIC.items()},
    },
}
COLUMNS = {
    "objects": "objects",
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP50",
    "cityscapes_ap": "Cityscapes AP",
    "iou": "IoU",
    "share_of_pixels": "share of pixels",
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
}


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture of the report, what is there and what was found in it, RGB [H, W, 3]."""

    name: str
    quality: float
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray


def write_report(
    path: Path, evaluation: Evaluation, facts: Mapping[str, str], pictures: Sequence[Shown] = ()
) -> None:
    """Write the report of an evaluation.

    facts are shown on top, by what they are called; "title" is the headline. Pictures come with
    the worst one first.
    """
    metrics = evaluation.metrics
    write_page(
        path,
        "report.html",
        facts=facts,
        cards=[(number(metrics[k]), title) for k, title in HEADLINES.items() if k in metrics],
        scored=[parts(evaluation)],
        pictures=pictures,
    )


def write_page(path: Path, template: str, place: Path = HERE, **content: Any) -> None:
    """Fill in a page, of this package unless another `place` has it.

    What is put into it is text, and never becomes markup.
    """
    environment = Environment(
        loader=FileSystemLoader([place, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "jpeg": jpeg}
    with completed(path) as file:
        file.write(environment.get_template(template).render(content).encode())


def parts(evaluation: Evaluation, name: str = "") -> dict[str, Any]:
    """What the tables, curves and matrices of a page are made from, by the names it knows.

    name: stands before them where a page has several.
    """
    table = evaluation.table()
    return {
        "name": name,
        "tables": _tables(evaluation.metrics),
        "columns": columns_in(table),
        "table": table,
        "curves": curves(evaluation),
        "confusions": confusions(evaluation),
    }


def columns_in(table: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The columns of COLUMNS that a table of classes has, by name with their titles."""
    return {k: title for k, title in COLUMNS.items() if any(k in row for row in table.values())}


def _tables(metrics: Mapping[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers of TABLES that are known, by their titles; rows without any are left out."""
    return {
        table: {
            row: known
            for row, names in rows.items()
            if (known := {title: metrics[k] for k, title in names.items() if k in metrics})
        }
        for table, rows in TABLES.items()
    }


def worst_and_best(quality: np.ndarray, worst: int = 6, best: int = 3) -> list[int]:
    """Numbers of the pictures to show, the worst first; unknown ones are left out."""
    order = [int(k) for k in np.argsort(quality) if not math.isnan(quality[k])]
    if len(order) <= worst + best:
        return order
    return order[:worst] + order[-best:]


def show(
    name: str,
    quality: float,
    image: np.ndarray,
    found: Predictions,
    target: Target,
    classes: Classes,
) -> Shown:
    """What a model found in an image uint8 RGB [H, W, 3] beside its annotation, drawn alike.

    Crowds are not drawn: nobody is asked to find them.
    """
    truth = target.as_predictions(found)
    return Shown(
        name,
        quality,
        image,
        draw(image, truth, classes, show_scores=False),
        draw(image, found, classes),
    )


def curves(evaluation: Evaluation) -> list[dict]:
    """Precision over recall of each class that occurs, for boxes and masks at two IoUs."""
    objects = evaluation.objects
    kinds = ["box", *(["mask"] if objects.has_masks else [])]
    return [
        {
            "title": f"{kind} precision over recall, IoU {iou}",
            "lines": _lines(evaluation, kind, iou),
        }
        for kind in kinds
        for iou in (0.5, 0.75)
    ]


def _lines(evaluation: Evaluation, kind: str, iou: float) -> list[dict]:
    """Those of at most ten classes, the most frequent ones, and their mean."""
    found = {
        name: evaluation.objects.curve(kind, label, iou)
        for label, name in enumerate(evaluation.classes.things)
    }
    known = {name: curve for name, curve in found.items() if not np.isnan(curve).any()}
    counts = {name: evaluation.objects.boxes().classes[name][2] for name in known}
    frequent = sorted(known, key=lambda name: -counts[name])[: len(COLORS)]
    lines = [
        {"name": name, "color": color, "ap": float(known[name].mean()), "curve": known[name]}
        for name, color in zip(frequent, COLORS, strict=False)
    ]
    if len(known) > 1:
        mean = np.mean(list(known.values()), axis=0)
        lines.append({"name": "mean", "color": "", "ap": float(mean.mean()), "curve": mean})
    return lines


def confusions(evaluation: Evaluation) -> list[dict]:
    """Confusion matrices with a row for each true class; every row is shown in shares of it."""
    names = list(evaluation.classes.things)
    found = [
        {
            "title": "objects (score 0.3 or more, IoU 0.5 or more)",
            "rows": [*names, "nothing"],
            "columns": [*names, "missed"],
            "counts": evaluation.confusion_matrix.counts,
        }
    ]
    if evaluation.has(evaluation.pixels):
        names = list(evaluation.classes.semantic)
        counts = evaluation.pixels.counts.numpy()
        found.append(
            {"title": "pixels", "rows": names, "columns": [*names, "none"], "counts": counts}
        )
    return [_with_shares(one) for one in found]


def _with_shares(matrix: dict) -> dict:
    """A matrix with the share of each cell in its row; rows without anything are left out."""
    counts = matrix["counts"]
    kept = counts.sum(1) > 0
    shares = counts[kept] / counts[kept].sum(1, keepdims=True)
    used = (counts.sum(0) > 0) | np.append(kept, False)[: counts.shape[1]]
    return {
        **matrix,
        "rows": [name for name, keep in zip(matrix["rows"], kept, strict=True) if keep],
        "columns": [name for name, keep in zip(matrix["columns"], used, strict=True) if keep],
        "counts": counts[kept][:, used].tolist(),
        "shares": shares[:, used].tolist(),
    }


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for people: counts as they are, shares to three digits, a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def jpeg(image: np.ndarray, width: int = PICTURE_WIDTH, quality: int = 85) -> str:
    """A picture uint8 RGB [H, W, 3] as a data URL, no wider than the report shows it."""
    picture = Image.fromarray(image)
    if picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

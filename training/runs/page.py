"""The page that tells how a run went."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from jointseg_eval.evaluation import Evaluation
from jointseg_eval.report import HEADLINES, columns_in, number, write_page
from training.runs.curves import curves
from training.runs.records import duration
from training.runs.run import Run

TIMES = 6
"""Validations of which a picture is shown, evenly spread."""
WORST_BY = ("mask_ap", "box_ap", "iou")
"""What orders the table of classes; the first that is known."""


def write_run_page(run: Run, evaluation: Evaluation) -> Path:
    """Write curves.png and report.html into the folder of a run, whose last scores are given."""
    folder, metrics = run.folder, evaluation.metrics
    picture = curves(folder.records())
    Image.fromarray(picture).save(folder.curves)
    table = worst_first(evaluation.table())
    write_page(
        folder.report,
        "page.html",
        Path(__file__).parent,
        facts=_facts(run),
        cards=[(number(metrics[k]), title) for k, title in HEADLINES.items() if k in metrics],
        curves=picture,
        table=table,
        columns=columns_in(table),
        batches={path.stem: _embedded(path) for path in sorted(folder.batches.glob("*.jpg"))},
        pictures=_over_time(folder.pictures),
    )
    return folder.report


def worst_first(table: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """The rows of a table of classes, those of the lowest score first, unknown ones last."""

    def score(name: str) -> float:
        known = (table[name].get(key, math.nan) for key in WORST_BY)
        return next((value for value in known if not math.isnan(value)), math.inf)

    return {name: table[name] for name in sorted(table, key=score)}


def _facts(run: Run) -> dict[str, str]:
    progress = run.progress
    best = f"{run.recipe.best} {progress.best:.3f} at step {progress.best_step}"
    return {
        "title": f"Training of {run.folder.path.name}",
        "command": run.command,
        "pictures to learn from": run.training.name,
        "pictures to validate on": run.validation.name,
        "steps": f"{progress.step}, each of {run.recipe.batch} pictures",
        "time": duration(progress.seconds),
        "skipped steps": str(progress.skipped),
        "best weights": f"best.safetensors: {best}",
    }


def _over_time(folder: Path) -> dict[str, list[str]]:
    """For each validation picture what was drawn of it, the first step first."""
    shown = {}
    for place in sorted(folder.glob("*/")):
        files = sorted(place.glob("*.jpg"))
        last = len(files) - 1
        chosen = {round(k * last / max(1, TIMES - 1)) for k in range(TIMES)}
        shown[place.name] = [_embedded(files[k]) for k in sorted(chosen) if files]
    return shown


def _embedded(path: Path) -> str:
    """A JPEG file as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()

"""Score a model on a data set: tables here, metrics.json and report.html in a folder.

python -m jointseg_eval.evaluate WEIGHTS DATASET --out out/evaluation
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import WEIGHTS, add_model_arguments, bounded, weights
from jointseg_eval.datasets import Samples, open_dataset, read_remap
from jointseg_eval.evaluation import Evaluation, evaluate, spread
from jointseg_eval.held_out import add_held_out, held_out
from jointseg_eval.input_validation import Noted, held
from jointseg_eval.models import Models, asked_for_all, open_predictors
from jointseg_eval.provenance import command_line
from jointseg_eval.report import (
    HEADLINES,
    Shown,
    columns_in,
    number,
    show,
    worst_and_best,
    write_report,
)
from jointseg_eval.scores import rounded, write_json

__all__ = ["Evaluation", "evaluate", "main"]


def main() -> int:
    """Evaluate as the command line says; BadInput for what cannot be evaluated."""
    options = _parser().parse_args()
    with held(options.out, "--out") if options.out else nullcontext():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    predictor, other = open_predictors(options)
    remap = read_remap(options.remap or ())
    known = predictor.classes.things
    noted = Noted()
    samples = open_dataset(
        options.dataset,
        options.split,
        classes=options.classes,
        remap=remap,
        report=noted,
        known=known,
        held_out=held_out(options),
    )
    for line in (*noted.lines(), *_learned(predictor, options)):
        print(f"note: {line}")
    evaluation = _with_progress(predictor, samples, other, options)
    console = Console(markup=False, width=None if sys.stdout.isatty() else 140)
    _print(console, evaluation)
    if options.out:
        pictures = illustrate(evaluation, predictor, samples, other, options.limit)
        _write(options.out, evaluation, _facts(predictor, samples, other), pictures)
        console.print(f"\n{options.out}/metrics.json and {options.out}/report.html are written.")
    return 0


def _learned(predictor: Predictor, options: argparse.Namespace) -> list[str]:
    """What to say of a file that the weights were trained on."""
    data = str((predictor.manifest.training or {}).get("data", ""))
    path = str(options.dataset)
    if not (options.dataset.is_file() and f" at {path} " in data) or options.val_fraction:
        return []
    return [
        f"the weights were trained on pictures of {path}: their scores say nothing about others;"
        " --val-fraction 0.1 takes those that were held out, with the --split-seed of the training"
    ]


def illustrate(
    evaluation: Evaluation,
    predictor: Predictor,
    samples: Samples,
    other: Predictor | None = None,
    limit: int | None = None,
) -> list[Shown]:
    """The worst pictures of an evaluation and its best ones, seen once more and drawn."""
    models = Models.of(samples.classes, samples.name, predictor, other)
    chosen = spread(len(samples), limit)
    quality, shown = evaluation.quality(), []
    with asked_for_all(predictor):
        for k in worst_and_best(quality):
            sample = samples[chosen[k]]
            ((found, _),) = models([sample.image])
            parts = sample.image, found, sample.target, samples.classes
            shown.append(show(sample.name, float(quality[k]), *parts))
    return shown


def _with_progress(
    predictor: Predictor, samples: Samples, other: Predictor | None, options: argparse.Namespace
) -> Evaluation:
    count = len(spread(len(samples), options.limit))
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(samples.name, total=count)
        return evaluate(
            predictor,
            samples,
            other,
            options.limit,
            batch=options.batch,
            on_pictures=lambda more: progress.advance(task, more),
        )


def _facts(predictor: Predictor, samples: Samples, other: Predictor | None) -> dict[str, str]:
    """What the results are the results of."""
    known = {"weights": str(predictor.weights), "sha256": predictor.sha256}
    if other:
        known |= {"class maps": str(other.weights), "sha256 of these": other.sha256}
    return {
        **known,
        "data": samples.name,
        "precision": f"{predictor.precision} on {predictor.device} by {predictor.backend}",
        "command": command_line("jointseg_eval.evaluate"),
    }


def _write(
    folder: Path, evaluation: Evaluation, facts: Mapping[str, str], pictures: list[Shown]
) -> None:
    document = {
        **facts,
        "pictures": len(evaluation),
        "metrics": rounded(evaluation.metrics),
        "classes": {name: rounded(row) for name, row in evaluation.table().items()},
    }
    title = f"Evaluation of {Path(facts['weights']).name}"
    shown = {"title": title, **facts, "pictures": str(len(evaluation))}
    write_report(folder / "report.html", evaluation, shown, pictures)
    write_json(folder / "metrics.json", document)


def _print(console: Console, evaluation: Evaluation) -> None:
    """All numbers, then those of each class."""
    metrics = evaluation.metrics
    numbers = Table("number", "", title=f"{len(evaluation)} pictures", title_justify="left")
    for name, value in metrics.items():
        numbers.add_row(name, number(value), style="bold" if name in HEADLINES else "")
    console.print(numbers)
    rows = evaluation.table()
    columns = columns_in(rows)
    table = Table("class", *columns.values())
    for name, row in rows.items():
        table.add_row(name, *[number(row.get(c)) for c in columns])
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=weights, help=WEIGHTS)
    parser.add_argument(
        "dataset", type=Path, help="a data set's folder, JSON (COCO) or data.yaml (YOLO)"
    )
    parser.add_argument("--split", default="val")
    parser.add_argument("--classes", nargs="+", help="names of the things to look for; COCO only")
    parser.add_argument("--remap", nargs="+", metavar="OLD=NEW", help="other names; COCO only")
    add_held_out(parser)
    parser.add_argument("--limit", type=bounded(int, 1), help="so many pictures, evenly spread")
    parser.add_argument("--out", type=Path, help="folder for metrics.json and report.html")
    add_model_arguments(parser)
    parser.add_argument("--batch", type=bounded(int, 1), default=4)
    return parser


if __name__ == "__main__":
    run_program(main)

"""What weights see on real pictures, side by side: CamVid's val split and COCO's street things.

python -m jointseg_eval.real_pictures WEIGHTS... [--pictures FOLDER] [--json FILE]

FOLDER holds camvid/ and coco200/. Tables are printed as Markdown, each number with its 95 %
interval over pictures, and below them what other weights have above the first. Exit code 4: a set
is missing, or weights do not know its classes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core import CITYSCAPES
from jointseg_core.command import run_program
from jointseg_core.errors import BadDataset, BadInput
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import WEIGHTS, bounded
from jointseg_eval.datasets import Samples, open_dataset
from jointseg_eval.datasets.coco_file import read_json
from jointseg_eval.evaluation import Evaluation, evaluate
from jointseg_eval.input_validation import check_folder
from jointseg_eval.metrics import Difference, draws, gains, intervals
from jointseg_eval.provenance import ROOT, command_line
from jointseg_eval.report import number
from jointseg_eval.scores import rounded, write_json

CAMVID, COCO, BARRED = "CamVid val", "COCO", "COCO, barred from training"
COCO_FILE = "coco200/panoptic_train2017.json"
PLACES = {CAMVID: ("camvid", "val"), COCO: (COCO_FILE, "train")}
"""Where a set is below the folder of pictures, and its split."""

FREE = ("/licenses/by/", "/licenses/by-sa/", "flickr.com/commons/", "usa.gov/")
"""Parts of the addresses of licences whose pictures may teach weights that are shipped."""

HEADLINES = ("mean IoU", "box AP50", "mask AP50")
LEFT_OUT = 4

Images = Sequence[int] | None
Table = dict[str, dict[str, Difference]]  # by weights, then by what a number is called


def main() -> int:
    """Score and compare as the command line says; BadInput without weights or pictures."""
    options = _parser().parse_args()
    if options.json:
        check_folder(options.json.parent, "--json")
    folder, problems = find_pictures(options.pictures), list[str]()
    sets = dict(open_sets(folder, problems.append))
    predictors = {
        name: Predictor.from_file(
            path, options.device, options.precision, input_size=options.input_size
        )
        for name, path in zip(_names(options.weights), options.weights, strict=True)
    }
    tables: dict[str, tuple[Table, int]] = {}
    for title, samples in sets.items():
        evaluations = dict(evaluate_all(predictors, samples, options.limit, problems.append))
        for part, chosen in _parts(title, evaluations, folder):
            tables[part] = compare(evaluations, chosen, options.resamples), len(chosen)
    for title, (table, count) in tables.items():
        print("\n".join(markdown(f"{title}, {count} pictures", table)), end="\n\n")
    if options.json:
        write_json(options.json, _document(predictors, tables))
    print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    return LEFT_OUT if problems else 0


def find_pictures(folder: Path | None = None) -> Path:
    """The folder of the sets: `folder`, else by $JOINTSEG_PICTURES, else beside the checkout.

    A folder named real, in it or beside it, counts as well. BadDataset where no set is there.
    """
    named = folder or os.environ.get("JOINTSEG_PICTURES")
    starts = [Path(named)] if named else []
    starts += [] if folder else [ROOT.parent / "shared/data/real"]
    tried = [place for start in starts for place in (start, start / "real", start.parent / "real")]
    for place in tried:
        if any((place / path).exists() for path, _ in PLACES.values()):
            return place
    raise BadDataset(
        f"there are no real pictures: looked for camvid/ and {COCO_FILE} in"
        f" {', '.join(map(str, dict.fromkeys(tried)))}; name their folder with --pictures or in"
        " $JOINTSEG_PICTURES."
    )


def open_sets(folder: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, Samples]]:
    """The sets that are there, by what tables call them; why others are not is told."""
    for title, (path, split) in PLACES.items():
        try:
            yield title, open_dataset(folder / path, split, known=CITYSCAPES.things)
        except BadInput as problem:
            tell(f"{title} is left out: {problem}")


def evaluate_all(
    predictors: Mapping[str, Predictor],
    samples: Samples,
    limit: int | None,
    tell: Callable[[str], None],
) -> Iterator[tuple[str, Evaluation]]:
    """How each of the weights did on a set; why it could not be asked is told."""
    for name, predictor in predictors.items():
        try:
            yield name, evaluate(predictor, samples, limit=limit, proposals=0)
        except BadInput as problem:
            tell(f"{name} is left out: {problem}")


def barred_pictures(folder: Path) -> set[str]:
    """Files of the COCO pictures whose licence keeps them out of what shipped weights learn."""
    document, _ = read_json(folder / COCO_FILE, ("images", "licenses"))
    free = {one["id"] for one in document["licenses"] if any(part in one["url"] for part in FREE)}
    return {image["file_name"] for image in document["images"] if image.get("license") not in free}


def scores_of(evaluation: Evaluation, images: Images) -> dict[str, float]:
    """IoU of classes, or AP50 of things, of the pictures with these numbers or of all."""
    if not evaluation.classes.things:
        if not evaluation.has(evaluation.pixels):
            return {}
        pixels = evaluation.pixels.over(images)
        ious = dict(zip(evaluation.classes.semantic, pixels.iou().tolist(), strict=True))
        return {"mean IoU": pixels.mean_iou(), **ious}
    objects = evaluation.objects
    kinds = {"box AP50": objects.boxes(images)}
    kinds |= {"mask AP50": objects.masks(images)} if objects.has_masks else {}
    whole = {kind: precision.ap50 for kind, precision in kinds.items()}
    names = evaluation.classes.things
    return whole | {f"{n}, {k}": p.classes[n][1] for n in names for k, p in kinds.items()}


def compare(evaluations: Mapping[str, Evaluation], chosen: np.ndarray, resamples: int) -> Table:
    """Numbers of each of the weights on chosen pictures, of later ones also above the first."""
    rows = {
        name: draws(partial(_score_drawn, evaluation, chosen), len(chosen), resamples)
        for name, evaluation in evaluations.items()
    }
    table = {name: intervals(found) for name, found in rows.items()}
    first, *others = rows
    for name in others:
        above = intervals(gains(rows[first], rows[name]))
        table[name] |= {f"{k} above {first}": above[k] for k in HEADLINES if k in above}
    return table


def _score_drawn(evaluation: Evaluation, chosen: np.ndarray, drawn: Images) -> dict[str, float]:
    """Numbers of the pictures at some places among the chosen ones, or of all these."""
    return scores_of(evaluation, chosen if drawn is None else chosen[drawn])


def _parts(
    title: str, evaluations: Mapping[str, Evaluation], folder: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """The tables of a set, each with the numbers of its pictures; none where none was scored."""
    if not evaluations:
        return
    pictures = next(iter(evaluations.values())).pictures
    yield title, np.arange(len(pictures))
    if title == COCO:
        barred = barred_pictures(folder)
        yield BARRED, np.flatnonzero([Path(name).name in barred for name in pictures])


def markdown(title: str, table: Table) -> Iterator[str]:
    """The lines of a table, a column for each of the weights; a dash where there is no number."""
    yield f"| {title} | {' | '.join(table)} |"
    yield "|---" * (1 + len(table)) + "|"
    for row in dict.fromkeys(name for column in table.values() for name in column):
        yield f"| {row} | {' | '.join(_cell(column.get(row)) for column in table.values())} |"


def _cell(found: Difference | None) -> str:
    if found is None or np.isnan(found.mean):
        return "-"
    return f"{number(found.mean)} ({number(found.low)} to {number(found.high)})"


def _names(weights: Sequence[Path]) -> list[str]:
    """What tables call weights: their stems, their paths where two have the same."""
    stems = [path.stem for path in weights]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in weights]


def _document(
    predictors: Mapping[str, Predictor], tables: Mapping[str, tuple[Table, int]]
) -> dict[str, Any]:
    """All numbers, what they are the numbers of, and the command."""
    return {
        "command": command_line("jointseg_eval.real_pictures"),
        "weights": {
            name: {"sha256": predictor.sha256, "precision": predictor.precision}
            for name, predictor in predictors.items()
        },
        "sets": {
            title: {"pictures": count, "scores": {name: _numbers(t) for name, t in table.items()}}
            for title, (table, count) in tables.items()
        },
    }


def _numbers(column: Mapping[str, Difference]) -> dict[str, dict[str, float | None]]:
    return {name: rounded(asdict(found)) for name, found in column.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="real_pictures", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("weights", type=Path, nargs="+", help=WEIGHTS)
    add("--pictures", type=Path, help="folder of camvid/ and coco200/; else $JOINTSEG_PICTURES")
    add("--limit", type=bounded(int, 1), help="so many pictures of each set, evenly spread")
    add("--resamples", type=bounded(int, 1), default=1000, help="draws behind an interval")
    add("--json", type=Path, help="file for all numbers")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--precision", default="fp32", help="auto, fp32, fp16, bf16 or int8")
    add("--input-size", default="", metavar="HxW", help="of all networks; that of their weights")
    return parser


if __name__ == "__main__":
    run_program(main)

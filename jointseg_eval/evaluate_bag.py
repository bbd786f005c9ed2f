"""Score a model on recordings, every frame of them, without ROS.

python -m jointseg_eval.evaluate_bag drive.mcap --weights joint_tiny.safetensors

Leaves metrics.json (the same however many processes worked on it), frames.csv, run.json and
report.html in the output folder, and what is done of each recording in its parts/, so that a run
that is started again does only what is left. Exit codes: 0, 2 (usage), 3 (bad input), 4 (done, and
something could not be read or evaluated), 130.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jointseg_core.command import run_program
from jointseg_core.errors import BadBag, BadConfig, BadInput
from jointseg_core.files import completed
from jointseg_eval.arguments import BITS, WEIGHTS, add_model_arguments, bounded, weights
from jointseg_eval.bag_evaluation.bag_result import BagResult
from jointseg_eval.bag_evaluation.examples import examples
from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.online import evaluate_online
from jointseg_eval.bag_evaluation.processes import Answer, Failure, in_processes, one_by_one
from jointseg_eval.bag_evaluation.report import write_bag_report
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.bag_evaluation.window_result import load, save
from jointseg_eval.bag_evaluation.windows import (
    Recording,
    TruthTopics,
    Window,
    common_truth,
    files_of,
    survey,
    windows,
)
from jointseg_eval.datasets.coco_file import read_categories, read_json
from jointseg_eval.input_validation import held, refuse
from jointseg_eval.models import Models
from jointseg_eval.provenance import command_line
from jointseg_eval.report import HEADLINES, number
from jointseg_eval.scores import write_json

EXIT_LOSSES = 4
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def main() -> int:
    """Evaluate as the command line says; BadInput for what cannot be evaluated."""
    options = _parser().parse_args()
    with held(options.out, "--out"):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    recordings, refused = _survey(options)
    if options.online is not None and len(recordings) > 1:
        raise BadConfig("--online belongs to one recording; evaluate one at a time.")
    settings = _settings(options, recordings)
    models = settings.models()
    began = time.perf_counter()
    result = _evaluate(options, recordings, settings, models)
    unscored = result.unscored() if settings.truth != "none" else []
    result.losses[:0] = [*unscored, *refused]
    timeline = result.timeline()
    if not len(timeline):
        told = "; ".join(result.losses) or "there is no frame in them"
        raise BadInput(f"nothing of the recordings could be evaluated: {told}")
    runs, document = [Run.of("every frame", timeline, result.evaluation)], result.document(timeline)
    if options.online is not None:
        online = evaluate_online(
            recordings[0],
            options.online,
            settings,
            models.predictor.classes,
            options.node,
            options.rate,
        )
        scores = online.processed, online.as_known
        runs.append(Run.of("the node", online.timeline, *scores, details=False))
        document["online"] = online.document()
    write_json(options.out / "metrics.json", document)
    _write_frames(options.out / "frames.csv", timeline)
    write_json(options.out / "run.json", _cost(result, began))
    shown = list(examples(result, timeline, settings, models))
    write_bag_report(
        options.out / "report.html",
        runs,
        _facts(models, timeline),
        result.over_time,
        shown,
        result.losses,
    )
    console = Console(markup=False, width=None if sys.stdout.isatty() else 120)
    for sentence in unscored:
        console.print(sentence, style="red", highlight=False, soft_wrap=True)
    _print(console, document, options.out)
    return EXIT_LOSSES if result.losses else 0


def _survey(options: argparse.Namespace) -> tuple[list[Recording], list[str]]:
    """The recordings that can be opened, and why others cannot; BadInput when there is none."""
    found, refused, taken = [], [], set()
    for path in options.bags:
        files = files_of(path)
        if files & taken:
            told = "it, or a part of it, was given before, and counts once"
            print(f"warning: {path} is left out: {told}", file=sys.stderr)
            continue
        taken |= files
        try:
            found.append(survey(path, options.topic, _truth_topics(options), options.strict))
        except BadBag as error:
            if options.strict or len(options.bags) == 1:
                raise
            refused.append(str(error))
    if not found:
        raise BadInput("none of the recordings can be evaluated: " + " ".join(refused))
    return found, refused


def _truth_topics(options: argparse.Namespace) -> TruthTopics | None:
    """From KIND=TOPIC on the command line."""
    named = dict(pair.partition("=")[::2] for pair in options.truth_topics or ())
    kinds = [name for name in TruthTopics.__dataclass_fields__]
    if wrong := [name for name in named if name not in kinds]:
        raise BadConfig(f"--truth-topics names {wrong[0]!r}; say KIND=TOPIC, KIND of {kinds}.")
    if named and "detections" not in named:
        raise BadConfig("--truth-topics needs detections=TOPIC, by which frames are paired.")
    return TruthTopics(**named) if named else None


def _settings(options: argparse.Namespace, recordings: Sequence[Recording]) -> Settings:
    truth = options.truth
    if truth not in ("topics", "none"):
        truth = str(Path(truth).absolute())
        document, _ = read_json(Path(truth), ("images", "annotations", "categories"))
        read_categories(document["categories"], Path(truth), refuse)
    same = ("device", "precision", "input_size", "backend", "batch", "strict", "bits")
    return Settings(
        options.weights.absolute(),
        options.other.absolute() if options.other else None,
        truth=truth,
        kinds=common_truth(recordings) if truth == "topics" else (),
        tolerance=round(options.tolerance * 1e9),
        **{name: getattr(options, name) for name in same},
    )


def _evaluate(
    options: argparse.Namespace,
    recordings: Sequence[Recording],
    settings: Settings,
    models: Models,
) -> BagResult:
    """Every window, done now or before; they are added in their own order."""
    predictors = [models.predictor, *([models.other] if models.other else [])]
    run = " ".join(f"{p.sha256} {p.backend} {p.precision}" for p in predictors)
    length = round(options.window * 1e9)
    jobs = [window for recording in recordings for window in windows(recording, length)]
    paths = [options.out / "parts" / f"{settings.key(w, run)}.npz" for w in jobs]
    left = [k for k, path in enumerate(paths) if load(path) is None]
    failures: dict[int, Failure] = {}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("windows", total=len(jobs), completed=len(jobs) - len(left))
        for place, found in _answers(options, [jobs[k] for k in left], settings):
            if isinstance(found, Failure):
                failures[left[place]] = found
            else:
                save(found, paths[left[place]])
            progress.advance(task)
    result = BagResult(recordings, models.predictor.classes)
    for k, (window, path) in enumerate(zip(jobs, paths, strict=True)):
        result.add(window, failures.get(k) or load(path))
    return result


def _answers(
    options: argparse.Namespace, jobs: Sequence[Window], settings: Settings
) -> Iterator[tuple[int, Answer]]:
    workers = min(options.workers, len(jobs))
    if options.ray and jobs:
        from jointseg_eval.bag_evaluation.ray_actors import in_cluster

        return in_cluster(jobs, settings, options.ray, max(1, workers))
    return in_processes(jobs, settings, workers) if workers else one_by_one(jobs, settings)


def _cost(result: BagResult, began: float) -> dict:
    """What the run took."""
    memory = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    spent = zip(("reading", "network", "scoring"), result.seconds.round(2).tolist(), strict=True)
    return {
        "command": command_line("jointseg_eval.evaluate_bag"),
        "wall_s": round(time.perf_counter() - began, 2),
        "spent_s": dict(spent),
        "peak_memory_mb": max(usage.ru_maxrss >> 10 for usage in memory),
    }


def _facts(models: Models, timeline: Timeline) -> Mapping[str, str]:
    """What the report says of the run."""
    predictor = models.predictor
    return {
        "title": f"{predictor.weights.name} on {', '.join(timeline.bags)}",
        "weights": str(predictor.weights),
        "sha256": predictor.sha256,
        "precision": f"{predictor.precision} on {predictor.device} by {predictor.backend}",
        "command": command_line("jointseg_eval.evaluate_bag"),
    }


def _write_frames(path: Path, timeline: Timeline) -> None:
    """A line for each frame."""
    text = io.StringIO()
    rows = csv.writer(text)
    numbers = ("quality", "confidence", "flicker")
    names = map(_cell, timeline.things)
    rows.writerow(["bag", "time_s", "stamp_ns", "fate", *numbers, *names])
    for k in range(len(timeline)):
        known = (getattr(timeline, name)[k] for name in numbers)
        rows.writerow(
            [
                _cell(timeline.bags[timeline.bag[k]]),
                f"{timeline.time[k]:.6f}",
                timeline.stamp[k],
                timeline.fates[timeline.fate[k]],
                *("" if np.isnan(value) else f"{value:.6f}" for value in known),
                *timeline.objects[k],
            ]
        )
    with completed(path) as file:
        file.write(text.getvalue().encode())


def _cell(text: str) -> str:
    """A text that no table takes for a formula."""
    return f"'{text}" if text.startswith(FORMULAS) else text


def _print(console: Console, document: dict, out: Path) -> None:
    """The scores, of every frame and of what a node made of them; the counts; what was lost."""
    columns, online = {"every frame": document["metrics"]}, document.get("online")
    if online:
        columns["node, processed"] = online["metrics_of_processed_frames"]
        columns["node, with the delay"] = online["metrics_as_known_when_a_frame_came"]
    table = Table("", *columns, title=f"{document['frames']} frames", title_justify="left")
    for name, title in HEADLINES.items():
        if name in document["metrics"]:
            table.add_row(title, *(number(metrics.get(name)) for metrics in columns.values()))
    counts = ("frames_with_annotation", "annotations_without_frame", "frames_damaged")
    for name in (*counts, "confidence", "flicker"):
        table.add_row(name.replace("_", " "), number(document[name]))
    for name, value in document["tracking"].items():
        table.add_row(f"tracks: {name.replace('_', ' ')}", number(value))
    console.print(table)
    for name, count in document["annotated_objects_of_unknown_classes"].items():
        console.print(f"{count} annotated objects of class {name!r}, which the model does not know")
    if online:
        latency = ", ".join(f"{name} {value} ms" for name, value in online["latency_ms"].items())
        done, lost = online["frames_processed"], online["frames_without_result"]
        console.print(f"{done} frames processed, {lost} without result; latency {latency}")
    for loss in document["losses"]:
        console.print(f"lost: {loss}", style="red", highlight=False, soft_wrap=True)
    console.print(
        f"{out}/report.html is written, beside metrics.json and frames.csv.", soft_wrap=True
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate_bag", description=__doc__.splitlines()[0])
    add = parser.add_argument
    count, above_0 = bounded(int, 0), bounded(float, 1e-3)
    add("bags", nargs="+", type=Path, metavar="BAG", help="folder, .mcap, .db3 or ROS 1 .bag file")
    add("--weights", type=weights, required=True, help=WEIGHTS)
    add("--topic", help="the images, where a recording has several")
    add("--truth", default="topics", help="of the bag, none, or a COCO JSON that names stamps")
    add(
        "--truth-topics",
        nargs="+",
        metavar="KIND=TOPIC",
        help="detections, masks, semantic, ignored",
    )
    add("--online", type=Path, help="what a node published while the recording was played to it")
    add("--node", help="start of that node's topics, as in /joint/camera")
    add("--rate", type=above_0, default=1.0, help="at which the recording was played")
    add("--tolerance", type=bounded(float, 0, 10), default=0.01, help="frame to annotation, s")
    add("--window", type=above_0, default=10.0, help="of time, done at once or again; s")
    add(
        "--workers",
        type=bounded(int, 0, 1024),
        default=os.cpu_count() or 1,
        help="processes; 0: this one alone",
    )
    add("--ray", metavar="ADDRESS", help="of a Ray cluster: auto, local or HOST:PORT")
    add("--out", type=Path, default=Path("out/bag_evaluation"))
    add_model_arguments(parser, device="cpu")
    add("--batch", type=count, default=4, help="frames that go through the network together")
    add("--bits", type=bounded(int, 0, 16), default=0, help=BITS)
    add("--strict", action="store_true", help="refuse a damaged recording instead of salvaging it")
    return parser


if __name__ == "__main__":
    run_program(main, "what is done stays in parts/")

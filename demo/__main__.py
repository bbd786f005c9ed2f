"""The whole system on one recording: replay it to the nodes, record, compare, draw.

    python -m demo                      a synthetic drive, with scores
    python -m demo --input drive.mp4    your own pictures, without

Leaves input.mcap, output.mcap, overlay.mp4, overlay.png, metrics.json and report.html in the output
folder.
Imports no ROS: the nodes are processes in the environment that this program was started in.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import seed_spread
from demo.inputs import convert
from demo.models import DEFAULT_MODELS, MODELS
from demo.pictures import Panels, SheetRows, sheet
from demo.replay import Replay, replay
from demo.report import DemoReport
from demo.scores import ModelScores
from demo.synchroniser import synchronised
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.messages import stamp_ns
from jointseg_eval.arguments import bounded
from jointseg_eval.input_validation import working_folder
from jointseg_eval.provenance import command_line
from jointseg_eval.recordings.bags import BagReader, merge
from jointseg_eval.recordings.topics import DEPTH, IMAGE
from jointseg_eval.scores import percentiles, write_json
from jointseg_eval.video import Video
from training.scenes.driving_bag import FRAMES_PER_STREET, RATE_HZ, STREETS, write_driving_bag

SEED = 1000
FILES = ("input.mcap", "output.mcap", "overlay.mp4", "overlay.png", "metrics.json", "report.html")
SEEN = (
    "What the shipped weights have learned from is in docs/models.md: joint's real pictures too, "
    "those of RDSNet and SegRPN synthetic streets only."
)
SYNTHETIC = (
    "A drive that a program drew: {streets} streets, each {frames_per_street} frames long (seed"
    " {seed}). No street leads into the next one, so scores with the delay are lower than they"
    " would be on a real road. mIoU here is over all classes; in metrics.json it leaves out"
    " classes with less than 0.1 % of the pixels."
)

Steps = Callable[[str, int | None], Callable[[int], None]]
"""Announces a step of so many parts; the result is told how many are done."""


@dataclass(frozen=True)
class Survey:
    """What is in the recording that is played: times and stamps in ns, sizes in bytes.

    largest_frame: a picture, and the depth that is sent with it.
    """

    start: int
    stamps: tuple[int, ...]
    largest_frame: int
    depth_topic: str  # empty where there is none

    @property
    def rate_hz(self) -> float:
        """Of most frames."""
        gaps = np.diff(self.stamps)
        return 1e9 / float(np.median(gaps)) if len(gaps) else RATE_HZ


def main() -> None:
    """Run the demo. ReplayError where a process failed, BadInput and BadConfig for wrong words."""
    options = _parser().parse_args()
    if unused := dict(options.weights or ()).keys() - set(options.models):
        name = min(unused)
        raise BadConfig(f"--weights {name}=...: {name} is not shown; add --models {name}")
    console = Console()
    metrics = run(options, console)
    _report(console, options, metrics)


def run(options: argparse.Namespace, console: Console) -> dict:
    """Do everything in a folder beside the output folder, then move the results there.

    Returns the content of metrics.json. After an exception the output folder is as it was.
    """
    out = options.out.absolute()
    with working_folder(out) as temporary, _steps(console) as step:
        folder = Path(temporary)
        _make_input(options, folder / "input.mcap", step)
        survey = _survey(folder / "input.mcap")
        replays = _replay_all(options, folder, survey, step)
        recordings = list(dict.fromkeys(r.recording for r in replays.values()))
        merge(recordings, folder / "output.mcap", survey.start)
        report = _evaluated(folder, replays, step)
        scores = _score_and_draw(folder, tuple(replays), survey, report, step)
        metrics = _metrics(options, survey, replays, scores)
        write_json(folder / "metrics.json", metrics)
        report.write(folder / "report.html", _facts(options))
        out.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(folder / name, out / name)
    return metrics


def _make_input(options: argparse.Namespace, path: Path, step: Steps) -> None:
    if options.input is not None:
        done = step(f"reading {options.input.name}", options.frames)
        convert(
            options.input,
            path,
            options.topic,
            options.rate,
            options.frames,
            lambda frames, _: done(frames),
        )
        return
    done = step("driving through streets", options.streets * options.frames_per_street)
    streets, frames = options.streets, options.frames_per_street
    told = {"progress": lambda n, _: done(n), "depth": options.depth}
    write_driving_bag(path, options.seed, streets, frames, **told)


def _survey(path: Path) -> Survey:
    stamps, sizes, start = [], {IMAGE: 0, DEPTH: 0}, 0
    with BagReader(path) as bag:
        for message in bag.messages(list(sizes)):
            start = start or message.time
            sizes[message.topic] = max(sizes[message.topic], len(message.content.data))
            if message.topic == IMAGE:
                stamps.append(stamp_ns(message.content.header))
    return Survey(start, tuple(stamps), sum(sizes.values()), DEPTH if sizes[DEPTH] else "")


def _replay_all(
    options: argparse.Namespace, folder: Path, survey: Survey, step: Steps
) -> dict[str, Replay]:
    """Each model alone, so that its latency is its own; or all at the same time."""
    passes = [options.models] if options.together else [[model] for model in options.models]
    replays = {}
    for models in passes:
        done = step(f"replaying to {' and '.join(models)}", len(survey.stamps))
        result = replay(
            folder / "input.mcap",
            models,
            folder,
            IMAGE,
            survey.largest_frame,
            _weights(options),
            done,
            survey.depth_topic,
        )
        replays |= dict.fromkeys(models, result)
    return replays


def _weights(options: argparse.Namespace) -> dict[str, Path]:
    """Those that are given; for synthetic drives else the smallest, which learned them alone."""
    drawn = options.models if options.input is None else ()
    return {name: shipped_weights(f"{name}_tiny") for name in drawn} | dict(options.weights or ())


def _evaluated(folder: Path, replays: Mapping[str, Replay], step: Steps) -> DemoReport:
    done = step("evaluating", len(replays))
    return DemoReport.of(folder / "input.mcap", folder / "output.mcap", replays, done)


def _score_and_draw(
    folder: Path, models: tuple[str, ...], survey: Survey, report: DemoReport, step: Steps
) -> dict[str, dict[str, float | None]]:
    """Go through the recordings once: scores by model (None without truth), video and pictures."""
    scores = {model: ModelScores(model, CITYSCAPES) for model in models}
    panels, rows = Panels(models, CITYSCAPES), SheetRows(len(survey.stamps))
    done = step("comparing and drawing", len(survey.stamps))
    with Video(folder / "overlay.mp4", survey.rate_hz) as video:
        frames = synchronised(folder / "input.mcap", folder / "output.mcap", models, CITYSCAPES)
        for number, frame in enumerate(frames):
            for model, found in frame.results.items():
                if frame.truth is not None and found is not None:
                    scores[model].add(found, frame.truth)
            video.add(panels.of(frame))
            rows.offer(number, frame)
            report.offer(number, frame)
            done(number + 1)
    Image.fromarray(sheet(rows.chosen(), models, CITYSCAPES)).save(folder / "overlay.png")
    return {model: score.summary() for model, score in scores.items()}


def _metrics(
    options: argparse.Namespace,
    survey: Survey,
    replays: Mapping[str, Replay],
    scores: Mapping[str, Mapping[str, float | None]],
) -> dict:
    frames, models = len(survey.stamps), {}
    for model, result in replays.items():
        latencies = result.latencies_ms(model)
        models[model] = {
            "frames_processed": len(latencies),
            "frames_dropped": frames - len(latencies),
            **scores[model],
            "latency_ms": percentiles(latencies),
        }
    seed = options.seed if options.input is None else None
    return {"seed": seed, "frames_in": frames, "models": models}


def _facts(options: argparse.Namespace) -> dict[str, str]:
    """What the report says on top of its page."""
    weights = dict(options.weights or ())
    known = {"title": "Demo: a synthetic drive", "input": SYNTHETIC.format(**vars(options))}
    if options.input is not None:
        known = {"title": f"Demo: {options.input.name}", "input": str(options.input)}
        known["weights"] = SEEN
    known |= {f"weights of {model}": str(path) for model, path in weights.items()}
    together = "all models at once" if options.together else "one model after the other"
    played = f"to {together}, as fast as it was recorded"
    return {**known, "played": played, "command": command_line("demo")}


def _report(console: Console, options: argparse.Namespace, metrics: dict) -> None:
    """A short table, the spread over seeds or what the weights know, and where the files are."""
    table = Table("", *metrics["models"])
    for name in ("frames_processed", "frames_dropped"):
        _row(table, name, metrics, "{:d}")
    if options.input is None:
        for name in dict.fromkeys(name for model in MODELS.values() for name in model.scores):
            _row(table, name, metrics, "{:.3f}")
    for name in ("p50", "p95", "p99"):
        latencies = {m: {name: v["latency_ms"][name]} for m, v in metrics["models"].items()}
        _row(table, name, {"models": latencies}, "{:.0f} ms", f"latency {name}")
    console.print(f"{metrics['frames_in']} frames at their original times:")
    console.print(table)
    note = seed_spread.note(options.models) if options.input is None else SEEN
    console.print(note, soft_wrap=True, highlight=False)
    for name in FILES:
        console.print(f"  {options.out / name}", soft_wrap=True, highlight=False)


def _row(table: Table, name: str, metrics: dict, form: str, title: str = "") -> None:
    values = (numbers.get(name) for numbers in metrics["models"].values())
    shown = ("-" if value is None else form.format(value) for value in values)
    table.add_row(title or name.replace("_", " "), *shown)


@contextmanager
def _steps(console: Console) -> Iterator[Steps]:
    """A bar for each step; nothing where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
    with bars:

        def step(name: str, total: int | None) -> Callable[[int], None]:
            for earlier in bars.tasks:  # some did not know before how many there would be
                bars.update(earlier.id, total=earlier.completed)
            task = bars.add_task(name, total=total)
            return lambda done: bars.update(task, completed=done)

        yield step


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    add, count = parser.add_argument, bounded(int, 1)
    add("--input", type=Path, help="a video, a picture or folder of pictures, or a recording")
    add("--topic", help="the images of a recording that has several")
    add("--rate", type=bounded(float, 1e-3), default=5.0, help="pictures a second, of a folder")
    add("--frames", type=count, help="take only the first so many of the input")
    add("--seed", type=int, default=SEED, help="of the synthetic drive; training used those < 1000")
    add("--streets", type=count, default=STREETS)
    add("--frames-per-street", type=count, default=FRAMES_PER_STREET)
    on_or_off = {"action": argparse.BooleanOptionalAction, "default": True}
    add("--depth", **on_or_off, help="of the synthetic drive: objects get a place in space")
    add("--models", nargs="+", choices=list(MODELS), default=list(DEFAULT_MODELS))
    add("--weights", type=_named_path, action="append", help="other weights, as MODEL=FILE")
    add("--together", action="store_true", help="all models at once instead of one by one")
    add("--out", type=Path, default=Path("out/demo"))
    return parser


def _named_path(text: str) -> tuple[str, Path]:
    model, _, path = text.partition("=")
    if model not in MODELS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=FILE, MODEL of {tuple(MODELS)}")
    return model, Path(path)


if __name__ == "__main__":
    run_program(main, "nothing was written")

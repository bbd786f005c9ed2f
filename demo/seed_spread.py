"""How much the demo's scores depend on its seed: several drives, scored without ROS.

python -m demo.seed_spread --seeds 5 --out docs/results/seed_spread.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.models import MODELS
from demo.replay import ROOT, SCORE_THRESHOLD
from demo.scores import ModelScores
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import bounded
from jointseg_eval.provenance import command_line
from jointseg_eval.scores import write_json
from training.scenes import render_drive
from training.scenes.driving_bag import FRAMES_PER_STREET, RATE_HZ, STREETS, scene_target

RESULTS = ROOT / "docs/results/seed_spread.json"
FIRST_SEED = 1000
SIZE = (256, 512)


def score_drive(
    seed: int, predictors: Mapping[str, Predictor], streets: int, frames_per_street: int
) -> dict[str, dict[str, float | None]]:
    """The scores of each model on one synthetic drive, as in the demo's metrics.json."""
    scores = {model: ModelScores(model, p.classes) for model, p in predictors.items()}
    for _, scene in render_drive(seed, streets, frames_per_street, RATE_HZ, SIZE):
        truth = scene_target(scene)
        for model, predictor in predictors.items():
            scores[model].add(predictor([scene.image])[0], truth)
    return {model: score.summary() for model, score in scores.items()}


def spread(seeds: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> dict:
    """For each model and number (mean, lowest, highest) over the seeds; those unknown left out."""
    found: dict = {}
    for model, known in MODELS.items():
        for name in known.scores:
            values = [s[model][name] for s in seeds.values() if model in s]
            values = [v for v in values if v is not None]
            if values:
                mean = round(sum(values) / len(values), 4)
                numbers = {"mean": mean, "lowest": min(values), "highest": max(values)}
                found.setdefault(model, {})[name] = numbers
    return found


def note(models: Sequence[str], path: Path = RESULTS) -> str:
    """What was measured of these models' shipped weights over several seeds, in a few lines."""
    advice = "python -m demo.seed_spread --seeds 5"
    try:
        measured = json.loads(path.read_text())
        lines = [_line(model, measured["spread"][model]) for model in models]
        known = all(measured["weights"][model] == _sha256(model) for model in models)
    except (OSError, ValueError, KeyError, TypeError):
        return f"Over other seeds: not measured here; run {advice}."
    if not known:
        return f"Over other seeds: measured with other weights; run {advice}."
    heading = f"In fp32 over seeds {', '.join(measured['seeds'])} ({measured['command']}):"
    return "\n".join([heading, *lines])


def main() -> None:
    """Score the seeds, print them with their spread, and write them down if asked to."""
    options = _parser().parse_args()
    predictors = {m: _predictor(m, options.device, options.precision) for m in options.models}
    seeds, console = {}, Console(width=140)
    for seed in range(options.first, options.first + options.seeds):
        seeds[str(seed)] = score_drive(seed, predictors, options.streets, options.frames_per_street)
        console.print(f"seed {seed}: {_inline(seeds[str(seed)])}", highlight=False)
    _print(console, spread(seeds))
    if options.out:
        document = {
            "command": command_line("demo.seed_spread"),
            "weights": {model: p.sha256 for model, p in predictors.items()},
            "precision": {model: p.precision for model, p in predictors.items()},
            "frames_a_seed": options.streets * options.frames_per_street,
            "seeds": seeds,
            "spread": spread(seeds),
        }
        write_json(options.out, document)


def _predictor(model: str, device: str, precision: str) -> Predictor:
    predictor = Predictor.from_file(
        shipped_weights(f"{model}_tiny"), device, precision, backend="torch"
    )
    predictor.configure(score_threshold=SCORE_THRESHOLD)
    return predictor


def _sha256(model: str) -> str:
    return json.loads(shipped_weights(f"{model}_tiny").with_suffix(".json").read_text())["sha256"]


def _inline(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    return "; ".join(
        f"{model} " + ", ".join(f"{name} {value}" for name, value in numbers.items())
        for model, numbers in scores.items()
    )


def _line(model: str, numbers: Mapping[str, Mapping[str, float]]) -> str:
    shown = [
        f"{name.replace('_', ' ')} {n['mean']:.3f} ({n['lowest']:.3f} to {n['highest']:.3f})"
        for name, n in numbers.items()
    ]
    return f"  {model}: {', '.join(shown)}"


def _print(console: Console, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    table = Table("model", "score", "mean", "lowest", "highest", "half the range")
    for model, numbers in found.items():
        for name, n in numbers.items():
            half = (n["highest"] - n["lowest"]) / 2
            values = [f"{v:.3f}" for v in (n["mean"], n["lowest"], n["highest"], half)]
            table.add_row(model, name, *values)
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="seed_spread", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=bounded(int, 1), default=5, help="how many")
    parser.add_argument(
        "--first", type=bounded(int, 0), default=FIRST_SEED, help="the first of them"
    )
    parser.add_argument("--streets", type=bounded(int, 1), default=STREETS)
    parser.add_argument("--frames-per-street", type=bounded(int, 1), default=FRAMES_PER_STREET)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="fp32", help="auto, fp32, fp16 or bf16")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    return parser


if __name__ == "__main__":
    run_program(main)

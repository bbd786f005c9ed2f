"""How well objects are followed through synthetic drives of 20 s, without ROS.

python -m demo.tracking --seeds 3 --out docs/results/tracking.json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from demo.seed_spread import FIRST_SEED, SIZE
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import bounded
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.bag_evaluation.tracks import TrackColumns, tracking
from jointseg_eval.bag_evaluation.truth import Annotation
from jointseg_eval.metrics.columns import mean
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.provenance import command_line
from jointseg_eval.scores import rounded, write_json
from jointseg_objects.tracking import TrackingConfig
from training.scenes import Scene, render_drive
from training.scenes.driving_bag import RATE_HZ, scene_target

STREETS, FRAMES_PER_STREET = 5, 40
WAYS = {
    "tracked": TrackingConfig(),
    "without uncertain objects": TrackingConfig(low_score=TrackingConfig.high_score),
}
"""How objects are followed: as by default, and by one stage of association alone."""


def drive(seed: int, predictor: Predictor, streets: int, frames_per_street: int) -> TrackColumns:
    """What the model finds on a synthetic drive, and what there is."""
    columns = TrackColumns()
    for stamp, scene in render_drive(seed, streets, frames_per_street, RATE_HZ, SIZE):
        columns.add(stamp, predictor([scene.image])[0], annotation(scene))
    return columns


def annotation(scene: Scene) -> Annotation:
    """The objects of a scene with their ids, crowds last."""
    target = scene_target(scene)
    order = torch.argsort(target.crowd.int(), stable=True)
    ids = (str(o.track_id) for o in scene.objects if o.label >= 0 and not o.crowd)
    return Annotation(target[order], torch.zeros(len(order)), ids=tuple(ids))


def scores(columns: TrackColumns) -> dict[str, dict[str, float]]:
    """Of each way to follow objects; and the flicker of what is shown without any."""
    found = {name: rounded(tracking([columns], config)) for name, config in WAYS.items()}
    return {**found, "untracked": rounded({"flicker": _flicker(columns)})}


def _flicker(drive: TrackColumns) -> float:
    columns = drive.columns()
    shown = (columns["kind"] == 0) & (columns["score"] >= MIN_SCORE)
    boxes = (columns[name][shown] for name in ("image", "label", "box"))
    return mean(flicker(np.zeros(len(drive), int), columns["seen"], *boxes))


def means(seeds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Over the seeds."""
    first = next(iter(seeds.values()))
    return {
        way: rounded({name: mean(np.array([s[way][name] for s in seeds.values()])) for name in row})
        for way, row in first.items()
    }


def main() -> None:
    """Score the seeds, print the means, and write all down if asked to."""
    options = _parser().parse_args()
    predictor = Predictor.from_file(
        shipped_weights(f"{options.model}_tiny"), options.device, "fp32", backend="torch"
    )
    predictor.configure(score_threshold=0.05)
    seeds, console = {}, Console(width=120)
    size = options.streets, options.frames_per_street
    for seed in range(options.first, options.first + options.seeds):
        seeds[str(seed)] = scores(drive(seed, predictor, *size))
        console.print(f"seed {seed}: {seeds[str(seed)]}", highlight=False)
    found = means(seeds)
    table = Table("", *found)
    for name in found["tracked"]:
        table.add_row(name.replace("_", " "), *(f"{row.get(name, '-')}" for row in found.values()))
    console.print(table)
    if options.out:
        document = {
            "command": command_line("demo.tracking"),
            "weights": {options.model: predictor.sha256},
            "frames_a_seed": options.streets * options.frames_per_street,
            "seeds": seeds,
            "means": found,
        }
        write_json(options.out, document)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tracking", description=__doc__.splitlines()[0])
    count = bounded(int, 1)
    parser.add_argument("--seeds", type=count, default=3, help="how many drives")
    parser.add_argument(
        "--first", type=bounded(int, 0), default=FIRST_SEED, help="the seed of the first"
    )
    parser.add_argument("--streets", type=count, default=STREETS)
    parser.add_argument("--frames-per-street", type=count, default=FRAMES_PER_STREET)
    parser.add_argument("--model", choices=["joint", "rdsnet", "segrpn"], default="joint")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    return parser


if __name__ == "__main__":
    run_program(main)

"""How well objects are placed in space on synthetic drives with depth, without ROS.

python -m demo.depth --seeds 3 --frames-per-street 2 --out depth.json
python -m demo.depth --seeds 3 --frames-per-street 2 --noise 0.05 --holes 0.1 --out noise.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from demo.seed_spread import FIRST_SEED, SIZE
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import bounded
from jointseg_eval.bag_evaluation.placed import hull, lifted
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.metrics.positions import RANGES, PlacedObjects, PositionErrors
from jointseg_eval.provenance import command_line
from jointseg_eval.scores import rounded, write_json
from jointseg_objects.depth import Intrinsics, lift
from training.scenes import Scene, render_drive
from training.scenes.depth import measured
from training.scenes.driving_bag import FRAMES_PER_STREET, RATE_HZ, STREETS, visible_positions


def drive(
    errors: PositionErrors, seed: int, predictor: Predictor, options: argparse.Namespace
) -> None:
    """Add what the model finds on a synthetic drive, placed by depth as a sensor measures it."""
    size = options.streets, options.frames_per_street
    for k, (_, scene) in enumerate(render_drive(seed, *size, RATE_HZ, SIZE, depth=True)):
        found = predictor([scene.image])[0]
        depth = measured(scene.depth, options.noise, options.holes, seed * 1000 + k)
        objects = lift(found, depth, Intrinsics(*scene.intrinsics))
        shown = int((found.scores >= MIN_SCORE).sum())
        errors.add(lifted(objects, found), shown, true_objects(scene))


def true_objects(scene: Scene) -> PlacedObjects:
    """The objects of a scene with depth, crowds and those of no class left out."""
    chosen = [(k, o) for k, o in enumerate(scene.objects, 1) if o.label >= 0 and not o.crowd]
    seen = visible_positions(scene, [k for k, _ in chosen])
    solids = [o.solid for _, o in chosen]
    sizes = hull(_rows([s.size for s in solids]), np.array([s.heading for s in solids]))
    return PlacedObjects(
        np.array([o.label for _, o in chosen], np.int64),
        np.ones(len(chosen)),
        np.array([o.box for _, o in chosen], float).reshape(-1, 4),
        *(_rows(seen), _rows([s.centre for s in solids]), sizes),
    )


def _rows(points: list[tuple[float, float, float]]) -> np.ndarray:
    return np.array(points, float).reshape(-1, 3)


def main() -> None:
    """Score the seeds together, print the numbers, and write them down if asked to."""
    options = _parser().parse_args()
    predictor = Predictor.from_file(
        shipped_weights(f"{options.model}_tiny"), options.device, "fp32", backend="torch"
    )
    errors = PositionErrors()
    for seed in range(options.first, options.first + options.seeds):
        drive(errors, seed, predictor, options)
    found = rounded(errors.score())
    _print(found)
    if options.out:
        document = {
            "command": command_line("demo.depth"),
            "weights": {options.model: predictor.sha256},
            "frames": len(errors),
            "scores": found,
        }
        write_json(options.out, document)


def _print(found: dict[str, float]) -> None:
    ranges = [*RANGES, "up_to_40_m"]
    table = Table("", *(name.replace("_", " ") for name in ranges))
    for name in ("position_error", "center_error", "placed", "objects"):
        table.add_row(name.replace("_", " "), *(f"{found[f'{name}_{r}']}" for r in ranges))
    console = Console(width=120)
    console.print(table)
    others = (f"{k.replace('_', ' ')}: {v}" for k, v in found.items() if not k.endswith((*ranges,)))
    console.print("; ".join(others), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="depth", description=__doc__.splitlines()[0])
    share, count = bounded(float, 0), bounded(int, 1)
    parser.add_argument("--seeds", type=count, default=3, help="how many drives")
    parser.add_argument(
        "--first", type=bounded(int, 0), default=FIRST_SEED, help="the seed of the first"
    )
    parser.add_argument("--streets", type=count, default=STREETS)
    parser.add_argument("--frames-per-street", type=count, default=FRAMES_PER_STREET)
    parser.add_argument("--noise", type=share, default=0.0, help="of the depth, as a share of it")
    parser.add_argument(
        "--holes", type=bounded(float, 0, 1), default=0.0, help="the share without depth"
    )
    parser.add_argument("--model", choices=["joint", "rdsnet"], default="joint")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    return parser


if __name__ == "__main__":
    run_program(main)

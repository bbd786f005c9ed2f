"""Train a network by a recipe: `python -m training.train RECIPE [--field value ...]`.

    python -m training.train rdsnet_tiny_synthetic
    python -m training.train rdsnet_tiny_synthetic --resume
    python -m training.train rdsnet_r50_coco_1x --data /data/coco --backbone resnet50.pth
    torchrun --nproc-per-node=8 -m training.train rdsnet_r101_coco_2x --data /data/coco ...

The loop is `learn`. What one step does is in `stages`, the numbers are in `recipes`, what is
written where in `run_folder`. A run that was stopped in any way goes on with --resume as if it had
not been.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from jointseg_core.command import run_program
from training.loading.batches import batches
from training.recipes import augmentation_of
from training.runs.command import parse_command, shortened
from training.runs.distributed import joined
from training.runs.preparation import prepare
from training.runs.run import Run
from training.runs.stopping import StopSignals
from training.runs.validation import finish, validate


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0, or 143 or 130 for a signal. Raises Diverged as well."""
    command = parse_command(sys.argv[1:] if arguments is None else arguments)
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(command.options.device))
        if command.options.dry_run:
            folder = stack.enter_context(TemporaryDirectory())
            command = shortened(command, Path(folder))
        run = prepare(command, ranks, stack)
        stop = stack.enter_context(StopSignals())
        learn(run, stop)
        if run.progress.step == run.total:
            finish(run, stop)
        if stop.number or run.progress.step < run.total:
            run.say(f"stopped after step {run.progress.step}; --resume goes on from there")
        elif command.options.dry_run:
            run.say("rehearsed: everything works, and nothing was left behind")
        return stop.exit_code


def learn(run: Run, stop: StopSignals) -> None:
    """The loop: validate when it is time, take a step, save now and then.

    Ends after the last step, or after the step during which it was told to stop.
    """
    recipe, options, ranks, progress = run.recipe, run.options, run.ranks, run.progress
    augmentation = augmentation_of(recipe)
    stream = batches(
        run.training,
        augmentation,
        recipe.batch,
        recipe.seed,
        run.workers,
        ranks.rank,
        ranks.world,
        start=progress.step,
        multiple=32 if augmentation.scales else 1,
    )
    run.records.begin(progress.step, run.total, recipe.batch)
    while True:
        if run.validation_due:
            validate(run, stop)
        if progress.step == run.total or ranks.highest(stop.number or run.late):
            break
        began = time.monotonic()
        images, targets, names = next(stream)
        run.take_step(images, targets, names, waited=time.monotonic() - began)
        if progress.step % options.save_every == 0:
            run.save()
    run.save()


if __name__ == "__main__":
    run_program(main)

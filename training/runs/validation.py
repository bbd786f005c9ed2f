"""The averaged weights on validation pictures: as training goes on, and in the end on all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jointseg_core import Predictor, SegRPNConfig
from jointseg_core.errors import BadConfig
from jointseg_core.visualize import draw
from jointseg_eval.datasets import Samples
from jointseg_eval.evaluation import Evaluation, evaluate, spread
from training.runs.page import write_run_page
from training.runs.panels import captioned
from training.runs.run import Run
from training.runs.stopping import StopSignals

SHOWN = ("box_ap", "box_ap50", "mask_ap", "miou", "foreground_miou", "pq")
"""Metrics that a line on the terminal has room for."""


class _Stopped(Exception):
    """The process was told to stop in the middle of a validation."""


def check_metric(run: Run) -> None:
    """Validate on one picture. Raises BadConfig if validation does not give the metric of the best.

    Those of masks are known to come as soon as an object is found.
    """
    known = evaluate(run.predictor(), run.validation, limit=1).metrics
    names = {*known, *(name.replace("box_", "mask_") for name in known)}
    if run.recipe.best not in (known if isinstance(run.recipe.model, SegRPNConfig) else names):
        raise BadConfig(
            f"--best: validation gives no {run.recipe.best}; want one of {', '.join(known)}"
        )


def validate(run: Run, stop: StopSignals) -> None:
    """Score the same pictures as ever, draw some, and keep the weights if they are the best.

    The first process alone does it. Nothing is kept of a validation that a signal stopped.
    """
    evaluation = None
    if run.ranks.first:
        evaluation = _evaluate(run, stop, run.recipe.validation_images or None)
    if evaluation is not None:
        _keep(run, evaluation.metrics)
    if run.ranks.highest(evaluation is not None):
        run.progress.validated = run.progress.step


def _keep(run: Run, metrics: dict[str, float]) -> None:
    progress, name = run.progress, run.recipe.best
    run.records.write("validation", progress.step, **metrics)
    if (score := metrics.get(name, 0.0)) > progress.best:
        progress.best, progress.best_step = score, progress.step
        run.export("best", metrics)
    best = f"best {name} {progress.best:.3f} at step {progress.best_step}"
    run.say(f"step {progress.step}: {_shown(metrics)}; {best}")
    chosen = spread(len(run.validation), run.recipe.pictures)
    pictures = drawn(run.validation, chosen, run.predictor(), progress.step)
    for name, picture in pictures.items():
        path = run.folder.pictures / name / f"{progress.step:08}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)
    run.records.pictures(progress.step, pictures)


def drawn(
    samples: Samples, indices: Sequence[int], predictor: Predictor, step: int
) -> dict[str, np.ndarray]:
    """Picture, annotation and prediction of some samples side by side, uint8 RGB, by name."""
    pictures = {}
    for sample in (samples[index] for index in indices):
        (found,) = predictor([sample.image])
        truth = sample.target.as_predictions(found)
        pictures[Path(sample.name).stem] = captioned(
            {
                "picture": sample.image,
                "truth": draw(sample.image, truth, samples.classes, show_scores=False),
                f"found after step {step}": draw(sample.image, found, samples.classes),
            }
        )
    return pictures


def finish(run: Run, stop: StopSignals) -> None:
    """Score all validation pictures with what training ended with; write that, and a page."""
    if run.ranks.first:
        evaluation = _evaluate(run, stop, None)
        if evaluation is None:
            return
        metrics = evaluation.metrics
        run.records.write("result", run.progress.step, **metrics)
        run.export("weights", metrics)
        run.say(f"{run.folder.weights}: {_shown(metrics)}")
        run.say(f"{write_run_page(run, evaluation)} shows how it went")
    run.ranks.wait()


def _evaluate(run: Run, stop: StopSignals, limit: int | None) -> Evaluation | None:
    """The scores of the averaged weights; None where a signal stopped the validation."""

    def go_on(count: int) -> None:
        if stop.number:
            raise _Stopped

    try:
        return evaluate(run.predictor(), run.validation, limit=limit, on_pictures=go_on)
    except _Stopped:
        return None


def _shown(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics)

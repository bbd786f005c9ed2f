"""The model that the parameters name, made ready for the node."""

from __future__ import annotations

import os
import time

import torch

from jointseg_core.checkpoint import shipped_weights
from jointseg_core.model_check import check_model
from jointseg_core.predictor import Predictor
from jointseg_ros.parameters import Settings

DEFAULT_THREADS = max(1, len(os.sched_getaffinity(0)) - 1)  # one core for the executor


def load_predictor(settings: Settings) -> tuple[Predictor, float]:
    """A model that is loaded, checked and warmed up, and how long the warm-up took in ms.

    Raises ValueError with the path and the reason.
    """
    torch.set_num_threads(settings.num_threads or DEFAULT_THREADS)
    predictor = Predictor.from_file(
        settings.model_weights or shipped_weights(settings.model_type),
        device=settings.device,
        precision=settings.precision,
        sha256=settings.model_sha256,
        model_type=settings.model_type,
        backend=settings.backend,
    )
    if reason := unknown_classes(predictor, settings):
        raise ValueError(reason)
    check_model(predictor)
    apply_settings(predictor, settings)
    started = time.monotonic()
    predictor.warm_up(range(1, settings.batch_size + 1))
    return predictor, 1e3 * (time.monotonic() - started)


def unknown_classes(predictor: Predictor, settings: Settings) -> str:
    """Which names of `classes_filter` the model does not know, in a sentence; empty for none."""
    things = predictor.classes.things
    unknown = [name for name in settings.classes_filter if name not in things]
    if not unknown:
        return ""
    return (
        f"classes_filter names {', '.join(unknown)}; "
        f"the model of {predictor.weights} knows {', '.join(things)}"
    )


def apply_settings(predictor: Predictor, settings: Settings) -> None:
    """The thresholds of the parameters to the model, which wants probabilities within 0 and 1."""
    predictor.configure(
        score_threshold=settings.score_threshold,
        nms_iou=settings.nms_iou,
        mask_threshold=settings.mask_threshold,
        max_detections=settings.max_detections,
    )

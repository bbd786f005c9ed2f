"""The model that the parameters name, made ready for the node."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rclpy.impl.rcutils_logger import RcutilsLogger

from jointseg_core.checkpoint import shipped_weights
from jointseg_core.model_check import check_model
from jointseg_core.predictor import Predictor
from jointseg_ros.levels import described
from jointseg_ros.parameters import Settings
from jointseg_ros.paths import expanded

DEFAULT_THREADS = max(1, len(os.sched_getaffinity(0)) - 1)  # one core for the executor


def load_predictor(settings: Settings, log: RcutilsLogger) -> tuple[Predictor, float]:
    """A model that is loaded, checked and warmed up, and how long the warm-up took in ms.

    The log gets what runs and why, and what the core warns of. An export that backend "auto" has
    chosen and that fails here gives way to torch. Raises ValueError with the path and the reason.
    """
    torch.set_num_threads(settings.num_threads or DEFAULT_THREADS)
    with _warnings_in(log):
        predictor = _opened(settings, settings.backend)
        try:
            warm_up_ms = _made_ready(predictor, settings)
        except Exception as error:  # a runtime raises what it likes
            if settings.backend != "auto" or predictor.backend == "torch":
                raise
            why = described(error)
            warnings.warn(f"torch runs instead of {predictor.backend}: {why}", stacklevel=1)
            predictor = _opened(settings, "torch")
            warm_up_ms = _made_ready(predictor, settings)
    how = f"on {predictor.device} by {predictor.backend} in {predictor.precision}"
    why = predictor.reason and f" ({predictor.reason})"
    log.info(f"{predictor.model_type} from {predictor.weights} {how}{why}")
    return predictor, warm_up_ms


@contextmanager
def _warnings_in(log: RcutilsLogger) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for warning in said:
                log.warning(f"{warning.message}")


def _opened(settings: Settings, backend: str) -> Predictor:
    return Predictor.from_file(
        named_weights(settings),
        device=settings.device,
        precision=settings.precision,
        sha256=settings.model_sha256,
        model_type=settings.model_type,
        backend=backend,
        input_size=settings.model_input_size,
    )


def named_weights(settings: Settings) -> Path:
    """Those that are named: a path, or shipped ones by their name; else those of the model."""
    named = Path(expanded(settings.model_weights or settings.model_type))
    shipped = shipped_weights(named.name)
    by_name = named.parent == Path() and shipped.is_file() and not named.exists()
    return shipped if by_name or not settings.model_weights else named


def _made_ready(predictor: Predictor, settings: Settings) -> float:
    """Check and warm up; ms that the warm-up took."""
    check_model(predictor)
    apply_settings(predictor, settings)
    started = time.monotonic()
    predictor.warm_up(range(1, settings.batch_size + 1))
    return 1e3 * (time.monotonic() - started)


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
    """The thresholds of the parameters to the model, which wants probabilities within 0 and 1.

    Those that are 0 are as the manifest of the weights says.
    """
    own = predictor.manifest.config
    tuned = {
        name: getattr(settings, name) or getattr(own, name)
        for name in ("nms_iou", "mask_threshold")
        if hasattr(own, name)
    }
    predictor.configure(
        score_threshold=settings.lowest_score,
        max_detections=settings.max_detections,
        **tuned,
    )

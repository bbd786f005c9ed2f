"""Random frames of recordings, and examples of them, for tests of the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.report import Example
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.evaluation import Evaluation

THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
START_NS = 1_700_000_000_000_000_000


def made_timeline(
    frames: int, bags: tuple[str, ...] = ("drive",), things: tuple[str, ...] = THINGS
) -> Timeline:
    """Frames at 10 Hz, all of them processed, evenly spread over the recordings."""
    rng = np.random.default_rng(0)
    bag = np.arange(frames) * len(bags) // max(1, frames)
    time = 0.1 * (np.arange(frames) - np.searchsorted(bag, bag))
    return Timeline(
        bags,
        things,
        ("processed", "unreadable"),
        bag,
        time,
        START_NS + np.rint(time * 1e9).astype(np.int64),
        np.zeros(frames, int),
        rng.random(frames),
        rng.uniform(0.3, 1, frames),
        rng.random(frames) ** 3,
        np.full(frames, np.nan),
        rng.poisson(1.5, (frames, len(things))),
    )


def offline(timeline: Timeline, evaluation: Evaluation | None = None) -> Run:
    """The frames evaluated without a clock."""
    metrics = evaluation.metrics if evaluation else {}
    return Run("offline", timeline, metrics, evaluation=evaluation)


def played(timeline: Timeline, name: str = "at 1x", fate: str = "overwritten") -> Run:
    """The same frames played to a node that loses every fifth one."""
    lost = np.arange(len(timeline)) % 5 == 4
    latency = np.where(lost, np.nan, np.random.default_rng(1).gamma(4, 12, len(timeline)))
    quality = np.where(lost, np.nan, timeline.quality)
    parts = {"fates": ("processed", fate), "fate": lost.astype(int)}
    return Run(name, replace(timeline, latency_ms=latency, quality=quality, **parts))


def example(number: int = 0, size: tuple[int, int] = (40, 60), **other: object) -> Example:
    """A frame of plain colours for the frame with this number of the first recording."""
    planes = [np.full((*size, 3), shade, np.uint8) for shade in (90, 160, 230)]
    known = {"classes": ("car",), "quality": number / 100} | other
    picture, found, truth = planes
    parts = {"picture": picture, "found": {"found": found}, "truth": truth} | known
    return Example(**{"name": f"frame {number}", "bag": 0, "time": number / 10} | parts)

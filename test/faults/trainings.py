"""G. Training and scoring: pictures that break in the middle, losses that are no numbers, signals,
and detections that no metric expects.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_run import scenes, words

from faults.contract import Case
from jointseg_core import Classes, Masks, Predictions, Target
from jointseg_core.errors import SegError
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.evaluation import Evaluation

RUN = "training.train"
CLASSES = Classes(("car", "person"))


def trained(
    name: str, spoil: Callable[[Path], object], code: int, *said: str, often: bool = False, **flags
) -> Case:
    """A training of a few steps on a data set of which something became something else."""

    def made(folder: Path) -> list[str]:
        data = scenes(folder)
        spoil(data)
        given = {"steps": 2, "validate-every": 2, "refinement-steps": 0, **flags}
        return words("rdsnet_tiny_synthetic", data, folder / "run", **given)

    limits = {"seconds": 90, "megabytes": 900, "often": often}
    return Case("trainings", name, made, RUN, None, code, said, **limits)


def pictures(root: Path) -> list[Path]:
    return sorted(root.glob("leftImg8bit/train/*/*.png"))


def cut_all(root: Path) -> None:
    for path in pictures(root)[1:]:
        path.write_bytes(path.read_bytes()[:500])


def stopped_by(number: int) -> Callable[[Path], None]:
    """The signal comes when the run has written its first line."""

    def spoil(root: Path) -> None:
        lines = root.parent / "run" / "metrics.jsonl"

        def wait() -> None:
            while not (lines.exists() and lines.stat().st_size):
                time.sleep(0.005)
            os.kill(os.getpid(), number)

        threading.Thread(target=wait, daemon=True).start()

    return spoil


# Scores


def target(count: int, crowd: bool = False) -> Target:
    boxes = torch.tensor([[2.0, 2, 12, 12]]).repeat(count, 1)
    masks = torch.zeros(count, 32, 32, dtype=bool)
    masks[:, 2:12, 2:12] = True
    return Target(
        boxes, torch.zeros(count, dtype=torch.int64), masks, None, torch.full((count,), crowd)
    )


def found(count: int, score: float = 0.5) -> Predictions:
    boxes = torch.tensor([[2.0, 2, 12, 12]]).repeat(count, 1)
    crops = [torch.ones(10, 10, dtype=bool)] * count
    windows = torch.tensor([[2, 2, 12, 12]]).repeat(count, 1)
    masks = Masks.from_crops(windows, crops) if count else Masks.empty()
    return Predictions(
        (32, 32), boxes, torch.full((count,), score), torch.zeros(count, dtype=torch.int64), masks
    )


def scored(name: str, truth: Target, seen: Predictions, often: bool = False, **how: Any) -> Case:
    """One picture goes through all metrics; its numbers are between 0 and 1, or NaN."""

    def run() -> None:
        import numpy as np

        evaluation = Evaluation(CLASSES)
        evaluation.add(Sample("a", 0, np.zeros((32, 32, 3), np.uint8), truth, None), seen)
        numbers = evaluation.metrics
        assert numbers and all(v != v or -1 <= v <= 1e6 for v in numbers.values()), numbers
        evaluation.table(), evaluation.quality()

    return Case("trainings", name, lambda folder: (), run, often=often, megabytes=200, **how)


def _good(root: Path) -> None:
    pass


CASES = [
    trained("pictures that break in the middle", cut_all, 3, "cannot be read", steps=6),
    trained(
        "a loss that is no number",
        _good,
        1,
        "no finite loss",
        lr=1e30,
        **{"warm-up-from": 1, "max-skipped": 2, "steps": 6},
    ),
    trained("SIGTERM in the middle", stopped_by(signal.SIGTERM), 143, "--resume", steps=400),
    trained("SIGINT in the middle", stopped_by(signal.SIGINT), 130, "--resume", steps=400),
    trained("a rate that is not a number", _good, 2, "--lr is nan", lr="nan", often=True),
    trained("a batch of no picture", _good, 2, "--batch is 0", batch=0),
    trained("an input of 60 pixels", _good, 2, "multiples of 32", **{"input-size": "60x128"}),
    trained("a word that is no flag", _good, 2, "did you mean", stepps=3),
    trained("maps that are gone", lambda r: [p.unlink() for p in r.glob("gtFine/*/*/*.png")], 3),
    scored("nothing found, nothing there", target(0), found(0), often=True),
    scored("nothing found", target(3), found(0)),
    scored("nothing there", target(0), found(3)),
    scored("only a crowd there", target(2, crowd=True), found(3), often=True),
    scored("300 found", target(1), found(300)),
    scored("equal scores", target(3), found(5)),
    scored("scores that are no numbers", target(1), found(2, float("nan")), error=SegError),
    scored("scores without end", target(1), found(2, float("inf")), error=SegError),
]

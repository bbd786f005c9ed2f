"""What is written down as a run goes on: metrics.jsonl, TensorBoard where installed, progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.runs.progress import ProgressBar
from training.runs.run_folder import RunFolder
from training.runs.stages import Step


class Records:
    """Means over the steps since the last line, every `every` steps; nothing where not `first`."""

    def __init__(self, folder: RunFolder, bar: ProgressBar, every: int, first: bool) -> None:
        self.folder, self.bar, self.every, self.first = folder, bar, every, first
        self._board = _tensorboard(folder.path / "tensorboard") if first else None
        self._sums: dict[str, float] = {}
        self._count = 0

    def step(self, step: int, outcome: Step, waited: float, spent: float) -> None:
        """The step-th step was taken: seconds waited for its pictures, and spent on it."""
        values = {
            "loss": sum(outcome.losses.values()),
            **{f"loss_{name}": value for name, value in outcome.losses.items()},
            "gradient_norm": outcome.norm,
            "lr": outcome.lr,
            "seconds": spent,
            "seconds_waited": waited,
        }
        if outcome.done:
            self._sums = {name: self._sums.get(name, 0.0) + v for name, v in values.items()}
            self._count += 1
        self._show(step, spent + waited)
        if step % self.every == 0 and self._count:
            self.write("training", step, **self._means())
            self._sums, self._count = {}, 0

    def _means(self) -> dict[str, float]:
        return {name: total / self._count for name, total in self._sums.items()}

    def _show(self, step: int, seconds: float) -> None:
        means = self._means()
        losses = {name[5:]: v for name, v in means.items() if name.startswith("loss_")}
        details = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        loss = f"loss {means['loss']:.3f}" if means else "no finite loss"
        self.bar.step(step, f"{loss}, {seconds:.2f} s a step", details)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """A line of metrics.jsonl, and a point of each curve; numbers that are none become null."""
        if not self.first:
            return
        self.folder.record(kind, step, **{name: finite(v) for name, v in values.items()})
        for name, value in values.items():
            if self._board and isinstance(value, int | float) and math.isfinite(value):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """uint8 [H, W, 3] by name, for TensorBoard."""
        for name, picture in pictures.items():
            if self._board:
                self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard holds back, and end the bar."""
        self.bar.end()
        if self._board:
            self._board.close()


def finite(value: Any) -> Any:
    """The value with null, in JSON's words, for numbers that are none."""
    if isinstance(value, Mapping):
        return {name: finite(v) for name, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tensorboard(folder: Path) -> Any | None:
    """A SummaryWriter, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))

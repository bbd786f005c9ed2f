"""What is told as a run goes on: metrics.jsonl, TensorBoard where installed, a progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.runs.run_folder import RunFolder
from training.runs.stages import Step

PAUSE = 30.0
"""Seconds between lines where there is no terminal."""


class Records:
    """Means over the steps since the last line, every `every` steps; nothing where not `first`."""

    def __init__(self, folder: RunFolder, every: int, first: bool) -> None:
        self.folder, self.every, self.first = folder, every, first
        self.console = Console(quiet=not first, soft_wrap=True, markup=False)
        self._bar = Progress(
            BarColumn(30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._board: Any | None = None
        self._sums: dict[str, float] = {}
        self._count = 0

    def begin(self, step: int, total: int) -> None:
        """`step` of `total` steps are done, the others follow."""
        self._total, self._start = total, step
        self._began = self._spoke = time.monotonic()
        self._task = self._bar.add_task("", total=total, completed=step)
        self._bar.start()
        self._board = _tensorboard(self.folder.path / "tensorboard") if self.first else None

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
        means = {name: total / self._count for name, total in self._sums.items()}
        self._show(step, means, spent + waited)
        if step % self.every == 0 and self._count:
            self.write("training", step, **means)
            self._sums, self._count = {}, 0

    def _show(self, step: int, means: Mapping[str, float], seconds: float) -> None:
        loss = f"loss {means['loss']:.3f}" if means else "no finite loss"
        text, now = f"{loss}, {seconds:.2f} s a step", time.monotonic()
        self._bar.update(self._task, completed=step, description=text)
        if not self.console.is_terminal and now - self._spoke >= PAUSE:
            self._spoke = now
            left = (now - self._began) / max(1, step - self._start) * (self._total - step)
            losses = {name[5:]: v for name, v in means.items() if name.startswith("loss_")}
            details = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self.say(f"{step}/{self._total}, {left / 60:.0f} min left, {text}: {details}")

    def say(self, text: str) -> None:
        """A line for people that stays, from the first process."""
        self.console.print(text, highlight=False)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """A line of metrics.jsonl, and a point of each curve; numbers that are none become null."""
        if not self.first:
            return
        self.folder.record(kind, step, **finite(values))
        for name, value in values.items():
            if self._board and isinstance(value, int | float) and math.isfinite(value):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """uint8 [H, W, 3] by name, for TensorBoard."""
        for name, picture in pictures.items():
            if self._board:
                self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard holds back, and leave the terminal as it was."""
        self._bar.stop()
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

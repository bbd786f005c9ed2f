"""What is told as a run goes on: metrics.jsonl, loggers, a progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from training.runs.loggers import Logger, open_loggers
from training.runs.run_folder import RunFolder
from training.runs.stages import Step

PAUSE = 30.0
"""Seconds between lines where there is no terminal."""


class Records:
    """Means over the steps since the last line, every `every` steps and at the end; nothing where
    not `first`.
    """

    def __init__(
        self, folder: RunFolder, every: int, first: bool, loggers: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.every, self.first = folder, every, first
        self._names = loggers
        self.console = Console(quiet=not first, soft_wrap=True, markup=False)
        self._bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._loggers: list[Logger] = []
        self._sums: dict[str, float] = {}
        self._count = 0

    def begin(self, step: int, total: int, pictures: int) -> None:
        """`step` of `total` steps are done, the others follow, each of so many pictures."""
        self._total, self._start, self._pictures = total, step, pictures
        self._began = self._spoke = time.monotonic()
        self._task = self._bar.add_task("", total=total, completed=step)
        self._bar.start()
        self._loggers = open_loggers(self._names, self.folder.path) if self.first else []

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
        if (step % self.every == 0 or step == self._total) and self._count:
            self.write("training", step, **means)
            self._sums, self._count = {}, 0

    def _show(self, step: int, means: Mapping[str, float], seconds: float) -> None:
        now = time.monotonic()
        left = (now - self._began) / max(1, step - self._start) * (self._total - step)
        pace = self._pictures / max(seconds, 1e-9)
        text = progress_line(step, self._total, means, pace, left)
        self._bar.update(self._task, completed=step, description=text)
        if not self.console.is_terminal and now - self._spoke >= PAUSE:
            self._spoke = now
            self.say(text)

    def say(self, text: str) -> None:
        """A line for people that stays, from the first process."""
        self.console.print(text, highlight=False)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """A line of metrics.jsonl, and a point of each curve; numbers that are none become null."""
        if not self.first:
            return
        self.folder.record(kind, step, **finite(values))
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                for logger in self._loggers:
                    logger.number(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """uint8 [H, W, 3] by name, for whoever shows pictures."""
        for name, picture in pictures.items():
            for logger in self._loggers:
                logger.picture(name, picture, step)

    def close(self) -> None:
        """Flush what loggers hold back, and leave the terminal as it was."""
        self._bar.stop()
        for logger in self._loggers:
            logger.close()


def progress_line(
    step: int, total: int, means: Mapping[str, float], pace: float, left: float
) -> str:
    """Step, losses, learning rate, pictures a second and the time left, for people.

    means are those of `Records.step`, none where no step had a finite loss; left in seconds.
    """
    parts = {name[5:]: value for name, value in means.items() if name.startswith("loss_")}
    losses = " ".join(f"{name} {value:.3g}" for name, value in parts.items())
    loss = f"loss {means['loss']:.3f} ({losses}), rate {means['lr']:.2g}" if means else "no loss"
    return f"step {step}/{total}, {loss}, {pace:.1f} pictures/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def finite(value: Any) -> Any:
    """The value with null, in JSON's words, for numbers that are none."""
    if isinstance(value, Mapping):
        return {name: finite(v) for name, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

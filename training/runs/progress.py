"""How far a run is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PAUSE = 30.0
"""Seconds between lines where there is no terminal."""


class ProgressBar:
    """Shows steps done, time left and a text; silent where `shown` is False."""

    def __init__(self, shown: bool = True) -> None:
        self.console = Console(quiet=not shown, soft_wrap=True)
        self._bar = Progress(
            BarColumn(30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def begin(self, step: int, total: int) -> None:
        """Show `step` of `total` steps."""
        self._total, self._start = total, step
        self._began = self._spoke = time.monotonic()
        self._task = self._bar.add_task("", total=total, completed=step)
        self._bar.start()

    def end(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def step(self, step: int, text: str, details: str) -> None:
        """`step` steps are done; details have room in a line only."""
        self._bar.update(self._task, completed=step, description=text)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._spoke >= PAUSE:
            self._spoke = now
            left = (now - self._began) / max(1, step - self._start) * (self._total - step)
            self.say(f"{step}/{self._total}, {left / 60:.0f} min left, {text}: {details}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False)

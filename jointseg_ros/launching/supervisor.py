"""Starts programs as processes, starts some of them again, and ends all of them together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from jointseg_ros.launching.program import Program

LOOKS = 0.1
"""Seconds between two looks."""
PATIENCE = 5.0
"""Seconds from the signal to end until a process is killed."""


@contextmanager
def _signals_wait() -> Iterator[None]:
    """What comes in the middle of a start would leave a process that nobody knows."""
    came: list[int] = []
    numbers = signal.SIGINT, signal.SIGTERM
    before = {one: signal.signal(one, lambda one, _: came.append(one)) for one in numbers}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for one in came[:1]:
            signal.raise_signal(one)


class Process:
    """A program that runs, or waits to be started again."""

    def __init__(self, program: Program, output: int | None = None) -> None:
        self.program, self._output = program, output
        self._due: float | None = None
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.program.command(),
            env=os.environ | self.program.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            text=True,
        )

    @property
    def output(self) -> IO[str]:
        """What it prints, where that was asked for."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def code(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        return self._process.poll()

    def look(self) -> int | None:
        """Its exit code once it has ended for good; before that it is started again when due."""
        code = self.code
        if code is None or not self.program.starts_again_after(code):
            return code
        now = time.monotonic()
        if self._due is None:
            self._due = now + (self.program.respawn_delay or 0.0)
        elif now >= self._due:
            with _signals_wait():
                self._due, self._process = None, self._started()
        return None

    def wait(self) -> int:
        """Until it has ended for good."""
        while (code := self.look()) is None:
            time.sleep(LOOKS)
        return code

    def interrupt(self) -> None:
        """Ask it to end."""
        if self.code is None:
            self._process.send_signal(signal.SIGINT)

    def ended_by(self, end: float) -> None:
        """Return when it has ended; at this steady time it is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end - time.monotonic()))
        self._process.kill()  # nothing, where it has ended
        self._process.wait()


class Supervisor:
    """The processes of a launch: leaving it ends those that run."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    def start(self, programs: Sequence[Program], output: int | None = None) -> list[Process]:
        """Start these as well; `output` as of Popen's stdout."""
        with _signals_wait():
            started = [Process(program, output) for program in programs]
            self._processes += started
        return started

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.interrupt()
        end = time.monotonic() + PATIENCE
        for process in self._processes:
            process.ended_by(end)

"""Windows evaluated by processes, of which each may die without the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from jointseg_core.errors import BadBag
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.window_result import WindowResult, evaluate_window
from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.models import Models

ATTEMPTS = 3
PATIENCE_S = 900.0
"""A window that takes longer has hung."""


@dataclass(frozen=True)
class Failure:
    """Why a window could not be evaluated; one sentence."""

    reason: str


Answer = WindowResult | Failure


def one_by_one(jobs: Sequence[Window], settings: Settings) -> Iterator[tuple[int, Answer]]:
    """The answers by the number of their window, computed here: what kills one, kills all."""
    models = settings.models()
    for number, window in enumerate(jobs):
        yield number, answer(window, settings, models)


def in_processes(
    jobs: Sequence[Window], settings: Settings, workers: int
) -> Iterator[tuple[int, Answer]]:
    """The answers by the number of their window, in the order in which they come.

    A window whose process dies or hangs is tried three times, each in a new process.
    """
    waiting = [(number, 1) for number in range(len(jobs))][::-1]
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Worker(settings))
                running[-1].start(*waiting.pop(), jobs)
            wait([worker.pipe for worker in running], timeout=5)
            for worker in list(running):
                number, attempt, found = worker.number, worker.attempt, worker.answer()
                if found is None and not worker.is_lost():
                    continue
                if found is not None and waiting:
                    worker.start(*waiting.pop(), jobs)
                else:
                    running.remove(worker)
                    end = worker.stop()
                if found is not None:
                    yield number, found
                elif attempt < ATTEMPTS:
                    waiting.append((number, attempt + 1))
                else:
                    yield number, Failure(f"{jobs[number]}: {end}")
    finally:
        for worker in running:
            worker.stop()


def answer(window: Window, settings: Settings, models: Models) -> Answer:
    """What comes of a window; a recording that cannot be read is a failure, not an error."""
    try:
        return evaluate_window(window, settings, models)
    except BadBag as error:
        return Failure(str(error))


class _Worker:
    """A process that evaluates one window after the other with models that it loads once."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.number, self.attempt, self._since, self._ended = -1, 0, 0.0, False

    def start(self, number: int, attempt: int, jobs: Sequence[Window]) -> None:
        """Give it a window; whether it is still alive shows later."""
        self.number, self.attempt, self._since = number, attempt, time.monotonic()
        with contextlib.suppress(OSError):
            self.pipe.send(jobs[number])

    def answer(self) -> Answer | None:
        """What came of its window, if it has come; an error of the program is raised here."""
        try:
            found = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):  # nobody is at the other end any more
            self._ended = True
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def is_lost(self) -> bool:
        """Whether there will be no answer."""
        return self._ended or time.monotonic() - self._since > PATIENCE_S

    def stop(self) -> str:
        """End the process; returns how it ended."""
        self.pipe.close()
        if self._ended:
            self._process.join(5)
        self._process.kill()
        self._process.join()
        if not self._ended:
            return f"gave no answer within {PATIENCE_S:.0f} s, {ATTEMPTS} times"
        code = self._process.exitcode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process died ({how}), {ATTEMPTS} times"


def _work(pipe: Connection, settings: Settings) -> None:
    """Answer windows until there are no more; Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        models = settings.models()
        while True:
            pipe.send(answer(pipe.recv(), settings, models))
    except EOFError:
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(error)

"""The parent's side of the workers: start one, tell it what to do, hear what it says."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from types import TracebackType

from benchmarks.networks.settings import Settings
from benchmarks.networks.worker import serve
from jointseg_core.errors import SegError

# Workers are forked from a process that has imported everything and done nothing.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.networks.worker"])


class WorkerFailed(SegError):
    """A contender that could not be built or broke; the message names it and its reason."""


@contextmanager
def environment(threads: int) -> Iterator[None]:
    """What workers start with: threads that wait without burning CPU time, and no allocator that is
    tuned from outside. It has to stand before their libraries are loaded."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("MALLOC_", "OMP_", "GOMP_", "KMP_", "MKL_", "LD_PRELOAD")):
            del os.environ[name]
    os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


class Worker:
    """A process with one contender; `prepared` is what it found, once it is ready."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=serve, args=(name, settings, theirs), daemon=True)
        with environment(settings.threads):
            forkserver.ensure_running()
        self._process.start()
        theirs.close()
        try:
            self.prepared = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict:
        """Its answer to `round` or `finish`. Raises WorkerFailed when there is none."""
        self._connection.send(command)
        return self._answer()

    def _answer(self) -> dict:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            hint = "; was there enough memory?" if code == -9 else ""
            raise WorkerFailed(f"{self.name}: its process ended with code {code}{hint}") from None
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

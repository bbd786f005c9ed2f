"""The parent's side of the workers: start one, tell it what to do, hear what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from types import TracebackType

from jointseg_core.benchmark.settings import Settings


class WorkerFailed(RuntimeError):
    """A contender that could not be built or broke; the message names it and its reason."""


def environment(threads: int) -> dict[str, str]:
    """What workers start with: threads that wait without burning CPU time, and no allocator tuned
    from outside."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MALLOC_", "OMP_", "GOMP_", "KMP_", "LD_PRELOAD"))
    }
    waits = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    return {**inherited, **waits, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


class Worker:
    """A process with one contender; `prepared` is what it found, once it is ready."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jointseg_core.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(settings.threads),
        )
        try:
            self.prepared = self.ask(json.dumps({"name": name, "settings": asdict(settings)}))
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict:
        """Its answer. Raises WorkerFailed when there is none."""
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFailed(f"{self.name}: its process ended {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        killed = " (out of memory?)" if code == -9 else ""
        return f"with code {code}{killed}: {lines[-1] if lines else 'it said nothing'}"

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self.close()

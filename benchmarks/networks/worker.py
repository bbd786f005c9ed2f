"""An entry in a process of its own: it prepares, then does a round when it is told to.

Commands are `round`, which measures some frames, and `finish`, which tells what a frame costs
beside time. The first answer, without a command, says what the entry found.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks.clock import StageClock, device_counts, peak_memory_mb
from benchmarks.networks.entries import as_defined, build, count_objects
from benchmarks.networks.gate import check_results
from benchmarks.networks.models import make_picture
from benchmarks.networks.runs import Run
from benchmarks.networks.settings import Settings
from jointseg_core.errors import SegError

WARM_UP = 2
"""Frames before the first that counts."""

# Workers are forked from a process that has imported everything and done nothing.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class WorkerFailed(SegError):
    """An entry that could not be built or broke; the message names it and its reason."""


class Worker:
    """The process of one entry, or of the gate; `prepared` is what it found."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(name, settings, theirs))
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


def _serve(name: str, settings: Settings, connection: Connection) -> None:
    """Answer until nobody asks any more; an exception is an answer too."""
    torch.set_num_threads(settings.threads)
    try:
        if name == "gate":
            connection.send(check_results(settings))
        else:
            _take_turns(name, settings, connection)
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {error}"})


def _take_turns(name: str, settings: Settings, connection: Connection) -> None:
    imported_mb = peak_memory_mb()
    picture, clock = make_picture(settings), StageClock(settings.device)
    see, pictures = build(name, settings, clock), Run.of(name).pictures
    for _ in range(WARM_UP):
        measure(see, picture, clock)
    connection.send({"objects": count_objects(see(picture))})
    while True:
        if connection.recv() == "round":
            frames = [measure(see, picture, clock, pictures) for _ in range(settings.frames)]
            connection.send({"frames": frames})
        else:
            memory_mb = peak_memory_mb() - imported_mb
            facts = {"memory_mb": memory_mb, **costs(see, picture, settings, pictures)}
            if defined := as_defined(name, settings.device):
                as_trained = build(defined, settings, StageClock(settings.device), winograd=False)
                if defined == name:
                    facts["gflop_computed"] = facts["gflop"]
                facts["gflop"] = gflop_of(as_trained, picture) / Run.of(defined).pictures
            connection.send(facts)


def measure(see: Callable, picture: np.ndarray, clock: StageClock, pictures: int = 1) -> dict:
    """One frame, as `StageClock.stop` tells it, of so many that are seen at once."""
    clock.start()
    see(picture)
    took = clock.stop()
    return {
        **{name: took[name] / pictures for name in ("wall_ms", "cpu_ms", "faults")},
        "stages": {name: [ms / pictures for ms in both] for name, both in took["stages"].items()},
    }


def costs(
    see: Callable, picture: np.ndarray, settings: Settings, pictures: int = 1
) -> dict[str, float]:
    """What a frame needs that is no time: GFLOP, and on a GPU memory, launches and syncs."""
    facts: dict[str, float] = {"gflop": gflop_of(see, picture) / pictures}
    if settings.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        facts |= device_counts(lambda: see(picture))
        facts["device_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return facts


def gflop_of(see: Callable, picture: np.ndarray) -> float:
    """GFLOP that a frame takes, 2 for each multiplication with its addition."""
    with FlopCounterMode(display=False) as counter:
        see(picture)
    return counter.get_total_flops() / 1e9

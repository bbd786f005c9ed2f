"""One contender in a process of its own: it prepares, then does a round when it is told to.

Commands are `round`, which measures some frames, and `finish`, which tells what a frame costs
beside time. The first answer, without a command, says what the contender found.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks.clock import StageClock, device_counts, peak_memory_mb
from benchmarks.networks.contenders import build, describe, may_save, pictures_of
from benchmarks.networks.gate import check_results
from benchmarks.networks.ours import make_picture
from benchmarks.networks.settings import Settings

WARM_UP = 2
"""Frames before the first that counts."""


def serve(name: str, settings: Settings, connection: Connection) -> None:
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
    see, pictures = build(name, settings, clock), pictures_of(name)
    for _ in range(WARM_UP):
        measure(see, picture, clock)
    connection.send(describe(see(picture)))
    while True:
        if connection.recv() == "round":
            frames = [measure(see, picture, clock, pictures) for _ in range(settings.frames)]
            connection.send({"frames": frames})
        else:
            memory_mb = peak_memory_mb() - imported_mb
            facts = {"memory_mb": memory_mb, **costs(see, picture, settings, pictures)}
            if may_save(name, settings.device):
                defined = build(name, settings, StageClock(settings.device), winograd=False)
                facts["gflop_computed"] = facts["gflop"]
                facts["gflop"] = gflop_of(defined, picture) / pictures
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

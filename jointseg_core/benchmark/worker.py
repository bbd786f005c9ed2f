"""One contender in a process of its own: it prepares, then does a round when it is told to.

Commands are lines on standard input, answers JSON lines on standard output: `round` measures some
frames, `finish` tells what a frame costs beside time. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TextIO

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from jointseg_core.benchmark.clock import StageClock, device_counts, peak_memory_mb
from jointseg_core.benchmark.contenders import build, describe
from jointseg_core.benchmark.gate import check_results
from jointseg_core.benchmark.ours import make_picture
from jointseg_core.benchmark.settings import Settings

WARM_UP = 2
"""Frames before the first that counts."""


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    request = json.loads(sys.stdin.readline())
    settings = Settings(**request["settings"])
    try:
        serve(request["name"], settings, answers)
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {error}"})
        raise


def serve(name: str, settings: Settings, answers: TextIO) -> None:
    imported_mb = peak_memory_mb()
    torch.set_num_threads(settings.threads)
    if name == "gate":
        _answer(answers, check_results(settings))
        return
    picture, clock = make_picture(settings), StageClock(settings.device)
    see = build(name, settings, clock)
    for _ in range(WARM_UP):
        measure(see, picture, clock)
    _answer(answers, describe(see(picture)))
    for line in sys.stdin:
        if line.strip() == "round":
            frames = [measure(see, picture, clock) for _ in range(settings.frames)]
            _answer(answers, {"frames": frames})
        else:
            memory_mb = peak_memory_mb() - imported_mb
            _answer(answers, {"memory_mb": memory_mb, **costs(see, picture, settings)})


def measure(see: Callable, picture: np.ndarray, clock: StageClock) -> dict:
    """One frame, as `StageClock.stop` tells it."""
    clock.start()
    see(picture)
    return clock.stop()


def costs(see: Callable, picture: np.ndarray, settings: Settings) -> dict[str, float]:
    """What a frame needs that is no time: GFLOP, and on a GPU memory, launches and syncs."""
    with FlopCounterMode(display=False) as counter:
        see(picture)
    facts: dict[str, float] = {"gflop": counter.get_total_flops() / 1e9}
    if settings.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        facts |= device_counts(lambda: see(picture))
        facts["device_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return facts


def _answer(answers: TextIO, document: dict) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()

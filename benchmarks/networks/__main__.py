"""Measure our models against others in one run: `python -m benchmarks.networks`.

    python -m benchmarks.networks                          RDSNet-R50, some minutes on two cores
    python -m benchmarks.networks --small                  a quick look, under two minutes
    python -m benchmarks.networks --model segrpn --regions 300
    python -m benchmarks.networks --model joint --peers both
    python -m benchmarks.networks --image 1080x1920 --json out.json

Every contender lives in a process of its own, and only one works at a time. Results are compared
before anything is timed. Exit code 0; 1 for results that differ or a contender that broke; 2 for a
wrong argument. See docs/benchmark.md.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.networks.contenders import names_of
from benchmarks.networks.goals import goals
from benchmarks.networks.machine import load_average, machine
from benchmarks.networks.processes import Worker
from benchmarks.networks.report import report
from benchmarks.networks.settings import Settings, parse
from benchmarks.networks.summary import Measured, Results
from jointseg_core.command import run_program
from jointseg_core.errors import SegError


class GateFailed(SegError):
    """Results that differ, so that times would mean nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    settings, file = parse(arguments)
    document = run(settings)
    command = shlex.join(["python", "-m", "benchmarks.networks", *arguments])
    document = {"command": command, **document}
    if file:
        Path(file).write_text(json.dumps(document, indent=1) + "\n")
    print(report(document))
    return 0


def run(settings: Settings) -> dict:
    """Check, measure and compare. Raises GateFailed and WorkerFailed."""
    loads = [load_average()]
    gate = check(settings)
    with ExitStack() as stack:
        workers = prepare(settings, stack)
        measured = {worker.name: Measured(found=worker.prepared) for worker in workers}
        for number in range(settings.rounds):
            _say(f"round {number + 1} of {settings.rounds}")
            for worker in workers:
                measured[worker.name].rounds.append(worker.ask("round")["frames"])
            loads.append(load_average())
        for worker in workers:
            measured[worker.name].costs = worker.ask("finish")
    results = Results(settings, measured)
    return {
        "settings": asdict(settings),
        "machine": machine(settings.device),
        "load_average": loads,
        "gate": gate,
        **results.document(),
        "goals": [goal.document() for goal in goals(results)],
    }


def check(settings: Settings) -> dict:
    """The gate's report. Raises GateFailed with its reason."""
    _say("comparing results")
    with Worker("gate", settings) as worker:
        if not worker.prepared["passed"]:
            raise GateFailed(worker.prepared["reason"])
        return worker.prepared


def prepare(settings: Settings, stack: ExitStack) -> list[Worker]:
    """All contenders, one after the other. Raises GateFailed where one does not find the scene."""
    workers, names = [], names_of(settings)
    for number, name in enumerate(names, 1):
        _say(f"preparing {name} ({number} of {len(names)})")
        worker = stack.enter_context(Worker(name, settings))
        found = worker.prepared.get("objects", settings.dets)
        if found != settings.dets:
            raise GateFailed(f"{settings.dets} objects are planted, but {name} finds {found}")
        workers.append(worker)
    return workers


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_program(main)

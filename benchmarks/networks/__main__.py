"""Measure our models against baselines in one run: `python -m benchmarks.networks`.

    python -m benchmarks.networks                          RDSNet-R50, some minutes on two cores
    python -m benchmarks.networks --small                  a quick look, under two minutes
    python -m benchmarks.networks --model segrpn --regions 300
    python -m benchmarks.networks --model joint --baselines both
    python -m benchmarks.networks --image 1080x1920 --json out.json
    python -m benchmarks.networks --backends torch,openvino --onnx FILE    against anybody's network

Every entry lives in a process of its own, and only one works at a time. Results are compared
before anything is timed. Exit code 0; 1 for results that differ or an entry that broke; 2 for a
wrong argument. See docs/benchmark.md.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict

import torch
import torchvision

from benchmarks.machine import load_average, machine
from benchmarks.networks.entries import names_of
from benchmarks.networks.models import make_scene
from benchmarks.networks.planting import crop_share
from benchmarks.networks.report import report
from benchmarks.networks.settings import Settings, parse
from benchmarks.networks.summary import Results
from benchmarks.networks.worker import Worker
from jointseg_core.command import run_program
from jointseg_core.errors import SegError


class GateFailed(SegError):
    """Results that differ, so that times would mean nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    settings, file = parse(arguments)
    command = shlex.join(["python", "-m", "benchmarks.networks", *arguments])
    document = {"command": command, **run(settings)}
    if file:
        file.write_text(json.dumps(document, indent=1) + "\n")
    print(report(document))
    return 0


def run(settings: Settings) -> dict:
    """Check, measure and compare. Raises GateFailed and WorkerFailed."""
    loads = [load_average()]
    with ExitStack() as stack:
        gate = check(settings)
        workers = prepare(settings, stack)
        rounds, facts = {worker.name: [] for worker in workers}, {}
        for number in range(settings.rounds):
            _say(f"round {number + 1} of {settings.rounds}")
            for worker in workers:
                rounds[worker.name].append(worker.ask("round")["frames"])
            loads.append(load_average())
        for worker in workers:
            facts[worker.name] = worker.prepared | worker.ask("finish")
    return {
        "settings": asdict(settings),
        "machine": machine() | libraries(settings.device),
        "load_average": loads,
        "gate": gate,
        "crop_share": crop_share(make_scene(settings)),
        **Results(settings, rounds, facts).document(),
    }


def check(settings: Settings) -> dict:
    """The gate's report. Raises GateFailed with its reason."""
    _say("comparing results")
    with closing(Worker("gate", settings)) as worker:
        if not worker.prepared["passed"]:
            raise GateFailed(worker.prepared["reason"])
        return worker.prepared


def prepare(settings: Settings, stack: ExitStack) -> list[Worker]:
    """All entries, one after the other. Raises GateFailed where one does not find the scene."""
    workers, names = [], names_of(settings)
    for number, name in enumerate(names, 1):
        _say(f"preparing {name} ({number} of {len(names)})")
        worker = stack.enter_context(closing(Worker(name, settings)))
        found = worker.prepared["objects"]
        if found not in (None, settings.dets) and not settings.weights:
            raise GateFailed(f"{settings.dets} objects are planted, but {name} finds {found}")
        workers.append(worker)
    return workers


def libraries(device: str) -> dict:
    """Versions, what the processor computes in, and for a GPU whether fp32 may be TF32."""
    facts = {
        "bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
        facts["tf32_matrices"] = torch.backends.cuda.matmul.allow_tf32
    return facts


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_program(main)

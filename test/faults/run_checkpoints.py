"""F. Checkpoints of runs, and being killed while one is written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faults.contract import Case
from faults.tree import deep_json
from jointseg_core import CITYSCAPES, Preprocessing, build_model, load_model, preset, save_model
from jointseg_core.errors import BadCheckpoint
from training.runs.run_folder import RunFolder

TINY = preset("rdsnet", "tiny")
STATE = {"w": torch.arange(50_000.0)}


def _newest(run: RunFolder) -> None:
    assert run.newest()["step"] == 1


def run_with(spoil: Callable[[Path], object], steps: int = 2) -> Callable[[Path], tuple[RunFolder]]:
    """A run with checkpoints of these steps, of which something becomes of the last."""

    def made(folder: Path) -> tuple[RunFolder]:
        run = RunFolder(folder / "run")
        for step in range(1, steps + 1):
            last = run.save(STATE | {"step": step})
        spoil(last)
        return (run,)

    return made


def _all_gone(run: RunFolder) -> None:
    run.newest()


def _killed(
    folder: Path, write: Callable[[Path, int], None], read: Callable[[Path], object]
) -> None:
    """Kill -9 at 20 moments of writing again and again: there is always something to read."""
    write(folder, 0)
    moments = np.random.default_rng(0).uniform(0.001, 0.08, 20)
    for number, moment in enumerate(moments):
        child = os.fork()
        if child == 0:
            for step in range(1, 10_000):
                write(folder, 1000 * number + step)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        read(folder)


def _save_run(folder: Path, step: int) -> None:
    RunFolder(folder / "run").save(STATE | {"step": step})


def _read_run(folder: Path) -> None:
    assert RunFolder(folder / "run").newest()["w"].equal(STATE["w"])


_MODELS: list[torch.nn.Module] = []


def _save_weights(folder: Path, step: int) -> None:
    """Another model each time, under one name."""
    if not _MODELS:
        torch.manual_seed(0)
        _MODELS.extend(build_model(TINY) for _ in range(2))
    what = (folder / "a.safetensors", CITYSCAPES, Preprocessing((64, 128)))
    save_model(_MODELS[step % 2], *what, {"step": step})


def _between(folder: Path) -> None:
    """Killed just between weights and manifest."""
    real = os.replace

    def dies(source: Any, target: Any) -> None:
        real(source, target)
        if str(target).endswith(".safetensors"):
            os.kill(os.getpid(), signal.SIGKILL)

    _save_weights(folder, 0)
    child = os.fork()
    if child == 0:
        os.replace = dies
        Path.replace = lambda source, target: dies(source, target)
        _save_weights(folder, 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    load_model(folder / "a.safetensors")
    _save_weights(folder, 2)
    load_model(folder / "a.safetensors")


def manifest_text(text: str) -> Callable[[Path], object]:
    return lambda path: path.with_suffix(".json").write_text(text)


SPOILED = {
    "cut at half": lambda p: p.write_bytes(p.read_bytes()[:999]),
    "of no byte": lambda p: p.write_bytes(b""),
    "without manifest": lambda p: p.with_suffix(".json").unlink(),
    "with a manifest that is a list": manifest_text("[]"),
    "with a manifest nested deeply": manifest_text(deep_json(99_999)),
    "that is a folder": lambda p: (p.unlink(), p.mkdir()),
}
CASES = [
    Case("checkpoints", f"the newest of a run {name}", run_with(spoil), _newest)
    for name, spoil in SPOILED.items()
]
CASES += [
    Case(
        "checkpoints",
        "all checkpoints of a run damaged",
        run_with(lambda p: p.write_bytes(b"x"), steps=1),
        _all_gone,
        BadCheckpoint,
        words=("no usable checkpoint",),
    ),
    *(
        Case(
            "checkpoints",
            f"a checkpoint of a run in {name}",
            run_with(manifest_text(text)),
            _all_gone,
            BadCheckpoint,
            words=("newer version", "--out"),
        )
        for name, text in {
            "the next format": '{"format": 2}',
            "format 99": '{"format": 99, "sha256": [], "x": null}',
        }.items()
    ),
    Case(
        "checkpoints",
        "killed at 20 moments of a checkpoint",
        lambda folder: (folder, _save_run, _read_run),
        _killed,
        seconds=60,
        often=True,
    ),
    Case(
        "checkpoints",
        "killed at 20 moments of saving weights",
        lambda folder: (folder, _save_weights, lambda f: load_model(f / "a.safetensors")),
        _killed,
        seconds=60,
    ),
    Case(
        "checkpoints",
        "killed between weights and manifest",
        lambda folder: (folder,),
        _between,
        often=True,
    ),
]

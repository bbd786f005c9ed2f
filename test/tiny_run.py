"""Trainings that take seconds, for tests: small scenes, few steps."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jointseg_core import Manifest, load_model
from jointseg_core.command import exit_code
from training import train
from training.synthesize import SyntheticSet, synthesize

SMALL = ("--input-size", "64x128", "--workers", "0", "--warm-up", "2", "--precision", "fp32",
         "--log-every", "1", "--pictures", "1")  # fmt: skip

FEW = (
    *("--input-size", "64x64", "--workers", "0", "--warm-up", "1", "--precision", "fp32"),
    *("--steps", "1", "--refinement-steps", "0", "--batch", "2", "--log-every", "1"),
    *("--pictures", "1"),
)
"""One step on pictures of any size."""


def scenes(folder: Path) -> Path:
    """Six scenes to train on and two to validate on, of 64 x 128 pixels."""
    return synthesize(folder / "scenes", SyntheticSet(frames=6, val_frames=2, size=(64, 128)), 1)


def words(recipe: str, data: Path, out: Path, **flags: Any) -> list[str]:
    """The command line of a small run: recipe and flags."""
    given = [
        word for k, v in flags.items() for word in (f"--{k}", *([] if v is True else [str(v)]))
    ]
    return [recipe, "--data", str(data), "--out", str(out), *SMALL, *given]


def run(*arguments: str) -> int:
    """The command in this process; its exit code."""
    return exit_code(partial(train.main, arguments))


def trained(recipe: str, data: Path, folder: Path, *more: object) -> Manifest:
    """A run of FEW in folder/run; what its weights are."""
    arguments = [recipe, "--data", str(data), "--out", str(folder / "run"), *FEW]
    assert run(*arguments, *map(str, more)) == 0
    return load_model(folder / "run/weights.safetensors")[1]

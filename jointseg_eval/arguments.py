"""What the command lines of evaluations have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from jointseg_core.checkpoint import shipped_weights

WEIGHTS = "a .safetensors with its manifest, an export, or shipped ones by name: joint, joint_tiny"

BITS = "of 16 that a sample of the images uses, such as 10 or 12; 0: all"


def weights(text: str) -> Path:
    """A path; joint, joint_tiny and so on, where nothing has that name, are shipped weights."""
    path, shipped = Path(text), shipped_weights(text)
    return shipped if not path.exists() and path.name == text and shipped.is_file() else path


def add_model_arguments(parser: argparse.ArgumentParser, device: str = "auto") -> None:
    """The options of every program that runs weights, but for the weights themselves."""
    add = parser.add_argument
    add("--with", dest="other", type=weights, help="weights for the class maps")
    add("--device", default=device, help="auto, cpu, cuda or cuda:N")
    add("--precision", default="fp32", help="auto, fp32, fp16, bf16 or int8")
    add("--input-size", default="", metavar="HxW", help="of the network; that of the weights")
    add("--backend", default="auto", help="auto, torch, or that of an export: docs/export.md")


def bounded(kind: type, least: float, most: float = 1e9) -> Callable[[str], float]:
    """Reads a finite number from `least` to `most`, an int or a float; a usage error for others."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            limits = f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{text:.40} is not a number {limits}")
        return value

    read.__name__ = kind.__name__  # by which argparse names what is no number
    return read

"""Which backend computes an entry, and in which precision: read from the entry's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch

from jointseg_core.errors import BadConfig
from jointseg_core.export.backends import openvino_precisions
from jointseg_core.export.writers import REQUIRED
from jointseg_core.predictor import choose_precision, precisions_of

BACKENDS = ("torch", "openvino", "onnx", "aoti")
TREATED = "-treated"
VARIANTS = ("retinanet", "unrefined", "yolact")
"""Networks of the papers' tables that ours becomes by its config, see `models.py`."""
_RUN = re.compile(
    rf"(?:.*:|(?:ours|both|peak|{'|'.join(VARIANTS)})-)(?:([a-z]+)-)?([a-z0-9]+)(?:-x(\d+))?"
)


class Run(NamedTuple):
    """How an entry computes; pictures is how many it sees at once."""

    backend: str = "torch"
    precision: str = "fp32"
    pictures: int = 1

    @classmethod
    def of(cls, name: str) -> Run:
        """Of entries as ours-bf16-x4, ours-openvino-int8, somebodys:onnx-fp32, deeplab-treated."""
        if match := _RUN.fullmatch(name):
            backend, precision, pictures = match.groups()
            return cls(backend or "torch", precision, int(pictures or 1))
        return cls(precision="bf16" if name.endswith(TREATED) else "fp32")


def kind_of(name: str) -> str:
    """What an entry is: ours, a variant, both, peak, masks, a baseline, or file for a network."""
    return "file" if ":" in name else name.partition("-")[0]


def runs_of(
    backends: Sequence[str], precisions: Sequence[str], device: torch.device
) -> tuple[str, ...]:
    """How ours run, as their entries are named: fp32, openvino-int8; what each backend has.

    Without backends that is torch, and OpenVINO for int8. Raises BadConfig for a precision that
    none of them has, and for what this machine lacks.
    """
    chosen = tuple(dict.fromkeys(_resolved(precision, device) for precision in precisions))
    pairs = [(name, precision) for name in dict.fromkeys(backends) for precision in chosen]
    pairs = pairs or [("openvino" if one == "int8" else "torch", one) for one in chosen]
    known = {name: _known(name, chosen, device) for name, _ in pairs}
    found = [(name, precision) for name, precision in pairs if precision in known[name]]
    for precision in chosen:
        if precision not in (one for _, one in found):
            raise BadConfig(f"--precision {precision}: none of {', '.join(known)} has it here")
    return tuple(one if name == "torch" else f"{name}-{one}" for name, one in found)


def _resolved(precision: str, device: torch.device) -> str:
    """As `choose_precision`; int8 is for backends other than torch, on a CPU."""
    exported = precision == "int8" and device.type == "cpu"
    return precision if exported else choose_precision(precision, device)


def _known(backend: str, wanted: Sequence[str], device: torch.device) -> list[str]:
    """What a backend computes in. Raises BadConfig for one that is not there."""
    if backend not in BACKENDS:
        raise BadConfig(f"--backends has {backend!r}; want some of {', '.join(BACKENDS)}")
    if backend == "torch":
        return precisions_of(device)
    if device.type != "cpu":
        raise BadConfig(f"--backends {backend}: exports are measured on a CPU, not on {device}")
    quantiser = ("nncf",) if "int8" in wanted and backend != "aoti" else ()
    require(f"--backends {backend}", REQUIRED[backend] + quantiser)
    if backend == "onnx":
        return ["fp32", "int8"]  # ONNX Runtime's CPU has no convolution in bf16
    return openvino_precisions() if backend == "openvino" else precisions_of(device)


def require(what: str, packages: Iterable[str]) -> None:
    """Raises BadConfig where a Python package is not installed."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise BadConfig(f"{what} needs {' and '.join(missing)}; pip install them")

"""Write a model's networks for another runtime: `python -m jointseg_core.export WEIGHTS --to onnx`.

    python -m jointseg_core.export --to openvino
    python -m jointseg_core.export WEIGHTS --to openvino --precision int8 --calibration PICTURES

WEIGHTS is a .safetensors with its manifest; batch norms are folded before anything is written. The
folder that it makes lies beside the weights, where `backend:=auto` of the node finds it
(docs/export.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.export.backends import SUFFIXES
from jointseg_core.export.model import Request, export_model

_LARGEST_BATCH = 1024


def main() -> int:
    """Export as the command line says."""
    options = _parser().parse_args()
    if not 1 <= options.batch <= _LARGEST_BATCH:
        raise BadConfig(f"--batch is {options.batch}, expected 1 to {_LARGEST_BATCH}")
    request = Request(
        options.weights,
        options.to,
        options.out,
        options.precision,
        options.batch,
        options.calibration,
        options.device,
    )
    export = export_model(request)
    check = ", ".join(f"{name} {value}" for name, value in export.self_check.items())
    what = f"{export.model} for {export.form} in {export.precision}"
    print(f"{request.folder}: {what}; self-check: {check}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export", description=__doc__.splitlines()[0])
    parser.add_argument(
        "weights",
        type=Path,
        nargs="?",
        default=shipped_weights("joint"),
        help="a .safetensors with its manifest; default: the joint network's that are shipped",
    )
    parser.add_argument("--to", required=True, help=", ".join(SUFFIXES))
    parser.add_argument("--out", type=Path, help="the folder to make; default: beside the weights")
    parser.add_argument(
        "--precision",
        default="auto",
        help="fp32, fp16, bf16 or int8; auto: what torch takes here, if the form has it, else fp32",
    )
    parser.add_argument("--batch", type=int, default=1, help="images in one call")
    parser.add_argument("--calibration", type=Path, help="folder of pictures, for int8")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for aoti")
    return parser


if __name__ == "__main__":
    run_program(main)

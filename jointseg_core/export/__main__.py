"""Write a model's networks for another runtime: `python -m jointseg_core.export WEIGHTS --to onnx`.

    python -m jointseg_core.export WEIGHTS --to openvino --precision int8 --calibration PICTURES

WEIGHTS is a .safetensors with its manifest; batch norms are folded before anything is written. The
folder that it makes is what `backend:=onnx` of the node opens (docs/export.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jointseg_core.command import run_program
from jointseg_core.export.backends import SUFFIXES
from jointseg_core.export.model import Request, export_model


def main() -> int:
    """Export as the command line says."""
    options = _parser().parse_args()
    out = options.out or options.weights.with_suffix("").with_name(
        f"{options.weights.stem}_{options.to}_{options.precision}"
    )
    export = export_model(
        Request(
            options.weights,
            options.to,
            out,
            options.precision,
            options.batch,
            options.calibration,
            options.device,
        )
    )
    check = ", ".join(f"{name} {value}" for name, value in export.self_check.items())
    print(f"{out}: {export.model} for {export.form} in {export.precision}; self-check: {check}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a .safetensors with its manifest")
    parser.add_argument("--to", required=True, help=", ".join(SUFFIXES))
    parser.add_argument("--out", type=Path, help="the folder to make; default: beside the weights")
    parser.add_argument("--precision", default="fp32", help="fp32, fp16, bf16 or int8")
    parser.add_argument("--batch", type=int, default=1, help="images in one call")
    parser.add_argument("--calibration", type=Path, help="folder of pictures, for int8")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for aoti")
    return parser


if __name__ == "__main__":
    run_program(main)

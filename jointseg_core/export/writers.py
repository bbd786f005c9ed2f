"""Files of a traced graph, one function for each form that `jointseg_core.export` knows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from jointseg_core.export.quantization import quantize

REQUIRED = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch-export": (),
    "aoti": (),
    "openvino": ("openvino",),
}
"""The Python packages that writing and checking each form needs beside torch."""


def write(
    form: str,
    part: nn.Module,
    example: Tensor,
    file: Path,
    outputs: tuple[str, ...],
    calibration: list[Tensor],
) -> None:
    """Trace one of `graphs.parts` and write it, in int8 where there are inputs to calibrate it.

    form is one of REQUIRED, example the part's input, outputs the names of what it returns.
    Images have the example's shape; regions (an example of rank 3) may be any number from 2 on.
    """
    length = ({0: Dim("count", min=2, max=1 << 20)},) if example.ndim == 3 else None
    with torch.no_grad():
        program = torch.export.export(part, (example,), dynamic_shapes=length)
    if form == "onnx":
        _write_onnx(program, file, outputs, calibration)
    elif form == "openvino":
        _write_openvino(program, file, outputs, calibration)
    elif form == "aoti":
        settings = {"freezing": True}  # weights are constants, packed for their layers
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(file), inductor_configs=settings
        )
    else:
        torch.export.save(program, file)


def _write_onnx(
    program: ExportedProgram, file: Path, outputs: tuple[str, ...], calibration: list[Tensor]
) -> None:
    import onnx

    written = torch.onnx.export(
        program, (), dynamo=True, verbose=False, output_names=list(outputs), optimize=True
    )
    assert written is not None  # as it is with dynamo
    model = written.model_proto
    if calibration:  # the quantiser asks for the type of every tensor
        model = quantize(onnx.shape_inference.infer_shapes(model), calibration)
    onnx.save(model, file)


def _write_openvino(
    program: ExportedProgram, file: Path, outputs: tuple[str, ...], calibration: list[Tensor]
) -> None:
    import openvino

    model = openvino.convert_model(program)
    (only,) = program.example_inputs[0]
    dynamic = program.range_constraints
    model.reshape([-1 if dynamic else only.shape[0], *only.shape[1:]])
    for output, name in zip(model.outputs, outputs, strict=True):
        output.get_tensor().set_names({name})
    model = quantize(model, calibration) if calibration else model
    openvino.save_model(model, file, compress_to_fp16=False)

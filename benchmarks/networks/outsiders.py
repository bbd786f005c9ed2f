"""Networks of others, from ONNX files: what is refused, and how they run.

Only the network is timed, from a tensor to tensors, in the runtimes and with the settings that our
exports have. What it needs to become results, such as decoding, is not in the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.runs import Run, require
from jointseg_core.errors import BadConfig
from jointseg_core.export.backends import open_graph, openvino_precisions

ALONE = "the network alone, without decoding"
"""What is timed of an outsider; of all others it is everything from picture to results."""
_TYPES = {"float": torch.float32, "uint8": torch.uint8}


def outsiders(files: Sequence[Path], size: tuple[int, int], device: str) -> dict[str, str]:
    """Names of entries and their files: NAME:openvino-fp32, NAME:openvino-bf16, NAME:onnx-fp32.

    size is that of our input. Raises BadConfig for a file that is no network of one image of that
    size, for two of one name, and for what this machine lacks.
    """
    if not files:
        return {}
    require("--onnx", ("onnx", "onnxruntime", "openvino"))
    if device != "cpu":
        raise BadConfig(f"--onnx is measured on a CPU, not on {device}")
    runs = [f"openvino-{one}" for one in openvino_precisions() if one != "int8"] + ["onnx-fp32"]
    found: dict[str, str] = {}
    for file in files:
        if f"{file.stem}:{runs[0]}" in found:
            raise BadConfig(f"--onnx has two files named {file.stem}; rename one of them")
        _check(file, size)
        found |= {f"{file.stem}:{run}": str(file) for run in runs}
    return found


def outsider(
    name: str, file: str, picture: np.ndarray, clock: StageClock
) -> Callable[[np.ndarray], list[Tensor]]:
    """The tensors of a network for this picture, uint8 [H, W, 3] and of the size of its input.

    The input is made before anything is timed; the only stage is net.
    """
    run = Run.of(name)
    with tempfile.TemporaryDirectory() as folder:
        model, kind = read(Path(file), picture.shape[:2])
        fixed = Path(folder) / "network.onnx"
        fixed.write_bytes(model.SerializeToString())
        graph = open_graph(fixed, run.backend, run.precision)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
    images = pixels if kind == torch.uint8 else pixels / 255

    def see(_: np.ndarray) -> list[Tensor]:
        found = graph(images)
        clock.mark("net")
        return found

    return see


def read(file: Path, size: tuple[int, int]) -> tuple[Any, torch.dtype]:
    """The ONNX model of a file, fixed to one image of (H, W) = size, and the type of its input.

    Raises BadConfig, with what was found, for one whose input is something else.
    """
    import onnx
    from onnxruntime.tools.onnx_model_utils import make_input_shape_fixed

    try:
        model = onnx.load(file)
    except Exception as error:  # of the file system, of protobuf, of weights beside the file
        raise BadConfig(f"--onnx {file}: no ONNX file to be read, {_line(error)}") from error
    name, kind, shape = _image_input(file, model)
    ours = [1, 3, *size]
    if any(found not in (None, wanted) for found, wanted in zip(shape, ours, strict=True)):
        raise BadConfig(
            f"--onnx {file}: takes {_told(shape)}, and our input is {_told(ours)}; choose another "
            "--size, or export it again for this one or with dynamic height and width"
        )
    try:
        make_input_shape_fixed(model.graph, name, ours)
    except ValueError as error:  # two sides have one length, whatever it is
        raise BadConfig(f"--onnx {file}: {_line(error)}") from error
    return model, kind


def _image_input(file: Path, model: Any) -> tuple[str, torch.dtype, list[int | None]]:
    """Name, type and shape of the only input; None is any length."""
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    found = []
    for value in inputs:
        tensor = value.type.tensor_type
        lengths = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
        found.append((value.name, TensorProto.DataType.Name(tensor.elem_type).lower(), lengths))
    match found:
        case [(name, ("float" | "uint8") as kind, [_, 3 | None, _, _] as shape)]:
            return name, _TYPES[kind], shape
    told = " and ".join(f"{name}, {kind} {_told(shape)}" for name, kind, shape in found)
    raise BadConfig(
        f"--onnx {file}: takes {told or 'nothing'}; expected one image, float or uint8 [N, 3, H, W]"
    )


def _check(file: Path, size: tuple[int, int]) -> None:
    """Raises BadConfig for a network that ONNX Runtime does not open either."""
    import onnxruntime

    model, _ = read(file, size)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # each reason has a class of its own
        raise BadConfig(f"--onnx {file}: not opened by ONNX Runtime, {_line(error)}") from error


def _told(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

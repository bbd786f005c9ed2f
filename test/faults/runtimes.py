"""N. Files of other runtimes: graphs that are cut, garbled, or of something else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import openvino
import torch
from onnx import TensorProto, helper, numpy_helper

from faults.contract import Case
from jointseg_core.errors import BadCheckpoint
from jointseg_core.export.backends import open_graph

SHAPE = (1, 3, 8, 8)
Spoil = Callable[[Path], object]


def network(**changes: object) -> onnx.ModelProto:
    """A convolution as ONNX has it."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    given = {"op": "Conv", "inputs": ["x", "w"], "opset": 18, "shape": SHAPE, "domain": ""}
    given |= changes
    node = helper.make_node(given["op"], given["inputs"], ["y"], domain=given["domain"])
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        [node],
        "dense",
        [value("x", shape=given["shape"])],
        [value("y", shape=None)],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", given["opset"])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def opened(name: str, form: str, spoil: Spoil, *words: str, often: bool = False) -> Case:
    """A graph in `form` that is changed, and then opened."""

    def made(folder: Path) -> tuple[Path, str, str]:
        file = folder / {"onnx": "dense.onnx", "openvino": "dense.xml"}.get(form, "dense.pt2")
        if form == "onnx":
            onnx.save(network(), file)
        elif form == "openvino":
            source = folder / "source.onnx"
            onnx.save(network(), source)
            openvino.save_model(openvino.convert_model(source), file, compress_to_fp16=False)
        spoil(file)
        return file, form, "fp32"

    words = ("dense.", "cannot open it", "export again", *words)
    limits = {"seconds": 30, "megabytes": 300, "often": often}
    return Case("runtimes", name, made, open_graph, BadCheckpoint, words=words, **limits)


def cut(share: float) -> Spoil:
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def bytes_of(content: bytes) -> Spoil:
    return lambda file: file.write_bytes(content)


def other(**changes: object) -> Spoil:
    return lambda file: onnx.save(network(**changes), file)


def elsewhere(place: str) -> Spoil:
    """Weights in a file of their own, which is not there or not to be read."""

    def spoil(file: Path) -> None:
        model = network()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        file.write_bytes(model.SerializeToString())

    return spoil


def _scattered(folder: Path) -> None:
    """Bytes anywhere are others, forty times: the graph is opened, or refused in a sentence."""
    file, random = folder / "dense.onnx", np.random.default_rng(0)
    sound = network().SerializeToString()
    for _ in range(40):
        data = bytearray(sound)
        for at in random.integers(0, len(data), 3):
            data[at] ^= int(random.integers(1, 256))
        file.write_bytes(data)
        try:
            open_graph(file, "onnx", "fp32")
        except BadCheckpoint as error:
            assert "\n" not in str(error), error


def _sound(folder: Path) -> None:
    onnx.save(network(), folder / "dense.onnx")
    (found,) = open_graph(folder / "dense.onnx", "onnx", "fp32")(torch.zeros(SHAPE))
    assert found.shape == (1, 4, 6, 6)


def _weights_gone(file: Path) -> None:
    file.with_suffix(".bin").unlink()


def _weights_cut(file: Path) -> None:
    cut(0.5)(file.with_suffix(".bin"))


CASES = [
    Case("runtimes", "a sound graph", lambda folder: (folder,), _sound, megabytes=300),
    opened("a graph of no byte", "onnx", bytes_of(b"")),
    opened("a graph cut at half", "onnx", cut(0.5), often=True),
    opened("a graph without its last bytes", "onnx", cut(0.95)),
    opened("a graph of garbage", "onnx", bytes_of(bytes(range(256)) * 9)),
    opened("a graph that is a text", "onnx", bytes_of(b"no graph, but a letter")),
    opened("an operation that does not exist", "onnx", other(op="Convolve")),
    opened("an operation of others", "onnx", other(domain="org.example")),
    opened("an input that is not there", "onnx", other(inputs=["z", "w"])),
    opened("a convolution of one input", "onnx", other(inputs=["x"])),
    opened("operations of the future", "onnx", other(opset=9999)),
    opened("an input of another rank", "onnx", other(shape=(3,))),
    opened("weights in a file that is gone", "onnx", elsewhere("weights.bin")),
    opened("weights in a file outside", "onnx", elsewhere("../../../etc/passwd")),
    Case("runtimes", "bytes anywhere", lambda folder: (folder,), _scattered, megabytes=400),
    opened("a description of no byte", "openvino", bytes_of(b"")),
    opened("a description cut at half", "openvino", cut(0.5)),
    opened("a description of garbage", "openvino", bytes_of(b"<net><layers><layer/></net>")),
    opened("a description without weights", "openvino", _weights_gone),
    opened("a description of half its weights", "openvino", _weights_cut),
    opened("a package of no byte", "aoti", bytes_of(b"")),
    opened("a package of garbage", "aoti", bytes_of(b"PK\3\4" + bytes(900))),
    opened("a program of garbage", "torch-export", bytes_of(b"PK\3\4" + bytes(900))),
]

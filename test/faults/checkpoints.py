"""F. Checkpoints and configuration: cut, forged, of other networks, or wanting to run something."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from faults import pickles, run_checkpoints
from faults.contract import Case
from faults.tree import deep_json
from jointseg_core import CITYSCAPES, Preprocessing, build_model, load_model, preset, save_model
from jointseg_core.errors import BadCheckpoint
from jointseg_core.export.backends import Export
from training.pretrained.files import read_source

TINY = preset("rdsnet", "tiny")


def weights(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "a.safetensors"
    save_model(build_model(TINY), path, CITYSCAPES, Preprocessing((64, 128)))
    return path


def refused(
    name: str, spoil: Callable[[Path], object], *words: str, often: bool = False, **limits: Any
) -> Case:
    """`load_model` says what is wrong with a.safetensors or a.json."""

    def made(folder: Path) -> tuple[Path]:
        path = weights(folder)
        spoil(path)
        return (path,)

    limits = {"megabytes": 150, "often": often} | limits
    return Case("checkpoints", name, made, load_model, BadCheckpoint, words=words, **limits)


def data(change: Callable[[bytes], bytes], signed: bool = False) -> Callable[[Path], None]:
    """Other bytes in the file; `signed`: its manifest has their SHA-256."""

    def spoil(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))
        if signed:
            _edit(path, lambda d: d.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest()))

    return spoil


def tensors(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Other tensors, with a manifest that fits them."""

    def edit(content: bytes) -> bytes:
        found = load(content)
        return save(change(found) or found)

    return data(edit, signed=True)


def _edit(path: Path, change: Callable[[dict], object]) -> None:
    file = path.with_suffix(".json")
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda path: _edit(path, change)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.with_suffix(".json").write_text(content)


def config(**values: Any) -> Callable[[Path], None]:
    return manifest(lambda d: d["config"].update(values))


def classes(**values: Any) -> Callable[[Path], None]:
    return manifest(lambda d: d["classes"].update(values))


def self_test(value: Any) -> Callable[[Path], None]:
    return manifest(lambda d: d.update(self_test={"class_logits": value}))


def inputs(size: Any) -> Callable[[Path], None]:
    return manifest(lambda d: d["preprocessing"].update(input_size=size))


def pixels(key: str, value: Any) -> Callable[[Path], None]:
    return manifest(lambda d: d["preprocessing"].update({key: value}))


def called(document: dict, name: Any) -> None:
    document["classes"]["things"][0] = name


NO_PIXELS = [
    *(("std", [value] * 3) for value in (0, -1, float("nan"), 1e-40, "1", None)),
    *(("mean", value) for value in ([1, 2], ["a", "b", "c"], [float("inf")] * 3, [[1]] * 3)),
    *(("input_size", value) for value in ([64.0, 128.0], [64, 128, 3], ["64", "128"], [64])),
]
"""What no picture can be fitted and normalised by."""


def flipped(at: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        place = int(len(content) * at)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return change


def _nan(found: dict) -> None:
    next(t for t in found.values() if t.is_floating_point()).view(-1)[3] = float("nan")


def header(length: int, content: bytes = b"{}") -> Callable[[bytes], bytes]:
    return lambda _: struct.pack("<Q", length) + content


def _renamed(prefix: str) -> Callable[[dict], dict]:
    return lambda found: {prefix + name: tensor for name, tensor in found.items()}


def _as(dtype: torch.dtype) -> Callable[[dict], dict]:
    return lambda found: {n: t.to(dtype) if t.is_floating_point() else t for n, t in found.items()}


def _first(found: dict, make: Callable[[torch.Tensor], torch.Tensor]) -> dict:
    name = next(name for name, tensor in found.items() if tensor.dim())
    return found | {name: make(found[name])}


def _without_one(found: dict) -> dict:
    gone = next(name for name in found if name.endswith("conv1.weight"))
    return {name: tensor for name, tensor in found.items() if name != gone}


FILES = [
    refused("weights that are not there", Path.unlink, "looked for"),
    refused("a manifest that is not there", lambda p: p.with_suffix(".json").unlink(), "manifest"),
    refused("weights of no byte", data(lambda d: b""), "SHA-256"),
    refused("weights cut at half", data(lambda d: d[: len(d) // 2]), "SHA-256", often=True),
    refused("weights cut at half, signed", data(lambda d: d[: len(d) // 2], True), "safetensors"),
    refused("one bit of the weights", data(flipped(0.7)), "SHA-256", "copy it again", often=True),
    refused("one bit of the header", data(flipped(0.001)), "SHA-256"),
    refused("noise in the place of weights", data(lambda d: os.urandom(5000), True), "safetensors"),
    refused("a header of 2^63 bytes", data(header(1 << 63), True), "safetensors", often=True),
    refused("a header longer than the file", data(header(10_000), True), "safetensors"),
    refused("a header nested 100,000 deep", data(lambda d: _deep_header(), True), "safetensors"),
    refused("tensors that overlap", data(lambda d: _overlapping(), True), "safetensors"),
    refused("a weight that is not a number", tensors(_nan), "NaN", often=True),
    refused("a tensor too few", tensors(_without_one), "Missing key"),
    refused("a tensor too many", tensors(lambda t: t | {"x": torch.zeros(3)}), "x"),
    refused("a tensor of another shape", tensors(lambda t: _first(t, lambda x: x[:1])), "shape"),
    refused("no tensors", tensors(lambda t: {"": torch.zeros(0)}), "Missing key"),
]


def _deep_header() -> bytes:
    content = deep_json(100_000).encode()
    return struct.pack("<Q", len(content)) + content


def _overlapping() -> bytes:
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    content = json.dumps({"a": one, "b": one}).encode()
    return struct.pack("<Q", len(content)) + content + bytes(16)


LIMITS = {
    "score_threshold": [float("nan"), 1.5, "0.5", None],
    "nms_iou": [-1, 7, [0.5]],
    "mask_threshold": [float("inf"), True],
    "max_detections": [-5, 0, 10.5],
}
MANIFESTS = [
    refused("a manifest of no byte", text(""), "a.json"),
    refused("a manifest that is a list", text("[]"), "a.json"),
    refused("a manifest that is a number", text("3"), "a.json"),
    refused("a manifest nested 100,000 deep", text(deep_json(100_000)), "a.json", often=True),
    refused("a manifest in YAML that runs something", text("!!python/object/apply:os.system [x]")),
    refused("a format of the future", manifest(lambda d: d.update(format=99)), "newer version"),
    *(
        refused(f"a format {value!r}", manifest(lambda d, v=value: d.update(format=v)), "a.json")
        for value in (0, -1, "2", None, 1.5, [2], {})
    ),
    refused("a model of another name", manifest(lambda d: d.update(model="yolo")), "yolo"),
    refused("a model of another kind", manifest(lambda d: d.update(model="segrpn")), "a.json"),
    refused("a field too many", config(depth=3), "depth"),
    refused("a field too few", manifest(lambda d: d.pop("sha256")), "sha256"),
    refused("no SHA-256", manifest(lambda d: d.update(sha256="")), "sha256", often=True),
    refused("a SHA-256 that is a number", manifest(lambda d: d.update(sha256=7)), "a.json"),
    refused("another backbone", config(backbone="r18"), "a.safetensors"),
    refused("a backbone that does not exist", config(backbone="r999"), "r999"),
    refused("channels that are a text", config(channels="64"), "a."),
    refused("channels below zero", config(channels=-4), "a."),
    refused("channels of 2^40", config(channels=1 << 40), "a.", often=True),
    refused("channels of 60,000", config(channels=60_000), "a.", seconds=10),
    *(
        refused(f"{name} of {value}", config(**{name: value}), f"{name} is", "want a")
        for name, values in LIMITS.items()
        for value in values
    ),
    *(
        refused(f"a self-test of {value}", self_test(value), "a.json")
        for value in (
            0,
            -1.0,
            float("nan"),
            float("inf"),
            "1",
            None,
            True,
            [],
            [1.0, "2"],
            [0.0, 1.0],
            [1.0, float("nan")],
        )
    ),
    refused("a self-test that is a list", manifest(lambda d: d.update(self_test=[1])), "a.json"),
    refused("a million classes", config(num_classes=10**6), "a."),
    *(
        refused(f"pixels with {key} {value}", pixels(key, value), "a.json", key)
        for key, value in NO_PIXELS
    ),
    *(
        refused(f"a class called {name!r}", manifest(lambda d, n=name: called(d, n)), "called")
        for name in (7, None, ["a"], {"a": 1}, True)
    ),
    refused("a class too few", manifest(lambda d: d["classes"]["things"].pop()), "a.json"),
    refused("classes that are numbers", classes(things=3), "a.json"),
    refused("an input of 3 x 3 pixels", inputs([3, 3]), "a.json"),
    refused("an input of 2^40 pixels", inputs([1 << 20, 1 << 20]), "a.json", often=True),
    refused("an input that is a text", inputs("big"), "a.json"),
]


# What has to work


def _loads(path: Path) -> None:
    model, _ = load_model(path)
    assert all(t.dtype != torch.float16 for t in model.state_dict().values())


def half(dtype: torch.dtype) -> Callable[[Path], tuple[Path]]:
    def made(folder: Path) -> tuple[Path]:
        path = weights(folder)
        tensors(_as(dtype))(path)
        return (path,)

    return made


# Pretrained weights: files of others


class _Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch marker",)


def _read(path: Path) -> None:
    try:
        read_source(path)
    finally:
        assert not Path("marker").exists(), "it ran"


def started(name: str, write: Callable[[Path], object], often: bool = False) -> Case:
    def made(folder: Path) -> tuple[Path]:
        write(folder / "a.pth")
        return (folder / "a.pth",)

    return Case(
        "checkpoints", name, made, _read, BadCheckpoint, words=("pretrained weights",), often=often
    )


def _torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


OLD = b"cos\nsystem\n(S'touch marker'\ntR."
STARTS = [
    started("a pickle that runs something", lambda p: torch.save({"w": _Evil()}, p), often=True),
    started("a pickle of before zip files", lambda p: p.write_bytes(OLD)),
    started("a pickle of a whole module", lambda p: torch.save(torch.nn.Linear(2, 2), p)),
    started("a script", _torchscript),
    started("a pickle cut at half", lambda p: _cut(p, {"w": torch.zeros(999)})),
    started("a pickle of no byte", lambda p: p.write_bytes(b"")),
    started("a pickle of a number", lambda p: torch.save(3, p)),
    started("a pickle of other tensors", lambda p: torch.save({"w": torch.zeros(3)}, p)),
]


def _cut(path: Path, content: object) -> None:
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[:-900])


# Exports, and the configuration of runs


def exported(name: str, document: Any, *words: str, often: bool = False) -> Case:
    def made(folder: Path) -> tuple[Path]:
        content = document if isinstance(document, str) else json.dumps(document)
        (folder / "export.json").write_text(content)
        return (folder,)

    return Case("checkpoints", name, made, Export.read, BadCheckpoint, words=words, often=often)


EXPORT = {"format": 1, "form": "onnx", "model": "rdsnet", "precision": "fp32", "batch": 1}
EXPORT |= {"input_size": [64, 128], "device": "cpu", "outputs": ["a"], "empty": {}}
EXPORTS = [
    exported("an export of no byte", "", "export.json"),
    exported("an export that is a list", [1, 2], "export.json"),
    exported("an export that is a text", "x", "export.json"),
    exported("an export nested 100,000 deep", deep_json(100_000), "export.json"),
    exported("an export of the future", EXPORT | {"format": 2}, "newer version"),
    exported("an export of another form", EXPORT | {"form": "exe"}, "exe"),
    exported("files that are a list", EXPORT | {"files": ["a"]}, "export.json"),
    exported("a file outside", EXPORT | {"files": {"../a": "0" * 64}}, "a", often=True),
    exported("a file of an export is gone", EXPORT | {"files": {"dense.onnx": "0"}}, "missing"),
]


def configured(name: str, text: str, *words: str, often: bool = False) -> Case:
    """`training.train` with this config.json of an earlier run."""

    def made(folder: Path) -> list[str]:
        (folder / "config.json").write_text(text)
        return [str(folder / "config.json"), "--steps", "1"]

    run = "training.train"
    return Case("checkpoints", name, made, run, None, 2, ("config.json", *words), often=often)


def fields(**values: Any) -> str:
    return json.dumps({"recipe": "rdsnet_tiny_synthetic", "fields": values})


CONFIGS = [
    configured("a configuration of no byte", ""),
    configured("a configuration that is a list", "[]"),
    configured("a configuration nested deeply", deep_json(100_000), often=True),
    configured("a configuration in YAML", "!!python/object/apply:os.system ['touch marker']"),
    configured("a recipe that does not exist", '{"recipe": "yolo", "fields": {}}', "yolo"),
    configured("a field that does not exist", fields(lerning_rate=1), "lerning_rate", often=True),
    configured("a rate that is a text", fields(lr="fast"), "lr"),
    configured("a batch that is a list", fields(batch=[1]), "batch"),
    configured("steps that are a float", fields(steps=1.5), "steps"),
]


CASES = [
    *FILES,
    *MANIFESTS,
    Case("checkpoints", "weights in fp16", half(torch.float16), _loads),
    Case("checkpoints", "weights in bf16", half(torch.bfloat16), _loads),
    *STARTS,
    *pickles.CASES,
    *run_checkpoints.CASES,
    *EXPORTS,
    *CONFIGS,
]

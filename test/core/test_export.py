"""An export sees what its checkpoint sees, or there is none."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jointseg_core import CITYSCAPES, BadCheckpoint, Predictor, Preprocessing, preset, save_model
from jointseg_core.checkpoint import build_model, load_model
from jointseg_core.errors import BadConfig
from jointseg_core.export.backends import CHECKPOINT, open_export
from jointseg_core.export.graphs import named_tensors
from jointseg_core.export.limits import problem
from jointseg_core.export.model import Request, export_model
from jointseg_core.export.self_check import drawn_pictures
from jointseg_core.model_check import check_model

SIZE = (64, 128)
pytestmark = pytest.mark.timeout(600)  # tracing alone takes minutes on a busy machine
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="no onnx packages"
)
needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(not find_spec("nncf"), reason="nncf is not installed")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for model_type in ("rdsnet", "segrpn"):
        torch.manual_seed(0)
        model = build_model(preset(model_type, "tiny"))
        path = folder / f"{model_type}.safetensors"
        save_model(model, path, CITYSCAPES, Preprocessing(SIZE))
    return {name: folder / f"{name}.safetensors" for name in ("rdsnet", "segrpn")}


@pytest.fixture(scope="module")
def onnx_exports(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Of both models; RDSNet takes two images in a call."""
    folder = tmp_path_factory.mktemp("exports")
    for name, batch in (("rdsnet", 2), ("segrpn", 1)):
        export_model(Request(checkpoints[name], "onnx", folder / name, batch=batch))
    return {name: folder / name for name in checkpoints}


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def assert_same(checkpoint: Path, exported: Predictor) -> None:
    """Three images are neither one call nor two."""
    images = [noise(0, 48, 60), noise(1, 64, 128), noise(2, 100, 400)]
    torch_ = Predictor.from_file(checkpoint, device="cpu")
    wanted, found = (named_tensors(p.raw(images)) for p in (torch_, exported))
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3, msg=name)
    for predictor in (torch_, exported):
        predictor.configure(score_threshold=0.005, max_detections=10)
    for one, other in zip(torch_(images), exported(images), strict=True):
        assert len(one) and one.image_size == other.image_size
        torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=1e-3)
        assert (one.masks is None) == (other.masks is None)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["rdsnet", "segrpn"])
def test_onnx_sees_what_torch_sees(
    model_type: str, checkpoints: dict[str, Path], onnx_exports: dict[str, Path]
) -> None:
    folder = onnx_exports[model_type]
    exported = Predictor.from_file(folder, device="cpu", backend="onnx")
    assert (exported.backend, exported.precision) == ("onnx", "fp32")
    assert exported.weights == folder and exported.model_type == model_type
    assert_same(checkpoints[model_type], exported)
    document = json.loads((folder / "export.json").read_text())
    assert document["self_check"]["objects"] and document["self_check"]["same_objects"] == 1
    listed = {*document["files"], "export.json"}
    assert listed == {file.name for file in folder.iterdir()}
    assert ("regions.onnx" in listed) == (model_type == "segrpn")


@needs_onnx
@pytest.mark.slow
def test_the_joint_network_is_one_graph(joint_weights: Path, tmp_path: Path) -> None:
    export_model(Request(joint_weights, "onnx", tmp_path / "joint"))
    exported = Predictor.from_file(tmp_path / "joint", device="cpu", backend="onnx")
    assert_same(joint_weights, exported)
    assert not (tmp_path / "joint" / "regions.onnx").exists()


@needs_onnx
def test_the_torch_backend_runs_the_checkpoint_of_an_export(onnx_exports: dict[str, Path]) -> None:
    predictor = Predictor.from_file(onnx_exports["rdsnet"], device="cpu", backend="torch")
    assert predictor.backend == "torch" and len(predictor([noise(0, 64, 128)])) == 1


@needs_onnx
def test_no_region_and_one_region_are_classified(onnx_exports: dict[str, Path]) -> None:
    exported = Predictor.from_file(onnx_exports["segrpn"], device="cpu", backend="onnx")
    for count in (0, 1):
        channels = exported.model.config.channels
        logits, deltas = exported.model.region_head.classify(torch.ones(count, 49, channels))
        assert logits.shape == (count, 9) and deltas.shape == (count, 8, 4)


@needs_onnx
@pytest.mark.parametrize("name", ["dense.onnx", CHECKPOINT, "export.json"])
def test_a_file_that_was_changed_is_refused(
    name: str, onnx_exports: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(onnx_exports["rdsnet"], tmp_path / "export")
    (folder / name).write_bytes((folder / name).read_bytes()[:-2] + b"??")
    with pytest.raises(BadCheckpoint, match=name) as refused:
        Predictor.from_file(folder, device="cpu", backend="onnx")
    assert "\n" not in str(refused.value)


@needs_onnx
@pytest.mark.parametrize(
    ("model_type", "file"),
    [("rdsnet", "dense.onnx"), ("segrpn", "dense.onnx"), ("segrpn", "regions.onnx")],
)
def test_a_changed_weight_whose_checksum_was_made_to_fit_is_noticed(
    model_type: str, file: str, onnx_exports: dict[str, Path], tmp_path: Path
) -> None:
    """One byte of the graph: the exponent of the largest number of its largest tensor."""
    import onnx

    folder = shutil.copytree(onnx_exports[model_type], tmp_path / "export")
    check_model(Predictor.from_file(folder, device="cpu", backend="onnx"))
    model = onnx.load(folder / file)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    at = 4 * int(np.abs(np.frombuffer(tensor.raw_data, np.float32)).argmax()) + 3
    data = bytearray(tensor.raw_data)
    data[at] ^= 0x40  # of its exponent: some 10^38 times as large
    tensor.raw_data = bytes(data)
    onnx.save(model, folder / file)
    document = json.loads((folder / "export.json").read_text())
    document["files"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / "export.json").write_text(json.dumps(document))
    with pytest.raises(BadCheckpoint, match="failed its self-test"):
        check_model(Predictor.from_file(folder, device="cpu", backend="onnx"))


@needs_onnx
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backend": "tensorflow"}, "backend 'tensorflow'; want one of torch, onnx, aoti"),
        ({"backend": "aoti"}, "exported to onnx, which backend aoti does not run"),
        ({"backend": "onnx", "precision": "bf16"}, "exported in fp32"),
        ({"backend": "onnx", "device": "cuda"}, "exported to run on cpu"),
        ({"precision": "int8"}, "run an export by its backend"),
    ],
)
def test_what_an_export_is_not_for_is_refused(
    options: dict[str, str], reason: str, onnx_exports: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        Predictor.from_file(onnx_exports["rdsnet"], **{"device": "cpu", **options})
    assert "\n" not in str(refused.value)


def test_a_checkpoint_is_no_export(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(BadCheckpoint, match="no export for backend aoti"):
        Predictor.from_file(checkpoints["rdsnet"], backend="aoti")


def test_a_backend_without_its_package_is_refused_with_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = find_spec
    monkeypatch.setattr(
        "jointseg_core.export.backends.find_spec",
        lambda name: None if name == "openvino" else there(name),
    )
    with pytest.raises(ValueError, match=r"needs the Python package openvino.*has torch"):
        open_export("anywhere", "openvino", "auto", "auto")


def test_a_failed_self_check_leaves_nothing(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    changed, _ = load_model(checkpoints["segrpn"])
    changed.segmentation.classes.weight.data *= 1.01
    request = Request(checkpoints["segrpn"], "torch-export", tmp_path / "out" / "export")
    with pytest.raises(BadConfig, match=r"semantic_logits is off by 0\.01") as failed:
        export_model(request, changed)
    assert "\n" not in str(failed.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_torch_export_round_trips(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    export = export_model(Request(checkpoints["rdsnet"], "torch-export", tmp_path / "export"))
    assert export.self_check["largest_error"] < 1e-5
    program = torch.export.load(tmp_path / "export" / "dense.pt2")
    assert [n.shape[-2:] for n in program.module()(torch.zeros(1, 3, *SIZE))[-1:]] == [(16, 32)]
    with pytest.raises(ValueError, match="backend 'torch-export'; want one of"):
        Predictor.from_file(tmp_path / "export", backend="torch-export")


@needs_openvino
@pytest.mark.slow
def test_openvino_sees_what_torch_sees(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    export_model(Request(checkpoints["segrpn"], "openvino", tmp_path / "export"))
    exported = Predictor.from_file(tmp_path / "export", device="cpu", backend="openvino")
    assert_same(checkpoints["segrpn"], exported)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="aoti compiles with g++")
def test_aoti_sees_what_torch_sees(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    export_model(Request(checkpoints["rdsnet"], "aoti", tmp_path / "export"))
    exported = Predictor.from_file(tmp_path / "export", device="cpu", backend="aoti")
    assert_same(checkpoints["rdsnet"], exported)


@needs_openvino
@needs_nncf
@pytest.mark.slow
def test_int8_is_close_on_the_pictures_of_its_calibration(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    for i, picture in enumerate(drawn_pictures(SIZE)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    request = Request(
        checkpoints["rdsnet"], "openvino", tmp_path / "export", "int8", calibration=tmp_path
    )
    assert 1e-3 < export_model(request).self_check["largest_error"] < 0.5
    exported = Predictor.from_file(tmp_path / "export", precision="int8", backend="openvino")
    assert len(exported([noise(0, 64, 128)])) == 1


def test_an_input_of_many_sizes_is_no_graph(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model, manifest = load_model(checkpoints["rdsnet"])
    varying = Preprocessing(SIZE, by_sides=True)
    save_model(model, tmp_path / "varying.safetensors", manifest.classes, varying)
    with pytest.raises(BadConfig, match="by_sides"):
        export_model(Request(tmp_path / "varying.safetensors", "torch-export", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"form": "caffe"}, "want one of onnx, torch-export, aoti, openvino"),
        ({"precision": "fp8"}, "torch-export has fp32"),
        ({"precision": "int8"}, "torch-export has fp32"),
        ({"batch": 0}, "1 or more"),
        ({"device": "cuda"}, "only aoti packages"),
        ({"out": Path()}, "exists"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_work(
    options: dict, reason: str, tmp_path: Path
) -> None:
    given = {"weights": tmp_path, "form": "torch-export", "out": tmp_path / "export"}
    with pytest.raises(BadConfig, match=reason) as refused:
        Request(**given | options)
    assert "\n" not in str(refused.value)


def test_the_self_check_says_what_differs() -> None:
    good = {"largest_error": 0.0, "largest_error_of": "pixels", "same_objects": 1.0}
    assert problem(good, "fp32") is None
    assert "pixels is off by 0.5" in problem(good | {"largest_error": 0.5}, "bf16")
    assert "pixels is off by nan" in problem(good | {"largest_error": float("nan")}, "int8")
    assert "90.0% of the objects" in problem(good | {"same_objects": 0.9}, "fp32")
    assert "50.0% of the pixels" in problem(good | {"same_pixels": 0.5}, "int8")

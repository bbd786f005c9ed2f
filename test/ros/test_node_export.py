"""The node runs a network that was exported, over real DDS."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")
for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from diagnostic_msgs.msg import DiagnosticArray
from node_bench import SOME, Bench, frame, send_until_heard, until
from rcl_interfaces.msg import Log
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from jointseg_core.export.model import Request, export_model
from jointseg_ros.perception_node import FAILURE

pytestmark = pytest.mark.timeout(600)  # tracing alone takes minutes on a busy machine


@pytest.fixture(scope="module")
def export(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of RDSNet to ONNX, in the folder of a copy of the weights."""
    folder = tmp_path_factory.mktemp("export")
    for suffix in (".safetensors", ".json"):
        shutil.copy(weights["rdsnet"].with_suffix(suffix), folder)
    export_model(Request(folder / "rdsnet.safetensors", "onnx"))
    return folder / "rdsnet_onnx_fp32"


@pytest.fixture
def beside(export: Path, tmp_path: Path) -> Path:
    """Weights with an export that was twice as fast as torch."""
    folder = shutil.copytree(export.parent, tmp_path / "weights") / export.name
    document = json.loads((folder / "export.json").read_text())
    document["self_check"]["time_to_torch"] = {"fp32": 0.5, "bf16": 0.5}
    (folder / "export.json").write_text(json.dumps(document))
    return folder.with_name("rdsnet.safetensors")


@pytest.mark.slow
def test_the_node_runs_an_onnx_export_and_sees_what_torch_sees(
    bench: Bench, export: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(export, tmp_path / "export")
    given = {"model__weights": str(folder), "device": "cpu", "precision": "fp32", **SOME}
    node = bench.active(backend="onnx", **given)
    assert (node.predictor.backend, node.predictor.weights) == ("onnx", folder)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    found = send_until_heard(bench.camera(), frame(1), detections)
    scores = [d.results[0].hypothesis.score for d in found.detections]

    refused = bench.set("backend", "torch")
    assert not refused.successful and "the node is configured" in refused.reason
    assert bench.set("model.weights", str(bench.weights["rdsnet"])).successful
    response = bench.call(Trigger, "/jointseg/reload_model")  # a checkpoint is no export
    assert not response.success and "no export for backend onnx" in response.message

    bench.set("model.weights", str(folder))
    (folder / "dense.onnx").write_bytes(b"?")
    response = bench.call(Trigger, "/jointseg/reload_model")
    assert not response.success and "dense.onnx" in response.message
    again = send_until_heard(bench.camera(), frame(1), detections)
    assert [d.results[0].hypothesis.score for d in again.detections] == scores and len(scores) == 5


@pytest.mark.slow
def test_auto_runs_the_export_beside_the_weights_and_says_so(bench: Bench, beside: Path) -> None:
    log = bench.listen("/rosout", Log, latched=True)
    status = bench.listen("/diagnostics", DiagnosticArray)
    node = bench.active(model__weights=str(beside), device="cpu", **SOME)
    assert (node.predictor.backend, node.predictor.weights) == ("onnx", beside)
    line = f"{beside} on cpu by onnx in fp32 (rdsnet_onnx_fp32 takes 0.50 of torch's time)"
    until(lambda: any(line in entry.msg for entry in log))
    until(lambda: ("backend", "onnx") in values(status))

    (beside.with_name("rdsnet_onnx_fp32") / "dense.onnx").write_bytes(b"?")
    assert bench.call(Trigger, "/jointseg/reload_model").success
    assert node.predictor.backend == "torch"
    until(lambda: any("rdsnet_onnx_fp32 is left out" in entry.msg for entry in log))


@pytest.mark.slow
def test_torch_runs_where_the_export_that_auto_took_fails(bench: Bench, beside: Path) -> None:
    manifest = beside.with_name("rdsnet_onnx_fp32") / "export.json"
    manifest.write_text(manifest.read_text().replace('"pixels"', '"pickles"'))
    log = bench.listen("/rosout", Log, latched=True)
    node = bench.active(model__weights=str(beside), device="cpu", **SOME)
    assert node.predictor.backend == "torch" and node.ready
    until(lambda: any("torch runs instead of onnx" in entry.msg for entry in log))


def values(heard: list[DiagnosticArray]) -> set[tuple[str, str]]:
    return {(v.key, v.value) for array in heard for s in array.status for v in s.values}


def test_a_backend_that_is_none_and_one_that_the_weights_are_not_for_are_refused(
    bench: Bench,
) -> None:
    with pytest.raises(ValueError, match="one of auto, torch, onnx, aoti, openvino"):
        bench.start(backend="tensorrt")
    node = bench.start(backend="openvino", autostart=False)
    assert node.trigger_configure() == FAILURE and "openvino" in node.trouble

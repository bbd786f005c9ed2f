"""The node runs a network that was exported, over real DDS."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("jointseg_ros.msg", reason="the messages of jointseg_ros are not built")
for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from node_bench import SOME, Bench, frame, send_until_heard
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from jointseg_core.export.model import Request, export_model
from jointseg_ros.perception_node import FAILURE

pytestmark = pytest.mark.timeout(600)  # tracing alone takes minutes on a busy machine


@pytest.mark.slow
def test_the_node_runs_an_onnx_export_and_sees_what_torch_sees(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    export_model(Request(bench.weights["rdsnet"], "onnx", folder))
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


def test_a_backend_that_is_none_and_one_that_the_weights_are_not_for_are_refused(
    bench: Bench,
) -> None:
    with pytest.raises(ValueError, match="one of torch, onnx, aoti, openvino"):
        bench.start(backend="tensorrt")
    node = bench.start(backend="openvino", autostart=False)
    assert node.trigger_configure() == FAILURE and "openvino" in node.trouble

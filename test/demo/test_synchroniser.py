"""Recordings of a node that sees everything exactly as it is, made without ROS."""

from pathlib import Path

import numpy as np
import pytest

from demo import models
from demo.scores import ModelScores
from demo.synchroniser import synchronised
from jointseg_core.classes import CITYSCAPES
from jointseg_eval.recordings.bags import BagReader, BagWriter, merge, new
from jointseg_eval.recordings.messages import header_message, image_message
from jointseg_eval.scores import known_or_none, percentiles
from training.scenes.driving_bag import write_driving_bag

TRUTH = "/camera/ground_truth/"
COPIED = {
    "rdsnet": {"detections": "detections", "instance_masks": "instance_masks"},
    "segrpn": {"detections": "detections", "semantic/image": "semantic/image"},
    "joint": {
        "detections": "detections",
        "instance_masks": "instance_masks",
        "semantic/image": "semantic/image",
    },
}
MODELS = list(COPIED)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "input.mcap"
    write_driving_bag(path, 1111, 2, 2, (128, 256))
    return path


def perfect(drive: Path, out: Path, model: str, dropped: tuple[int, ...] = ()) -> Path:
    """What a node would publish that knows the truth, but for the dropped frames."""
    number: dict[str, int] = {}
    with BagReader(drive) as bag, BagWriter(out) as results:
        for message in bag.messages([TRUTH + name for name in COPIED[model]]):
            number[message.topic] = number.get(message.topic, -1) + 1
            if number[message.topic] in dropped:
                continue
            topic = f"/{model}/camera/" + COPIED[model][message.topic.removeprefix(TRUTH)]
            results.write(topic, message.content, message.time + 7_000_000)
    return out


@pytest.fixture(scope="module")
def results(drive: Path) -> Path:
    parts = [
        perfect(drive, drive.with_name("rdsnet.mcap"), "rdsnet"),
        perfect(drive, drive.with_name("segrpn.mcap"), "segrpn", dropped=(1,)),
        perfect(drive, drive.with_name("joint.mcap"), "joint", dropped=(2,)),
    ]
    merge(parts, drive.with_name("output.mcap"), start=0)
    return drive.with_name("output.mcap")


def test_a_node_that_knows_the_truth_scores_one(drive: Path, results: Path):
    scores = {model: ModelScores(model, CITYSCAPES) for model in MODELS}
    for frame in synchronised(drive, results, MODELS):
        for model, found in frame.results.items():
            if found is not None:
                scores[model].add(found, frame.truth)
    found = {model: scores[model].summary() for model in MODELS}
    assert {model: tuple(names) for model, names in found.items()} == {
        model: known.scores for model, known in models.MODELS.items()
    }
    for numbers in found.values():  # that topic was not recorded
        assert numbers.pop("foreground_miou", None) is None
        assert set(numbers.values()) == {1.0}


def test_frames_without_a_result_are_known(drive: Path, results: Path):
    frames = list(synchronised(drive, results, MODELS))
    assert [f.results["rdsnet"] is None for f in frames] == [False] * 4
    assert [f.results["segrpn"] is None for f in frames] == [False, True, False, False]
    assert [f.results["joint"] is None for f in frames] == [False, False, True, False]


def test_merged_recordings_are_in_the_order_of_time_and_latched_messages_come_first(
    drive: Path, tmp_path: Path
):
    early = tmp_path / "early.mcap"
    with BagWriter(early) as bag:
        info = new("vision_msgs/msg/LabelInfo", header=header(), class_map=[], threshold=0.0)
        bag.write("/rdsnet/camera/label_info", info, 0)
    merge([perfect(drive, tmp_path / "a.mcap", "rdsnet"), early], tmp_path / "all.mcap", 500)
    with BagReader(tmp_path / "all.mcap") as bag:
        found = [(m.time, m.topic) for m in bag.messages()]
    assert found[0] == (500, "/rdsnet/camera/label_info")
    assert [t for t, _ in found] == sorted(t for t, _ in found)


def header() -> object:
    return header_message(1, "camera")


def test_pictures_without_truth_are_joined_too(tmp_path: Path):
    with BagWriter(tmp_path / "in.mcap") as bag:
        picture = np.zeros((20, 30, 3), np.uint8)
        bag.write("/camera/image_raw", image_message(picture, header()), 1)
    with BagWriter(tmp_path / "out.mcap") as bag:
        kind = "vision_msgs/msg/Detection2DArray"
        bag.write("/rdsnet/camera/detections", new(kind, header=header(), detections=[]), 2)
        masks = {"height": 20, "width": 30, "masks": []}
        kind = "jointseg_msgs/msg/InstanceMaskArray"
        bag.write("/rdsnet/camera/instance_masks", new(kind, header=header(), **masks), 2)
    (frame,) = synchronised(tmp_path / "in.mcap", tmp_path / "out.mcap", ["rdsnet"])
    assert frame.truth is None and len(frame.results["rdsnet"]) == 0


def test_percentiles_are_those_of_the_latencies():
    assert percentiles([float(k) for k in range(101)]) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}
    assert known_or_none(0.123456) == 0.1235

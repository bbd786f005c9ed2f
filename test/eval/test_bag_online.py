"""What a node made of a recording is judged by what was processed, and by what was known when."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jointseg_core import CITYSCAPES, shipped_weights
from jointseg_eval import evaluate_bag as command
from jointseg_eval.bag_evaluation.online import evaluate_online
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.windows import common_truth, survey
from jointseg_eval.recordings.bags import BadBag, BagReader, BagWriter, new
from jointseg_eval.recordings.topics import TRUE_DETECTIONS, TRUE_MASKS
from training.scenes.driving_bag import write_driving_bag

FRAMES, SIZE, PERIOD_NS = 6, (128, 256), 100_000_000
RESULTS = {TRUE_DETECTIONS: "detections", TRUE_MASKS: "instance_masks"}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive.mcap"
    write_driving_bag(path, 1000, 1, FRAMES, SIZE)
    return path


def published(
    drive: Path,
    out: Path,
    delay: Callable[[int], int | None],
    nodes: tuple[str, ...] = ("/rdsnet/camera",),
) -> Path:
    """A recording of perfect results; delay(k) in ns is that of frame k, None for no result."""
    messages: list[tuple[int, str, Any]] = []
    with BagReader(drive) as bag:
        numbers: dict[str, int] = dict.fromkeys(RESULTS, 0)
        for message in bag.messages(list(RESULTS)):
            late = delay(numbers[message.topic])
            numbers[message.topic] += 1
            for node in nodes if late is not None else ():
                topic = f"{node}/{RESULTS[message.topic]}"
                messages.append((message.time + late, topic, message.content))
    with BagWriter(out) as bag:
        for time, topic, content in sorted(messages, key=lambda one: one[0]):
            bag.write(topic, content, time)
    return out


def judged(drive: Path, outputs: Path, **options: Any):
    recording = survey(drive)
    settings = Settings(shipped_weights("rdsnet"), kinds=common_truth([recording]))
    return evaluate_online(recording, outputs, settings, CITYSCAPES, **options)


def test_results_that_come_at_once_cost_nothing(drive: Path, tmp_path: Path) -> None:
    online = judged(drive, published(drive, tmp_path / "out.mcap", lambda k: 0))
    assert online.timeline.latency_ms.tolist() == [0.0] * FRAMES
    assert online.processed.metrics["box_ap"] == online.as_known.metrics["box_ap"] == 1
    assert online.as_known.metrics["mask_ap"] == 1 and online.too_early == 0


def test_late_results_are_right_for_their_frame_and_wrong_for_the_next(
    drive: Path, tmp_path: Path
) -> None:
    outputs = published(drive, tmp_path / "out.mcap", lambda k: 30_000_000)
    online = judged(drive, outputs)
    assert online.timeline.latency_ms == pytest.approx([30.0] * FRAMES)
    assert online.processed.metrics["box_ap"] == 1
    assert online.as_known.metrics["box_ap"] < 1
    assert online.too_early == 1 and len(online.as_known) == FRAMES - 1
    faster = judged(drive, outputs, rate=2.0)
    assert faster.timeline.latency_ms == pytest.approx([15.0] * FRAMES)


def test_frames_without_result_are_counted_and_answered_by_the_one_before(
    drive: Path, tmp_path: Path
) -> None:
    outputs = published(drive, tmp_path / "out.mcap", lambda k: 0 if k % 2 == 0 else None)
    online = judged(drive, outputs)
    assert online.timeline.fate.tolist() == [0, 1] * (FRAMES // 2)
    assert online.document()["frames_without_result"] == FRAMES // 2
    assert len(online.processed) == FRAMES // 2 and len(online.as_known) == FRAMES


def test_a_result_counts_when_all_of_it_has_arrived(drive: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.mcap", tmp_path / "torn.mcap"
    published(drive, whole, lambda k: 0)
    with BagReader(whole) as bag, BagWriter(torn) as out:
        messages = list(bag.messages())
        for message in messages:
            late = 20_000_000 if message.topic.endswith("masks") else 0
            if not (late and message.time == messages[-1].time):
                out.write(message.topic, message.content, message.time + late)
    online = judged(drive, torn)
    assert online.timeline.latency_ms[:-1] == pytest.approx([20.0] * (FRAMES - 1))
    assert online.timeline.fate.tolist() == [0] * (FRAMES - 1) + [1]


def test_results_of_another_clock_are_refused(drive: Path, tmp_path: Path) -> None:
    today = published(drive, tmp_path / "today.mcap", lambda k: 10**17)
    with pytest.raises(BadBag, match=r"another clock .* 27778 h after .* record with use_sim_time"):
        judged(drive, today)


def test_several_nodes_have_to_be_told_apart(drive: Path, tmp_path: Path) -> None:
    nodes = ("/a/camera", "/b/camera")
    outputs = published(drive, tmp_path / "out.mcap", lambda k: 0, nodes)
    with pytest.raises(BadBag, match="choose one by --node: /a/camera, /b/camera"):
        judged(drive, outputs)
    assert judged(drive, outputs, node="/b/camera").processed.metrics["box_ap"] == 1
    with pytest.raises(BadBag, match="no results of /c"):
        judged(drive, outputs, node="/c")
    with pytest.raises(BadBag, match="holds no results"):
        judged(drive, _without_results(tmp_path))


def _without_results(folder: Path) -> Path:
    with BagWriter(folder / "empty.mcap") as bag:
        bag.write("/note", new("std_msgs/msg/String", data="nothing"), 1)
    return folder / "empty.mcap"


def test_the_command_shows_both_beside_the_scores_of_every_frame(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    outputs = published(drive, tmp_path / "out.mcap", lambda k: 30_000_000)
    words = [drive, "--weights", shipped_weights("rdsnet"), "--workers", "0", "--online", outputs]
    monkeypatch.setattr(
        sys, "argv", ["evaluate_bag", *map(str, words), "--out", str(tmp_path / "scored")]
    )
    assert command.main() == 0
    found = json.loads((tmp_path / "scored/metrics.json").read_text())["online"]
    assert found["frames_processed"] == FRAMES and found["latency_ms"]["p50"] == 30.0
    assert found["metrics_of_processed_frames"]["box_ap"] == 1
    assert "node, with the delay" in capsys.readouterr().out
    assert "scores with the delay" in (tmp_path / "scored/report.html").read_text()

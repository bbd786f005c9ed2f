"""The node does what it says, over real DDS: one frame in, results with its header out."""

from __future__ import annotations

import io
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from jointseg_msgs.msg import InferenceStats, InstanceMaskArray, PanopticSegmentArray
from node_bench import PATIENCE, SOME, Bench, frame, send_until_heard, stamp_of, until
from PIL import Image as Picture
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray, LabelInfo

from jointseg_core import CITYSCAPES, PanopticFusion
from jointseg_core.messages import read_masks
from jointseg_ros.serialized import message_class
from jointseg_ros.transports import TRANSPORTS, transport_of

SUCCESS = TransitionCallbackReturn.SUCCESS

RDSNET = {
    "detections": Detection2DArray,
    "instance_masks": InstanceMaskArray,
    "instance_labels": Image,
    "instance_labels/color": Image,
    "overlay": Image,
    "overlay/compressed": CompressedImage,
}
SEGRPN = {
    "detections": Detection2DArray,
    "semantic/image": Image,
    "semantic/image/compressed": CompressedImage,
    "semantic/color": Image,
    "semantic/confidence": Image,
    "foreground/image": Image,
    "overlay": Image,
    "overlay/compressed": CompressedImage,
}
PANOPTIC = {
    "panoptic/image": Image,
    "panoptic/segments": PanopticSegmentArray,
    "panoptic/color": Image,
}
OUTPUTS = {"rdsnet": RDSNET, "segrpn": SEGRPN, "joint": RDSNET | SEGRPN | PANOPTIC}


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_every_output_has_the_header_and_the_size_of_its_image(
    bench: Bench, model_type: str
) -> None:
    bench.active(model_type, **SOME, overlay__max_rate_hz=120.0)
    heard = {
        name: bench.listen(f"/jointseg/camera/{name}", kind)
        for name, kind in OUTPUTS[model_type].items()
    }
    heard["stats"] = bench.listen("/jointseg/stats", InferenceStats)
    camera = bench.camera()
    for stamp in (5_000_000_007, 6_123_456_789):
        image = frame(stamp)
        send_until_heard(camera, image, heard["detections"])
        for name, messages in heard.items():
            found = send_until_heard(camera, image, messages)
            assert found.header == image.header, name
            if hasattr(found, "height"):
                assert (found.height, found.width) == (48, 96), name
    assert heard["detections"][-1].detections
    stats = heard["stats"][-1]
    assert (stats.model, stats.device, stats.batch_size) == (model_type, "cpu", 1)
    assert stats.frames_received >= stats.frames_processed > 0 and stats.inference_ms > 0


def test_masks_and_detections_belong_together(bench: Bench) -> None:
    bench.active(**SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera()
    found = send_until_heard(camera, frame(3), detections)
    joined = send_until_heard(camera, frame(3), masks)
    assert len(found.detections) == len(joined.masks) == 5
    assert [mask.detection_index for mask in joined.masks] == [0, 1, 2, 3, 4]
    names = [d.results[0].hypothesis.class_id for d in found.detections]
    assert names == [CITYSCAPES.things[mask.class_id] for mask in joined.masks]
    assert read_masks(joined)[0].bitmaps((48, 96)).shape == (5, 48, 96)


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_a_frame_in_which_nothing_is_found_gives_empty_messages(
    bench: Bench, model_type: str
) -> None:
    bench.active(model_type, score_threshold=1.0)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    assert not send_until_heard(camera, frame(9), detections).detections
    if model_type != "segrpn":
        masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
        assert not send_until_heard(camera, frame(10), masks).masks
    if model_type == "joint":
        segments = bench.listen("/jointseg/camera/panoptic/segments", PanopticSegmentArray)
        found = send_until_heard(camera, frame(11), segments)
        assert (found.height, found.width) == (48, 96)
        assert not any(segment.is_thing for segment in found.segments)


def test_the_panoptic_picture_agrees_with_its_segments_and_the_detections(bench: Bench) -> None:
    node = bench.active("joint", **SOME)
    config = replace(node.predictor.model.config, panoptic_score=0.0, panoptic_visible=0.0)
    node.predictor.model.config = config  # the scores of an untrained network are tiny
    names = ("detections", "panoptic/image", "panoptic/segments")
    heard = [bench.listen(f"/jointseg/camera/{name}", OUTPUTS["joint"][name]) for name in names]
    camera = bench.camera()
    detections, image, segments = (send_until_heard(camera, frame(3), one) for one in heard)
    ids = np.frombuffer(image.data, "<u2").reshape(48, 96)
    assert image.encoding == "mono16"
    areas = dict(zip(*(v.tolist() for v in np.unique(ids, return_counts=True)), strict=True))
    areas.pop(PanopticSegmentArray.VOID, None)
    assert {segment.id: segment.area for segment in segments.segments} == areas
    objects = [segment for segment in segments.segments if segment.is_thing]
    assert objects
    for segment in objects:
        seen = detections.detections[segment.detection_index].results[0].hypothesis
        assert seen.class_id == CITYSCAPES.semantic[segment.class_id]
        assert seen.score == pytest.approx(segment.score)


def test_the_panoptic_picture_is_not_computed_while_nobody_listens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused, fusion = [], PanopticFusion.__call__
    monkeypatch.setattr(PanopticFusion, "__call__", lambda s, f: fused.append(1) or fusion(s, f))
    bench.active("joint", **SOME, overlay__max_rate_hz=120.0)
    names = sorted(OUTPUTS["joint"].keys() - PANOPTIC.keys())
    heard = [bench.listen(f"/jointseg/camera/{name}", OUTPUTS["joint"][name]) for name in names]
    camera = bench.camera()
    for messages in heard:
        send_until_heard(camera, frame(4), messages)
    assert not fused
    segments = bench.listen("/jointseg/camera/panoptic/segments", PanopticSegmentArray)
    send_until_heard(camera, frame(5), segments)
    assert fused


def test_costly_topics_are_filled_only_while_somebody_listens(bench: Bench) -> None:
    node = bench.active("joint")
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(bench.camera(), frame(4), detections)
    until(lambda: node.counts()["camera"].processed)
    filled = {name for name, rhythm in node.rhythms().items() if rhythm.count}
    assert filled == {"camera/detections", "camera/instance_masks", "camera/semantic/image"}


def test_under_overload_old_frames_are_overwritten_and_the_counters_add_up(bench: Bench) -> None:
    node = bench.active(**SOME)
    camera = bench.camera()
    for stamp in range(1, 200):
        camera.publish(frame(stamp))
        counts = node.counts()["camera"]
        gone = counts.processed + sum(counts.dropped.values()) + counts.pending
        assert counts.received == gone
        time.sleep(0.002)
    counts = until(lambda: (c := node.counts()["camera"]).pending == 0 and c)
    assert counts.dropped["overwritten"] > 0 and counts.processed > 0
    assert counts.received == counts.processed + sum(counts.dropped.values())
    until(
        lambda: (
            (s := bench.status("input camera"))
            and s[1]["pending"] == "0"
            and s[1]["received"] == str(counts.received)
        )
    )
    values = bench.status("input camera")[1]
    assert int(values["received"]) == int(values["processed"]) + int(values["dropped"])
    assert values["dropped overwritten"] == str(counts.dropped["overwritten"])


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_who_joins_late_still_learns_the_classes(bench: Bench, model_type: str) -> None:
    bench.active(model_type)
    things = bench.listen("/jointseg/camera/label_info", LabelInfo, latched=True)
    info = until(lambda: things)[0]
    assert [c.class_name for c in info.class_map] == list(CITYSCAPES.things)
    assert info.threshold == pytest.approx(0.3)
    if model_type != "rdsnet":
        semantic = bench.listen("/jointseg/camera/semantic/label_info", LabelInfo, latched=True)
        names = [c.class_name for c in until(lambda: semantic)[0].class_map]
        assert names == list(CITYSCAPES.semantic)


def test_a_publisher_that_cannot_be_heard_is_named_in_the_diagnostics(bench: Bench) -> None:
    name = "qos_overrides./camera/image_raw.subscription.reliability"
    bench.active(**{name: "reliable"})
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = bench.observer.create_publisher(Image, "/camera/image_raw", best_effort)
    status = until(lambda: (s := bench.status("input camera")) and "QoS" in s[0].message and s[0])
    assert status.level == b"\x02"
    assert "/observer" in status.message and "reliab" in status.message.lower()
    bench.run(bench.observer.destroy_publisher, camera)
    until(lambda: "QoS" not in bench.status("input camera")[0].message)


def test_silence_is_reported_also_before_the_first_frame(bench: Bench) -> None:
    bench.active(diagnostics__input_timeout_ms=200.0)
    status, values = until(
        lambda: (s := bench.status("input camera")) and s[0].level == b"\x02" and s
    )
    assert (
        "no message for" in status.message and "/camera/image_raw, 0 publishers" in status.message
    )
    assert values["received"] == "0"


def test_two_cameras_in_one_batch_keep_their_names(bench: Bench) -> None:
    bench.active(camera_names=["left", "right"], batch__max_wait_ms=1000.0)
    heard = {
        name: bench.listen(f"/jointseg/{name}/detections", Detection2DArray)
        for name in ("left", "right")
    }
    stats = bench.listen("/jointseg/stats", InferenceStats)
    left, right = bench.camera("/left/image_raw"), bench.camera("/right/image_raw")
    for stamp in range(1, 30):
        left.publish(frame(stamp, "left_optical"))
        right.publish(frame(stamp + 1000, "right_optical", size=(64, 64)))
        try:
            until(lambda: any(s.batch_size == 2 for s in stats) and all(heard.values()), 1)
            break
        except AssertionError:
            continue
    assert any(s.batch_size == 2 for s in stats)
    assert {m.header.frame_id for m in heard["left"]} == {"left_optical"}
    assert {m.header.frame_id for m in heard["right"]} == {"right_optical"}


def test_frames_of_one_time_are_one_batch_though_a_camera_is_late(bench: Bench) -> None:
    limits = {"batch__sync": "approximate", "batch__max_stamp_difference_ms": 20.0}
    bench.active(camera_names=["left", "right"], **limits)
    topics = [f"/jointseg/{name}/detections" for name in ("left", "right")]
    heard = [bench.listen(topic, Detection2DArray) for topic in topics]
    left, right = bench.camera("/left/image_raw"), bench.camera("/right/image_raw")
    for k in range(5, 50):
        left.publish(frame(k * 33_000_000))
        right.publish(frame((k - 3) * 33_000_000 + 5_000_000))
        with suppress(AssertionError):
            until(lambda: len(heard[1]) > 2, 0.1)
            break
    until(lambda: heard[1] and heard[0])
    at = [{stamp_of(message) for message in messages} for messages in heard]
    assert {stamp - 5_000_000 for stamp in at[1]} <= at[0]
    until(lambda: bench.status("latency"))
    assert until(lambda: bench.status("latency")[1].get("stamps differ p50 [ms]")) == "5.0"


def test_bad_frames_are_counted_by_reason_and_the_next_good_one_is_processed(bench: Bench) -> None:
    node = bench.active()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    send_until_heard(camera, frame(1), detections)
    bad = {"step": frame(2), "data_size": frame(3), "zero_size": frame(4), "encoding": frame(5)}
    bad["step"].step = 7
    bad["data_size"].data = bytes(5)
    bad["zero_size"].height = 0
    bad["encoding"].encoding = "foo8"
    for reason, message in bad.items():
        before = until(lambda: (c := node.counts()["camera"]).pending == 0 and c)
        camera.publish(message)
        until(lambda key=f"bad_image:{reason}": node.counts()["camera"].dropped.get(key) == 1)
        assert node.counts()["camera"].processed == before.processed
    status, values = until(
        lambda: (s := bench.status("input camera")) and "foo8" in s[0].message and s
    )
    assert status.level == b"\x02"
    assert all(values[f"dropped bad_image:{reason}"] == "1" for reason in bad)
    send_until_heard(camera, frame(6), detections)
    assert not {stamp_of(m) for m in detections} & {2, 3, 4, 5}


def test_compressed_images_are_decoded_and_a_damaged_one_is_dropped(bench: Bench) -> None:
    node = bench.active(cameras__camera__transport="compressed", **SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera("/camera/image_raw/compressed", CompressedImage)
    file = io.BytesIO()
    Picture.fromarray(np.frombuffer(frame().data, np.uint8).reshape(48, 96, 3)).save(file, "JPEG")
    message = CompressedImage(header=frame(1).header, format="jpeg", data=file.getvalue())
    send_until_heard(camera, message, detections)
    sent = send_until_heard(camera, message, masks)
    assert (sent.height, sent.width) == (48, 96)
    camera.publish(CompressedImage(header=frame(2).header, data=file.getvalue()[:-400]))
    until(lambda: node.counts()["camera"].dropped.get("bad_image:undecodable") == 1)
    message.header = frame(3).header
    send_until_heard(camera, message, detections)


def h264_in(kind: str, header: Header, data: bytes) -> Any:
    """A message of a video, of any of the types that carry one."""
    if kind.endswith("FFMPEGPacket"):  # encoding as ffmpeg_image_transport 3 writes it
        pts, encoding = header.stamp.nanosec, "h264;yuv420p;bgr8;bgr8"
        return message_class(kind)(header=header, encoding=encoding, pts=pts, data=data)
    if kind.startswith("foxglove"):
        stamped = {"timestamp": header.stamp, "frame_id": header.frame_id}
        return message_class(kind)(**stamped, format="h264", data=data)
    return CompressedImage(header=header, format="h264", data=data)


@pytest.mark.parametrize(
    ("transport", "topic"),
    [
        ("sensor_msgs/msg/CompressedImage", "/camera/h264"),  # of any name where its type is given
        ("ffmpeg", "/camera/image_raw/ffmpeg"),
        ("foxglove", "/camera/image_raw/foxglove"),
    ],
)
def test_a_video_is_decoded_though_most_of_its_pictures_are_overwritten(
    bench: Bench, transport: str, topic: str
) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    from videos import SIZE, packets

    kind = transport_of(transport).type
    package = kind.partition("/")[0]
    pytest.importorskip(f"{package}.msg", reason=f"{package} is not installed")
    named = "/camera/image_raw" if transport in TRANSPORTS else topic
    bench.active(cameras__camera__transport=transport, cameras__camera__image_topic=named, **SOME)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera(topic, message_class(kind))
    for number, data in enumerate(packets("h264", count=60, key_every=100)):
        camera.publish(h264_in(kind, frame(number).header, data))
        time.sleep(0.005)
    last = until(lambda: [m for m in masks if stamp_of(m) == 59])
    assert (last[0].height, last[0].width) == SIZE
    assert last[0].header == frame(59).header


def test_16_bits_of_which_12_are_used_are_a_warning_until_bits_says_so(bench: Bench) -> None:
    node = bench.active(**SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    deep = (np.arange(48 * 96, dtype="<u2") % 4096).tobytes()
    image = Image(header=frame(1).header, height=48, width=96, step=192, data=deep)
    image.encoding = "mono16"
    send_until_heard(camera, image, detections)
    facts = node.monitor.inputs["camera"]
    assert "no more than 12 are used" in facts.hint
    assert bench.run(node.trigger_deactivate) == bench.run(node.trigger_cleanup) == SUCCESS
    assert bench.set("cameras.camera.bits", 12).successful
    assert bench.run(node.trigger_configure) == bench.run(node.trigger_activate) == SUCCESS
    image.header = frame(2).header
    send_until_heard(camera, image, detections)
    assert not facts.hint


def test_the_size_of_the_images_may_change(bench: Bench) -> None:
    bench.active()
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera()
    for stamp, size in enumerate([(48, 96), (96, 48), (1, 1), (7, 13)], start=1):
        sent = send_until_heard(camera, frame(stamp, size=size), masks)
        assert (sent.height, sent.width) == size


def test_frames_older_than_allowed_are_dropped(bench: Bench) -> None:
    node = bench.active(max_input_age_ms=1000.0)
    camera = bench.camera()
    camera.publish(frame(stamp=1_000_000_000))
    until(lambda: node.counts()["camera"].dropped.get("too_old"))
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    fresh = frame()
    for _ in range(20):
        fresh.header.stamp = bench.observer.get_clock().now().to_msg()
        camera.publish(fresh)
        time.sleep(0.1)
        if detections:
            break
    assert detections


def test_slow_batches_are_reported_as_late(bench: Bench) -> None:
    bench.active(
        diagnostics__max_processing_time_ms=1.0, diagnostics__max_consecutive_delay_ms=300.0
    )
    camera = bench.camera()
    deadline = time.monotonic() + PATIENCE
    while not ((s := bench.status("latency")) and s[0].level == b"\x02"):
        camera.publish(frame())
        time.sleep(0.02)
        assert time.monotonic() < deadline
    assert "limit 1 ms" in s[0].message


def test_a_frame_that_the_model_fails_on_is_dropped_and_a_reload_heals(bench: Bench) -> None:
    node = bench.active()
    camera = bench.camera()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(camera, frame(1), detections)
    del node.predictor.model.object_stream  # as broken as a model can be
    camera.publish(frame(2))
    until(lambda: node.counts()["camera"].dropped.get("inference"))
    status = until(lambda: (s := bench.status("latency")) and s[0].level == b"\x02" and s[0])
    assert "inference failed" in status.message
    assert bench.call(Trigger, "/jointseg/reload_model").success
    send_until_heard(camera, frame(3), detections)

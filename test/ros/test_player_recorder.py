import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from jointseg_eval.recordings.bags import BagReader, BagWriter, message_types, new
from jointseg_eval.recordings.messages import header_message, image_message

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")

ROOT = Path(__file__).parents[2]
START = 1_700_000_000_000_000_000
TIMES = [START + ms * 1_000_000 for ms in (0, 60, 120, 400, 460)]
IMAGE, WORDS = "/cam/image", "/words"


def write_recording(path: Path) -> Path:
    with BagWriter(path) as bag:
        for k, now in enumerate(TIMES):
            picture = np.full((24, 32, 3), 10 * k, np.uint8)
            bag.write(IMAGE, image_message(picture, header_message(now - 7, "front")), now)
            bag.write(WORDS, new("std_msgs/msg/String", data=f"word {k}"), now)
            truth = image_message(picture[..., 0], header_message(now - 7, "front"))
            bag.write("/cam/ground_truth/semantic", truth, now)
    return path


def start(module: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", f"jointseg_ros.{module}", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), **pipes)


def finish(process: subprocess.Popen, number: int | None = None) -> tuple[int, str]:
    """The exit code and what was printed to stderr, after sending a signal if one is given."""
    if number is not None:
        process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, errors


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, what the player and the recorder made of it, and their logs."""
    folder = tmp_path_factory.mktemp("played")
    recording = write_recording(folder / "in.mcap")
    recorder = start(
        *("recorder", folder / "out.mcap", "--log", folder / "arrived.jsonl"),
        *("--topics", IMAGE, WORDS, "/clock", "--ros-args", "-p", "use_sim_time:=true"),
    )
    player = start(
        *("player", recording, "--log", folder / "played.jsonl", "--topics", IMAGE, WORDS),
        *("--lead", 1.5, "--linger", 0.5),
    )
    assert finish(player) == (0, "")
    assert finish(recorder, signal.SIGINT) == (0, "")
    return folder


def raw(path: Path, topic: str) -> list[bytes]:
    with path.open("rb") as file:
        messages = make_reader(file, validate_crcs=True).iter_messages(topics=[topic])
        return [message.data for _, _, message in messages]


def test_what_is_played_arrives_byte_for_byte_and_in_order(played: Path):
    for topic in (IMAGE, WORDS):
        sent, got = raw(played / "in.mcap", topic), raw(played / "out.mcap", topic)
        assert len(sent) == len(got) == len(TIMES)
        for a, b in zip(sent, got, strict=True):  # DDS pads to a multiple of four
            assert b[: len(a)] == a and len(b) - len(a) < 4


def test_every_image_is_published_at_its_time_and_the_moment_is_noted(played: Path):
    noted = [line for line in lines(played / "played.jsonl") if "published_ns" in line]
    assert [line["stamp_ns"] for line in noted] == [now - 7 for now in TIMES]
    moments = np.array([line["published_ns"] for line in noted])
    late = (moments - moments[0]) - (np.array(TIMES) - TIMES[0])
    assert np.abs(late).max() < 100e6


def test_arrivals_are_joined_to_publications_by_stamp_on_one_steady_clock(played: Path):
    out = {x["stamp_ns"]: x["published_ns"] for x in lines(played / "played.jsonl")[2:-1]}
    arrived = [x for x in lines(played / "arrived.jsonl") if x.get("topic") == IMAGE]
    latencies = [(x["arrived_ns"] - out[x["stamp_ns"]]) / 1e6 for x in arrived]
    assert len(latencies) == len(TIMES) and min(latencies) > 0 and max(latencies) < 500


def test_messages_without_a_header_have_no_stamp_in_the_log(played: Path):
    words = [x for x in lines(played / "arrived.jsonl") if x.get("topic") == WORDS]
    assert [x["stamp_ns"] for x in words] == [None] * len(TIMES)


def test_the_clock_runs_with_the_recording_and_at_least_at_40_hz(played: Path):
    with BagReader(played / "out.mcap") as bag:
        clock = [m.content.clock for m in bag.messages(["/clock"])]
        received = [m.time for m in bag.messages([IMAGE])]
    now = np.array([c.sec * 10**9 + c.nanosec for c in clock])
    assert (np.diff(now) >= 0).all() and now[0] == START
    assert 400e6 < now[-1] - TIMES[-1] <= 500e6  # the last one may come after the recorder's end
    during = now[(now > START) & (now <= TIMES[-1])]
    assert len(during) / ((TIMES[-1] - START) / 1e9) >= 40
    assert np.abs(np.array(received) - TIMES).max() < 150e6  # the recorder follows that clock


def test_other_readers_understand_the_recorded_file(played: Path):
    with (played / "out.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        decoded = [m.decoded_message for m in reader.iter_decoded_messages(topics=[IMAGE])]
        schemas = {s.name: s.data.decode() for s in reader.get_summary().schemas.values()}
        assert reader.get_header().profile == "ros2"
    assert [m.header.frame_id for m in decoded] == ["front"] * len(TIMES)
    assert "MSG: builtin_interfaces/Time\n" in schemas["sensor_msgs/msg/Image"]


def test_by_default_cameras_are_played_and_the_truth_about_them_is_not(tmp_path: Path):
    from jointseg_ros.player import Recording

    recording = Recording(write_recording(tmp_path / "in.mcap"), None)
    try:
        assert recording.topics == {IMAGE: "sensor_msgs/msg/Image"}
        assert [m.time for m in recording] == TIMES
    finally:
        recording.close()


def test_a_player_without_listeners_says_so(tmp_path: Path):
    recording = write_recording(tmp_path / "in.mcap")
    code, errors = finish(start("player", recording, "--topics", IMAGE, "--timeout", 0.5))
    assert code == 1 and "0 of 1 subscribers on /cam/image" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("fault", ["missing", "truncated", "text", "topic"])
def test_a_recording_that_cannot_be_played_is_named_in_one_line(tmp_path: Path, fault: str):
    path = write_recording(tmp_path / "in.mcap")
    topics = ["/nothing"] if fault == "topic" else [IMAGE]
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif fault == "text":
        path.write_text("not a recording, but long enough to be read as one")
    code, errors = finish(start("player", path, "--topics", *topics))
    assert code == 3 and str(path) in errors and len(errors.splitlines()) == 1


def test_an_interrupted_player_ends_soon(tmp_path: Path):
    recording, log = write_recording(tmp_path / "in.mcap"), tmp_path / "played.jsonl"
    player = start("player", recording, "--topics", IMAGE, "--log", log)
    wait_for(lambda: lines(log) == [{"event": "waiting"}])
    began = time.monotonic()
    code, errors = finish(player, signal.SIGINT)
    assert time.monotonic() - began < 5 and errors == "" and code == 130


def test_a_recorder_to_which_nobody_talks_names_the_topics_and_leaves_nothing(tmp_path: Path):
    process = start("recorder", tmp_path / "out.mcap", "--topics", "/a", "/b", "--timeout", 0.5)
    code, errors = finish(process)
    assert code == 1 and "/a, /b" in errors and len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_latched_message_is_recorded_and_a_terminated_recorder_completes_its_file(
    tmp_path: Path,
):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("speaker", context=context)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(String, WORDS, latched)
    publisher.publish(String(data="said before anybody listened"))
    log = tmp_path / "arrived.jsonl"
    recorder = start("recorder", tmp_path / "out.mcap", "--topics", WORDS, "--log", log)
    try:
        wait_for(lambda: any("topic" in line for line in lines(log)))
        assert (tmp_path / "out.mcap.part").exists() and not (tmp_path / "out.mcap").exists()
        assert finish(recorder, signal.SIGTERM) == (0, "")
    finally:
        recorder.kill()
        node.destroy_node()
        rclpy.shutdown(context=context)
    with BagReader(tmp_path / "out.mcap") as bag:
        assert [m.content.data for m in bag.messages()] == ["said before anybody listened"]
    assert not (tmp_path / "out.mcap.part").exists()


@pytest.mark.parametrize("kind", ["sensor_msgs/msg/CameraInfo", "vision_msgs/msg/LabelInfo"])
def test_the_recorded_definitions_name_every_type_within(kind: str):
    from jointseg_ros.serialized import definition

    if kind.startswith("vision"):
        pytest.importorskip("vision_msgs.msg")
    ours = {line for line in definition(kind).splitlines() if line.startswith("MSG: ")}
    theirs = message_types().generate_msgdef(kind, ros_version=2)[0].splitlines()
    assert ours == {line for line in theirs if line.startswith("MSG: ")} != set()


def test_a_stamp_is_read_from_either_byte_order():
    from jointseg_ros.serialized import stamp_ns

    header, store = header_message(7 * 10**9 + 3, "x"), message_types()
    for little in (True, False):
        data = store.serialize_cdr(header, "std_msgs/msg/Header", little_endian=little)
        assert stamp_ns(bytes(data)) == 7 * 10**9 + 3


def test_a_type_that_is_not_installed_is_named():
    from jointseg_ros.serialized import message_class

    for kind in ("nowhere_msgs/msg/Nothing", "std_msgs/msg/Nothing", "rubbish"):
        with pytest.raises(ValueError, match=kind):
            message_class(kind)

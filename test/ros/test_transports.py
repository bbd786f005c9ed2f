"""How images travel, and the encodings that are left to cv_bridge."""

import sys
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("jointseg_ros.msg", reason="the messages of jointseg_ros are not built")

from sensor_msgs.msg import Image

from jointseg_core.errors import BadConfig, BadImage
from jointseg_core.video import CameraDecoder
from jointseg_eval.recordings.topics import IMAGE_TYPES, RESULTS
from jointseg_eval.recordings.types import PICTURES
from jointseg_ros import transports
from jointseg_ros.launching import perception, replay
from jointseg_ros.launching.arguments import values
from jointseg_ros.outputs import OVERLAYS, TOPICS


@pytest.mark.parametrize("name", ["raw", "compressed", "sensor_msgs/msg/CompressedImage"])
def test_what_is_installed_is_read(name: str) -> None:
    assert transports.problem(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("theora", "republish --ros-args -p in_transport:=theora"),
        ("smoke", "reads raw, compressed, ffmpeg, foxglove, or the type of the topic itself"),
        ("compressedDepth", "of depth, not of pictures"),
        ("sensor_msgs/msg/PointCloud2", "it is none of raw"),
        ("", "it is none of raw"),
    ],
)
def test_what_cannot_be_read_says_what_it_needs(name: str, words: str) -> None:
    assert words in transports.problem(name)
    if name:
        given = values(perception.ARGUMENTS, [f"transport:={name}"])
        with pytest.raises(BadConfig, match=f"^transport:={name}: "):
            perception.check(given)


def test_a_video_needs_pyav_and_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"av", "foxglove_msgs"}
    monkeypatch.setattr(
        transports.importlib.util, "find_spec", lambda name: name in installed or None
    )
    assert transports.problem("foxglove") is None
    assert "ros-$ROS_DISTRO-ffmpeg-image-transport-msgs" in transports.problem("ffmpeg")
    installed.clear()
    assert "pip install av" in transports.problem("foxglove")


def test_replay_plays_the_topic_of_any_transport() -> None:
    for name, transport in transports.TRANSPORTS.items():
        for topic in ("/a/image_raw", f"/a/image_raw{transport.suffix}"):
            words = ["bag:=a.mcap", f"transport:={name}", f"image_topic:={topic}"]
            given = values(replay.ARGUMENTS, words)
            played = replay.player(given).arguments[-1]
            assert played == f"/a/image_raw{transport.suffix}"
            assert replay.perception(given)["image_topic"] == "/a/image_raw"


def test_recordings_know_what_the_node_reads_and_what_it_publishes() -> None:
    assert set(transports.TYPES) <= set(IMAGE_TYPES)
    assert set(transports.TYPES) <= {*PICTURES, *transports.TYPES[:2]}
    images = {t.name for topics in TOPICS.values() for t in topics if t.type is Image}
    assert set(RESULTS) == {f"/{name}" for name in (*images, *OVERLAYS) if "compressed" not in name}


def image(encoding: str) -> Image:
    return Image(height=2, width=2, step=6, encoding=encoding, data=bytes(range(12)))


def test_without_cv_bridge_an_unknown_encoding_says_that_it_may_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(BadImage, match=r"'nv24' is not read .*nor is cv_bridge installed"):
        CameraDecoder(fallback=transports.by_cv_bridge)(image("nv24"))


def test_cv_bridge_is_asked_for_rgb8_of_what_the_table_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its interface alone, as it comes with ROS only."""
    asked = []

    class CvBridge:
        def imgmsg_to_cv2(self, message: Image, desired_encoding: str) -> np.ndarray:
            asked.append((message.encoding, desired_encoding))
            return np.frombuffer(message.data, np.uint8).reshape(2, 2, 3)

    module = ModuleType("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    decoder = CameraDecoder(fallback=transports.by_cv_bridge)
    assert decoder(image("nv24")).reshape(-1).tolist() == list(range(12))
    decoder(image("rgb8"))
    assert asked == [("nv24", "rgb8")]

"""Pictures of every kind of recording and message, through the one decoder."""

import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore
from videos import packets, picture

from jointseg_eval.bag_evaluation.windows import survey
from jointseg_eval.recordings.bags import BadBag, BagReader, BagWriter, message_types, new
from jointseg_eval.recordings.messages import detections_message, header_message, image_message
from jointseg_eval.recordings.pictures import Picture, pictures
from jointseg_eval.recordings.topics import RESULTS, image_topic

IMAGE = "sensor_msgs/msg/Image"
RGB = np.random.default_rng(2).integers(0, 256, (6, 8, 3)).astype(np.uint8)
TIMES = (1_700_000_000_000_000_000, 1_700_000_000_100_000_007)
NOETIC = get_typestore(Stores.ROS1_NOETIC)


def seen(path: Path, topic: str | None = None, **window: int) -> list[Picture]:
    with BagReader(path, strict=True) as bag:
        return list(pictures(bag, image_topic(bag, topic), **window))


def check(path: Path, times: Iterable[int] = TIMES) -> None:
    """The recording holds the picture at these times, darker each time."""
    found = seen(path)
    assert [(one.time, one.stamp, one.frame_id) for one in found] == [
        (t, t, "front") for t in times
    ]
    for number, one in enumerate(found):
        assert one.word == "" and np.array_equal(one.pixels, RGB // (number + 1))


def ros1_image(number: int, time: int) -> bytes:
    """A sensor_msgs/Image as ROS 1 writes it, whose header has a number."""
    kinds = NOETIC.types
    stamp = kinds["builtin_interfaces/msg/Time"](*divmod(time, 1_000_000_000))
    header = kinds["std_msgs/msg/Header"](number, stamp, "front")
    data = (RGB // (number + 1)).reshape(-1)
    return bytes(NOETIC.serialize_ros1(kinds[IMAGE](header, 6, 8, "rgb8", 0, 24, data), IMAGE))


def ros1_bag(path: Path, compression: str = "") -> Path:
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(writer.CompressionFormat[compression])
    with writer:
        topic = writer.add_connection("/front/image_raw", IMAGE, typestore=NOETIC)
        for number, time in enumerate(TIMES):
            writer.write(topic, time, ros1_image(number, time))
    return path


@pytest.mark.parametrize("compression", ["", "BZ2", "LZ4"])
def test_bags_of_ros_1_are_read(tmp_path: Path, compression: str) -> None:
    path = ros1_bag(tmp_path / "Drive.BAG", compression)
    check(path)
    with BagReader(path) as bag:
        assert (bag.topics["/front/image_raw"].count, bag.start) == (2, TIMES[0])
        assert [m.time for m in bag.messages(start=TIMES[0] + 1)] == [TIMES[1]]
        assert list(bag.messages(["/nothing"])) == []
    recording = survey(path)
    assert (recording.start, recording.stop) == (TIMES[0], TIMES[1] + 1)


def test_a_damaged_bag_of_ros_1_says_what_it_is(tmp_path: Path, monkeypatch) -> None:
    whole = ros1_bag(tmp_path / "whole.bag", "BZ2").read_bytes()
    for name, data, words in (
        ("cut.bag", whole[:-200], "index cannot be read .*rosbag reindex"),
        ("other.bag", b"words", "does not begin as a .bag"),
        ("none.bag", b"", "it is empty"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadBag, match=words):
            seen(tmp_path / name)
    monkeypatch.setattr("jointseg_eval.recordings.ros1_file.MAX_BYTES", 100)
    with BagReader(tmp_path / "whole.bag") as bag:
        assert list(bag.messages()) == [] and "more than the 100 bytes" in str(bag.losses[0])


def mcap(path: Path, profile: str, schema: tuple[str, str, bytes], messages: list[bytes]) -> Path:
    """A recording of messages in another encoding than ROS 2's."""
    with path.open("wb") as file:
        writer = McapWriter(file, compression=CompressionType.ZSTD)
        writer.start(profile, "another recorder")
        number = writer.register_schema(*schema)
        encoding = "ros1" if profile == "ros1" else "protobuf"
        channel = writer.register_channel("/front/image_raw", encoding, number)
        for time, data in zip(TIMES, messages, strict=True):
            writer.add_message(channel, time, data, time)
        writer.finish()
    return path


def test_the_ros_1_profile_of_mcap_is_read(tmp_path: Path) -> None:
    text = NOETIC.generate_msgdef(IMAGE, ros_version=1)[0].encode()
    messages = [ros1_image(number, time) for number, time in enumerate(TIMES)]
    schema = "sensor_msgs/Image", "ros1msg", text
    check(mcap(tmp_path / "Drive.MCAP", "ros1", schema, messages))


def protobuf(*fields: tuple[int, bytes | int | str]) -> bytes:
    """A message in protobuf: bytes and texts with their length, numbers in 32 bits."""
    found = b""
    for number, value in fields:
        if isinstance(value, int):
            found += bytes([number << 3 | 5]) + struct.pack("<I", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            length = len(data)
            size = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
            found += bytes([number << 3 | 2]) + size + data
    return found


def varint(number: int) -> bytes:
    rest = [number >> 7 * k & 127 for k in range(5)]
    return bytes([*(part | 128 for part in rest[:-1]), rest[-1]])


def timestamp(time: int) -> bytes:
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    return b"\x08" + varint(seconds) + b"\x10" + varint(nanoseconds)


def png(samples: np.ndarray) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


FOXGLOVE = {
    "RawImage": lambda rgb, time: protobuf(
        *((1, timestamp(time)), (7, "front"), (2, 8), (3, 6), (4, "rgb8"), (5, 24)),
        (6, rgb.tobytes()),
    ),
    "CompressedImage": lambda rgb, time: protobuf(
        (1, timestamp(time)), (2, png(rgb)), (3, "png"), (4, "front"), (15, "of a later version")
    ),
}


@pytest.mark.parametrize("name", FOXGLOVE)
def test_foxglove_pictures_in_protobuf_are_read(tmp_path: Path, name: str) -> None:
    messages = [FOXGLOVE[name](RGB // (k + 1), time) for k, time in enumerate(TIMES)]
    schema = f"foxglove.{name}", "protobuf", b""
    check(mcap(tmp_path / "one.mcap", "", schema, messages))
    cut = [messages[0], messages[1][:-3]]
    with BagReader(mcap(tmp_path / "cut.mcap", "", schema, cut)) as bag:
        assert len(list(bag.messages())) == 1 and bag.skipped == {"/front/image_raw": 1}


def foxglove(name: str, time: int, **fields: object) -> object:
    stamp = header_message(time, "").stamp
    return new(f"foxglove_msgs/msg/{name}", timestamp=stamp, frame_id="front", **fields)


def ffmpeg(time: int, **fields: object) -> object:
    kind = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    return new(kind, header=header_message(time, "front"), **fields)


def written(path: Path, make: Callable[[int, int], object], count: int = 2) -> Path:
    with BagWriter(path) as bag:
        for number in range(count):
            time = TIMES[0] + 100_000_007 * number
            bag.write("/front/image_raw", make(number, time), time)
    return path


def test_foxglove_pictures_of_ros_2_are_read(tmp_path: Path) -> None:
    def made(number: int, time: int) -> object:
        return foxglove("CompressedImage", time, format="png", data=png(RGB // (number + 1)))

    check(written(tmp_path / "one.mcap", made))


VIDEOS = {
    "CompressedImage": lambda data, time: new(
        "sensor_msgs/msg/CompressedImage",
        **{"header": header_message(time, "front"), "format": "h264", "data": data},
    ),
    "CompressedVideo": lambda data, time: foxglove(
        "CompressedVideo", time, format="h264", data=data
    ),
    "FFMPEGPacket": lambda data, time: ffmpeg(time, encoding="libx264", data=data),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_are_read_from_their_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / "one.mcap"
    written(path, lambda k, time: VIDEOS[name](packets("h264")[k], time), count=9)
    found = seen(path)
    for number, one in enumerate(found):
        assert np.abs(one.pixels.astype(int) - picture(number)).mean() < 3 and not one.word
    assert len(found) == 9 and found[3].stamp == found[3].time > TIMES[0]
    recording = survey(path)  # in one window, whose frames need each other
    assert (recording.start, recording.stop) == (None, None)
    assert "waits for a key frame" in seen(path, start=found[2].time)[0].word


def test_recordings_that_another_program_compressed_are_read(tmp_path: Path) -> None:
    def made(number: int, time: int) -> object:
        return image_message(RGB // (number + 1), header_message(time, "front"))

    whole = written(tmp_path / "drive.mcap", made).read_bytes()
    for name in ("drive.mcap.zstd", "DRIVE.MCAP.ZST"):
        (tmp_path / name).write_bytes(zstandard.compress(whole))
        check(tmp_path / name)
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "drive.mcap.zstd", tmp_path / "folder")
    check(tmp_path / "folder")


@pytest.mark.parametrize("storage", StoragePlugin)
def test_packed_messages_are_known_without_metadata(tmp_path: Path, storage) -> None:
    writer = Ros2Writer(tmp_path / "bag", version=9, storage_plugin=storage)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    store = message_types()
    with writer:
        topic = writer.add_connection("/front/image_raw", IMAGE, typestore=store)
        for number, time in enumerate(TIMES):
            message = image_message(RGB // (number + 1), header_message(time, "front"))
            writer.write(topic, time, store.serialize_cdr(message, IMAGE))
    check(tmp_path / "bag")
    (tmp_path / "bag/metadata.yaml").unlink()
    check(tmp_path / "bag")


@pytest.mark.parametrize(
    ("encoding", "dtype", "expected"),
    [("mono16", "<u2", "upper"), ("32FC1", "<f4", "depth"), ("16UC1", "<u2", "depth")],
)
def test_16_bits_are_their_upper_8_and_floats_are_refused(
    tmp_path: Path, encoding: str, dtype: str, expected: str
) -> None:
    samples = np.arange(48).reshape(6, 8).astype(dtype) * (1300 if dtype == "<u2" else 1)

    def made(number: int, time: int) -> object:
        header = header_message(time, "front")
        shape = {"height": 6, "width": 8, "step": samples.strides[0]}
        return new(IMAGE, header=header, encoding=encoding, data=samples.tobytes(), **shape)

    found = seen(written(tmp_path / "one.mcap", made))[0]
    if expected == "upper":
        assert np.array_equal(found.pixels[..., 0], samples >> 8) and not found.word
        assert seen(tmp_path / "one.mcap", bits=12)[0].pixels.max() == 255
    else:
        assert found.pixels is None and expected in found.word and encoding in found.word


def bag_of(path: Path, *topics: str) -> Path:
    """One message on each topic, of the kind that its name says."""
    header = header_message(TIMES[0], "front")
    packed = new("sensor_msgs/msg/CompressedImage", header=header, format="png", data=png(RGB))
    kinds = {
        "detections": detections_message(header, [], [], []),
        "compressed": packed,
        "compressedDepth": packed,
        "ffmpeg": ffmpeg(TIMES[0], encoding="h264", data=packets("h264")[0]),
    }
    with BagWriter(path) as bag:
        for name in topics:
            message = kinds.get(name.rpartition("/")[2], image_message(RGB, header))
            bag.write(name, message, TIMES[0])
    return path


def test_what_a_node_drew_and_transports_of_one_camera_are_no_choice(tmp_path: Path) -> None:
    def chosen(*topics: str, topic: str | None = None) -> str:
        with BagReader(bag_of(tmp_path / "one.mcap", *topics)) as bag:
            return image_topic(bag, topic)

    camera = ["/a/image_raw/compressed", "/a/image_raw/compressedDepth", "/a/image_raw"]
    drawn = [f"/joint/a{name}" for name in RESULTS]
    drawn += ["/joint/a/overlay/compressed", "/joint/a/semantic/image/compressed"]
    assert chosen(*camera, *drawn) == "/a/image_raw"
    assert chosen(camera[0], *drawn) == camera[0]
    assert chosen(*camera, *drawn, topic=drawn[0]) == drawn[0]
    with pytest.raises(BadBag, match="no images of a camera; choose one by --topic: /joint/a"):
        chosen(*drawn)
    with pytest.raises(BadBag, match="several images"):
        chosen(*camera, "/b/image_raw")


@pytest.mark.parametrize(
    ("images", "place"),
    [
        ("/camera/image_raw", "/camera"),
        ("/camera/image_raw/compressed", "/camera"),
        ("/robot1/camera/color/image_raw", "/robot1/camera"),
        ("/robot1/camera/color/image_raw", "/robot1"),
        ("/robot1/camera/color/image_raw/ffmpeg", ""),
        ("/camera/image_raw", "/sim/labels"),
    ],
)
def test_truth_is_found_beside_and_above_the_camera(
    tmp_path: Path, images: str, place: str
) -> None:
    truth = f"{place}/ground_truth/detections"
    recording = survey(bag_of(tmp_path / "one.mcap", images, truth))
    assert (recording.truth.detections, recording.spare_truth) == (truth, ())


def test_truth_of_another_camera_is_not_taken(tmp_path: Path) -> None:
    truth = "/left/ground_truth/detections"
    path = bag_of(tmp_path / "one.mcap", "/left/image", "/right/image", truth)
    assert survey(path, "/left/image").truth is not None
    recording = survey(path, "/right/image")
    assert (recording.truth, recording.spare_truth) == (None, (truth,))

from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from PIL import Image
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from jointseg_core.messages import stamp_ns
from jointseg_eval.recordings.bags import BadBag, BagReader, BagWriter, message_types, new
from jointseg_eval.recordings.messages import header_message, image_message, to_rgb
from jointseg_eval.recordings.types import types_of

SECOND = 1_000_000_000
RGB = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def label_info(threshold: float = 0.5) -> object:
    return new(
        "vision_msgs/msg/LabelInfo",
        header=header_message(3, "camera"),
        class_map=[new("vision_msgs/msg/VisionClass", class_id=2, class_name="car")],
        threshold=threshold,
    )


def masks() -> object:
    region = new(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=3,
        y_offset=1,
        height=2,
        width=4,
        do_rectify=False,
    )
    one = new(
        "jointseg_msgs/msg/InstanceMask",
        detection_index=0,
        class_id=2,
        score=0.5,
        track_id="7",
        roi=region,
        encoding=0,
        rle=np.array([1, 6, 1], np.uint32),
        bitmap=np.zeros(0, np.uint8),
    )
    header = header_message(5 * SECOND + 7, "camera_optical")
    return new("jointseg_msgs/msg/InstanceMaskArray", header=header, height=6, width=8, masks=[one])


def write_ours(path: Path) -> Path:
    with BagWriter(path) as bag:
        bag.write("/camera/image_raw", image_message(RGB, header_message(12, "camera")), 100)
        bag.write("/masks", masks(), 200)
        bag.write("/label_info", label_info(), 300)
        bag.write("/camera/image_raw", image_message(RGB // 2, header_message(13, "camera")), 400)
    return path


def write_theirs(path: Path, storage: StoragePlugin, times: tuple[int, ...] = (100, 200)) -> Path:
    """A bag made by other software: two topics, one image and one compressed image a moment."""
    store = message_types()
    with Writer(path, version=9, storage_plugin=storage) as bag:
        raw = bag.add_connection("/raw", "sensor_msgs/msg/Image", typestore=store)
        jpeg = bag.add_connection("/jpeg", "sensor_msgs/msg/CompressedImage", typestore=store)
        for time in times:
            image = image_message(RGB, header_message(time, "camera"))
            compressed = new(
                "sensor_msgs/msg/CompressedImage",
                header=header_message(time, "camera"),
                format="jpeg",
                data=np.frombuffer(encoded("JPEG"), np.uint8),
            )
            bag.write(raw, time, store.serialize_cdr(image, "sensor_msgs/msg/Image"))
            bag.write(jpeg, time, store.serialize_cdr(compressed, jpeg.msgtype))
    return path


def encoded(kind: str) -> bytes:
    import io

    stream = io.BytesIO()
    smooth = Image.fromarray(np.full((6, 8, 3), (200, 100, 50), np.uint8))
    smooth.save(stream, kind)
    return stream.getvalue()


def test_what_was_written_is_read_back(tmp_path: Path):
    with BagReader(write_ours(tmp_path / "one.mcap")) as bag:
        assert {t.name: (t.type, t.count) for t in bag.topics.values()} == {
            "/camera/image_raw": ("sensor_msgs/msg/Image", 2),
            "/masks": ("jointseg_msgs/msg/InstanceMaskArray", 1),
            "/label_info": ("vision_msgs/msg/LabelInfo", 1),
        }
        found = list(bag.messages())
    assert [(m.topic, m.time) for m in found] == [
        ("/camera/image_raw", 100),
        ("/masks", 200),
        ("/label_info", 300),
        ("/camera/image_raw", 400),
    ]
    assert (to_rgb(found[0].content) == RGB).all()
    assert stamp_ns(found[1].content.header) == 5 * SECOND + 7
    assert found[1].content.masks[0].rle.tolist() == [1, 6, 1]
    assert found[2].content.class_map[0].class_name == "car"


@pytest.mark.parametrize("described", [True, False])
def test_recordings_with_the_earlier_name_of_our_messages_are_read(tmp_path: Path, described: bool):
    kind, store = "jointseg_msgs/msg/InstanceMaskArray", message_types()
    text = store.generate_msgdef(kind, ros_version=2)[0] if described else ""
    old, text = (words.replace("jointseg_msgs", "jointseg_ros") for words in (kind, text))
    with BagWriter(tmp_path / "old.mcap") as bag:
        bag.write_raw("/masks", old, store.serialize_cdr(masks(), kind), 200, text)
    with BagReader(tmp_path / "old.mcap") as bag:
        assert bag.topics["/masks"].type == kind
        [found] = bag.messages()
    assert found.type == kind and found.content.masks[0].rle.tolist() == [1, 6, 1]


def test_topics_can_be_chosen(tmp_path: Path):
    with BagReader(write_ours(tmp_path / "one.mcap")) as bag:
        assert [m.time for m in bag.messages(["/camera/image_raw"])] == [100, 400]
        assert list(bag.messages(["/nothing"])) == []


def test_other_readers_understand_what_we_write_and_find_checksums(tmp_path: Path):
    path = write_ours(tmp_path / "one.mcap")
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        decoded = [(c.topic, m) for _, c, _, m in reader.iter_decoded_messages()]
        assert reader.get_header().profile == "ros2"
        chunks = reader.get_summary().chunk_indexes
        schemas = {s.name: s.data.decode() for s in reader.get_summary().schemas.values()}
    assert {c.compression for c in chunks} == {"zstd"}
    assert "MSG: jointseg_msgs/InstanceMask\n" in schemas["jointseg_msgs/msg/InstanceMaskArray"]
    masks_of = dict(decoded)["/masks"]
    assert list(masks_of.masks[0].rle) == [1, 6, 1] and masks_of.header.stamp.sec == 5


def test_a_flipped_byte_is_noticed(tmp_path: Path):
    path = write_ours(tmp_path / "one.mcap")
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BadBag, match="checksum"), BagReader(path, strict=True) as bag:
        list(bag.messages())
    with BagReader(path) as bag:
        assert list(bag.messages()) == [] and "checksum" in str(bag.losses[0])


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_bags_of_other_software_are_read_in_any_form(tmp_path: Path, storage: StoragePlugin):
    folder = write_theirs(tmp_path / "theirs", storage)
    suffix = "mcap" if storage is StoragePlugin.MCAP else "db3"
    single = next(folder.glob(f"*.{suffix}"))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / single.name).write_bytes(single.read_bytes())
    for path in (folder, single, bare):
        with BagReader(path) as bag:
            pictures = [to_rgb(m.content) for m in bag.messages(["/raw"])]
            smooth = [to_rgb(m.content) for m in bag.messages(["/jpeg"])]
        assert len(pictures) == len(smooth) == 2
        assert (pictures[0] == RGB).all()
        assert np.abs(smooth[0].astype(int) - (200, 100, 50)).max() <= 3


def test_the_files_of_a_split_recording_are_read_in_the_order_of_time(tmp_path: Path):
    whole = tmp_path / "split"
    whole.mkdir()
    for name, times in (("split_1", (100, 200)), ("split_0", (300, 400))):
        part = write_theirs(tmp_path / name, StoragePlugin.MCAP, times)
        next(part.glob("*.mcap")).rename(whole / f"{name}.mcap")
    with BagReader(whole) as bag:
        assert bag.topics["/raw"].count == 4
        assert [m.time for m in bag.messages(["/raw"])] == [100, 200, 300, 400]


def test_a_damaged_message_costs_that_message_only(tmp_path: Path):
    path, store = tmp_path / "one.mcap", message_types()
    good = store.serialize_cdr(masks(), "jointseg_msgs/msg/InstanceMaskArray")
    text = store.generate_msgdef("jointseg_msgs/msg/InstanceMaskArray", ros_version=2)[0]
    with BagWriter(path) as bag:
        for time, data in enumerate((good, bytes(good)[:30], b"", good)):
            bag.write_raw("/masks", "jointseg_msgs/msg/InstanceMaskArray", data, time, text)
    with BagReader(path) as bag:
        assert [m.time for m in bag.messages()] == [0, 3]
        assert bag.skipped == {"/masks": 2}
        assert bag.defects() == ["/masks: 2 messages could not be decoded"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.mcap", None),
        ("notes.txt", b"hello"),
        ("empty.mcap", b""),
        ("noise.mcap", bytes(range(256)) * 9),
        ("noise.db3", bytes(range(256)) * 9),
    ],
)
def test_what_is_no_bag_is_named_in_one_sentence(tmp_path: Path, name: str, content: bytes | None):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadBag) as caught, BagReader(path) as bag:
        list(bag.messages())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_directory_without_recordings_and_a_truncated_file_are_refused(tmp_path: Path):
    with pytest.raises(BadBag, match=r"neither metadata\.yaml"), BagReader(tmp_path):
        pass
    path = write_ours(tmp_path / "one.mcap")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(BadBag, match=r"one\.mcap"), BagReader(path, strict=True):
        pass


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", list(CompressionMode))
def test_every_kind_of_bag_is_read_as_its_own_software_reads_it(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
):
    if storage is StoragePlugin.SQLITE3 and mode is CompressionMode.STORAGE:
        pytest.skip("a database is never compressed by itself")
    writer, store = Writer(tmp_path / "bag", version=9, storage_plugin=storage), message_types()
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer as bag:
        topics = [bag.add_connection(name, "std_msgs/msg/String", typestore=store) for name in "ab"]
        for time in np.random.default_rng(2).permutation(300).tolist():
            text = new("std_msgs/msg/String", data=f"{time} " * 40)
            bag.write(topics[time % 2], time, store.serialize_cdr(text, "std_msgs/msg/String"))
    with BagReader(tmp_path / "bag", strict=True) as bag, Reader(tmp_path / "bag") as oracle:
        for window in ({}, {"start": 20, "stop": 170}, {"stop": 5}, {"start": 290}):
            theirs = [(c.topic, t, bytes(d)) for c, t, d in oracle.messages(**window)]
            ours = [(c.topic, t, bytes(d)) for c, t, _, d in bag.records(**window)]
            assert ours == theirs
        assert [m.time for m in bag.messages("b", 20, 27)] == [21, 23, 25]
        assert (bag.start, bag.stop, bag.losses) == (0, 300, [])


def test_a_time_window_costs_only_itself(tmp_path: Path):
    """What is damaged outside of the window is not noticed, since it is not read."""
    path, image = tmp_path / "one.mcap", np.random.default_rng(1).integers(0, 256, (400, 900, 3))
    with BagWriter(path) as bag:
        for time in range(8):
            message = image_message(image.astype(np.uint8), header_message(time, "camera"))
            bag.write("/camera", message, time)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with BagReader(path) as bag:
        assert [m.time for m in bag.messages(start=3, stop=6)] == [3, 4, 5] and not bag.losses
        assert [m.time for m in bag.messages(start=0, stop=2)] == [1] and bag.losses


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_reader_beside_another_reads_the_same_and_has_losses_of_its_own(
    tmp_path: Path, storage: StoragePlugin
):
    written = write_theirs(tmp_path / "bag", storage)
    with BagReader(written, strict=True) as bag:
        other = bag.beside()
        assert other.topics == bag.topics and (other.start, other.stop) == (bag.start, bag.stop)
        pairs = list(zip(bag.messages(), other.messages(), strict=True))
        assert pairs and all(a.time == b.time and a.topic == b.topic for a, b in pairs)
    path = write_ours(tmp_path / "damaged.mcap")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with BagReader(path, strict=True) as bag:
        other = bag.beside()
        assert not list(other.messages()) and other.losses and not bag.losses
        with pytest.raises(BadBag):
            list(bag.messages())


def test_messages_of_unknown_types_are_skipped_until_a_workspace_defines_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with BagWriter(tmp_path / "one.mcap") as bag:
        bag.write_raw("/odd", "odd_msgs/msg/Odd", b"\0\1\0\0\7\0\0\0", 5, "")
    types_of.cache_clear()
    with BagReader(tmp_path / "one.mcap") as bag:
        assert list(bag.messages()) == [] and bag.skipped == {"/odd": 1}
    folder = tmp_path / "install/share/odd_msgs/msg"
    folder.mkdir(parents=True)
    (folder / "Odd.msg").write_text("Inner inner\n")
    (folder / "Inner.msg").write_text("uint32 number\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "install"))
    types_of.cache_clear()
    with BagReader(tmp_path / "one.mcap") as bag:
        assert [m.content.inner.number for m in bag.messages()] == [7]
    types_of.cache_clear()


@pytest.mark.parametrize("text", ["string[1000000000] a", "Odd[3] a", "uint8[4294967295] a", "("])
def test_a_hostile_definition_costs_its_topic_only(tmp_path: Path, text: str):
    with BagWriter(tmp_path / "one.mcap") as bag:
        bag.write_raw("/odd", "odd_msgs/msg/Odd", b"\0\1\0\0\7\0\0\0", 5, text)
        bag.write("/label_info", label_info(), 6)
    with BagReader(tmp_path / "one.mcap") as bag:
        assert [m.topic for m in bag.messages()] == ["/label_info"]
        assert bag.skipped == {"/odd": 1}


def test_a_bag_that_was_not_finished_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="stopped"), BagWriter(tmp_path / "one.mcap") as bag:
        bag.write("/label_info", label_info(), 1)
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []

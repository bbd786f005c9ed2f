from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.inputs import convert
from jointseg_core.errors import BadInput
from jointseg_core.messages import stamp_ns
from jointseg_eval.recordings.bags import BagReader, message_types, new
from jointseg_eval.recordings.messages import header_message, image_message, to_rgb

COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]


def picture(color: tuple[int, int, int], size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), color, np.uint8)


def folder_of(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for name, color in zip(names, COLORS, strict=True):
        Image.fromarray(picture(color)).save(path / name)
    return path


def bag_of(
    path: Path, storage: StoragePlugin, topics: dict[str, str], stamps: tuple[int, ...]
) -> Path:
    """A recording by other software: on each topic one picture a stamp."""
    store = message_types()
    with Writer(path, version=9, storage_plugin=storage) as bag:
        for topic, kind in topics.items():
            connection = bag.add_connection(topic, kind, typestore=store)
            for k, stamp in enumerate(stamps):
                header = header_message(stamp, "front")
                message = image_message(picture(COLORS[k]), header)
                if kind.endswith("CompressedImage"):
                    data = cv2.imencode(".png", picture(COLORS[k])[..., ::-1])[1].reshape(-1)
                    message = new(kind, header=header, format="png", data=data)
                bag.write(connection, 1000 + 10 * k, store.serialize_cdr(message, kind))
    return path


def converted(source: Path, out: Path, **options: object) -> list[tuple[int, int, str, tuple]]:
    """(time, stamp, frame id, colour in the middle) of each picture."""
    count = convert(source, out, **options)
    with BagReader(out) as bag:
        assert bag.topics["/camera/camera_info"].count == count
        found = list(bag.messages(["/camera/image_raw"]))
    assert len(found) == count
    middle = [tuple(to_rgb(m.content)[24, 32].tolist()) for m in found]
    headers = [m.content.header for m in found]
    return [
        (m.time, stamp_ns(h), h.frame_id, c) for m, h, c in zip(found, headers, middle, strict=True)
    ]


def test_a_folder_is_read_in_the_order_of_its_numbers_at_the_given_rate(tmp_path: Path):
    folder = folder_of(tmp_path / "pictures", ["a10.png", "a2.png", "a1.png"])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    found = converted(folder, tmp_path / "in.mcap", rate_hz=4)
    assert [c for *_, c in found] == [COLORS[2], COLORS[1], COLORS[0]]
    assert np.diff([stamp for _, stamp, *_ in found]).tolist() == [250_000_000] * 2


def test_one_picture_is_an_input(tmp_path: Path):
    Image.fromarray(picture(COLORS[0])).save(tmp_path / "one.png")
    assert [c for *_, c in converted(tmp_path / "one.png", tmp_path / "in.mcap")] == [COLORS[0]]


def test_a_video_keeps_its_times(tmp_path: Path):
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for color in COLORS:
        video.write(picture(color)[..., ::-1])
    video.release()
    found = converted(path, tmp_path / "in.mcap")
    assert np.diff([stamp for _, stamp, *_ in found]).tolist() == [50_000_000] * 2
    assert np.abs(np.array([c for *_, c in found]) - COLORS).max() <= 6


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_a_recording_keeps_times_stamps_and_frames(
    tmp_path: Path, storage: StoragePlugin, kind: str
):
    topics = {"/cam/any": f"sensor_msgs/msg/{kind}"}
    bag = bag_of(tmp_path / "bag", storage, topics, (5, 6, 7))
    found = converted(bag, tmp_path / "in.mcap")
    assert found == [(1000 + 10 * k, 5 + k, "front", COLORS[k]) for k in range(3)]


def test_of_a_damaged_recording_the_rest_is_taken_and_the_loss_is_told(tmp_path: Path, capsys):
    bag = bag_of(tmp_path / "bag", StoragePlugin.MCAP, {"/cam": "sensor_msgs/msg/Image"}, (5, 6, 7))
    path = next(bag.glob("*.mcap"))
    path.write_bytes(path.read_bytes()[:-100])
    found = converted(path, tmp_path / "in.mcap")
    assert [stamp for _, stamp, *_ in found] == [5, 6, 7]
    assert f"{path.name}: " in capsys.readouterr().err


def test_stamps_that_do_not_grow_are_replaced_so_that_all_differ(tmp_path: Path):
    topics = {"/cam": "sensor_msgs/msg/Image"}
    zero = bag_of(tmp_path / "zero", StoragePlugin.MCAP, topics, (0, 0, 0))
    assert [s for _, s, *_ in converted(zero, tmp_path / "a.mcap")] == [1000, 1010, 1020]
    back = bag_of(tmp_path / "back", StoragePlugin.MCAP, topics, (5000, 4000, 4000))
    stamps = [s for _, s, *_ in converted(back, tmp_path / "b.mcap")]
    assert stamps[0] == 5000 and stamps == sorted(set(stamps))


def test_only_the_first_frames_are_taken_when_asked(tmp_path: Path):
    folder = folder_of(tmp_path / "pictures", ["1.png", "2.png", "3.png"])
    assert len(converted(folder, tmp_path / "in.mcap", limit=2)) == 2


def test_of_several_image_topics_one_has_to_be_chosen(tmp_path: Path):
    topics = {"/left": "sensor_msgs/msg/Image", "/right": "sensor_msgs/msg/CompressedImage"}
    bag = bag_of(tmp_path / "bag", StoragePlugin.MCAP, topics, (1, 2, 3))
    for topic in (None, "/middle"):
        with pytest.raises(BadInput, match=r"/left \(Image, 3\), /right \(CompressedImage, 3\)"):
            convert(bag, tmp_path / "in.mcap", topic)
    assert convert(bag, tmp_path / "in.mcap", "/right") == 3


@pytest.mark.parametrize("name", ["gone.mp4", "text.mp4", "noise.mcap", "empty", "words", "no.png"])
def test_what_cannot_be_read_is_named_with_what_is_accepted_and_nothing_is_left(
    tmp_path: Path, name: str
):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "no.png").write_text("no picture")
    (tmp_path / "noise.mcap").write_bytes(bytes(999))
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words/a.txt").write_text("words")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput) as caught:
        convert(tmp_path / name, tmp_path / "out/in.mcap")
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert ".mcap" in str(caught.value)
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "out"] == before


def test_a_recording_without_images_lists_what_it_has(tmp_path: Path):
    path, store = tmp_path / "bag", message_types()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection("/words", "std_msgs/msg/String", typestore=store)
        text = new("std_msgs/msg/String", data="hello")
        bag.write(connection, 1, store.serialize_cdr(text, "std_msgs/msg/String"))
    with pytest.raises(BadInput, match="no images but /words"):
        convert(path, tmp_path / "in.mcap")


def test_real_pictures_and_a_real_video_can_be_read(pictures: Path, tmp_path: Path):
    assert convert(pictures, tmp_path / "pictures.mcap") == len(list(pictures.glob("*.jpg")))
    for video in pictures.glob("*.mp4"):
        assert convert(video, tmp_path / "video.mcap", limit=5) == 5

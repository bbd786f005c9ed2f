"""`python -m jointseg_eval.predict`: any pictures in; drawn frames and COCO JSON out."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from old_joint import old_joint
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model
from jointseg_core.command import exit_code
from jointseg_core.predictor import Predictor
from jointseg_eval.coco_results import compressed
from jointseg_eval.frames import open_frames
from jointseg_eval.predict import main
from jointseg_eval.recordings.bags import BagWriter
from jointseg_eval.recordings.messages import header_message, image_message
from jointseg_eval.video import Video

SIZE = (60, 90)
Run = Callable[..., int]


def untrained(model_type: str, folder: Path) -> Path:
    """Weights of a network for such small pictures."""
    torch.manual_seed(0)
    path = folder / f"{model_type}.safetensors"
    small = Preprocessing(input_size=(64, 128))
    save_model(build_model(preset(model_type, "tiny")), path, CITYSCAPES, small)
    return path


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained("rdsnet", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained("segrpn", tmp_path_factory.mktemp("weights"))


@pytest.fixture
def predict(tmp_path: Path, objects: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on an input into tmp_path/out; returns the exit code."""

    def run(source: Path, *more: str, weights: Path = objects) -> int:
        words = [str(source), "--weights", str(weights), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["predict", *words, "--score", "0", *map(str, more)])
        return exit_code(main)

    return run


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    return cv2.resize(small, size[::-1])


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for seed, name in enumerate(names):
        Image.fromarray(picture(seed)).save(path / name)
    return path


def bag_of(path: Path, *topics: str, stamps: tuple[int, ...] = (7, 100_000_007)) -> Path:
    with BagWriter(path) as bag:
        for seed, stamp in enumerate(stamps):
            for topic in topics:
                message = image_message(picture(seed), header_message(stamp, "front"))
                bag.write(topic, message, stamp)
    return path


def results(out: Path) -> tuple[dict, list[dict]]:
    return tuple(
        json.loads((out / f"{name}.json").read_text()) for name in ("images", "predictions")
    )


def left_behind(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or p.name == "out"]


def test_pictures_keep_their_names_and_pycocotools_reads_what_was_found(
    predict: Run, tmp_path: Path, objects: Path
):
    source = folder_of(tmp_path / "in", "b2.jpg", "b10.png", "c.bmp")
    assert predict(source) == 0
    out = tmp_path / "out"
    names = ["b2.jpg", "b10.png", "c.bmp.png", "images.json", "predictions.json"]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    drawn = np.asarray(Image.open(out / "b10.png"))
    assert drawn.shape == (*SIZE, 3) and (drawn != picture(1)).any()

    coco = COCO(out / "images.json")
    loaded = coco.loadRes(str(out / "predictions.json"))
    image = coco.loadImgs([2])[0]
    assert (image["file_name"], image["height"], image["width"]) == ("b10.png", *SIZE)
    predictor = Predictor.from_file(objects)
    predictor.configure(score_threshold=0)
    (seen,) = predictor([picture(1)])
    found = loaded.loadAnns(loaded.getAnnIds([2]))
    masks = seen.masks.bitmaps(SIZE).numpy()
    assert len(found) == len(seen) > 0
    for k, one in enumerate(found):
        assert one["category_id"] == int(seen.labels[k]) + 1
        assert one["category_name"] == coco.cats[one["category_id"]]["name"]
        assert one["score"] == pytest.approx(float(seen.scores[k]), abs=1e-6)
        x, y, width, height = one["bbox"]
        assert [x, y, x + width, y + height] == pytest.approx(seen.boxes[k].tolist(), abs=2e-3)
        assert (loaded.annToMask(one) == masks[k]).all()


def test_no_drawn_picture_takes_the_place_of_another(predict: Run, tmp_path: Path):
    """A kind that is not written gets .png behind its name, which another may have already."""
    source = folder_of(tmp_path / "in", "a.bmp", "b.bmp")
    Image.fromarray(picture(2, (30, 40))).save(source / "a.bmp.png")
    assert predict(source) == 0
    sizes = {p.name: Image.open(p).size for p in (tmp_path / "out").glob("*.png")}
    assert sizes == {"a.bmp.png.png": (90, 60), "a.bmp.png": (40, 30), "b.bmp.png": (90, 60)}


@pytest.mark.parametrize(
    "window", [(0, 0, 9, 6), (2, 1, 5, 4), (8, 0, 9, 6), (3, 5, 9, 6), (4, 3, 4, 3)]
)
def test_run_lengths_are_those_of_pycocotools(window: tuple[int, int, int, int]):
    x1, y1, x2, y2 = window
    generator = torch.Generator().manual_seed(sum(window))
    for crop in [
        torch.rand(y2 - y1, x2 - x1, generator=generator) < 0.5,
        torch.ones(y2 - y1, x2 - x1, dtype=torch.bool),
    ]:
        bitmap = np.zeros((6, 9), np.uint8, order="F")
        bitmap[y1:y2, x1:x2] = crop.numpy()
        expected = run_lengths.encode(bitmap)
        assert compressed(crop, window, (6, 9))["counts"].encode() == expected["counts"]


def test_damaged_pictures_are_left_out_named_and_counted(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = folder_of(tmp_path / "in", "a.jpg", "b.jpg")
    (source / "broken.jpg").write_bytes((source / "a.jpg").read_bytes()[:300])
    assert predict(source) == 4
    images, _ = results(tmp_path / "out")
    assert [image["file_name"] for image in images["images"]] == ["a.jpg", "b.jpg"]
    assert len(images["info"]["lost"]) == 1 and "broken.jpg" in images["info"]["lost"][0]
    assert "left out: broken.jpg" in capsys.readouterr().err


def test_pictures_are_turned_upright_as_exif_says(predict: Run, tmp_path: Path):
    source = folder_of(tmp_path / "in")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(picture(0)).save(source / "turned.png", exif=exif)
    assert predict(source) == 0
    (image,) = results(tmp_path / "out")[0]["images"]
    assert (image["height"], image["width"]) == SIZE[::-1]
    with Image.open(tmp_path / "out/turned.png") as drawn:
        assert drawn.size == SIZE and drawn.getexif().get(0x0112, 1) == 1


def test_16_bits_are_no_white_and_12_of_them_are_no_black_picture(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = folder_of(tmp_path / "in")
    gray = picture(0)[..., 0].astype(np.uint16)
    Image.fromarray(gray << 8 | 0xFF).save(source / "a16.png")
    Image.fromarray(gray << 4).save(source / "b12.tif")
    assert predict(source) == 0
    assert "nearly black; if a sample holds 10 or 12 bits of 16" in capsys.readouterr().err
    upper = [frame.picture for frame in open_frames(source)]
    told = [frame.picture for frame in open_frames(source, bits=12)]
    assert (upper[0][..., 0] == gray).all() and upper[1].max() < 16
    assert (told[1][..., 2] == gray).all()


def test_a_video_becomes_a_video_of_the_same_rate_and_the_results_have_times(
    predict: Run, tmp_path: Path
):
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, SIZE[::-1])
    for seed in range(3):
        video.write(picture(seed))
    video.release()
    assert predict(path) == 0
    images, found = results(tmp_path / "out")
    assert [i["seconds"] for i in images["images"]] == pytest.approx([0, 0.05, 0.1])
    assert {one["image_id"] for one in found} == {1, 2, 3}
    with av.open(str(tmp_path / "out/drive.mp4")) as drawn:
        assert float(drawn.streams.video[0].average_rate) == 20
        assert [f.to_ndarray(format="rgb24").shape for f in drawn.decode(video=0)] == [
            (60, 90, 3)
        ] * 3


def test_a_video_that_a_telephone_laid_on_its_side_is_turned_upright(tmp_path: Path):
    path, shown = tmp_path / "a.mp4", np.zeros((*SIZE, 3), np.uint8)
    shown[:30] = 255  # the upper half
    with Video(path, 10) as video:
        video.add(shown)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the matrix of the track
    turn = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, SIZE[0] << 16, 0, 1 << 30)
    content[at : at + 36] = turn
    path.write_bytes(content)
    (frame,) = open_frames(path)
    assert frame.picture.shape == (90, 60, 3)
    assert frame.picture[:, 40:].min() > 200 and frame.picture[:, :20].max() < 50  # clockwise


def test_a_recording_becomes_a_video_and_the_results_have_its_stamps(predict: Run, tmp_path: Path):
    assert predict(bag_of(tmp_path / "drive.mcap", "/front/image")) == 0
    images, found = results(tmp_path / "out")
    assert [image["stamp_ns"] for image in images["images"]] == [7, 100_000_007]
    assert found[-1]["stamp_ns"] == 100_000_007
    with av.open(str(tmp_path / "out/drive.mp4")) as drawn:
        assert float(drawn.streams.video[0].average_rate) == 10


def test_of_several_topics_one_has_to_be_chosen_and_nothing_is_left(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bag = bag_of(tmp_path / "drive.mcap", "/left", "/right")
    assert predict(bag) == 3
    assert "--topic: /left (Image, 2), /right (Image, 2)" in capsys.readouterr().err
    assert left_behind(tmp_path) == []
    assert predict(bag, "--topic", "/right") == 0


def test_class_maps_of_other_weights_are_drawn_and_written(
    predict: Run, tmp_path: Path, maps: Path
):
    source = folder_of(tmp_path / "in", "a.png")
    assert predict(source, "--with", maps, "--semantic") == 0
    (seen,) = Predictor.from_file(maps)([picture(0)])
    labels = np.asarray(Image.open(tmp_path / "out/semantic/a.png.png"))
    assert (labels == seen.semantic.numpy()).all()
    assert results(tmp_path / "out")[0]["info"]["semantic_classes"][0] == "road"


def test_what_cannot_be_done_is_said_in_a_sentence_and_nothing_is_left(
    predict: Run, tmp_path: Path, maps: Path, capsys: pytest.CaptureFixture[str]
):
    source = folder_of(tmp_path / "in", "a.png")
    broken = folder_of(tmp_path / "broken")
    (broken / "a.png").write_bytes(b"\x89PNG")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for given, sentence in [
        ((tmp_path / "gone.mp4",), "there is no file or folder at"),
        ((text,), "is no video that can be read"),
        ((broken,), "holds no picture that can be read (a.png: cannot be read as a picture"),
        ((source, "--semantic"), "the weights make no class map"),
        ((source, "--with", tmp_path / "gone.safetensors"), "gone.safetensors"),
        ((source, "--with", old_joint(tmp_path)), "train again with a recipe of the joint network"),
    ]:
        assert predict(*given) == 3
        said = capsys.readouterr().err
        assert sentence in said and said.count("\n") == 1, said
        assert left_behind(tmp_path) == []
    assert predict(source, "--with", maps, weights=maps) == 3
    assert "do not complete each other" in capsys.readouterr().err
    assert left_behind(tmp_path) == []
    with pytest.raises(SystemExit, match="2"):
        predict(source, "--score", "2")


def test_a_folder_with_something_in_it_stays_as_it_is(predict: Run, tmp_path: Path):
    source = folder_of(tmp_path / "in", "a.png")
    folder_of(tmp_path / "out", "mine.png")
    assert predict(source) == 3
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.png"]
    (tmp_path / "out/mine.png").unlink()
    assert predict(source) == 0

"""Statistics and defects of a data set, as the command tells them."""

import subprocess
import sys

import numpy as np
import pytest
from dataset_trees import SIZE, cityscapes_maps, coco_document, picture, save, write_cityscapes
from dataset_trees import write_coco as write
from PIL import Image

from jointseg_eval.check_data import inspect, main, verdict
from jointseg_eval.datasets import open_dataset
from jointseg_eval.input_validation import Defect

CITY = "train/aachen/aachen_000000_000019"


def check(capsys, *arguments):
    """Exit code and output, on lines as long as they are."""
    code = main([*map(str, arguments), "--workers", "0"])
    return code, capsys.readouterr().out


def test_a_clean_data_set_is_counted(tmp_path, capsys):
    code, out = check(capsys, write(tmp_path))
    assert code == 0 and "no defects" in out
    assert "pictures: 3 (3 of 32x48); without objects: 1" in out
    rows = {line.split()[1]: line.split()[3::2] for line in out.splitlines() if line[:1] == "│"}
    assert rows == {
        "person": ["1", "1", "0", "0", "0"],
        "dog": ["1", "1", "0", "0", "0"],
        "toothbrush": ["0", "0", "0", "0", "1"],
        "all": ["2", "2", "0", "0", "1"],
    }


def test_classes_of_pixels_are_counted_and_all_splits_read(tmp_path, capsys):
    write_cityscapes(tmp_path, "train")
    write_cityscapes(tmp_path, "val", count=1)
    code, out = check(capsys, tmp_path)
    assert code == 0
    assert "cityscapes train at" in out and "cityscapes val at" in out
    labels, _ = cityscapes_maps()
    assert f"{(labels == 26).mean():.2%}" in out  # cars
    code, out = check(capsys, tmp_path, "--split", "val")
    assert code == 0 and "train" not in out.replace("train      ", "")


@pytest.mark.parametrize("area", [(1023, 0), (1024, 1), (9215, 1), (9216, 2)])
def test_an_object_is_small_medium_or_large_by_its_annotated_area(tmp_path, area):
    document = coco_document()
    document["annotations"][0]["area"] = area[0]
    samples = open_dataset(write(tmp_path, document), "train")
    assert inspect(samples[0], samples.classes).objects == {(0, area[1]): 1}


def bad_coco(root):
    """Every kind of defect at once; the words that name each."""
    document = coco_document()
    outline = [[2, 4, 22, 4, 22, 14]]

    def annotation(number, **values):
        entry = {"id": number, "image_id": 7, "category_id": 1, "bbox": [2, 4, 20, 10]}
        document["annotations"].append({**entry, "segmentation": outline, **values})

    annotation(10, category_id=55)
    annotation(11, bbox=[60, 4, 3, 3])
    annotation(12, bbox=[4, 4, 0, 3])
    annotation(13, bbox=[4, 4, -2, 3])
    annotation(14, segmentation=[])
    annotation(15, segmentation=[[1, 2]])
    annotation(16, image_id=1000)
    annotation(16)
    annotation(16)
    annotation(17, bbox=[30, 4, 30, 3])
    annotation(18, segmentation=[[5, 5, 5, 5, 5, 5]])
    image = {"width": SIZE[1], "height": SIZE[0]}
    for number, name in ((20, "gone.png"), (21, "cut.png"), (22, "small.png")):
        document["images"].append({"id": number, "file_name": name, **image})
    write(root, document)
    (root / "train2017/gone.png").unlink()
    cut = root / "train2017/cut.png"
    cut.write_bytes(cut.read_bytes()[:300])
    save(root / "train2017/small.png", picture(0, (30, 48)))
    return [
        "annotation 10 of a.png: unknown category 55",
        "annotation 11 of a.png: its bbox [60, 4, 3, 3] lies outside",
        "annotation 12 of a.png: its bbox has no extent",
        "annotation 13 of a.png: its bbox has a negative size",
        "annotation 14 of a.png: it has no outline",
        "annotation 15 of a.png: a polygon is [1, 2]",
        "annotation 10 of the list: there is no image with its image_id 1000",
        "annotation 12 of the list: its id 16 is there twice",
        "annotation 17 of a.png: its bbox [30, 4, 30, 3] sticks out",
        "train2017/gone.png: there is no such picture (1 of 6 in",
        "train2017/cut.png cannot be read as a picture",
        "train2017/small.png is 30x48",
        "annotation 18 of a.png: a polygon encloses nothing",
        "has box [30.0, 4.0, 60.0, 7.0], its pixels [3.0, 4.0, 22.0,",
    ]


def test_every_defect_of_coco_is_named(tmp_path, capsys):
    wanted = bad_coco(tmp_path)
    code, out = check(capsys, tmp_path, "--every")
    assert code == 3 and "cannot be used as it is" in out
    missing = [words for words in wanted if words not in out]
    assert not missing, out
    assert "pictures: 3 (3 of 32x48)" in out  # what could be read is counted


def test_a_split_without_objects_is_told(tmp_path, capsys):
    write_cityscapes(tmp_path)
    for path in tmp_path.glob("gtFine/*/*/*_instanceIds.png"):
        save(path, np.zeros(SIZE, np.uint16))
    code, out = check(capsys, tmp_path)
    assert code == 4 and "defect: train: no picture shows an object" in out
    for path in tmp_path.glob("gtFine/*/*/*_instanceIds.png"):
        save(path, np.zeros(SIZE, np.uint8))
    code, out = check(capsys, tmp_path)
    assert code == 3 and "pictures: 0 (none can be read)" in out and "no picture shows" not in out


def test_every_defect_of_cityscapes_is_named(tmp_path, capsys):
    write_cityscapes(tmp_path, count=6)
    labels, instances = cityscapes_maps()
    stem = "gtFine/train/{}_00000{}_000019_gtFine_{}.png"
    (tmp_path / stem.format("aachen/aachen", 0, "labelIds")).unlink()
    save(tmp_path / stem.format("aachen/aachen", 2, "instanceIds"), instances.astype(np.uint8))
    save(tmp_path / stem.format("zurich/zurich", 1, "labelIds"), labels + 60)
    save(tmp_path / stem.format("aachen/aachen", 4, "labelIds"), np.zeros_like(labels))
    (tmp_path / "leftImg8bit/train/zurich/zurich_000003_000019_leftImg8bit.png").write_bytes(b"?")
    code, out = check(capsys, tmp_path)
    assert code == 3
    for words in (
        "aachen_000000_000019_gtFine_labelIds.png: there is no such file",
        "aachen_000002_000019_gtFine_instanceIds.png has 8 bits",
        "zurich_000001_000019_gtFine_labelIds.png holds label ids [61, 67, 84, 86, 89]",
        "aachen_000004_000019_leftImg8bit.png: no pixel has a class",
        "aachen_000004_000019_leftImg8bit.png: object 1, person, covers pixels that are mostly",
        "zurich_000003_000019_leftImg8bit.png cannot be read",
    ):
        assert words in out, out


def test_what_is_only_odd_can_be_used(tmp_path, capsys):
    document = coco_document()
    document["annotations"][0]["bbox"] = [30, 20, 10, 10]
    code, out = check(capsys, write(tmp_path, document))
    assert code == 4 and "1 defect: can be used" in out


@pytest.mark.parametrize("orientation", [1, 2, 3, 8])
def test_pictures_that_viewers_turn_are_a_defect_with_a_count(tmp_path, capsys, orientation):
    root, exif = write(tmp_path), Image.Exif()
    exif[0x0112] = orientation  # 3: upside down, of the same size
    files = [file for file in sorted(root.rglob("*")) if file.suffix in (".jpg", ".png")][:2]
    for file in files:
        with Image.open(file) as stored:
            stored.copy().save(file, exif=exif)
    code, out = check(capsys, root)
    if orientation == 1:
        assert code == 0 and "turned" not in out
    else:
        assert code == 4 and "2 of 3 pictures are stored turned, as EXIF says" in out


def test_a_data_set_without_objects_tells_why(tmp_path, capsys):
    document = coco_document()
    for entry in document["annotations"]:
        entry["category_id"] = 2
    code, out = check(capsys, write(tmp_path, document))
    assert code == 3 and "3 of 3 annotations are of unknown categories; the first: " in out
    assert "found are person (0 objects), dog (0 objects)" in out


def test_no_data_set_is_one_defect(tmp_path, capsys):
    code, out = check(capsys, tmp_path / "nowhere")
    assert code == 3 and "no such folder" in out and "1 defect: cannot be used" in out


def test_the_verdict_is_of_the_worst_defect():
    odd, bad = Defect("a", "b", usable=True), Defect("a", "b")
    assert [verdict(d) for d in ([], [odd], [odd, bad])] == [0, 4, 3]


def test_the_command_reads_with_several_processes(tmp_path):
    bad_coco(tmp_path)
    command = [sys.executable, "-m", "jointseg_eval.check_data", str(tmp_path), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "cut.png cannot be read" in done.stdout and not done.stderr

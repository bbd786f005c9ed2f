"""CamVid as samples: both layouts, no objects, and its classes as unions of Cityscapes'."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, picture, save, write_camvid
from rich.console import Console

from jointseg_core import CITYSCAPES, Classes
from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_eval.check_data import check
from jointseg_eval.datasets import open_dataset, splits
from jointseg_eval.datasets.camvid import CAMVID
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.translation import Translation

UNIONS = {
    "sky": ["sky"],
    "building": ["building", "wall"],
    "pole": ["pole"],
    "road": ["road"],
    "pavement": ["sidewalk"],
    "tree": ["vegetation", "terrain"],
    "sign/symbol": ["traffic light", "traffic sign"],
    "fence": ["fence"],
    "car": ["car", "truck", "bus", "train"],
    "pedestrian": ["person"],
    "bicyclist": ["rider", "bicycle", "motorcycle"],
}


def seen(*names: str) -> Predictions:
    """A class map in Cityscapes' classes, a row for each name, and a car that CamVid lacks."""
    rows = torch.tensor([CITYSCAPES.semantic.index(name) for name in names], dtype=torch.uint8)
    plane = rows[:, None].repeat(1, SIZE[1])
    boxes, label = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([2])
    return Predictions(tuple(plane.shape), boxes, torch.ones(1), label, semantic=plane)


# The samples


@pytest.mark.parametrize("annot", [False, True])
def test_each_pixel_has_its_class_and_there_are_no_objects(tmp_path: Path, annot: bool):
    samples = open_dataset(write_camvid(tmp_path, annot=annot), "val")
    assert samples.classes == CAMVID and len(CAMVID.semantic) == 11 and CAMVID.things == ()
    sample = samples[1]
    assert sample.name == samples.sample_name(1) == ("val/b.png" if annot else "images/val/b.jpg")
    assert sample.image.shape == (*SIZE, 3) and samples.image_size(1) == SIZE
    assert not annot or (sample.image == picture(1)).all()
    target = sample.target
    assert target.semantic[7, ::4].tolist() == [*range(11), 255]
    assert target.masks.shape == (0, *SIZE) and target.boxes.shape == (0, 4)
    assert not samples.has_objects(1)


def test_its_splits_are_those_that_are_there(tmp_path: Path):
    for split in ("val", "train"):
        write_camvid(tmp_path / "a", split)
        write_camvid(tmp_path / "b", split, annot=True)
    assert splits(tmp_path / "a") == splits(tmp_path / "b") == ["train", "val"]
    with pytest.raises(BadInput, match=r"no split 'test'; name one of train, val\."):
        open_dataset(tmp_path / "a", "test")
    with pytest.raises(BadInput, match="is CamVid, whose classes are fixed"):
        open_dataset(tmp_path / "a", "val", classes=["car"])


def test_another_set_is_another_identity(tmp_path: Path):
    before = open_dataset(write_camvid(tmp_path), "val").identity()
    save(tmp_path / "labels/val/b.png", np.zeros(SIZE, np.uint8))
    assert open_dataset(tmp_path, "val").identity() != before


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (np.full(SIZE, 26, np.uint8), "b.png holds the number 26, .* are 0 to 11"),
        (np.zeros((8, 8), np.uint8), "b.png is 8x8"),
        (picture(0), "b.png has 3 colours a pixel"),
    ],
)
def test_label_maps_are_read_strictly(tmp_path: Path, label: np.ndarray, told: str):
    samples = open_dataset(write_camvid(tmp_path), "val")
    save(tmp_path / "labels/val/b.png", label)
    with pytest.raises(BadInput, match=told):
        samples[1]


def test_what_lacks_its_other_half_is_told_and_left_out(tmp_path: Path):
    write_camvid(tmp_path)
    (tmp_path / "images/val/a.jpg").unlink()
    (tmp_path / "labels/val/b.png").unlink()
    (tmp_path / "images/val/c.jpg").write_bytes(b"no picture")
    told = []
    assert len(open_dataset(tmp_path, "val", report=told.append)) == 0
    assert [defect.where for defect in told] == [
        "images/val/b.jpg",
        "labels/val/a.png",
        "images/val/c.jpg",
    ]
    with pytest.raises(BadInput, match=r"images/val/b.jpg: there is no label map that belongs"):
        open_dataset(tmp_path, "val")


def test_check_data_finds_nothing_wrong_with_a_set_without_objects(tmp_path: Path):
    samples, found = check(write_camvid(tmp_path), "val", 0, Console(quiet=True))
    assert len(samples) == 3 and found.defects == []
    assert found.pixels[:11].tolist() == [3 * 32 * 4] * 11 and found.pixels[255] == 3 * 32 * 4


# The classes


@pytest.mark.parametrize("name", CITYSCAPES.semantic)
def test_each_class_of_cityscapes_counts_as_one_union(name: str):
    found = Translation.between(CITYSCAPES, CAMVID, "w", "d")(seen(name))
    [union] = [union for union, names in UNIONS.items() if name in names]
    assert CAMVID.semantic[found.semantic[0, 0]] == union and len(found) == 0


def test_a_network_of_camvids_own_classes_is_scored_as_it_is():
    own = Classes(("car",), CAMVID.semantic[::-1])
    plane = torch.arange(11, dtype=torch.uint8)[None]
    found = Predictions(
        (1, 11), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), semantic=plane
    )
    seen_so = Translation.between(own, CAMVID, "w", "d")(found)
    assert seen_so.semantic[0].tolist() == [*range(11)][::-1]


def test_iou_is_that_of_the_unions_and_boxes_are_not_scored(tmp_path: Path):
    """24 of 32 rows say bus, the others rider: of columns of 12 numbers, one without a class."""
    samples = open_dataset(write_camvid(tmp_path, count=1), "val")
    translate = Translation.between(CITYSCAPES, CAMVID, "w", "d")
    evaluation = Evaluation(CAMVID)
    evaluation.add(samples[0], translate(seen(*["bus"] * 24, *["rider"] * 8)))
    ious = {name: row["iou"] for name, row in evaluation.table().items()}
    assert list(ious) == list(CAMVID.semantic)
    assert ious.pop("car") == pytest.approx(24 / (32 + 10 * 24))
    assert ious.pop("bicyclist") == pytest.approx(8 / (32 + 10 * 8))
    assert set(ious.values()) == {0}
    assert evaluation.metrics == {"miou": pytest.approx((24 / 272 + 8 / 112) / 11)}
    assert 0 < evaluation.quality()[0] < 0.1

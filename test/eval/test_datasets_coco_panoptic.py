"""COCO's panoptic annotation without one of instances, and in the classes of a street network."""

import json
from pathlib import Path

import pytest
import torch
from dataset_trees import SIZE, STREET, write_coco_streets, write_panoptic

from jointseg_core import CITYSCAPES, Classes
from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_eval.datasets import open_dataset, splits
from jointseg_eval.translation import Translation

SEVEN = tuple(STREET.values())


def test_segments_of_things_are_its_objects(tmp_path: Path):
    path = write_coco_streets(tmp_path)
    samples = open_dataset(path, "val")
    assert samples.classes.things == (*SEVEN, "dog")
    assert samples.classes.semantic == (*SEVEN, "dog", "road", "wall-other-merged")
    target, areas = samples[0].target, samples[0].areas
    assert [samples.classes.things[label] for label in target.labels] == [
        "person",
        "car",
        "person",
        "dog",
    ]
    assert target.crowd.tolist() == [False, False, True, False]
    assert target.boxes.tolist() == [[0, y, SIZE[1], y + 4] for y in (0, 4, 8, 12)]
    rows = torch.arange(SIZE[0])[:, None].expand(SIZE)
    for number, mask in enumerate(target.masks):
        assert (mask == (rows // 4 == number)).all()
    assert areas.tolist() == [4 * SIZE[1]] * 4
    assert target.semantic[::4, 0].tolist() == [0, 2, 0, 7, 8, 9, 255, 255]
    assert samples[1].target.labels.tolist() == [7]


def test_a_folder_with_panoptic_segments_alone_is_opened_by_its_split(tmp_path: Path):
    path = write_coco_streets(tmp_path)
    assert splits(tmp_path) == splits(path) == ["train"]
    assert len(open_dataset(tmp_path, "train")) == 2
    with pytest.raises(BadInput, match="panoptic_train2017"):
        open_dataset(tmp_path, "val")
    write_panoptic(tmp_path)  # beside objects it is no set of its own
    assert "instances_train2017" in open_dataset(tmp_path, "train").name


def test_a_segment_that_is_none_is_told(tmp_path: Path):
    path = write_coco_streets(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["segments_info"][0]["bbox"] = [0, 0, -3, 4]
    path.write_text(json.dumps(document))
    defects = []
    assert len(open_dataset(path, "train", report=defects.append)[0].target.labels) == 3
    assert any("of a.jpg: its bbox has a negative size" in str(told) for told in defects)
    del document["annotations"][0]["segments_info"]
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"has an annotation that lacks .*segments_info"):
        open_dataset(path, "train")


def test_a_network_of_cityscapes_is_asked_for_the_seven_things_of_both(tmp_path: Path):
    path = write_coco_streets(tmp_path)
    samples = open_dataset(path, "train", known=CITYSCAPES.things)
    assert samples.classes == Classes(SEVEN, (*SEVEN, "road"), tuple(range(7)))
    assert "7 street classes" in samples.name
    target = samples[0].target
    assert target.labels.tolist() == [0, 2, 0]
    assert target.semantic[::4, 0].tolist() == [0, 2, 0, 255, 7, 255, 255, 255]
    assert samples.identity() != open_dataset(path, "train").identity()


@pytest.mark.parametrize(
    "asked",
    [
        {"known": (*SEVEN, "dog")},  # a network of COCO
        {"known": ("person", "car")},  # which does not know enough of it: is refused later
        {"known": CITYSCAPES.things, "classes": ["person", "dog"]},
        {"known": CITYSCAPES.things, "remap": {"truck": "car"}},
    ],
)
def test_other_networks_and_who_chooses_get_the_set_as_it_is(tmp_path: Path, asked: dict):
    samples = open_dataset(write_coco_streets(tmp_path), "train", **asked)
    assert "dog" in samples.classes.things and "street" not in samples.name


def test_a_rider_is_a_person_where_riders_are_not_told_apart():
    riders = torch.tensor([CITYSCAPES.things.index(name) for name in ("rider", "person", "car")])
    plane = torch.tensor([[CITYSCAPES.semantic.index("rider"), 0]], dtype=torch.uint8)
    found = Predictions((1, 2), torch.zeros(3, 4), torch.ones(3), riders, semantic=plane)
    data = Classes(SEVEN, (*SEVEN, "road"), tuple(range(7)))
    seen = Translation.between(CITYSCAPES, data, "w", "d")(found)
    assert seen.labels.tolist() == [0, 0, 2] and seen.semantic.tolist() == [[0, 7]]
    as_before = Translation.between(CITYSCAPES, CITYSCAPES, "w", "d")(found)
    assert as_before.labels.tolist() == riders.tolist() and (as_before.semantic == plane).all()
    cars = Translation.between(CITYSCAPES, Classes(("car",), ("car",), (0,)), "w", "d")(found)
    assert cars.labels.tolist() == [0] and cars.semantic.tolist() == [[255, 255]]

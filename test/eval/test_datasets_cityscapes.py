"""Cityscapes straight from label and instance ids."""

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, cityscapes_maps, picture, save, write_cityscapes

from jointseg_core import CITYSCAPES
from jointseg_core.errors import BadInput
from jointseg_eval.datasets import open_dataset
from jointseg_eval.datasets.cityscapes import LABEL_IDS, THING_IDS

FIRST = "train/aachen/aachen_000000_000019"


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path)


def test_a_sample_is_what_the_maps_say(root):
    samples = open_dataset(root, "train")
    assert len(samples) == 3 and samples.classes == CITYSCAPES
    sample = samples[0]
    assert sample.name == f"leftImg8bit/{FIRST}_leftImg8bit.png"
    assert (sample.image == picture(0)).all()
    things = [CITYSCAPES.things[label] for label in sample.target.labels.tolist()]
    assert things == ["person", "car", "car"]
    assert sample.target.crowd.tolist() == [True, False, False]
    assert sample.target.boxes.tolist() == [[24, 2, 30, 10], [2, 4, 20, 12], [30, 14, 40, 20]]
    assert sample.target.masks.sum((1, 2)).tolist() == [6 * 8, 8 * 18, 6 * 10]
    assert samples.image_size(0) == SIZE and samples.has_objects(0)


def test_classes_are_train_ids_and_what_has_none_is_unlabelled(root):
    labels, _ = cityscapes_maps()
    semantic = open_dataset(root, "train")[1].target.semantic.numpy()
    assert semantic.dtype == np.int64
    for label, expected in ((7, 0), (26, 13), (24, 11), (1, 255), (29, 255)):
        assert set(semantic[labels == label].tolist()) == {expected}


def test_the_ids_are_those_of_the_official_table():
    names = dict(zip(LABEL_IDS, CITYSCAPES.semantic, strict=True))
    assert (names[7], names[11], names[23], names[26], names[33]) == (
        "road",
        "building",
        "sky",
        "car",
        "bicycle",
    )
    assert tuple(names[label] for label in THING_IDS) == CITYSCAPES.things


def test_a_picture_without_things_has_none(root):
    empty = np.full(SIZE, 7, np.uint8)
    save(root / f"gtFine/{FIRST}_gtFine_labelIds.png", empty)
    save(root / f"gtFine/{FIRST}_gtFine_instanceIds.png", empty.astype(np.uint16))
    samples = open_dataset(root, "train")
    assert samples[0].target.masks.shape == (0, *SIZE) and not samples.has_objects(0)


def test_hundreds_of_objects_keep_apart(root):
    _, instances = cityscapes_maps()
    instances[:] = 26000 + np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) // 4
    save(root / f"gtFine/{FIRST}_gtFine_instanceIds.png", instances)
    target = open_dataset(root, "train")[0].target
    assert len(target.labels) == SIZE[0] * SIZE[1] // 4
    assert (target.masks.flatten(1).sum(1) == 4).all()
    assert torch.equal(target.boxes[300], torch.tensor([0.0, 25, 4, 26]))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("leftImg8bit/{}_leftImg8bit.png", "2 of its kind"),
        ("gtFine/{}_gtFine_labelIds.png", "2 of its kind"),
        ("gtFine/{}_gtFine_instanceIds.png", "2 of its kind"),
    ],
)
def test_a_missing_file_is_named(root, file, told):
    path = root / file.format(FIRST)
    path.unlink()
    with pytest.raises(BadInput, match=told) as caught:
        open_dataset(root, "train")
    assert str(path) in str(caught.value)


def test_a_folder_that_is_missing_is_told_with_what_is_there(root):
    (root / "leftImg8bit").rename(root / "pictures")
    with pytest.raises(BadInput, match=r"looked for .*leftImg8bit/train.*holds gtFine, pictures"):
        open_dataset(root, "train")
    with pytest.raises(BadInput, match="unpack"):
        open_dataset(root, "val")


def test_classes_cannot_be_chosen(root):
    with pytest.raises(BadInput, match="is Cityscapes, whose classes are fixed"):
        open_dataset(root, "train", classes=["car"])


def bad_maps():
    labels, instances = cityscapes_maps()
    unknown = labels.copy()
    unknown[0, 0] = 77
    numbered = instances.copy()
    numbered[0, 0] = 7005
    beyond = instances.copy()
    beyond[0, 0] = 99
    return [
        ("labelIds", unknown, r"label ids \[77\], Cityscapes has 0 to 33"),
        ("instanceIds", (instances % 256).astype(np.uint8), "8 bits a pixel"),
        ("instanceIds", numbered, r"instance ids \[7005\]"),
        ("instanceIds", beyond, r"instance ids \[99\]"),
        ("instanceIds", instances[:-1], "belongs to another data set"),
        ("labelIds", np.stack([labels] * 3, -1), "3 colours a pixel"),
    ]


@pytest.mark.parametrize(("kind", "array", "told"), bad_maps(), ids=lambda value: str(value)[:15])
def test_a_bad_map_is_named(root, kind, array, told):
    path = save(root / f"gtFine/{FIRST}_gtFine_{kind}.png", array)
    with pytest.raises(BadInput, match=told) as caught:
        open_dataset(root, "train")[0]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_pictures_are_named(root):
    path = root / f"leftImg8bit/{FIRST}_leftImg8bit.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        open_dataset(root, "train")[0]
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        open_dataset(root, "train")

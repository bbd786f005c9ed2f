"""Which layout a folder has, and what is said when it has none."""

import numpy as np
import pytest
from dataset_trees import coco_document, write_cityscapes, write_coco

from jointseg_core.command import exit_code
from jointseg_core.errors import BadInput
from jointseg_eval.datasets import Subset, open_dataset, splits
from jointseg_eval.datasets.pictures import picture_size
from jointseg_eval.input_validation import Defect, refuse


def test_a_layout_is_recognised_by_its_folders(tmp_path):
    cityscapes = open_dataset(str(write_cityscapes(tmp_path / "a")), "train")
    assert cityscapes.name == f"cityscapes train at {tmp_path}/a (3 pictures)"
    coco = open_dataset(write_coco(tmp_path / "b"), "train")
    assert coco.name.startswith(f"coco train at {tmp_path}/b/annotations/instances_train2017.json")


def test_splits_are_those_that_are_there(tmp_path):
    for split in ("val", "train"):
        write_cityscapes(tmp_path / "a", split)
        write_coco(tmp_path / "b", split=split)
    (tmp_path / "a/gtFine/test").mkdir()  # Cityscapes has no annotation of its test pictures
    assert splits(tmp_path / "a") == splits(tmp_path / "b") == ["train", "val"]
    assert splits(tmp_path / "b/annotations/instances_val2017.json") == ["val"]
    assert splits(tmp_path) == []


def test_nothing_is_told_with_what_was_looked_for_and_what_is_there(tmp_path):
    write_coco(tmp_path / "coco")
    for root, found in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path, "found coco;"),
        (tmp_path / "coco", "annotations, train2017 with annotations/instances_train2017.json"),
        (tmp_path / "coco/train2017", "found a.png, b.png, empty.png"),
    ):
        with pytest.raises(BadInput) as caught:
            open_dataset(root, "val")
        told = str(caught.value)
        assert str(root) in told and found in told and "\n" not in told
        assert "leftImg8bit/ and gtFine/" in told and "instances_val2017.json" in told
        assert "python -m training.synthesize OUT --format cityscapes" in told


def test_of_two_files_for_a_split_one_must_be_named(tmp_path):
    write_coco(tmp_path)
    folder = tmp_path / "annotations"
    (folder / "instances_train2017.json").rename(folder / "my_train.json")
    assert len(open_dataset(tmp_path, "train")) == 2  # and one to validate on
    (folder / "more_train.json").write_text("{}")
    (folder / "panoptic_train.json").write_text("{}")  # is of another kind
    with pytest.raises(BadInput, match=r"annotations/more_train.json, annotations/my_train.json;"):
        open_dataset(tmp_path, "train")


def test_a_json_with_a_panoptic_one_needs_its_maps(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/panoptic_train2017.json").write_text("{}")
    with pytest.raises(BadInput, match=r"its maps are not: .*unpack panoptic_train2017.zip"):
        open_dataset(tmp_path, "train")


def test_a_subset_is_some_pictures_in_an_order(tmp_path):
    samples = open_dataset(write_coco(tmp_path, coco_document()), "train")
    subset = Subset(samples, [2, 0])
    assert [subset[i].name for i in range(2)] == ["train2017/empty.png", "train2017/a.png"]
    assert [subset.sample_name(i) for i in range(2)] == [subset[i].name for i in range(2)]
    assert [subset.has_objects(i) for i in range(2)] == [False, True]
    assert subset.image_size(1) == samples.image_size(0) and len(subset) == 2
    assert len({Subset(samples, i).identity() for i in ([2, 0], [0, 2], [2])}) == 3


def test_of_16_bits_a_colour_the_high_byte_is_seen(tmp_path):
    root = write_coco(tmp_path)
    from dataset_trees import save

    save(root / "train2017/a.png", np.full((32, 48), 0x1234, np.uint16))
    assert (open_dataset(root, "train")[0].image == 0x12).all()
    assert picture_size(root / "train2017/b.png") == (32, 48)


def test_a_command_with_bad_input_ends_with_one_sentence_and_3(capsys):
    def command():
        refuse(Defect("there", "odd", usable=True))
        refuse(Defect("here", "wrong"))

    assert exit_code(command) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith(
        "here: wrong; `python -m jointseg_eval.check_data"
    )
    assert exit_code(lambda: None) == 0 and exit_code(lambda: 4) == 4

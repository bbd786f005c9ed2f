"""COCO JSON as samples: the published layout, other data sets in its format, and bad ones."""

import json

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, coco_document, picture, save, write_coco, write_panoptic
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from jointseg_core.errors import BadInput
from jointseg_eval.datasets import open_dataset
from jointseg_eval.datasets.outlines import string_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"))


def changed(folder, change):
    """A data set whose document was changed."""
    document = coco_document()
    change(document)
    return write_coco(folder, document)


def test_labels_follow_the_ids_of_categories_and_boxes_are_as_annotated(root):
    samples = open_dataset(root, "train")
    assert samples.classes.things == ("person", "dog", "toothbrush")
    first = samples[0]
    assert (first.name, first.image_id) == ("train2017/a.png", 7)
    assert first.target.labels.tolist() == [0, 2]
    assert first.target.boxes.tolist() == [[2.5, 4, 22.5, 14.25], [3, 4, 5, 9]]
    assert first.target.crowd.tolist() == [False, True]
    assert first.areas.tolist() == [199.5, 10]
    assert first.target.semantic is None
    assert (first.image == picture(0)).all()


def test_masks_are_those_of_pycocotools(root):
    samples = open_dataset(root, "train")
    official = COCO(root / "annotations/instances_train2017.json")
    for sample in map(samples.__getitem__, range(len(samples))):
        entries = official.imgToAnns[sample.image_id]
        expected = [official.annToMask(entry).astype(bool) for entry in entries]
        assert len(sample.target.masks) == len(expected)
        for mask, wanted in zip(sample.target.masks.numpy(), expected, strict=True):
            assert (mask == wanted).all()


def test_a_crowds_run_lengths_go_down_the_columns(root):
    mask = open_dataset(root, "train")[0].target.masks[1]
    assert mask.nonzero().tolist() == [[y, x] for y in range(4, 9) for x in (3, 4)]


def test_an_area_that_is_not_annotated_is_that_of_the_mask(root):
    sample = open_dataset(root, "train")[1]
    assert sample.areas.tolist() == [sample.target.masks.sum()]


def test_pictures_without_objects_are_kept_unless_asked_otherwise(root):
    samples = open_dataset(root, "train")
    assert [samples.has_objects(i) for i in range(3)] == [True, True, False]
    assert samples[2].target.masks.shape == (0, *SIZE)
    assert len(open_dataset(root, "train", keep_empty=False)) == 2


def test_sizes_and_names_are_known_without_decoding(root):
    samples = open_dataset(root, "train")
    assert samples.image_size(1) == SIZE
    assert samples.sample_name(1) == samples[1].name == "train2017/b.png"


def test_a_subset_of_classes_gives_the_labels_in_the_order_asked(root):
    samples = open_dataset(root, "train", classes=["dog", "person"])
    assert samples.classes.things == ("dog", "person")
    assert [samples[i].target.labels.tolist() for i in range(3)] == [[1], [0], []]


def test_categories_can_be_renamed_joined_and_left_out(root):
    samples = open_dataset(root, "train", remap={"dog": "animal", "person": "animal"})
    assert samples.classes.things == ("animal", "toothbrush")
    assert samples[1].target.labels.tolist() == [0]
    samples = open_dataset(root, "train", remap={"person": None})
    assert samples.classes.things == ("dog", "toothbrush")
    assert samples[0].target.labels.tolist() == [1]


@pytest.mark.parametrize("place", ["data/val_set.json", "annotations/my_val.json", "val/_a.json"])
def test_any_json_can_be_the_data_set_or_be_found_by_its_split(tmp_path, place):
    document = coco_document()
    for number, image in enumerate(document["images"]):
        save(tmp_path / "data/images" / image["file_name"], picture(number))
        save(tmp_path / "images" / image["file_name"], picture(number))
        save(tmp_path / "val" / image["file_name"], picture(number))
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    assert len(open_dataset(path, "val")) == 3
    folder = path.parent if place.startswith("data") else tmp_path
    assert len(open_dataset(folder, "val")) == 3
    with pytest.raises(BadInput, match="train"):
        open_dataset(folder, "train")


def test_pictures_are_read_as_they_are_stored(tmp_path):
    root = write_coco(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 6  # "rotate by 90 degrees to view", which COCO's boxes do not know
    grey = Image.fromarray(picture(0)[..., 0])
    grey.save(root / "train2017/a.png", exif=turned)
    image = open_dataset(root, "train")[0].image
    assert image.shape == (*SIZE, 3)
    assert (image == picture(0)[..., :1]).all()
    document = coco_document()
    document["images"][0].update(width=SIZE[0], height=SIZE[1])  # as a viewer shows it
    document["annotations"] = document["annotations"][2:]
    (root / "annotations/instances_train2017.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"a\.png is 32x48 .* of 48x32; .*EXIF.*save it turned"):
        open_dataset(root, "train")[0]


def test_a_panoptic_annotation_gives_every_pixel_a_class(tmp_path):
    root = write_panoptic(tmp_path)
    path = root / "annotations/panoptic_train2017.json"
    samples = open_dataset(root, "train")
    assert samples.classes.semantic == ("person", "dog", "toothbrush", "sky")
    assert samples.classes.thing_to_semantic == (0, 1, 2)
    rows = samples[0].target.semantic[:, 0].tolist()
    assert rows == [3] * 10 + [0] * 10 + [255] * (SIZE[0] - 20)
    assert open_dataset(root, "train", remap={"sky": None})[0].target.semantic[0, 0] == 255

    document = json.loads(path.read_text())
    document["annotations"] = document["annotations"][:1]
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="no annotation of the image with id 3"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda entry: entry.pop("image_id"), "its image_id"),
        (lambda entry: entry.update(image_id=[7]), "its image_id"),
        (lambda entry: entry.update(file_name=5), "or file_name"),
        (lambda entry: entry["segments_info"][0].update(id="261"), "a segment's id"),
        (lambda entry: entry["segments_info"][0].update(category_id=5), "does not know 5"),
        (lambda entry: entry.pop("segments_info"), "segments_info"),
        (lambda entry: entry.update(segments_info=3), "segments_info"),
    ],
)
def test_panoptic_annotations_are_read_strictly(tmp_path, change, told):
    path = write_panoptic(tmp_path) / "annotations/panoptic_train2017.json"
    document = json.loads(path.read_text())
    change(document["annotations"][0])
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=told):
        open_dataset(tmp_path, "train")


def drop(key):
    return lambda document: document["annotations"][0].pop(key)


def put(**values):
    return lambda document: document["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put(category_id=5), "annotation 1 of a.png: unknown category 5; known are 1 person, 18 d"),
        (put(image_id=100), "no image with its image_id 100"),
        (put(bbox=[50, 4, 3, 3]), "bbox [50, 4, 3, 3] lies outside the picture (32 x 48)"),
        (put(bbox=None, segmentation=[]), "its bbox is null, expected x, y, width, height"),
        (put(bbox=[5, 4, 0, 3], segmentation=[]), "no extent"),
        (put(iscrowd="yes"), 'its iscrowd is "yes", expected 0 or 1'),
        (put(iscrowd=2), "its iscrowd is 2, expected 0 or 1"),
        (put(iscrowd=[]), "its iscrowd is [], expected 0 or 1"),
        (put(category_id="1"), "needs an image_id and a category_id"),
    ],
)
def test_an_annotation_that_is_none_is_left_out_alone(tmp_path, change, told):
    defects = []
    samples = open_dataset(changed(tmp_path, change), "train", report=defects.append)
    assert samples[0].target.labels.tolist() == [2] and len(samples) == 3
    assert all(defect.usable for defect in defects)
    assert any(told in str(defect) for defect in defects), defects
    assert len(open_dataset(tmp_path, "train")) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put(segmentation=[]), "no outline"),
        (drop("segmentation"), "no outline"),
        (put(segmentation=[[1, 1, 5, 5]]), "three points or more"),
        (put(segmentation=[[1, 1, 5, 5, 9]]), "three points or more"),
        (put(segmentation=[["a", 1, 5, 5, 9, 9]]), "three points or more"),
        (put(segmentation=[[1, 1, 1e8, 5, 9, 9]]), "a polygon reaches beyond 480"),
        (put(segmentation=[[1, 1, float("nan"), 5, 9, 9]]), "a polygon reaches beyond 480"),
        (put(segmentation={"size": [4, 4], "counts": [16]}), "RLE is of [4, 4]"),
        (put(segmentation={"size": list(SIZE), "counts": [9]}), "do not add up to 32 x 48"),
        (put(segmentation={"size": list(SIZE), "counts": "PPP"}), "do not add up to 32 x 48"),
    ],
)
def test_an_object_without_an_outline_keeps_its_box(tmp_path, change, told):
    defects = []
    samples = open_dataset(changed(tmp_path, change), "train", report=defects.append)
    sample = samples[0]
    assert sample.target.boxes[0].tolist() == [2.5, 4, 22.5, 14.25]
    assert sample.target.boxes_alone().tolist() == [True, False]
    assert not sample.target.masks[0].any() and sample.areas[0] == 199.5
    (defect,) = defects
    assert defect.usable and told in str(defect) and defect.kind == "objects have no outline"


@pytest.mark.parametrize(
    "change",
    [put(bbox=[5, 4, -3, 3]), put(bbox=[5, 4, 3]), put(bbox=[5, 4, 3, float("nan")]), drop("bbox"),
     put(bbox=[5, 4, True, 3])],
)  # fmt: skip
def test_an_object_without_a_box_has_that_of_its_outline(tmp_path, change):
    defects = []
    samples = open_dataset(changed(tmp_path, change), "train", report=defects.append)
    assert samples[0].target.boxes[0].tolist() == [2.5, 4, 22.5, 14.25]
    assert [defect.usable for defect in defects] == [True] and "bbox" in str(defects[0])


def test_a_stray_polygon_goes_and_the_others_stay(tmp_path):
    whole = open_dataset(write_coco(tmp_path / "whole"), "train")[1]
    stray = lambda d: d["annotations"][2]["segmentation"].append([1, 1, 5, 5])  # noqa: E731
    defects = []
    samples = open_dataset(changed(tmp_path / "b", stray), "train", report=defects.append)
    assert torch.equal(samples[1].target.masks, whole.target.masks)
    assert "that part is left out" in str(*defects)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["images"][1].update(id=7), "its id 7 is taken by a.png"),
        (lambda d: d["images"][1].update(width=0), "needs an id, a file_name, a width"),
        (lambda d: d["categories"][1].update(id=90), "its id 90 is taken by toothbrush"),
        (lambda d: d["categories"][1].pop("name"), "needs an id"),
        (lambda d: d.pop("categories"), r"lacks the lists \['categories'\]"),
        (lambda d: d["annotations"].clear(), "found are person .0 objects., dog"),
        (lambda d: d.update(images=[], annotations=[]), "lists 0 pictures, none of them can be"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, change, told):
    with pytest.raises(BadInput, match=told) as caught:
        open_dataset(changed(tmp_path, change), "train")
    assert "\n" not in str(caught.value) and "instances_train2017.json" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        put(bbox=[5, 4, 0, 3]),
        put(bbox=[40, 4, 15, 3]),
        put(id=2),
        put(id=[2]),
        put(iscrowd="0"),
        put(area="199.5"),
        put(area=-1),
        lambda d: d["categories"][0].update(name="dog"),
    ],
    ids=[
        "no extent",
        "sticks out",
        "id twice",
        "id list",
        "crowd text",
        "area text",
        "area",
        "name twice",
    ],
)
def test_what_is_only_odd_can_be_used(tmp_path, change):
    defects = []
    samples = open_dataset(changed(tmp_path, change), "train", report=defects.append)
    assert len(samples) == 3 and [defect.usable for defect in defects] == [True]
    assert len(open_dataset(tmp_path, "train")) == 3


@pytest.mark.parametrize(
    ("value", "crowd"),
    [("0", False), ("1", True), (0, False), (1.0, True), (True, True), (None, False)],
)
def test_a_crowd_is_what_says_one_as_text_too(tmp_path, value, crowd):
    samples = open_dataset(changed(tmp_path, put(iscrowd=value)), "train")
    assert samples[0].target.crowd.tolist()[0] is crowd


def test_an_area_that_is_no_number_is_counted(tmp_path):
    sample = open_dataset(changed(tmp_path, put(area="1")), "train")[0]
    assert sample.areas[0] == sample.target.masks[0].sum()


def test_where_there_are_but_crowds_there_is_no_object(tmp_path):
    def crowds(document):
        for entry in document["annotations"]:
            entry["iscrowd"] = 1

    with pytest.raises(BadInput, match=r"found are person \(0 objects\), dog \(0 objects\)"):
        open_dataset(changed(tmp_path, crowds), "train")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"images": [{"id": 1', b"\xff\xfe", b"[" * 10**5]
)
def test_a_json_that_is_none_is_told(tmp_path, content):
    path = write_coco(tmp_path) / "annotations/instances_train2017.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"instances_train2017\.json"):
        open_dataset(tmp_path, "train")


def test_unknown_classes_are_told_with_those_that_are_there(root):
    with pytest.raises(BadInput, match=r"'persn'.*person \(1 objects\).*did you mean 'person'"):
        open_dataset(root, "train", classes=["persn"])
    with pytest.raises(BadInput, match="remap names 'cat'"):
        open_dataset(root, "train", remap={"cat": None})
    with pytest.raises(BadInput, match=r"toothbrush; found are person \(1 objects\)"):
        open_dataset(root, "train", classes=["toothbrush"])  # there is nothing but a crowd


def test_pictures_that_are_missing_or_damaged_are_named(tmp_path):
    root = write_coco(tmp_path)
    path = root / "train2017/b.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"b\.png cannot be read as a picture"):
        open_dataset(root, "train")[1]
    save(path, picture(1, (32, 47)))
    with pytest.raises(BadInput, match=r"b\.png is 32x47 .* its annotation is of 32x48"):
        open_dataset(root, "train")[1]
    path.unlink()
    with pytest.raises(BadInput, match=r"b\.png: there is no such picture \(1 of 3 in"):
        open_dataset(root, "train")
    (root / "train2017").rename(root / "somewhere")
    with pytest.raises(BadInput, match=r"pictures of .* are missing: looked for a\.png in"):
        open_dataset(root, "train")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_in_letters_are_read_as_written(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    letters = coco_masks.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    runs = string_runs(letters)
    values = np.arange(len(runs)) % 2 == 1
    assert (mask == np.repeat(values, runs).reshape(width, height).T).all()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=30))
def test_any_letters_are_runs_or_refused(letters):
    runs = string_runs(letters)
    assert runs is None or len(runs) <= len(letters)


def test_letters_may_be_the_outline(tmp_path):
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    mask[3:9, 4:30] = 1
    letters = coco_masks.encode(np.asfortranarray(mask.numpy()))["counts"].decode()
    outline = {"size": list(SIZE), "counts": letters}
    root = changed(tmp_path, put(segmentation=outline))
    assert torch.equal(open_dataset(root, "train")[0].target.masks[0], mask.bool())

"""What labelling tools export is opened by its folder, whichever the tool."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, coco_document, picture, save, write_coco, write_panoptic
from labelled_sets import (
    PERSON,
    THINGS,
    coco,
    cvat,
    imagefolder,
    label_studio,
    labelme,
    pictures,
    roboflow,
    write,
    yolo,
    yolo_names,
)
from PIL import Image

from jointseg_core import Classes
from jointseg_core.errors import BadInput
from jointseg_eval.check_data import main
from jointseg_eval.datasets import HeldOut, open_dataset, splits
from jointseg_eval.input_validation import Noted

TOOLS = {
    "roboflow": roboflow,
    "cvat": cvat,
    "label studio": label_studio,
    "labelme": labelme,
    "imagefolder": imagefolder,
    "yolo": yolo,
    "yolo of roboflow": lambda root: yolo(root, "roboflow"),
    "yolo of label studio": yolo_names,
}
SIDES = [[4, 4, 20, 12], [24, 8, 36, 24]]


@pytest.mark.parametrize("tool", TOOLS)
def test_an_export_is_opened_by_its_folder(tmp_path, tool):
    root = TOOLS[tool](tmp_path / "export")
    noted = Noted()
    training, validation = (
        open_dataset(root, split, classes=THINGS, report=noted) for split in ("train", "val")
    )
    assert splits(root)[:2] == ["train", "val"]
    assert (len(training), len(validation)) == (2, 1)
    names = [s.sample_name(i) for s in (training, validation) for i in range(len(s))]
    assert len(set(names)) == 3
    for sample in (training[0], training[1], validation[0]):
        target = sample.target
        assert torch.allclose(target.boxes, torch.tensor(SIDES).float(), atol=1e-3)
        assert target.labels.tolist() == [0, 1]
        assert target.boxes_alone().tolist() == [False, True]
        assert 40 < target.masks[0].sum() < 80  # half of 16 x 8
        assert sample.image.shape == (*SIZE, 3)
    assert any("objects have no outline" in line for line in noted.lines())


def test_an_imagefolder_with_numbers_has_boxes_of_numbered_classes(tmp_path):
    pictures(tmp_path, ("a.png", "b.png"))
    objects = {"id": [7], "bbox": [PERSON], "categories": [3], "area": [192]}
    lines = [{"file_name": "a.png", "objects": objects}, {"file_name": "b.png"}]
    path = write(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    samples = open_dataset(path, "all")
    assert samples.classes.things == ("class 3",) and len(samples) == 2
    assert samples[0].target.boxes.tolist() == [[24, 8, 36, 24]]
    assert splits(tmp_path) == ["train", "val"]  # one file: part of it is held out
    write(path, '{"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": []}}')
    with pytest.raises(BadInput, match=r"metadata.jsonl, line 1: no picture with its objects"):
        open_dataset(path, "all")


def test_boxes_of_yolo_have_no_outline(tmp_path):
    samples = open_dataset(yolo(tmp_path, polygons=False), "train")
    assert samples[0].target.boxes_alone().all() and samples.classes == Classes(THINGS)
    assert torch.allclose(samples[0].target.boxes[0], torch.tensor([4.0, 4, 20, 12]), atol=1e-3)


def test_a_data_yaml_or_a_json_may_be_named_itself(tmp_path):
    described = yolo(tmp_path / "a") / "data.yaml"
    assert splits(described) == ["train", "val"] and len(open_dataset(described, "val")) == 1
    path = label_studio(tmp_path / "b") / "result.json"
    assert len(open_dataset(path, "val")) == 3  # all of a file that is named, unless a share is
    assert len(open_dataset(path, "val", held_out=HeldOut(0.5))) == 2


def test_lines_of_yolo_that_are_none_are_counted(tmp_path):
    root = yolo(tmp_path)
    path = root / "labels/train/a.txt"
    path.write_text(
        path.read_text() + "7 0.5 0.5 0.1 0.1\nnonsense\n1e999 0.5 0.5 0.1 0.1\n0 0.1 0.2\n\n"
    )
    noted = Noted()
    assert len(open_dataset(root, "train", report=noted)[0].target.labels) == 2
    told = " ".join(noted.lines())
    assert "unknown category 7" in told and "nonsense" in told


@pytest.mark.parametrize("text", ["", "names: [", "train: images\n", "names: 3\n", "[" * 500])
def test_a_data_yaml_that_is_none_is_one_sentence(tmp_path, text):
    path = write(tmp_path / "data.yaml", text)
    with pytest.raises(BadInput, match=r"data\.yaml") as caught:
        open_dataset(path, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my_streets.yaml", "data.yml"])
def test_yolo_is_described_by_the_only_yaml_with_names(tmp_path, name):
    root = yolo(tmp_path)
    (root / "data.yaml").rename(root / name)
    write(root / "pipeline.yaml", "steps: 3\n")
    assert splits(root) == ["train", "val"] and len(open_dataset(root, "train")) == 2
    shutil.copy(root / name, root / "other.yaml")
    with pytest.raises(BadInput, match="no data set"):
        open_dataset(root, "train")


def test_files_and_shapes_that_are_not_labelmes_are_left_out_alone(tmp_path):
    labelme(tmp_path)
    write(tmp_path / "0.json", '{"names": ["car"]}')
    document = json.loads((tmp_path / "a.json").read_text())
    document["shapes"] += [{"points": []}]
    write(tmp_path / "a.json", json.dumps(document))
    write(tmp_path / "b.json", (tmp_path / "b.json").read_text()[:90])
    noted = Noted()
    samples = open_dataset(tmp_path, "train", report=noted, held_out=HeldOut(0.0))
    assert sorted(map(samples.sample_name, range(len(samples)))) == ["a.jpg", "c.jpg"]
    told = "\n".join(noted.lines())
    assert "2 of 4 files are not labelme's; the first: " in told and "0.json lacks" in told
    assert "a shape without a label is left out" in told and "none, as of a point" in told


def test_lines_of_an_imagefolder_that_are_none_are_left_out_alone(tmp_path):
    pictures(tmp_path, ("a.png", "b.png"))
    good = {"file_name": "a.png", "objects": {"bbox": [PERSON], "categories": [3]}}
    short = {"file_name": "b.png", "objects": {"bbox": [PERSON], "categories": [3, 4]}}
    lines = [json.dumps(good), json.dumps(short), '{"file_name": "b']
    noted = Noted()
    path = write(tmp_path / "metadata.jsonl", "\n".join(lines))
    assert len(open_dataset(path, "all", report=noted)) == 1
    assert noted.lines()[0].startswith("2 lines are left out; the first: ")


def test_what_is_wrong_is_counted_in_the_split_that_has_it(tmp_path, capsys):
    main([str(yolo(tmp_path / "yolo", polygons=False)), "--workers", "0"])
    told = " ".join(capsys.readouterr().out.split())
    assert "4 of 4 objects have no outline" in told and "2 of 2 objects have no outline" in told
    main([str(label_studio(tmp_path / "one", "../upload/{}")), "--workers", "0"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("3 pictures have names that lead out of their folder") == 1


def test_shapes_of_labelme_are_outlines_or_boxes(tmp_path):
    labelme(tmp_path)
    path = tmp_path / "a.json"
    document = json.loads(path.read_text())
    png = io.BytesIO()
    Image.fromarray(np.full((3, 5), 255, np.uint8)).save(png, "PNG")
    text = base64.b64encode(png.getvalue()).decode()
    group = {"label": "car", "group_id": 1, "shape_type": "polygon"}
    document["shapes"] = [
        {"label": "disc", "points": [[20, 16], [26, 16]], "shape_type": "circle"},
        {"label": "paint", "points": [[2, 20], [7, 23]], "shape_type": "mask", "mask": text},
        {**group, "points": [[1, 1], [5, 1], [5, 5], [1, 5]]},
        {**group, "points": [[9, 1], [13, 1], [13, 5], [9, 5]]},
    ]
    document["imagePath"] = "..\\elsewhere\\a.jpg"
    path.write_text(json.dumps(document))
    samples = open_dataset(tmp_path, "train", held_out=HeldOut(0.3))
    index = [samples.sample_name(i) for i in range(len(samples))].index("a.jpg")
    sample = samples[index]
    names = [samples.classes.things[label] for label in sample.target.labels]
    sizes = dict(zip(names, sample.target.masks.flatten(1).sum(1).tolist(), strict=False))
    assert sizes["paint"] == 15 and sizes["car"] == 32 and 100 < sizes["disc"] < 126
    assert len(sample.target.labels) == 3


def test_pictures_of_labelme_may_lie_in_a_folder_beside(tmp_path):
    labelme(tmp_path / "annotations")
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "annotations").glob("*.jpg"):
        path.rename(tmp_path / "images" / path.name)
    assert open_dataset(tmp_path, "val").sample_name(0).startswith("images/")


def test_names_that_lead_out_of_a_folder_are_looked_for_in_it(tmp_path):
    noted = Noted()
    root = label_studio(tmp_path, "../../data/upload/1/{}")
    assert len(open_dataset(root, "train", report=noted)) == 2
    assert noted.lines()[0].startswith("3 pictures have names that lead out of their folder; ")


# -- which pictures are held out -------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["roboflow", "cvat", "yolo of roboflow"])
def test_of_an_export_without_validation_pictures_a_part_is_held_out(tmp_path, tool):
    root = TOOLS[tool](tmp_path)
    for path in (*root.glob("val*"), *root.glob("annotations/*al*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert splits(root)[:2] == ["train", "val"]
    for held_out in (HeldOut(), HeldOut(0.4)):
        parts = [open_dataset(root, s, THINGS, held_out=held_out) for s in ("train", "val")]
        assert [len(part) for part in parts] == [1, 1]
        assert parts[0].sample_name(0) != parts[1].sample_name(0)
    assert len(open_dataset(root, "train", THINGS, held_out=HeldOut(0.0))) == 2
    if tool == "yolo of roboflow":
        assert splits(root / "data.yaml") == ["train", "val"]
        assert len(open_dataset(root / "data.yaml", "val", THINGS)) == 1


def test_what_is_held_out_depends_on_nothing_but_names_and_the_seed(tmp_path):
    names = [f"{k:03}.png" for k in range(40)]
    pictures(tmp_path / "images", names)
    write(tmp_path / "result.json", coco(names))

    def chosen(split, held):
        samples = open_dataset(tmp_path, split, held_out=held)
        return {samples.sample_name(i) for i in range(len(samples))}

    held = chosen("val", HeldOut())
    assert len(held) == 4 and held.isdisjoint(chosen("train", HeldOut()))
    assert chosen("val", HeldOut(0.25)) > held and len(chosen("val", HeldOut(0.25))) == 10
    assert chosen("val", HeldOut(0.1, 1)) != held
    write(tmp_path / "result.json", coco(names[:39]))
    assert len(chosen("val", HeldOut()) - held) <= 1


def test_several_files_of_no_split_are_named(tmp_path):
    for name in ("north", "south"):
        pictures(tmp_path / "images" / name, ("a.png",))
        write(tmp_path / f"annotations/instances_{name}.json", coco(("a.png",)))
    with pytest.raises(BadInput, match=r"instances_north\.json, annotations/instances_south"):
        open_dataset(tmp_path, "train")
    assert splits(tmp_path) == ["north", "south"] and len(open_dataset(tmp_path, "south")) == 1


# -- classes ---------------------------------------------------------------------------------------


def test_classes_of_another_split_hold_in_any_order(tmp_path):
    document = coco(("a.png",), ("person", "dog", "car"))
    root = write_coco(tmp_path, document, "val")
    expected = Classes(("car", "bus", "person"))
    samples = open_dataset(root, "val", expected=expected)
    assert samples.classes == expected and samples[0].target.labels.tolist() == [0, 2]
    panoptic = open_dataset(write_panoptic(tmp_path / "p"), "train")
    asked = Classes(("dog", "person"), ("sky", "dog", "person"), (1, 2))
    again = open_dataset(tmp_path / "p", "train", expected=asked)
    assert again.classes == asked and panoptic.classes != asked
    ours, before = again[0].target.semantic, panoptic[0].target.semantic
    assert ((ours == 0) == (before == panoptic.classes.semantic.index("sky"))).all()


def test_names_that_tools_leave_behind_come_with_a_flag(tmp_path, capsys):
    root = roboflow(tmp_path)
    for path in root.glob("*/_annotations.coco.json"):
        document = json.loads(path.read_text())
        document["categories"] += [{"id": 8, "name": "car "}, {"id": 9, "name": "__background__"}]
        document["annotations"][0]["category_id"] = 8
        path.write_text(json.dumps(document))
    code = main([str(root), "--workers", "0"])
    out = capsys.readouterr().out
    assert code == 4
    assert "'things-kxqz', '__background__' are no classes of any object; leave them out" in out
    assert "--classes car person 'car '" in out and "--remap 'car =car'" in out
    assert out.count("are no classes") == 1  # what lacks in a validation file does not matter


def test_what_ninety_nine_have_in_common_is_one_sentence(tmp_path, capsys):
    document = coco_document()
    one = {"image_id": 7, "category_id": 1, "bbox": [2, 4, 20, 10], "segmentation": []}
    document["annotations"] = [{"id": k, **one} for k in range(99)]
    root = write_coco(tmp_path, document)
    assert main([str(root), "--workers", "0"]) == 4
    out = capsys.readouterr().out
    assert "99 of 99 objects have no outline; the first: " in out and out.count("no outline") == 2
    main([str(root), "--workers", "0", "--every"])
    assert capsys.readouterr().out.count("no outline") == 99


def test_a_picture_that_is_alone_is_of_both_splits(tmp_path):
    save(tmp_path / "images/a.png", picture(0))
    write(tmp_path / "result.json", coco(("a.png",)))
    assert [len(open_dataset(tmp_path, split)) for split in ("train", "val")] == [1, 1]

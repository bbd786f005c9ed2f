"""The report is one file that needs no other, and shows text as text."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import NASTY, SIZE, Page, evaluation
from PIL import Image

from jointseg_core import CITYSCAPES, Classes
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.datasets import Sample
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.report import (
    confusions,
    curves,
    jpeg,
    number,
    show,
    worst_and_best,
    write_report,
)


def page(path: Path, result: Evaluation, pictures=(), **facts: str) -> Page:
    write_report(path, result, {"title": "A model", **facts}, pictures)
    return Page(path)


def test_the_report_needs_nothing_else(tmp_path: Path):
    one = np.zeros((*SIZE, 3), np.uint8)
    found, target = Predictions.empty(SIZE), Target(torch.zeros(0, 4), *no_objects())
    shown = [show("a.png", 0.5, one, found, target, CITYSCAPES)]
    seen = page(tmp_path / "new" / "report.html", evaluation(), shown)
    assert seen.open == [] and seen.tags.count("html") == 1
    links = [value for name, value in seen.attributes if name in ("src", "href", "srcset")]
    assert len(links) == 3 and all(link.startswith("data:image/jpeg") for link in links)
    assert not {"link", "script", "iframe", "object"} & set(seen.tags)
    text = (tmp_path / "new" / "report.html").read_text()
    assert not re.search(r"@import|url\(|https?:", text)


def no_objects() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(0, dtype=torch.int64), torch.zeros(0, *SIZE, dtype=torch.bool)


def test_names_from_files_are_text_and_not_markup(tmp_path: Path):
    classes = Classes((NASTY, "b&b"))
    result, one = evaluation(classes), np.zeros((*SIZE, 3), np.uint8)
    found, target = Predictions.empty(SIZE), Target(torch.zeros(0, 4), *no_objects())
    shown = [show(NASTY, 0.5, one, found, target, CITYSCAPES)]
    seen = page(tmp_path / "report.html", result, shown, data=NASTY)
    assert "script" not in seen.tags and seen.open == []
    assert seen.text.count(NASTY) >= 3 and "b&b" in seen.text


def test_every_number_of_the_evaluation_is_shown(tmp_path: Path):
    result = evaluation()
    seen = page(tmp_path / "report.html", result, weights="w.safetensors")
    for name, value in result.metrics.items():
        assert number(value) in seen.text, name
    for name in (*CITYSCAPES.semantic, "w.safetensors", "mIoU", "surfaces", "AR@1000"):
        assert name in seen.text
    assert "nan" not in seen.text.lower().split()


def test_a_model_of_boxes_alone_has_a_shorter_report(tmp_path: Path):
    result = Evaluation(Classes(("cat",)))
    target = Target(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0]), torch.ones(1, 9, 9) > 0)
    boxes = Predictions((9, 9), target.boxes, torch.tensor([0.9]), target.labels)
    result.add(Sample("a", 0, np.zeros((9, 9, 3), np.uint8), target), boxes)
    seen = page(tmp_path / "report.html", result)
    assert "masks" not in seen.text.split("Objects by size")[1].split("Classes")[0]
    assert "mIoU" not in seen.text and "Proposals" not in seen.text and seen.open == []


def test_a_confusion_says_what_was_missed_and_what_was_taken_for_what(tmp_path: Path):
    classes = Classes(("cat", "dog"))
    masks = torch.ones(2, 9, 9) > 0
    boxes = torch.tensor([[0.0, 0, 9, 4], [0, 5, 9, 9]])
    result, target = Evaluation(classes), Target(boxes, torch.tensor([0, 1]), masks)
    found = Predictions((9, 9), boxes[:1], torch.tensor([0.9]), torch.tensor([1]))
    result.add(Sample("a", 0, np.zeros((9, 9, 3), np.uint8), target), found)
    text = page(tmp_path / "report.html", result).text
    assert "cat found as dog: 1 (100.0 %)" in text and "dog missed: 1 (100.0 %)" in text


def test_curves_are_those_of_the_most_frequent_classes_and_their_mean():
    first = curves(evaluation())[0]
    lines = {line["name"]: line for line in first["lines"]}
    assert set(lines) == {"person", "rider", "mean"}
    assert lines["person"]["ap"] == 0
    assert lines["rider"]["curve"].tolist() == [0.5] * 101  # both are called riders
    assert lines["mean"]["ap"] == pytest.approx(0.25)
    many = Classes(tuple(f"class {k}" for k in range(30)))
    crowded = Evaluation(many)
    boxes, masks = torch.tensor([[0.0, 0, 9, 9]] * 30), torch.ones(30, 9, 9) > 0
    target = Target(boxes, torch.arange(30), masks)
    found = Predictions((9, 9), boxes, torch.ones(30), torch.arange(30))
    crowded.add(Sample("a", 0, np.zeros((9, 9, 3), np.uint8), target), found)
    assert [len(curve["lines"]) for curve in curves(crowded)] == [11, 11]


def test_rows_of_a_confusion_are_shares_of_what_is_there():
    objects, pixels = confusions(evaluation())
    assert objects["rows"] == ["person", "rider"]
    assert objects["columns"] == ["person", "rider"]
    assert objects["shares"] == [[0, 1], [0, 1]] and objects["counts"] == [[0, 2], [0, 2]]
    assert pixels["rows"] == ["road"] == pixels["columns"]


def test_the_worst_pictures_come_first_and_the_best_last():
    quality = np.array([0.5, np.nan, 0.1, 0.9, 0.3, 0.8])
    assert worst_and_best(quality, worst=2, best=1) == [2, 4, 3]
    assert worst_and_best(quality) == [2, 4, 0, 5, 3]


def test_results_and_truth_are_drawn_alike():
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 10:30, 10:40] = True
    boxes = Masks.from_bitmaps(mask).windows.float()
    target = Target(boxes, torch.tensor([2]), mask, torch.full(SIZE, 0))
    image = np.full((*SIZE, 3), 90, np.uint8)
    found = Predictions(SIZE, boxes, torch.ones(1), torch.tensor([2]), Masks.from_bitmaps(mask))
    shown = show("a.png", 1.0, image, found, target, CITYSCAPES)
    assert (shown.found[20:28, 20:38] == shown.truth[20:28, 20:38]).all()
    assert (shown.truth[35:, 45:] == 90).all()  # no class map was found, so none is drawn
    assert not (shown.truth == image).all()
    crowd = replace(target, crowd=torch.tensor([True]))
    assert (show("a.png", 1.0, image, found, crowd, CITYSCAPES).truth == image).all()


def test_pictures_are_no_larger_than_they_are_shown():
    wide = np.random.default_rng(0).integers(0, 255, (100, 2000, 3), np.uint8)
    head, data = jpeg(wide).split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (720, 36)
    small = Image.open(io.BytesIO(base64.b64decode(jpeg(wide[:10, :20]).split(",")[1])))
    assert small.size == (20, 10)


def test_numbers_for_people():
    assert [number(v) for v in (0.12345, 12345, float("nan"), None)] == [
        "0.123",
        "12,345",
        "-",
        "-",
    ]

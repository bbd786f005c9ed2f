"""Evaluation gives each number of the papers in the data set's own classes, or one sentence."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from old_joint import COMMAND, old_joint

from jointseg_core import CITYSCAPES, Classes, Predictor, shipped_weights
from jointseg_core.command import exit_code
from jointseg_core.errors import BadInput
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval import evaluate as command
from jointseg_eval.datasets import Sample, open_dataset
from jointseg_eval.evaluation import Evaluation, evaluate, spread
from jointseg_eval.metrics import draws
from jointseg_eval.models import Models, asked_for_all
from jointseg_eval.translation import Translation
from training.synthesize import SyntheticSet, synthesize

SIZE = (40, 60)
OBJECTS = {f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap_small")}
PROPOSALS = {"ar_10", "ar_100", "ar_1000", "ar_1000_small", "recall_50", "recall_70"}
PANOPTIC = {"pq", "sq", "rq", "pq_things", "pq_stuff"}
PIXELS = {"miou", "foreground_miou"}
INSTANCES = {"cityscapes_ap", "cityscapes_ap50"}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = SyntheticSet("cityscapes", frames=0, val_frames=3, size=(128, 256))
    return synthesize(tmp_path_factory.mktemp("sets") / "city", wanted, workers=1)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = SyntheticSet("coco", frames=0, val_frames=2, size=(128, 256))
    return synthesize(tmp_path_factory.mktemp("sets") / "coco", wanted, workers=1)


@pytest.fixture(scope="module")
def rdsnet() -> Predictor:
    return Predictor.from_file(shipped_weights("rdsnet"), "cpu")


@pytest.fixture(scope="module")
def segrpn() -> Predictor:
    return Predictor.from_file(shipped_weights("segrpn"), "cpu")


def run(*words: object) -> int:
    """The exit code of the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate", *map(str, words)])
        return exit_code(command.main)


def sample(name: str = "a.png", shift: int = 0) -> Sample:
    """A car and a person on a road below the sky."""
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 20:32, 5 + shift : 20 + shift] = masks[1, 10:30, 40:50] = True
    semantic = torch.full(SIZE, 10)
    semantic[25:] = 0
    semantic[masks[0]], semantic[masks[1]] = 13, 11
    boxes = Masks.from_bitmaps(masks).windows.float()
    target = Target(boxes, torch.tensor([2, 0]), masks, semantic)
    return Sample(name, 0, np.zeros((*SIZE, 3), np.uint8), target)


def truth_of(one: Sample) -> Predictions:
    """The annotation as if a model had found it."""
    target = one.target
    masks, things = Masks.from_bitmaps(target.masks), target.masks.any(0)
    scores, semantic = torch.tensor([0.9, 0.8]), target.semantic.byte()
    return Predictions(
        SIZE, target.boxes, scores, target.labels, masks, semantic, foreground=things
    )


# The record


def test_the_truth_itself_has_every_number_and_each_is_one():
    evaluation, one = Evaluation(CITYSCAPES), sample()
    evaluation.add(one, truth_of(one), (one.target.boxes, torch.ones(2)))
    metrics = evaluation.metrics
    assert set(metrics) >= OBJECTS | PROPOSALS | PANOPTIC | PIXELS | INSTANCES
    known = [value for value in metrics.values() if not math.isnan(value)]
    assert known == pytest.approx([1.0] * len(known), abs=1e-12)
    assert math.isnan(metrics["box_ap_large"])


def test_every_score_of_some_pictures_is_that_of_an_evaluation_of_these():
    found = [truth_of(sample(shift=shift)) for shift in (0, 3, 9)]  # worse and worse
    whole, part = Evaluation(CITYSCAPES), Evaluation(CITYSCAPES)
    for k, one in enumerate(found):
        whole.add(sample(str(k)), one, (one.boxes, one.scores))
    for k in (0, 2, 2):
        part.add(sample(str(k)), found[k], (found[k].boxes, found[k].scores))
    assert whole.score([2, 0, 2]) == pytest.approx(part.metrics, nan_ok=True)
    assert whole.score([0])["pq"] > whole.score([1])["pq"] > whole.score([2])["pq"]
    assert list(np.argsort(whole.quality())) == [2, 1, 0]
    assert [set(row) for row in draws(whole.score, len(whole), 2)] == [set(whole.metrics)] * 3


def test_only_what_results_and_annotation_have_is_scored():
    one = sample()
    bare = replace(truth_of(one), masks=None, semantic=None, foreground=None)
    objects, pixels, unlabelled = (Evaluation(CITYSCAPES) for _ in range(3))
    objects.add(one, bare)
    assert {name.split("_")[0] for name in objects.metrics} == {"box"}
    pixels.add(one, replace(truth_of(one), masks=None))
    assert set(pixels.metrics) > PIXELS and not (PANOPTIC | INSTANCES) & set(pixels.metrics)
    without = replace(one, target=replace(one.target, semantic=None))
    unlabelled.add(without, truth_of(one))
    assert "mask_ap" in unlabelled.metrics and not PIXELS & set(unlabelled.metrics)


def test_annotated_areas_say_which_objects_are_small():
    evaluation, one = Evaluation(CITYSCAPES), sample()
    evaluation.add(replace(one, areas=torch.tensor([2000.0, 3000.0])), truth_of(one))
    assert math.isnan(evaluation.metrics["box_ap_small"])
    assert evaluation.metrics["mask_ap_medium"] == pytest.approx(1, abs=1e-12)


def test_the_table_has_a_row_for_each_class():
    evaluation, one = Evaluation(CITYSCAPES), sample()
    evaluation.add(one, truth_of(one))
    table = evaluation.table()
    assert set(table) == set(CITYSCAPES.semantic)
    car, road, bus = table["car"], table["road"], table["bus"]
    assert car["objects"] == car["iou"] == car["pq"] == 1
    assert [car["box_ap"], car["mask_ap50"]] == pytest.approx([1, 1], abs=1e-12)
    assert road["iou"] == 1 and "box_ap" not in road
    assert bus["objects"] == 0 and math.isnan(bus["box_ap"]) and math.isnan(bus["iou"])
    assert sum(row["share_of_pixels"] for row in table.values()) == pytest.approx(1)


# Names


def found_as(labels: list[int], semantic: list[list[int]]) -> Predictions:
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(len(labels), 1)
    plane = torch.tensor(semantic, dtype=torch.uint8)
    size = tuple(plane.shape)
    return Predictions(size, boxes, torch.ones(len(labels)), torch.tensor(labels), semantic=plane)


def test_classes_are_matched_by_their_names():
    model = Classes(("cat", "dog", "cup"), ("sky", "cat", "dog"), (1, 2, -1))
    data = Classes(("dog", "cat"), ("dog", "sky"), (0, -1))
    seen = Translation.between(model, data, "w", "d")(found_as([0, 1, 2, 1], [[0, 1, 2, 255]]))
    assert seen.labels.tolist() == [1, 0, 0]
    assert seen.semantic.tolist() == [[1, 255, 0, 255]]


def test_a_model_of_other_classes_is_refused_with_the_names_of_both():
    data, model = Classes(("person", "bicycle")), Classes(("person", "cat"))
    with pytest.raises(BadInput, match=r"w\.pt does not know bicycle .* val; it knows person, cat"):
        Translation.between(model, data, "w.pt", "val")


def test_class_maps_of_other_classes_are_refused_and_objects_alone_are_not():
    data = Classes(("person",), ("person", "grass"), (0,))
    model = Classes(("person",), ("person", "road"), (0,))
    translate = Translation.between(model, data, "w.pt", "val")
    assert len(translate(replace(found_as([0], [[0]]), semantic=None))) == 1
    with pytest.raises(BadInput, match=r"grass of the classes of pixels in val; .* person, road"):
        translate(found_as([0], [[0]]))
    nothing = Translation.between(model, Classes(("person",)), "w", "d")(found_as([0], [[1]]))
    assert nothing.semantic is None


# Models


def test_a_model_is_scored_on_every_picture_and_left_as_it_was(city: Path, rdsnet: Predictor):
    samples, steps = open_dataset(city, "val"), []
    rdsnet.configure(score_threshold=0.7)
    evaluation = evaluate(rdsnet, samples, batch=2, on_pictures=steps.append)
    assert rdsnet.model.config.score_threshold == 0.7
    assert evaluation.pictures == [samples[k].name for k in range(3)] and steps == [2, 1]
    metrics = evaluation.metrics
    assert set(metrics) >= OBJECTS | PROPOSALS | INSTANCES and not PIXELS & set(metrics)
    assert 0.2 < metrics["box_ap50"] < 1 and 0.5 < metrics["recall_50"] <= 1
    assert metrics["ar_10"] < metrics["ar_1000"]


def test_a_subset_is_spread_and_proposals_can_be_left_out(city: Path, segrpn: Predictor):
    assert spread(10, 4) == [0, 2, 5, 7] and spread(3, 5) == [0, 1, 2] == spread(3, None)
    samples = open_dataset(city, "val")
    evaluation = evaluate(segrpn, samples, limit=2, proposals=0)
    assert evaluation.pictures == [samples.sample_name(k) for k in (0, 1)]
    assert set(evaluation.metrics) >= PIXELS and not PROPOSALS & set(evaluation.metrics)


def test_two_models_together_make_panoptic_pictures_in_one_order(
    city: Path, rdsnet: Predictor, segrpn: Predictor
):
    samples = open_dataset(city, "val")
    both = evaluate(rdsnet, samples, segrpn, limit=1).metrics
    assert set(both) >= PANOPTIC | PIXELS | OBJECTS | INSTANCES
    assert 0.2 < both["pq"] < 1
    with pytest.raises(BadInput, match="do not complete each other"):
        Models.of(samples.classes, "these", segrpn, rdsnet)([samples[0].image])


# The command


def test_numbers_and_the_report_are_written(
    city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    both = shipped_weights("rdsnet"), "--with", shipped_weights("segrpn")
    out = tmp_path / "out"
    assert run(both[0], city, *both[1:], "--limit", 2, "--out", out, "--device", "cpu") == 0
    document = json.loads((out / "metrics.json").read_text())
    assert set(document["metrics"]) >= PANOPTIC | OBJECTS | PROPOSALS | PIXELS
    assert document["pictures"] == 2 and document["classes"]["car"]["objects"] > 0
    assert document["command"].startswith("python -m jointseg_eval.evaluate ")
    printed = capsys.readouterr().out
    [shown] = re.findall(r"box_ap +│ (\S+)", printed)
    assert float(shown) == pytest.approx(document["metrics"]["box_ap"], abs=6e-4)  # three digits
    assert "traffic sign" in printed
    assert "rdsnet_tiny.safetensors" in (out / "report.html").read_text()


def test_a_folder_that_cannot_be_is_refused_before_the_work(city: Path, tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    assert run(shipped_weights("rdsnet"), city, "--out", tmp_path / "file" / "out") == 3
    assert "cannot be a folder" in capsys.readouterr().err


def test_an_earlier_joint_network_is_refused_in_one_sentence(city: Path, tmp_path: Path, capsys):
    words = city, "--device", "cpu", "--out", tmp_path / "out"
    assert run(old_joint(tmp_path, command=COMMAND), *words) == 3
    said = capsys.readouterr().err
    assert f"made by `{COMMAND}`; train again" in said and len(said.strip().splitlines()) == 1


def test_a_data_set_of_some_of_the_classes_is_evaluated(coco: Path, tmp_path: Path):
    words = "--classes", "truck", "car", "--remap", "bus=truck", "rider="
    assert run(shipped_weights("rdsnet"), coco, *words, "--out", tmp_path, "--device", "cpu") == 0
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert [name for name, row in document["classes"].items() if "objects" in row] == [
        "truck",
        "car",
    ]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["nothing.safetensors", "{city}"], "nothing.safetensors", 3),
        (["{rdsnet}", "{city}/nowhere"], "nowhere", 3),
        (["{rdsnet}", "{city}", "--split", "train"], "train", 3),
        (["{rdsnet}", "{coco}", "--remap", "car"], "OLD=NEW", 2),
        (["{rdsnet}", "{coco}", "--remap", "car=lorry"], "does not know lorry", 3),
        (["{rdsnet}", "{city}", "--device", "cuda:99"], "cuda:99", 2),
        (["{segrpn}", "{city}", "--with", "{rdsnet}", "--limit", "1"], "exchange them", 3),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    words: list[str], said: str, code: int, city: Path, coco: Path, tmp_path: Path, capsys
):
    places = {model: shipped_weights(model) for model in ("rdsnet", "segrpn")}
    filled = [word.format(city=city, coco=coco, **places) for word in words]
    assert run(*filled, "--out", tmp_path / "out") == code
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_numbers_have_to_leave_something_to_evaluate(city: Path, capsys):
    for words in (["--limit", 0], ["--batch", 0], ["--limit", "few"]):
        with pytest.raises(SystemExit, match="2"):
            run(shipped_weights("rdsnet"), city, *words)
        assert f"argument {words[0]}: " in capsys.readouterr().err


def test_evaluations_of_parts_add_up_to_that_of_all(
    city: Path, rdsnet: Predictor, segrpn: Predictor, tmp_path: Path
) -> None:
    samples = open_dataset(city, "val")
    whole = evaluate(rdsnet, samples, segrpn)
    together = Evaluation(samples.classes)
    for chosen in ([0], [], [1, 2]):
        part = Evaluation(samples.classes)
        models = Models.of(samples.classes, samples.name, rdsnet, segrpn)
        for sample in map(samples.__getitem__, chosen):
            with asked_for_all(rdsnet):
                part.add(sample, *models([sample.image], 1000)[0])
        np.savez(tmp_path / "part.npz", **part.columns())
        with np.load(tmp_path / "part.npz", allow_pickle=False) as columns:
            together.extend(columns)
    assert together.pictures == whole.pictures
    assert together.metrics == pytest.approx(whole.metrics, abs=1e-12, nan_ok=True)
    assert json.dumps(together.table()) == json.dumps(whole.table())  # NaN equals NaN there
    assert together.confusion_matrix.counts.tolist() == whole.confusion_matrix.counts.tolist()
    subset = [0, 2, 2]
    assert together.score(subset) == pytest.approx(whole.score(subset), abs=1e-12, nan_ok=True)

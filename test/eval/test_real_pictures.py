"""The table of real pictures: numbers with intervals, models compared, missing sets told."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_trees import write_camvid, write_coco_streets

from jointseg_core import CITYSCAPES, shipped_weights
from jointseg_core.command import exit_code
from jointseg_core.errors import BadInput
from jointseg_eval import real_pictures as command
from jointseg_eval.datasets import Samples
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.translation import Translation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sets, made up."""
    folder = tmp_path_factory.mktemp("pictures") / "real"
    write_camvid(folder / "camvid")
    write_coco_streets(folder / "coco200")
    return folder


@pytest.fixture(scope="module")
def sets(folder: Path) -> dict[str, Samples]:
    return dict(command.open_sets(folder, pytest.fail))


def run(*words: object) -> int:
    """The exit code of the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["real_pictures", *map(str, words)])
        return exit_code(command.main)


def evaluated(samples: Samples, semantic: str = "road", missed: int = 0) -> Evaluation:
    """The true objects but the first ones, with a class map of one class."""
    translate = Translation.between(CITYSCAPES, samples.classes, "w", "d")
    evaluation = Evaluation(samples.classes)
    label = CITYSCAPES.semantic.index(semantic)
    for sample in map(samples.__getitem__, range(len(samples))):
        plane = torch.full_like(sample.target.semantic, label, dtype=torch.uint8)
        truth = sample.target[missed:].as_predictions()
        names = [CITYSCAPES.things.index(samples.classes.things[k]) for k in truth.labels]
        labels = torch.tensor(names, dtype=torch.int64)
        evaluation.add(sample, translate(replace(truth, labels=labels, semantic=plane)))
    return evaluation


def test_camvid_has_iou_and_coco_ap50_each_with_an_interval(sets: dict[str, Samples]):
    camvid = evaluated(sets[command.CAMVID])
    [table] = command.compare({"w": camvid}, np.arange(3), 5).values()
    assert list(table) == ["mean IoU", *sets[command.CAMVID].classes.semantic]
    assert table["road"].mean == table["road"].low == table["road"].high == pytest.approx(1 / 11)
    coco = evaluated(sets[command.COCO])
    [table] = command.compare({"w": coco}, np.arange(2), 5).values()
    assert table["box AP50"].mean == table["car, mask AP50"].mean == pytest.approx(1)
    assert np.isnan(table["bus, box AP50"].mean) and len(table) == 2 + 2 * 7


def test_later_weights_are_compared_with_the_first_over_the_same_draws(sets: dict[str, Samples]):
    models = {"a": evaluated(sets[command.COCO], missed=1), "b": evaluated(sets[command.COCO])}
    table = command.compare(models, np.arange(2), 20)
    assert "box AP50 above a" not in table["a"]
    gain = table["b"]["box AP50 above a"]
    assert gain.mean == pytest.approx(0.5) and gain.low == pytest.approx(0.5)
    with_itself = command.compare({"a": models["a"], "c": models["a"]}, np.arange(2), 5)
    assert with_itself["c"]["mask AP50 above a"].high == 0


def test_pictures_that_shipped_weights_may_not_learn_from_are_told_by_their_licence(folder: Path):
    assert command.barred_pictures(folder) == {"b.jpg"}  # CC BY-NC-ND; a.jpg is CC BY


def test_the_command_prints_tables_and_writes_all_numbers(
    folder: Path, joint_weights: Path, rdsnet_weights: Path, tmp_path: Path, capsys
):
    file = tmp_path / "new" / "real.json"
    words = "--pictures", folder, "--resamples", 3, "--device", "cpu", "--json", file
    assert run(joint_weights, rdsnet_weights, *words) == 0
    printed = capsys.readouterr().out
    assert "| CamVid val, 3 pictures | joint_untrained | rdsnet_untrained |" in printed
    assert "| COCO, barred from training, 1 pictures |" in printed
    [row] = [line for line in printed.splitlines() if line.startswith("| sign/symbol |")]
    assert row.endswith("| - |") and " to " in row  # RDSNet has no class map
    document = json.loads(file.read_text())
    assert document["command"].startswith("python -m jointseg_eval.real_pictures ")
    camvid = document["sets"]["CamVid val"]
    assert camvid["pictures"] == 3 and set(camvid["scores"]["joint_untrained"]["mean IoU"]) == {
        *("mean", "low", "high")
    }
    assert len(document["weights"]["joint_untrained"]["sha256"]) == 64


def test_a_set_that_is_missing_is_told_and_the_other_one_is_scored(
    tmp_path: Path, segrpn_weights: Path, capsys
):
    write_coco_streets(tmp_path / "coco200")
    assert run(segrpn_weights, "--pictures", tmp_path, "--resamples", 2, "--device", "cpu") == 4
    said = capsys.readouterr()
    assert "| COCO, 2 pictures |" in said.out and "CamVid" not in said.out
    assert said.err.startswith("CamVid val is left out: ") and said.err.count("\n") == 1


def test_without_pictures_it_is_one_sentence(tmp_path: Path, segrpn_weights: Path, capsys):
    assert run(segrpn_weights, "--pictures", tmp_path) == 3
    said = capsys.readouterr().err
    assert "there are no real pictures" in said and said.count("\n") == 1


def test_pictures_are_found_by_the_variable_and_beside_what_it_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for named in (folder, folder.parent, folder.parent / "dashcam"):
        monkeypatch.setenv("JOINTSEG_PICTURES", str(named))
        assert command.find_pictures() == folder


def test_real_streets_are_recognised(tmp_path: Path):
    """One picture of each set, so that no road is mistaken for another class at large."""
    try:
        folder = command.find_pictures()
    except BadInput as problem:
        pytest.skip(str(problem))
    file = tmp_path / "real.json"
    words = "--pictures", folder, "--limit", 1, "--resamples", 1, "--device", "cpu"
    assert run(shipped_weights("segrpn"), *words, "--json", file) == 0
    sets = json.loads(file.read_text())["sets"]
    assert {name: one["pictures"] for name, one in sets.items() if name in command.PLACES} == {
        "CamVid val": 1,
        "COCO": 1,
    }
    assert sets["CamVid val"]["scores"]["segrpn_tiny"]["road"]["mean"] > 0.4

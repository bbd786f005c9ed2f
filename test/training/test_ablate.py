"""`python -m training.ablate` from the command line to the document; trainings have two steps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_run import scenes

from jointseg_core.command import exit_code
from training import ablate, train
from training.ablate import STUDIES
from training.ablations.joint import CHOICE
from training.ablations.study import Row, Table
from training.runs.run_folder import RunFolder

SMALL = ("--input-size", "64x128", "--steps", "2", "--batch", "2", "--warm-up", "1",
         "--workers", "0", "--precision", "fp32", "--pictures", "0", "--validate-every", "2",
         "--validation-images", "1", "--resamples", "20")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scenes; trainings of this module's tests are kept and shared there."""
    folder = tmp_path_factory.mktemp("ablations")
    scenes(folder)
    return folder


def words(place: Path, study: str, *more: str) -> list[str]:
    folders = "--data", "scenes", "--out", "out", "--results", "results"
    paths = [word if word.startswith("--") else str(place / word) for word in folders]
    return [study, *paths, *SMALL, *more]


def document(place: Path, study: str, *more: str) -> dict:
    """What a study writes."""
    assert ablate.main(words(place, study, *more)) == 0
    return json.loads((place / "results" / f"ablation_{study}_tiny.json").read_text())


def only(monkeypatch: pytest.MonkeyPatch, study: str, *tables: Table) -> None:
    """Leave a study but some of its tables."""
    monkeypatch.setitem(STUDIES, study, replace(STUDIES[study], tables=tables))


def difference(table: dict, row: str, against: str) -> dict:
    return next(d for d in table["differences"] if (d["row"], d["against"]) == (row, against))


def test_a_table_is_trained_scored_compared_and_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    study = STUDIES["rdsnet-table-2"]
    only(monkeypatch, study.name, study.tables[0])
    found = document(place, study.name, "--seeds", "2", "--refinement-steps", "1")
    (table,) = found["tables"]
    assert [row["name"] for row in table["rows"]] == ["RetinaNet", "+ mask", "+ MBRM"]
    assert table["rows"][2]["paper"]["box_ap"] == 40.3
    assert all(len(row["seeds"]["box_ap"]) == 2 for row in table["rows"])
    retrained, switched = (
        difference(table, *pair) for pair in (("+ mask", "RetinaNet"), ("+ MBRM", "+ mask"))
    )
    assert (retrained["kind"], switched["kind"]) == ("trained separately", "the same weights")
    assert retrained["numbers"]["box_ap"]["paper"] == 1.3
    assert None not in retrained["numbers"]["box_ap"]["interval"]
    means = [row["mean"]["box_ap50"] for row in table["rows"]]
    assert switched["numbers"]["box_ap50"]["difference"] == pytest.approx(
        means[2] - means[1], abs=0.02
    )
    assert found["settings"]["seeds"] == [0, 1] and found["settings"]["input_size"] == [64, 128]
    assert found["environment"]["command"].startswith("python -m training.ablate rdsnet-table-2")
    printed = capsys.readouterr().out
    assert "training 4 of 4: mask, seed 1" in printed
    assert "(40.3)" in printed and "+ MBRM against + mask" in printed


def test_finished_trainings_and_scores_are_used_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What the test above trained is all that these two need."""
    monkeypatch.setattr(train, "main", None)  # nothing is left to train
    flags = "--seeds", "2", "--refinement-steps", "1"
    found = document(place, "rdsnet-table-4", *flags)
    assert "1 of 1" not in (printed := capsys.readouterr().out) and "2 of 2 trainings" in printed
    assert [row["paper"]["box_ap_small"] for row in found["tables"][0]["rows"]] == [
        17.1,
        11.8,
        16.9,
    ]
    document(place, "rdsnet-table-4", *flags)
    assert "scored" not in capsys.readouterr().out


def test_a_swept_refinement_goes_on_from_the_same_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    study = STUDIES["rdsnet-fig-5"]
    widths = replace(
        study.tables[0], rows=(study.tables[0].rows[0], study.tables[0].row("gamma 0.1"))
    )
    tables = widths, replace(study.tables[1], rows=widths.rows), study.tables[2]
    only(monkeypatch, study.name, *tables)
    found = document(place, study.name, "--seeds", "1", "--refinement-steps", "1")
    off, swept = (row["trainings"][0] for row in found["tables"][0]["rows"])
    main, refined = (weights_of(place / "out/runs" / key) for key in (off, swept))
    assert off != swept and main.keys() == refined.keys()
    moved = {name for name in main if not np.array_equal(main[name], refined[name])}
    assert moved and all(name.startswith("refinement.") for name in moved)
    assert found["tables"][0]["differences"][0]["kind"] == "the same weights"
    assert len(found["tables"][2]["columns"]) == 12
    assert [Path(path).suffix for path in found["pictures"]] == [".png"] * 3
    assert all(Path(path).is_file() for path in found["pictures"])


def weights_of(run: Path) -> dict[str, np.ndarray]:
    weights = load_file(run / "weights.safetensors")
    return {name: value for name, value in weights.items() if "batches_tracked" not in name}


def test_networks_of_table_two_are_told_where_objects_are(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    table = STUDIES["segrpn-table-2"].tables[0]
    rows = ("+ ROI1 + RPN1", "+ ROI1 + RPN1 (w/o both)")
    chosen = [replace(table.row(name), against=rows[:i]) for i, name in enumerate(rows)]
    only(monkeypatch, "segrpn-table-2", replace(table, rows=tuple(chosen)))
    found = document(place, "segrpn-table-2", "--seeds", "1")
    told, alone = (row["mean"] for row in found["tables"][0]["rows"])
    assert told["miou"] == alone["miou"] and told["ar_1000"] != alone["ar_1000"]
    assert len({row["trainings"][0] for row in found["tables"][0]["rows"]}) == 1


def test_figures_of_segrpn_have_counts_curves_and_pictures(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    maps = document(place, "segrpn-fig-3", "--seeds", "1")
    assert maps["anchors"].keys() == {"before", "after"}
    levels = maps["anchors"]["after"][0]
    assert list(levels) == ["P2", "P3", "P4", "P5", "P6"]
    taught = [
        sum(level["right"] + level["missed"] for level in maps["anchors"][name][0].values())
        for name in ("before", "after")
    ]
    assert taught[0] == taught[1] > 0  # which anchors are right does not depend on the network
    share = STUDIES["segrpn-fig-6"].tables[0]
    after = replace(share.row("+ RPN"), against=())
    only(monkeypatch, "segrpn-fig-6", replace(share, rows=(after,)))
    curve = document(place, "segrpn-fig-6", "--seeds", "1")["curves"]["+ RPN"]
    assert curve["steps"] == [2] and len(curve["seeds"][0]) == 1


def test_representations_are_drawn(place: Path):
    (path,) = document(place, "rdsnet-fig-3", "--seeds", "1", "--refinement-steps", "1")["pictures"]
    assert Path(path).is_file()


def test_an_interrupted_training_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch):
    """The first call stops after one step; the second one finishes what is there."""
    only(monkeypatch, "rdsnet-fig-3", Table("", ("box_ap",), (Row("RDSNet"),)))
    flags = "--seeds", "1", "--seed", "7", "--refinement-steps", "1"
    whole, folders = train.main, []

    def stopped(arguments: list[str]) -> int:
        folders.append(RunFolder(Path(arguments[arguments.index("--out") + 1])))
        whole([*arguments, "--minutes", "0", "--save-every", "1"])
        return 143

    monkeypatch.setattr(train, "main", stopped)
    assert exit_code(lambda: ablate.main(words(place, "rdsnet-fig-3", *flags))) == 143
    assert not folders[0].weights.exists()
    monkeypatch.setattr(train, "main", whole)
    document(place, "rdsnet-fig-3", *flags)
    assert folders[0].weights.exists()
    assert "resumed" in [record["kind"] for record in folders[0].records()]


def test_a_training_in_a_process_of_its_own_is_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    only(monkeypatch, "rdsnet-fig-3", Table("", ("box_ap", "mask_ap"), (Row("RDSNet"),)))
    flags = "--seeds", "1", "--refinement-steps", "1"
    alone = document(place, "rdsnet-fig-3", *flags)["tables"]
    beside = document(place, "rdsnet-fig-3", *flags, "--jobs", "2", "--out", str(place / "beside"))
    assert beside["tables"] == alone
    (log,) = (place / "beside/runs").glob("*.log")
    assert "weights.safetensors" in log.read_text()


def test_given_weights_are_scored_without_any_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    document(place, "rdsnet-fig-3", "--seeds", "1", "--refinement-steps", "1")
    (weights, *_) = sorted(place.glob("out/runs/rdsnet_tiny*/weights.safetensors"))
    monkeypatch.setattr(train, "main", None)
    assert ablate.main(words(place, "rdsnet-pixels", "--weights", str(weights))) == 0
    found = json.loads((place / "results/ablation_rdsnet-pixels_weights.json").read_text())
    assert found["settings"]["weights"] == "weights.safetensors"
    assert len(found["settings"]["sha256"]) == 64 and "steps" not in found["settings"]
    (table,) = found["tables"]
    pair = difference(table, "network pixels", "camera pixels")
    assert pair["kind"] == "the same weights"
    assert pair["numbers"]["box_ap"]["difference"] == 0  # pictures are as large as the input
    assert pair["numbers"]["box_ap_large"]["verdict"] == "fewer than 200 objects"
    assert found["objects"]["sizes"].keys() == {"small", "medium", "large"}
    assert sum(found["objects"]["levels"].values()) == pytest.approx(100, abs=0.3)
    assert "By the level of their best anchor: P3" in capsys.readouterr().out
    for study, hint in (("segrpn-fig-6", "needs trainings"), ("segrpn-table-1", "is of segrpn")):
        line = words(place, study, "--weights", str(weights))
        assert exit_code(lambda line=line: ablate.main(line)) == 2
        assert hint in capsys.readouterr().err


def test_a_study_runs_on_the_papers_own_recipes(capsys: pytest.CaptureFixture[str]):
    found = ablate.parse_command(["rdsnet-table-4", "--recipe", "rdsnet_r101_coco_600"])
    assert (found.name, found.recipe.input_size) == ("rdsnet_r101_coco_600", (600, 1000))
    assert exit_code(lambda: ablate.main(["rdsnet-table-4", "--recipe", "rdsnet_s_coco"])) == 2
    assert "rdsnet_r101_coco_600" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words_wanted", "code"),
    [
        (("--seeds", "0"), "--seeds is 0, expected 1 to", 2),
        (("--seeds", "1000"), "--seeds is 1000, expected 1 to", 2),
        (("--jobs", "-1"), "--jobs is -1", 2),
        (("--resamples", "1"), "--resamples is 1", 2),
        (("--out", f"{__file__}/out"), "--out: ", 3),
        (("--results", __file__), "--results: ", 3),
        (("--data", "/nowhere/at/all"), "/nowhere/at/all", 3),
    ],
)
def test_nonsense_is_refused_in_one_sentence(
    flags: tuple[str, str], words_wanted: str, code: int, place: Path, capsys
):
    line = words(place, "rdsnet-table-4", "--refinement-steps", "1", *flags)
    assert exit_code(lambda: ablate.main(line)) == code
    said = capsys.readouterr().err.strip()
    assert words_wanted in said and len(said.splitlines()) == 1


def test_a_size_without_a_recipe_names_those_that_have_one(capsys: pytest.CaptureFixture[str]):
    study = replace(STUDIES["rdsnet-table-3"], family="yolact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "rdsnet-table-3", study)
        assert exit_code(lambda: ablate.main(["rdsnet-table-3"])) == 2
    assert "yolact_tiny_synthetic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["rdsnet-table-9"], "did you mean rdsnet-table-4?"),
        (["rdsnet-table-4", "--stepps", "3"], "did you mean --steps?"),
        (["--seeds", "3", "rdsnet-table-4"], "the study comes first"),
        (["rdsnet-table-4", "--size", "r19"], "r19"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(
    line: list[str], hint: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stopped:
        ablate.main(line)
    assert stopped.value.code == 2 and hint in capsys.readouterr().err


def test_two_networks_answer_together_as_the_joint_one_does(place: Path):
    found = document(place, "joint", "--seeds", "1", "--refinement-steps", "1")
    segrpn, both, joint = (row["mean"] for row in found["tables"][0]["rows"])
    assert segrpn["mask_ap"] is None and segrpn["pq"] is None
    assert both["miou"] == segrpn["miou"] != joint["miou"]
    assert None not in (both["pq"], joint["pq"])


def test_a_threshold_is_chosen_for_each_training_and_told(place: Path):
    found = document(place, "exchange", "--seeds", "1", "--refinement-steps", "1")
    values = CHOICE.values
    for row in found["tables"][0]["rows"]:
        assert [used["panoptic_score"] in values for used in row["used"]] == [True]


def test_a_study_has_its_own_number_of_seeds_unless_the_command_names_one(place: Path):
    assert ablate.parse_command(words(place, "joint")).options.seeds == 8
    assert ablate.parse_command(words(place, "joint", "--seeds", "2")).options.seeds == 2

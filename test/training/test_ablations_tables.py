"""The papers' tables are all there, with their numbers, trainings and comparisons."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import scenes

from jointseg_core import build_model
from jointseg_eval.datasets import open_dataset
from training.ablate import STUDIES, resampled_rows
from training.ablations import runs, scoring
from training.ablations.results import Measured, paper, partners
from training.ablations.runs import Base, Run, run_of
from training.ablations.scoring import Scores, Task, chosen
from training.ablations.study import (
    METRICS,
    Choice,
    Row,
    Study,
    Table,
    of_given_weights,
    of_lengths,
)
from training.recipes import RECIPES

NAMES = """rdsnet-table-2 rdsnet-table-3 rdsnet-table-4 rdsnet-pixels rdsnet-fig-5 segrpn-table-1
segrpn-table-2 segrpn-fig-3 segrpn-fig-6 rdsnet-fig-3 exchange joint"""
TABLES = [table for study in STUDIES.values() for table in study.tables]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def bases(data: Path) -> dict[str, Base]:
    """What the trainings of each family share."""
    found = {}
    for family in ("rdsnet", "rdsnet_s", "segrpn", "joint"):
        name = f"{family}_tiny_synthetic"
        pictures = open_dataset(data, "train"), open_dataset(data, "val")
        found[family] = Base(name, RECIPES[name], *pictures)
    return found


def trainings(base: Base, study: Study, seed: int = 0) -> dict[tuple[str, str], Run]:
    return {
        (table.title, row.name): run_of(base, table, row, seed)
        for table in study.tables
        for row in table.rows
    }


def pairs(table: Table, base: Base) -> dict[tuple[str, str], bool]:
    """Which rows are compared, and whether they share weights."""
    rows = {row.name: Measured(row, [run_of(base, table, row, 0)], []) for row in table.rows}
    return {
        (row.name, other.name): rows[row.name].shares_weights(rows[other.name])
        for row, other in partners(table)
    }


def test_every_study_is_there():
    assert sorted(STUDIES) == sorted(NAMES.split())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_tables_are_whole(table: Table):
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert set(table.columns) <= set(METRICS)
    for row in table.rows:
        assert len(row.paper) <= len(table.columns)
        assert set(row.against) <= set(names) - {row.name}


@pytest.mark.parametrize(
    ("study", "rows", "columns"),
    [
        ("rdsnet-table-2", (3, 3), 6),
        ("rdsnet-table-3", (7,), 1),
        ("rdsnet-table-4", (3,), 4),
        ("segrpn-table-1", (9,), 4),
        ("segrpn-table-2", (17,), 3),
    ],
)
def test_every_row_has_the_numbers_of_the_paper(study: str, rows: tuple[int, ...], columns: int):
    assert tuple(len(table.rows) for table in STUDIES[study].tables) == rows
    for table in STUDIES[study].tables:
        # the paper has no row of both ways at once with a learned branch
        assert {len(r.paper) for r in table.rows if not r.name.startswith("+ ROI + RPN")} <= {
            columns
        }


def numbers(study: str, row: str, table: int = 0) -> list[float]:
    one = STUDIES[study].tables[table]
    return list(paper(one, one.row(row)).values())


def test_numbers_that_the_text_of_the_papers_names_follow_from_the_tables():
    gains = {
        ("rdsnet-table-2", "+ MBRM", "+ mask", 0): 0.9,
        ("rdsnet-table-2", "+ MBRM", "+ mask", 1): 1.2,
        ("rdsnet-table-2", "+ mask", "RetinaNet", 0): 1.3,
        ("rdsnet-table-4", "MBRM", "baseline", 0): 1.3,
        ("rdsnet-table-3", "7 Corr, TE, OHEM, IE", "1 LC (YOLACT)", 0): 1.9,
    }
    for (study, row, other, table), gain in gains.items():
        found = numbers(study, row, table)[0] - numbers(study, other, table)[0]
        assert found == pytest.approx(gain)
    roi = numbers("segrpn-table-2", "+ ROI1")
    assert roi[1] - numbers("segrpn-table-2", "Baseline")[1] == pytest.approx(1.04)
    assert "foreground_miou" not in paper(TABLES_1, TABLES_1.row("Baseline"))


TABLES_1 = STUDIES["segrpn-table-1"].tables[0]


@pytest.mark.parametrize(
    ("study", "count"),
    [
        ("rdsnet-table-2", 4),  # RetinaNet and RDSNet at two scales
        ("rdsnet-table-3", 4),  # LC; Corr; with TE; with TE and OHEM
        ("rdsnet-table-4", 1),
        ("rdsnet-fig-3", 1),
        ("rdsnet-fig-5", 1 + 5 + 6 - 1),  # gamma 0.05 and s 4 are the same
        ("rdsnet-pixels", 1),
        ("segrpn-table-1", 4),
        ("segrpn-table-2", 8),
        ("segrpn-fig-3", 1),
        ("segrpn-fig-6", 3),
    ],
)
def test_rows_share_trainings_where_they_can(bases: dict[str, Base], study: str, count: int):
    chosen = STUDIES[study]
    runs = trainings(bases[chosen.family], chosen).values()
    assert len({part.key for run in runs for part in (run, run.main)}) == count


def test_studies_share_trainings(bases: dict[str, Base]):
    keys = {
        name: {run.main.key for run in trainings(bases[study.family], study).values()}
        for name, study in STUDIES.items()
    }
    assert keys["rdsnet-table-4"] == keys["rdsnet-fig-5"] == keys["rdsnet-fig-3"]
    assert keys["rdsnet-table-4"] < keys["rdsnet-table-2"]
    assert keys["segrpn-fig-3"] < keys["segrpn-fig-6"] < keys["segrpn-table-1"]
    assert len(keys["segrpn-table-2"] & keys["segrpn-table-1"]) == 1  # the baseline


@pytest.mark.parametrize("study", STUDIES)
def test_every_network_can_be_built(bases: dict[str, Base], study: str):
    chosen = STUDIES[study]
    for run in {r.key: r for r in trainings(bases[chosen.family], chosen).values()}.values():
        build_model(run.recipe.model)


def test_switches_are_resampled_and_trainings_are_not(bases: dict[str, Base]):
    found = pairs(STUDIES["rdsnet-table-2"].tables[0], bases["rdsnet"])
    assert found == {
        ("+ mask", "RetinaNet"): False,
        ("+ MBRM", "+ mask"): True,
        ("+ MBRM", "RetinaNet"): False,
    }
    crops = pairs(STUDIES["rdsnet-table-3"].tables[0], bases["rdsnet_s"])
    assert {pair for pair, same in crops.items() if same} == {
        ("3 Corr, IE", "2 Corr"),
        ("5 Corr, TE, IE", "4 Corr, TE"),
        ("7 Corr, TE, OHEM, IE", "6 Corr, TE, OHEM"),
    }
    for study in ("segrpn-table-1", "segrpn-table-2"):
        for (row, other), same in pairs(STUDIES[study].tables[0], bases["segrpn"]).items():
            assert same == (row.startswith(f"{other} (w/o"))
    for table in STUDIES["rdsnet-fig-5"].tables:
        assert all(pairs(table, bases["rdsnet"]).values())


def test_masks_of_all_rows_of_table_3_are_cut_at_one_probability(bases: dict[str, Base]):
    runs = trainings(bases["rdsnet_s"], STUDIES["rdsnet-table-3"]).values()
    assert {run.recipe.model.mask_threshold for run in runs} == {0.4}
    assert not any("mask_threshold" in row.use for row in STUDIES["rdsnet-table-3"].tables[0].rows)


def test_the_default_segrpn_is_in_table_1(bases: dict[str, Base]):
    base = bases["segrpn"]
    run = trainings(base, STUDIES["segrpn-table-1"])["Table I", "+ ROI + RPN"]
    assert run.recipe.model == base.recipe.model


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_what_a_study_is_was_decided_before_it_is_measured(study: Study):
    assert study.seeds >= 8 and min(study.input_size) >= 256
    retrained = {row.name for table in study.tables for row in table.rows if row.train}
    if retrained and "table" in study.name:
        assert len(study.lengths) == 2


def test_every_table_is_measured_after_each_length(bases: dict[str, Base]):
    study = of_lengths(STUDIES["rdsnet-table-3"])
    assert [table.steps for table in study.tables] == [800, 1600]
    first, second = (
        run_of(bases["rdsnet_s"], table, table.rows[1], 0).recipe for table in study.tables
    )
    assert (first.steps, first.validate_every) == (800, 80)
    assert replace(first, steps=1600, validate_every=160) == second
    assert of_lengths(STUDIES["rdsnet-fig-5"]) == STUDIES["rdsnet-fig-5"]


def test_given_weights_answer_for_rows_that_differ_in_use():
    (table,) = of_given_weights(STUDIES["rdsnet-table-2"]).tables
    assert [(row.name, row.against) for row in table.rows] == [
        ("+ mask", ()),
        ("+ MBRM", ("+ mask",)),
    ]
    assert of_given_weights(STUDIES["segrpn-fig-6"]).tables == ()


def test_resamples_are_drawn_where_they_are_needed(bases: dict[str, Base]):
    table = STUDIES["rdsnet-table-2"].tables[0]
    runs = {row.name: [run_of(bases["rdsnet"], table, row, 0)] for row in table.rows}
    assert resampled_rows(table, runs) == {"+ mask", "+ MBRM"}


def test_the_exchange_is_compared_with_a_blind_network(bases: dict[str, Base]):
    study, recipe = STUDIES["exchange"], RECIPES["joint_tiny_synthetic"]
    rows = {row: run.recipe for (_, row), run in trainings(bases["joint"], study).items()}
    assert rows["joint"] == replace(recipe, best="box_ap", data=None)
    assert rows["blind"] == replace(rows["joint"], model=replace(recipe.model, blind=True))
    assert set(pairs(study.tables[0], bases["joint"])) == {("joint", "blind")}


def test_the_joint_network_is_compared_with_the_two_as_they_are(bases: dict[str, Base]):
    study, recipe = STUDIES["joint"], RECIPES["joint_tiny_synthetic"]
    rows = {row: run.recipe for (_, row), run in trainings(bases["joint"], study).items()}
    assert rows["RDSNet and SegRPN"].model == RECIPES["rdsnet_tiny_synthetic"].model
    wide = replace(RECIPES["segrpn_tiny_synthetic"].model, channels=recipe.model.channels)
    assert rows["SegRPN"].model == wide
    assert {recipe.steps for recipe in rows.values()} == {3200}
    assert set(pairs(study.tables[0], bases["joint"])) == {("joint", "RDSNet and SegRPN")}


def test_each_network_learns_at_the_rate_of_its_own_recipe(bases: dict[str, Base]):
    base, table = bases["joint"], STUDIES["joint"].tables[0]
    faster = replace(base, recipe=replace(base.recipe, lr=2 * base.recipe.lr))
    for row, family in (("joint", "joint"), ("RDSNet and SegRPN", "rdsnet"), ("SegRPN", "segrpn")):
        lr = RECIPES[f"{family}_tiny_synthetic"].lr
        assert run_of(base, table, table.row(row), 0).recipe.lr == pytest.approx(lr)
        assert run_of(faster, table, table.row(row), 0).recipe.lr == pytest.approx(2 * lr)


def test_a_key_is_another_one_for_every_other_result(bases: dict[str, Base], data: Path):
    base, table = bases["rdsnet"], Table("", (), ())
    first = run_of(base, table, Row("a"), 0)
    assert run_of(base, table, Row("b", use={"gamma": 0.0}), 0).key == first.key
    moved = Base(base.name, base.recipe, open_dataset(data, "train"), base.validation)
    assert run_of(moved, table, Row("a"), 0).key == first.key
    fewer = Base(base.name, base.recipe, base.validation, base.validation)
    others = [
        run_of(base, table, Row("a"), 1),
        run_of(base, table, Row("a", train={"lr": 0.1}), 0),
        run_of(base, table, Row("a", refine={"model.gamma": 0.1}), 0),
        run_of(base, Table("", (), (), scale=3 / 4), Row("a"), 0),
        run_of(fewer, table, Row("a"), 0),
    ]
    assert len({run.key for run in (first, *others)}) == 1 + len(others)


def test_what_other_code_made_is_not_used_again(
    bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
):
    base, table = bases["rdsnet"], Table("", (), ())
    task = Task("", Path(), Path(), Row("a"), (), 0)
    before = run_of(base, table, Row("a"), 0).key, task.path(base.validation)
    for module in (runs, scoring):
        monkeypatch.setattr(module, "code_digest", lambda *places: "other code")
    after = run_of(base, table, Row("a"), 0).key, task.path(base.validation)
    assert before[0] != after[0] and before[1] != after[1]


def test_seeds_see_the_same_pictures_in_the_same_order(bases: dict[str, Base]):
    study = STUDIES["rdsnet-table-2"]
    for seed in range(3):
        assert {r.recipe.seed for r in trainings(bases["rdsnet"], study, seed).values()} == {seed}


@pytest.mark.parametrize("study", STUDIES)
def test_rows_can_be_scored_in_other_processes(bases: dict[str, Base], study: str):
    samples = bases[STUDIES[study].family].validation
    for table in STUDIES[study].tables:
        tasks = [Task("", Path(), Path(), row, table.columns, 0) for row in table.rows]
        copies, pictures = pickle.loads(pickle.dumps((tasks, samples)))
        assert [task.path(pictures) for task in copies] == [task.path(samples) for task in tasks]


def test_each_training_gets_the_number_that_is_best_for_it_alone():
    choice = Choice("panoptic_score", (0.1, 0.2, 0.3), by="pq")
    row = Row("joint", use={"max_detections": 7})
    tasks = [Task(name, Path(name), Path(), row, ("box_ap", "pq"), 5) for name in "ab"]
    pq = {"a": (2.0, 3.0, 1.0), "b": (float("nan"), 4.0, 4.0)}

    def score_them(tries: Sequence[Task]) -> list[Scores]:
        assert {t.columns for t in tries} == {("pq",)} and {t.resamples for t in tries} == {0}
        places = [choice.values.index(t.row.use["panoptic_score"]) for t in tries]
        found = [pq[t.weights.name][k] for t, k in zip(tries, places, strict=True)]
        return [Scores({"pq": value}, {}) for value in found]

    found = chosen(tasks, choice, score_them)
    assert [dict(t.row.use) for t in found] == [{"max_detections": 7, "panoptic_score": 0.2}] * 2
    pq["b"] = (9.0, 4.0, 4.0)
    found = chosen(tasks, choice, score_them)
    assert [t.row.use["panoptic_score"] for t in found] == [0.2, 0.1]
    assert [(t.label, t.columns, t.resamples) for t in found] == [
        (t.label, t.columns, t.resamples) for t in tasks
    ]

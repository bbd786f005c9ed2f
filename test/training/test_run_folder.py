"""Checkpoints survive kills and damage."""

import json

import pytest
import torch

from jointseg_core.errors import BadInput
from training.runs.run_folder import RunFolder, replace_file


def state(step):
    return {"step": step, "model": {"weight": torch.full((3,), float(step))}, "best": -1.5}


def filled(tmp_path, steps, keep=3):
    folder = RunFolder(tmp_path / "run", keep)
    for step in steps:
        folder.save(state(step))
    return folder


def test_the_newest_comes_back_as_it_was(tmp_path):
    found = filled(tmp_path, [5, 10]).newest()
    assert found["step"] == 10 and found["best"] == -1.5
    assert torch.equal(found["model"]["weight"], torch.full((3,), 10.0))


def test_nothing_saved_is_none(tmp_path):
    assert RunFolder(tmp_path / "run").newest() is None


def test_only_the_newest_stay(tmp_path):
    folder = filled(tmp_path, [1, 2, 3, 4], keep=2)
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == [f"step_0000000{n}.{kind}" for n in (3, 4) for kind in ("json", "pt")]


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def without_manifest(path):
    path.with_suffix(".json").unlink()


def with_half_a_manifest(path):
    path.with_suffix(".json").write_text('{"format": 1, "st')


@pytest.mark.parametrize("damage", [flip_a_byte, cut, without_manifest, with_half_a_manifest])
def test_a_damaged_one_is_named_and_the_one_before_used(tmp_path, capsys, damage):
    folder = filled(tmp_path, [5, 10])
    damage(folder.checkpoints / "step_00000010.pt")
    assert folder.newest()["step"] == 5
    assert "step_00000010.pt is damaged" in capsys.readouterr().err


def test_nothing_but_damaged_ones_is_bad_input(tmp_path):
    folder = filled(tmp_path, [5])
    flip_a_byte(folder.checkpoints / "step_00000005.pt")
    with pytest.raises(BadInput, match="no usable checkpoint"):
        folder.newest()


def test_a_run_that_went_back_keeps_what_it_writes(tmp_path):
    folder = filled(tmp_path, [5, 10, 15], keep=1)
    flip_a_byte(folder.checkpoints / "step_00000015.pt")
    folder.save(state(7))
    assert folder.newest()["step"] == 7


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    folder = filled(tmp_path, [5])
    (folder.checkpoints / "step_00000010.pt.part").write_bytes(b"half")
    folder.save(state(10))
    assert not list(folder.checkpoints.glob("*.part"))


def test_records_of_steps_to_be_done_again_are_dropped(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for step in (10, 20, 30):
        folder.record("training", step, loss=1.0)
        folder.record("validation", step, box_ap=0.5)
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "training", "st')  # the process was killed here
    folder.forget_after(step=20, validated=10)
    kept = [(record["kind"], record["step"]) for record in folder.records()]
    assert kept == [("training", 10), ("validation", 10), ("training", 20)]
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 10, 20]

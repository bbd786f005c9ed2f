"""The training command: what a run leaves, and that it goes on as if it had never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from old_joint import COMMAND, old_joint
from PIL import Image
from tiny_run import run, scenes, words

from jointseg_core import Predictor, load_model, shipped_weights
from jointseg_core.model_check import check_model
from training.runs.command import parse_command
from training.runs.distributed import Ranks
from training.runs.preparation import prepare
from training.runs.run_folder import RunFolder
from training.runs.stopping import StopSignals
from training.runs.validation import validate

ROOT = Path(__file__).parents[2]
LOOP = {"steps": 6, "batch": 2, "save-every": 2, "validate-every": 3, "keep": 9}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return scenes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nothing interrupted: 6 steps and 2 of the boundary refinement."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    arguments = words("rdsnet_tiny_synthetic", data, folder, **LOOP, **{"refinement-steps": 2})
    assert run(*arguments) == 0
    return folder


def tensors(state, prefix=""):
    """All values of nested dicts and lists, by path; but for the time that it took."""
    if not isinstance(state, dict | list):
        return {prefix: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state)
    found = {}
    for key, value in pairs:
        if key != "seconds":
            found |= tensors(value, f"{prefix}/{key}")
    return found


def differing(folder, other, step):
    """Names of what differs between the checkpoints of a step of two runs."""
    states = [
        tensors(torch.load(f / f"checkpoints/step_{step:08}.pt", weights_only=True))
        for f in (folder, other)
    ]
    assert states[0].keys() == states[1].keys()
    return {
        name
        for name, value in states[0].items()
        if not (
            torch.equal(value, states[1][name])
            if isinstance(value, torch.Tensor)
            else value == states[1][name]
        )
    }


def losses(folder):
    records = RunFolder(folder).records()
    return [(r["step"], r["loss"]) for r in records if r["kind"] == "training"]


def scores(folder):
    records = RunFolder(folder).records()
    return [(r["step"], r["box_ap"], r["ar_100"]) for r in records if r["kind"] == "validation"]


# -- what a run leaves -----------------------------------------------------------------------------


def test_a_run_leaves_weights_that_say_how_they_were_trained(whole):
    predictor = Predictor.from_file(whole / "weights.safetensors", "cpu", model_type="rdsnet")
    facts = predictor.manifest.training
    assert (facts["steps"], facts["refinement_steps"], facts["pictures_a_step"]) == (6, 2, 2)
    assert facts["command"].startswith("python -m training.train rdsnet_tiny_synthetic")
    assert "cityscapes train" in facts["data"] and "box_ap" in facts["validation"]
    assert predictor.input_size == (64, 128)
    assert (whole / "best.safetensors").exists()


def test_a_run_says_what_it_was(whole):
    config = json.loads((whole / "config.json").read_text())
    assert config["recipe"] == "rdsnet_tiny_synthetic"
    assert (config["fields"]["batch"], config["fields"]["model.channels"]) == (2, 64)
    (start,) = json.loads((whole / "environment.json").read_text())["starts"]
    assert {"command", "device", "torch", "git", "threads"} <= start.keys()


def test_losses_and_validations_are_lines_of_json(whole):
    assert [step for step, _ in losses(whole)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, *_ in scores(whole)] == [3, 6, 8]
    (training, *_) = RunFolder(whole).records()
    assert {"loss_classification", "loss_box", "loss_mask", "lr", "seconds"} <= training.keys()


def test_the_same_validation_picture_is_drawn_every_time(whole):
    (folder,) = (whole / "pictures").iterdir()
    assert [path.name for path in sorted(folder.iterdir())] == [
        "00000003.jpg", "00000006.jpg", "00000008.jpg",
    ]  # fmt: skip


def test_the_second_stage_moves_the_ten_parameters_of_the_refinement_alone(whole):
    states = [
        torch.load(whole / f"checkpoints/step_{step:08}.pt", weights_only=True) for step in (6, 8)
    ]
    for part in ("model", "joint"):
        assert tensors(states[0][part]).keys() == tensors(states[1][part]).keys()
    moved = differing_states(*[state["average"]["model"] for state in states])
    assert moved == {"/refinement.kernel", "/refinement.bias"}
    assert not differing_states(*[state["model"] for state in states])
    assert sum(states[1]["average"]["model"][name[1:]].numel() for name in moved) == 10


def differing_states(first, second):
    return {k for k, v in tensors(first).items() if not torch.equal(v, tensors(second)[k])}


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # for a machine with other things to do: the process imports torch
def test_a_killed_run_goes_on_bit_by_bit(tmp_path, data, whole):
    arguments = words(
        "rdsnet_tiny_synthetic", data, tmp_path / "run", **LOOP, **{"refinement-steps": 2}
    )
    command = [sys.executable, "-m", "training.train", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_for(tmp_path / "run/checkpoints/step_00000002.json", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert RunFolder(tmp_path / "run").newest()["step"] < 8
    assert run(*arguments, "--resume") == 0
    assert not differing(tmp_path / "run", whole, step=8)
    assert losses(tmp_path / "run") == losses(whole)
    assert scores(tmp_path / "run") == scores(whole)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)


def test_sigterm_saves_and_the_run_goes_on_bit_by_bit(tmp_path, data, whole, capsys):
    arguments = words(
        "rdsnet_tiny_synthetic", data, tmp_path / "run", **LOOP, **{"refinement-steps": 2}
    )
    watch = threading.Thread(target=terminate_after, args=(tmp_path / "run/metrics.jsonl",))
    before = signal.getsignal(signal.SIGTERM)
    watch.start()
    assert run(*arguments) == 143
    watch.join()
    assert "--resume goes on from there" in capsys.readouterr().out
    stopped = RunFolder(tmp_path / "run").newest()["step"]
    assert 1 <= stopped < 8
    assert signal.getsignal(signal.SIGTERM) == before
    assert run(*arguments, "--resume") == 0
    assert not differing(tmp_path / "run", whole, step=8)
    assert losses(tmp_path / "run") == losses(whole)


def terminate_after(path):
    """Once there is something in a file, SIGTERM for this process."""
    while not (path.exists() and path.stat().st_size):
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_in_the_middle_of_a_validation_keeps_nothing_of_it(data, tmp_path):
    arguments = words("segrpn_tiny_synthetic", data, tmp_path / "run", steps=1, batch=2)
    with ExitStack() as stack:
        begun = prepare(parse_command(arguments), Ranks(torch.device("cpu")), stack)
        begun.progress.step, stop = 1, StopSignals()
        assert begun.validation_due
        stop.number = signal.SIGTERM
        validate(begun, stop)
        assert begun.validation_due and not scores(tmp_path / "run")
        stop.number = 0
        validate(begun, stop)
        assert not begun.validation_due and len(scores(tmp_path / "run")) == 1


def test_a_damaged_checkpoint_is_passed_over(tmp_path, data, capsys):
    arguments = words("segrpn_tiny_synthetic", data, tmp_path / "run", **LOOP)
    assert run(*arguments) == 0
    newest = tmp_path / "run/checkpoints/step_00000006.pt"
    before = newest.read_bytes()
    newest.write_bytes(before[:1000] + b"x" + before[1001:])
    assert run(*arguments, "--resume") == 0
    assert "step_00000006.pt is damaged" in capsys.readouterr().err
    assert RunFolder(tmp_path / "run").newest()["step"] == 6


def resumed(data, folder, **changes):
    """A run that goes on from there, before its next step."""
    arguments = words("rdsnet_tiny_synthetic", data, folder, **LOOP | {"steps": 20} | changes)
    with ExitStack() as stack:
        prepare(parse_command([*arguments, "--resume"]), Ranks(torch.device("cpu")), stack)


def test_a_run_that_goes_on_in_another_way_says_in_which(tmp_path, data, whole, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    changes = {"batch": 3, "lr": 0.5, "seed": 9}
    resumed(data, folder, **changes)
    said = capsys.readouterr().out
    assert "warning: from here on it is another run: " in said
    for part in ("batch 3 instead of 2", "lr 0.5 instead of", "seed 9 instead of 0", "steps 20"):
        assert part in said, said
    resumed(data, folder, **changes)
    assert "another run" not in capsys.readouterr().out
    other = shutil.copytree(data, tmp_path / "other")
    resumed(other, folder, **changes)
    said = capsys.readouterr().out
    assert f"data {other} instead of {data}; pictures cityscapes train" in said, said


def test_weights_of_a_run_say_what_they_compute(whole):
    for name in ("best", "weights"):
        predictor = Predictor.from_file(whole / f"{name}.safetensors", device="cpu")
        assert len(predictor.manifest.self_test) >= 4
        check_model(predictor)


def test_a_run_that_diverged_names_the_pictures(tmp_path, data, capsys):
    flags = {**LOOP, "lr": 1e30, "warm-up-from": 1, "max-skipped": 2, "refinement-steps": 0}
    arguments = words("rdsnet_tiny_synthetic", data, tmp_path / "run", **flags)
    assert run(*arguments) == 1
    message = capsys.readouterr().err
    assert "no finite loss for 2 steps in a row" in message and "leftImg8bit.png" in message
    skipped = [r for r in RunFolder(tmp_path / "run").records() if r["kind"] == "skipped"]
    assert len(skipped) == 2 and len(skipped[0]["pictures"]) == 2
    assert skipped[0]["losses"]["classification"] is None


# -- other beginnings ------------------------------------------------------------------------------


def test_the_second_stage_alone_refines_given_weights(tmp_path, data, whole):
    flags = {"init": whole / "best.safetensors", "steps": 0, "refinement-steps": 1, "batch": 2}
    assert run(*words("rdsnet_tiny_synthetic", data, tmp_path / "run", **flags)) == 0
    before, after = (
        load_model(path)[0].state_dict()
        for path in (whole / "best.safetensors", tmp_path / "run/weights.safetensors")
    )
    counters = {name for name in differing_states(before, after) if "num_batches" in name}
    moved = differing_states(before, after) - counters
    assert moved == {"/refinement.kernel", "/refinement.bias"}


def test_rdsnet_s_trains_too(tmp_path, data):
    arguments = words("rdsnet_s_tiny_synthetic", data, tmp_path / "run", steps=1, batch=2)
    assert run(*arguments) == 0
    assert load_model(tmp_path / "run/weights.safetensors")[1].model_type == "rdsnet_s"


def test_the_joint_network_starts_from_the_backbone_of_another(tmp_path, data, capsys):
    arguments = words("joint_tiny_synthetic", data, tmp_path / "run", steps=1, batch=2)
    start = shipped_weights("rdsnet")
    assert run(*arguments, "--refinement-steps", "1", "--init", str(start)) == 0
    model, manifest = load_model(tmp_path / "run/weights.safetensors")
    assert manifest.model_type == "joint" and "pq" in manifest.training["validation"]
    moved = model.backbone.conv1.weight - load_model(start)[0].backbone.conv1.weight
    assert 0 < moved.abs().max() < 0.01
    assert "rdsnet of this package" in capsys.readouterr().out


def test_an_earlier_joint_network_starts_none(tmp_path, data, capsys):
    arguments = words("joint_tiny_synthetic", data, tmp_path / "run", steps=1, batch=2)
    assert run(*arguments, "--init", str(old_joint(tmp_path, command=COMMAND))) == 3
    said = capsys.readouterr().err
    assert f"made by `{COMMAND}`; train again" in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_rehearsal_leaves_nothing(tmp_path, data, capsys):
    arguments = words("segrpn_tiny_synthetic", data, tmp_path / "run", batch=2)
    assert run(*arguments, "--dry-run") == 0
    assert "miou" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_few_pictures_are_learned_and_validated(tmp_path, data):
    flags = {"overfit": 1, "steps": 1, "batch": 2}
    arguments = words("rdsnet_tiny_synthetic", data, tmp_path / "run", **flags)
    assert run(*arguments, "--refinement-steps", "0") == 0
    facts = load_model(tmp_path / "run/weights.safetensors")[1].training
    assert facts["data"] == facts["validation"]["data"]
    assert facts["data"].startswith("1 pictures of cityscapes train")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, said, code",
    [
        ({"data": "no/such/folder"}, "no data set at no/such/folder", 3),
        ({"init": "no/weights.safetensors"}, "--init: there is no file", 3),
        ({"model.norm": "fixed"}, "neither --backbone nor --init", 2),
        ({"pretrained": "true"}, "starts from ImageNet weights", 2),
        ({"best": "box_app"}, "validation gives no box_app", 2),
        ({"steps": 0, "refinement-steps": 0}, "there is nothing to do", 2),
        ({"device": "cuda:7"}, "--device", 2),
        ({"batch": 0}, "--batch is 0, expected at least 1", 2),
        ({"lr": "nan"}, "--lr is nan", 2),
        ({"input-size": "60x128"}, "multiples of 32", 2),
        ({"model.backbone": "r99"}, "there is no 'r99'", 2),
        ({"keep": 0}, "--keep is 0, expected 1", 2),
    ],
)
def test_bad_input_is_one_sentence_and_no_run(tmp_path, data, capsys, flags, said, code):
    where = flags.get("data", data)
    flags = {"steps": 1, **{name: value for name, value in flags.items() if name != "data"}}
    arguments = words("rdsnet_tiny_synthetic", where, tmp_path / "run", **flags)
    assert run(*arguments) == code
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path, data, capsys):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        assert run(*words("rdsnet_tiny_synthetic", data, folder, steps=1)) == 3
        assert "--out" in (said := capsys.readouterr().err) and "cannot be a folder" in said


def test_a_backbone_that_is_none_is_refused_before_scenes_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.pth").write_text("no weights")
    assert run("joint_lite_synthetic", "--backbone", "notes.pth", "--out", "run") == 3
    assert "notes.pth" in (said := capsys.readouterr().err) and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.pth"]


@pytest.mark.parametrize(
    "maps, said", [(np.uint8, "has 8 bits a pixel"), (np.uint16, "shows an object to learn")]
)
def test_pictures_that_cannot_be_learned_from_leave_no_run(tmp_path, data, capsys, maps, said):
    root = shutil.copytree(data, tmp_path / "scenes")
    for path in root.glob("gtFine/train/*/*_instanceIds.png"):
        Image.fromarray(np.zeros((64, 128), maps)).save(path)
    assert run(*words("rdsnet_tiny_synthetic", root, tmp_path / "run", **LOOP)) == 3
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_segrpn_has_no_second_stage(tmp_path, data, capsys):
    flags = {"steps": 1, "refinement-steps": 1}
    arguments = words("segrpn_tiny_synthetic", data, tmp_path / "run", **flags)
    assert run(*arguments) == 2
    assert "no boundary refinement" in capsys.readouterr().err


def test_a_folder_with_a_run_is_not_overwritten(data, whole, capsys):
    assert run(*words("rdsnet_tiny_synthetic", data, whole, **LOOP)) == 2
    assert "--resume goes on with it" in capsys.readouterr().err


def test_a_run_keeps_its_optimizer(data, whole, capsys):
    arguments = words("rdsnet_tiny_synthetic", data, whole, **LOOP, optimizer="sgd")
    assert run(*arguments, "--resume") == 2
    assert "keeps its network and optimizer" in capsys.readouterr().err


def test_a_run_is_not_shortened_below_what_it_has_done(data, whole, capsys):
    arguments = words("rdsnet_tiny_synthetic", data, whole, **{**LOOP, "steps": 3})
    assert run(*arguments, "--resume") == 2
    assert "8 of 5 steps are done" in capsys.readouterr().err


def test_a_run_keeps_its_network(data, whole, capsys):
    flags = {**LOOP, "model.channels": 32}
    arguments = words("rdsnet_tiny_synthetic", data, whole, **flags)
    assert run(*arguments, "--resume") == 2
    assert "a run keeps its network" in capsys.readouterr().err

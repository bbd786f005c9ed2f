"""The training command, on a handful of small scenes."""

import sys

import pytest
import torch

from jointseg_core import Predictor, load_model
from training import train
from training.dataset import render_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return render_scenes(folder, seed=5, count=4, size=(64, 128), workers=1)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    train.main()


@pytest.mark.parametrize("model", ["rdsnet", "segrpn"])
def test_a_run_leaves_weights_that_say_how_they_were_trained(monkeypatch, tmp_path, scenes, model):
    out = tmp_path / "weights.safetensors"
    few = ("--steps", 2, "--batch", 2, "--refinement-steps", 1)
    run(monkeypatch, model, scenes, "--out", out, *few)
    predictor = Predictor.from_file(out, device="cpu", model_type=model)
    facts = predictor.manifest.training
    assert facts["steps"] == 2
    assert facts["command"].startswith(f"python -m training.train {model}")
    assert predictor.input_size == (64, 128)


def test_the_same_seed_gives_the_same_weights(monkeypatch, tmp_path, scenes):
    paths = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for path in paths:
        few = ("--steps", 2, "--batch", 2, "--refinement-steps", 0)
        run(monkeypatch, "rdsnet", scenes, "--out", path, *few)
    first, second = (load_model(path)[1].sha256 for path in paths)
    assert first == second


def test_the_second_stage_moves_the_refinement_alone(monkeypatch, tmp_path, scenes):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run(
        monkeypatch,
        "rdsnet",
        scenes,
        "--out",
        first,
        "--steps",
        1,
        "--batch",
        2,
        "--refinement-steps",
        0,
    )
    run(
        monkeypatch, "rdsnet", scenes, "--init", first, "--out", second,
        "--steps", 0, "--batch", 2, "--refinement-steps", 3,
    )  # fmt: skip
    before, after = (load_model(path)[0].state_dict() for path in (first, second))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"refinement.kernel", "refinement.bias"}


def test_the_rate_warms_up_and_falls():
    rates = [train.rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 200)
    assert max(rates) == pytest.approx(1, abs=1e-6) and rates.index(max(rates)) in (199, 200)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)

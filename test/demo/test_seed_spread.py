import json
from pathlib import Path

import pytest

from demo.models import MODELS
from demo.seed_spread import note, score_drive, spread
from jointseg_core.checkpoint import load_model
from jointseg_core.predictor import Predictor


def seeds(*box_ap50: float | None) -> dict:
    return {
        str(1000 + k): {"rdsnet": dict.fromkeys(MODELS["rdsnet"].scores, 0.5) | {"box_ap50": value}}
        for k, value in enumerate(box_ap50)
    }


def test_the_spread_is_mean_lowest_and_highest_of_what_is_known():
    found = spread(seeds(0.50, 0.56, None))["rdsnet"]
    assert found["box_ap50"] == {"mean": 0.53, "lowest": 0.50, "highest": 0.56}
    assert found["mask_ap"] == {"mean": 0.5, "lowest": 0.5, "highest": 0.5}
    assert "segrpn" not in spread(seeds(0.5))


def test_a_drive_is_scored_with_the_numbers_of_the_demo(
    rdsnet_weights: Path, segrpn_weights: Path, joint_weights: Path
):
    predictors = {
        "rdsnet": Predictor.from_file(rdsnet_weights, "cpu"),
        "segrpn": Predictor.from_file(segrpn_weights, "cpu"),
        "joint": Predictor.from_file(joint_weights, "cpu"),
    }
    scores = score_drive(1001, predictors, streets=1, frames_per_street=1)
    assert {model: tuple(numbers) for model, numbers in scores.items()} == {
        model: known.scores for model, known in MODELS.items()
    }
    for numbers in scores.values():
        assert all(0 <= value <= 1 for value in numbers.values())
    assert scores == score_drive(1001, predictors, streets=1, frames_per_street=1)


def test_the_note_shows_measured_numbers_with_their_command_or_says_what_to_run(
    tmp_path: Path, rdsnet_weights: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("demo.seed_spread.shipped_weights", lambda model: rdsnet_weights)
    path = tmp_path / "spread.json"
    assert "not measured" in note(["rdsnet"], path)
    document = {
        "command": "python -m demo.seed_spread --seeds 2",
        "weights": {"rdsnet": load_model(rdsnet_weights)[1].sha256},
        "seeds": seeds(0.5, 0.56),
        "spread": spread(seeds(0.5, 0.56)),
    }
    path.write_text(json.dumps(document))
    shown = note(["rdsnet"], path)
    assert "1000, 1001" in shown and "box ap50 0.530 (0.500 to 0.560)" in shown
    assert document["command"] in shown
    path.write_text(json.dumps(document | {"weights": {"rdsnet": "0" * 64}}))
    assert "other weights" in note(["rdsnet"], path)
    assert "not measured" in note(["rdsnet", "joint"], path)
    path.write_text("{")
    assert "not measured" in note(["rdsnet"], path)

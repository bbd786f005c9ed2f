"""Weights are tried on a fixed picture before they are used."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jointseg_core import Predictor, shipped_weights
from jointseg_core.errors import BadCheckpoint
from jointseg_core.model_check import _fixed_picture, _numbers, check_model, sign

MODELS = ("rdsnet", "segrpn", "joint")


@pytest.fixture
def weights(rdsnet_weights: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(rdsnet_weights.with_suffix(suffix), tmp_path / f"copy{suffix}")
    return tmp_path / "copy.safetensors"


def test_the_picture_is_the_same_everywhere() -> None:
    picture = _fixed_picture((48, 96))
    assert picture.shape == (48, 96, 3) and picture.dtype == "uint8"
    assert picture[0, 0].tolist() == [0, 0, 0] and picture[16, 1].tolist() == [144, 3, 34]


@pytest.mark.parametrize("model_type", MODELS)
def test_the_shipped_weights_compute_what_their_manifest_says(model_type: str) -> None:
    predictor = Predictor.from_file(shipped_weights(model_type), device="cpu", precision="fp32")
    assert len(predictor.manifest.self_test) >= 4
    check_model(predictor)
    assert set(_numbers(predictor)) == set(predictor.manifest.self_test)


def test_a_manifest_that_says_nothing_is_no_reason(rdsnet_weights: Path) -> None:
    predictor = Predictor.from_file(rdsnet_weights, device="cpu", precision="fp32")
    assert not predictor.manifest.self_test
    check_model(predictor)


def test_what_is_signed_passes_and_something_else_does_not(weights: Path) -> None:
    signed = sign(weights)
    predictor = Predictor.from_file(weights, device="cpu", precision="fp32")
    assert predictor.manifest.self_test == signed
    check_model(predictor)
    name = next(iter(signed))
    document = json.loads(weights.with_suffix(".json").read_text())
    document["self_test"][name][0] *= 1.01
    weights.with_suffix(".json").write_text(json.dumps(document))
    predictor = Predictor.from_file(weights, device="cpu", precision="fp32")
    with pytest.raises(BadCheckpoint, match=f"{name} is off by 0.0099"):
        check_model(predictor)


@pytest.mark.parametrize("model_type", MODELS)
def test_numbers_of_the_same_size_in_other_places_are_noticed(model_type: str) -> None:
    """Two filters that changed places: every tensor is as large as before."""
    predictor = Predictor.from_file(shipped_weights(model_type), device="cpu", precision="fp32")
    weight = next(p for p in reversed([*predictor.model.pyramid.parameters()]) if p.dim() == 4)
    with torch.no_grad():
        weight[[0, 1]] = weight[[1, 0]]
    with pytest.raises(BadCheckpoint, match=r"is off by|has other numbers"):
        check_model(predictor)


def test_a_manifest_may_say_sizes_alone(weights: Path) -> None:
    """As those of earlier versions do."""
    signed = sign(weights)
    document = json.loads(weights.with_suffix(".json").read_text())
    document["self_test"] = {name: size for name, (size, *_) in signed.items()}
    weights.with_suffix(".json").write_text(json.dumps(document))
    check_model(Predictor.from_file(weights, device="cpu", precision="fp32"))


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize("value", [0.0, 1e-3])
def test_a_network_that_does_not_look_is_refused(model_type: str, value: float) -> None:
    """Zeros everywhere; and of each layer one number, so that biases remain."""
    predictor = Predictor.from_file(shipped_weights(model_type), device="cpu", precision="fp32")
    predictor.manifest = replace(predictor.manifest, self_test={})
    with torch.no_grad():
        for parameter in predictor.model.parameters():
            parameter.fill_(value if parameter.dim() == 1 else 0.0)
    with pytest.raises(BadCheckpoint, match="it computes the same for every picture"):
        check_model(predictor)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_computes_no_numbers_is_refused(weights: Path, value: float) -> None:
    predictor = Predictor.from_file(weights, device="cpu", precision="fp32")
    with torch.no_grad():
        next(p for p in predictor.model.parameters() if p.dim() == 4)[0] = value
    with pytest.raises(BadCheckpoint, match=r"copy\.safetensors: failed its self-test.*not finite"):
        check_model(predictor)

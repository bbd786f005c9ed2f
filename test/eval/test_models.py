"""Weights that are evaluated are tried first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model
from jointseg_core.errors import BadCheckpoint
from jointseg_eval.models import open_predictors


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "the same for every picture"), (1e30, "not finite")]
)
def test_weights_that_compute_nonsense_are_not_evaluated(
    tmp_path: Path, value: float, reason: str
) -> None:
    model = build_model(preset("rdsnet", "tiny"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    path = tmp_path / "a.safetensors"
    save_model(model, path, CITYSCAPES, Preprocessing((64, 128)))
    how = {"device": "cpu", "precision": "fp32", "backend": "torch", "input_size": ""}
    with pytest.raises(BadCheckpoint, match=reason):
        open_predictors(SimpleNamespace(weights=path, other=None, **how))

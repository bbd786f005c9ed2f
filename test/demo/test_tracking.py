"""Synthetic drives say which object is which, and a tracker that sees all of them is right."""

from __future__ import annotations

import pytest
import torch

from demo import depth, seed_spread, tracking
from demo.tracking import annotation, means, scores
from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.tracks import TrackColumns
from training.scenes import render_drive

SIZE = (128, 256)


def test_who_sees_every_object_of_a_drive_follows_most_of_them() -> None:
    columns = TrackColumns()
    for stamp, scene in render_drive(1000, 2, 6, 10.0, SIZE):
        truth = annotation(scene)
        assert len(truth.ids) == int((~truth.target.crowd).sum())
        seen = truth.target[~truth.target.crowd]
        certain = torch.full((len(seen.labels),), 0.9)
        columns.add(stamp, Predictions(SIZE, seen.boxes, certain, seen.labels), truth)
    found = means({"1000": scores(columns)})
    assert found["tracked"]["det_a"] == 1 and found["tracked"]["hota"] > 0.9
    assert found["tracked"]["id_switches_per_object"] < 0.1
    assert found["untracked"].keys() == {"flicker"}


@pytest.mark.parametrize("program", [depth, seed_spread, tracking])
@pytest.mark.parametrize("option", ["--seeds", "--streets", "--frames-per-street", "--first=-1"])
def test_no_drives_are_a_usage_error(program: object, option: str) -> None:
    with pytest.raises(SystemExit) as ended:
        program._parser().parse_args([option] if "=" in option else [option, "0"])
    assert ended.value.code == 2


def test_more_holes_than_pixels_are_a_usage_error() -> None:
    with pytest.raises(SystemExit):
        depth._parser().parse_args(["--holes", "1.5"])

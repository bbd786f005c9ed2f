"""Recordings are followed after their windows are done."""

from __future__ import annotations

import math

import pytest
import torch

from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.bag_evaluation.tracks import TrackColumns, tracking
from jointseg_eval.bag_evaluation.truth import Annotation

PERIOD = 100_000_000
SIZE = (100, 400)


def boxes(*left: float) -> torch.Tensor:
    return torch.tensor([[x, 20.0, x + 40, 60] for x in left]).view(-1, 4)


def found(*left: float, score: float = 0.9) -> Predictions:
    count = len(left)
    labels = torch.full((count,), 2)
    return Predictions(SIZE, boxes(*left), torch.full((count,), score), labels)


def truth(ids: tuple[str, ...] | None, *left: float, crowd: tuple[float, ...] = ()) -> Annotation:
    every = boxes(*left, *crowd)
    crowds = torch.arange(len(every)) >= len(left)
    masks = torch.zeros(len(every), *SIZE, dtype=torch.bool)
    target = Target(every, torch.full((len(every),), 2), masks, None, crowds)
    return Annotation(target, torch.ones(len(every)), ids=ids)


def recorded(*frames: tuple[Predictions | None, Annotation | None]) -> TrackColumns:
    columns = TrackColumns()
    for k, one in enumerate(frames):
        columns.add(1 + k * PERIOD, *one)
    return columns


def test_what_is_followed_without_a_fault_scores_one() -> None:
    frames = [(found(5.0 * k, 300), truth(("7", "9"), 5.0 * k, 300)) for k in range(6)]
    scores = tracking([recorded(*frames)])
    assert (scores["hota"], scores["mota"], scores["idf1"]) == (1, 1, 1)
    assert (scores["objects"], scores["id_switches"], scores["flicker"]) == (2, 0, 0)


def test_windows_that_are_joined_are_one_recording() -> None:
    frames = [(found(5.0 * k, 300), truth(("7", "9"), 5.0 * k, 300)) for k in range(6)]
    whole, parts = recorded(*frames), TrackColumns()
    for start in (0, 2, 4):
        window = TrackColumns()
        for k in (start, start + 1):
            window.add(1 + k * PERIOD, *frames[k])
        parts.extend(window.columns())
    assert tracking([parts]) == tracking([whole])


def test_another_object_in_the_same_place_is_another_one() -> None:
    frames = [(found(50), truth(("a",) if k < 3 else ("b",), 50)) for k in range(6)]
    scores = tracking([recorded(*frames)])
    assert (scores["objects"], scores["id_switches"]) == (2, 0)
    assert scores["ass_a"] == pytest.approx(0.5)


def test_what_is_found_in_a_crowd_costs_nothing() -> None:
    frames = [(found(50, 302), truth(("a",), 50, crowd=(300,))) for _ in range(3)]
    assert tracking([recorded(*frames)])["mota"] == 1
    frames = [(found(50, 302), truth(("a",), 50)) for _ in range(3)]
    assert tracking([recorded(*frames)])["mota"] == 0


def test_without_ids_or_annotations_there_is_flicker_alone() -> None:
    known = [(found(50, score=0.9 if k % 2 else 0.2), truth(None, 50)) for k in range(8)]
    scores = tracking([recorded(*known)])
    assert scores == {"flicker": 0}  # the uncertain ones continue the track
    assert math.isnan(tracking([recorded((None, None))])["flicker"])
    assert math.isnan(tracking([])["flicker"])


def test_frames_without_a_result_are_not_scored() -> None:
    frames = [(found(50) if k != 2 else None, truth(("a",), 50)) for k in range(5)]
    scores = tracking([recorded(*frames)])
    assert (scores["mota"], scores["hota"]) == (1, 1)

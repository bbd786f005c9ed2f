"""HOTA, IDF1 and MOTA, against the official evaluation and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jointseg_eval.metrics.tracking import TrackedFrame, track_scores

# What TrackEval 1.3.0 says of `crossing(0)`
OFFICIAL = {
    "hota": 0.15268764864464474,
    "det_a": 0.22238850807487678,
    "ass_a": 0.10673823004558795,
    "mota": -0.7142857142857143,
    "idf1": 0.10752688172043011,
    "id_switches": 63,
}


def crossing(seed: int) -> list[TrackedFrame]:
    """Objects and tracks that come, go, overlap one another and are exchanged."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(40):
        true = np.flatnonzero(rng.random(8) < 0.7)
        found = np.flatnonzero(rng.random(10) < 0.6)
        near = rng.random((len(true), len(found))) * 0.6
        near *= rng.random(near.shape) < 0.4
        own = (true[:, None] == found) & (rng.random(near.shape) < 0.8)
        frames.append(TrackedFrame(true, found, np.where(own, 0.3 + 0.7 * near, near)))
    frames[3] = TrackedFrame(frames[3].true, np.zeros(0, int), np.zeros((len(frames[3].true), 0)))
    frames[7] = TrackedFrame(np.zeros(0, int), frames[7].found, np.zeros((0, len(frames[7].found))))
    return frames


def official(frames: list[TrackedFrame]) -> dict[str, float]:
    """The same by TrackEval."""
    metrics = pytest.importorskip("trackeval", reason="TrackEval is not installed").metrics
    data = {
        "gt_ids": [f.true for f in frames],
        "tracker_ids": [f.found for f in frames],
        "similarity_scores": [f.likeness for f in frames],
        "num_timesteps": len(frames),
    }
    for name, ids in (("gt", data["gt_ids"]), ("tracker", data["tracker_ids"])):
        data[f"num_{name}_dets"] = sum(map(len, ids))
        data[f"num_{name}_ids"] = int(max(map(max, filter(len, ids)))) + 1
    hota = metrics.HOTA().eval_sequence(data)
    clear = metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return {
        **{name: float(hota[k].mean()) for name, k in (("hota", "HOTA"), ("det_a", "DetA"))},
        "ass_a": float(hota["AssA"].mean()),
        "mota": float(clear["MOTA"]),
        "idf1": float(identity["IDF1"]),
        "id_switches": int(clear["IDSW"]),
    }


def test_scores_are_those_that_the_official_evaluation_gave() -> None:
    scores = track_scores([crossing(0)])
    assert {k: scores[k] for k in OFFICIAL} == pytest.approx(OFFICIAL, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_official_evaluation(seed: int) -> None:
    scores = track_scores([crossing(seed)])
    expected = official(crossing(seed))
    assert {k: scores[k] for k in expected} == pytest.approx(expected, abs=1e-9)


def frame(*pairs: tuple[int, int], lost: int = 0, size: int = 3) -> TrackedFrame:
    """Objects and the tracks that lie exactly on them; `lost` more objects that nothing lies on."""
    true = np.array([g for g, _ in pairs] + [size + k for k in range(lost)], int)
    found = np.array([d for _, d in pairs], int)
    return TrackedFrame(true, found, np.eye(len(true), len(found)))


def test_what_is_followed_without_a_fault_scores_one() -> None:
    scores = track_scores([[frame((0, 5), (1, 2))] * 4])
    assert [scores[k] for k in ("hota", "det_a", "ass_a", "mota", "idf1")] == [1.0] * 5
    assert (scores["id_switches"], scores["objects"]) == (0, 2)


def test_an_object_that_another_track_takes_over_is_a_switch() -> None:
    scores = track_scores([[frame((0, 0))] * 2 + [frame((0, 1))] * 2])
    assert scores["id_switches"] == scores["id_switches_per_object"] == 1
    assert (scores["mota"], scores["idf1"], scores["det_a"]) == (0.75, 0.5, 1.0)
    assert scores["ass_a"] == pytest.approx(0.5)


def test_recordings_are_numbered_on_their_own() -> None:
    one, other = [frame((0, 0))] * 3, [frame((0, 1))] * 3
    assert track_scores([one, other])["id_switches"] == 0
    assert track_scores([one, other])["hota"] == 1


def test_what_is_missed_costs_and_nothing_at_all_is_not_known() -> None:
    scores = track_scores([[frame((0, 0), lost=1)] * 2])
    assert (scores["mota"], scores["det_a"], scores["ass_a"]) == (0.5, 0.5, 1.0)
    assert math.isnan(track_scores([[frame(), frame()]])["hota"])
    assert math.isnan(track_scores([])["mota"])

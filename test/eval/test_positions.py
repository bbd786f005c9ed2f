"""Objects in space against what is true, in numbers and as recordings have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.depth import true_objects
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_eval.bag_evaluation.online import evaluate_online
from jointseg_eval.bag_evaluation.placed import _are_among, hull, lifted, placed_in_recordings
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.windows import survey
from jointseg_eval.metrics.positions import PlacedObjects, PositionErrors
from jointseg_eval.recordings.bags import BagReader, BagWriter
from jointseg_eval.recordings.messages import (
    detections_3d_message,
    detections_message,
    header_message,
)
from jointseg_eval.recordings.topics import FRAME_ID, IMAGE, START_NS
from jointseg_eval.scores import rounded
from jointseg_objects.depth import Intrinsics, lift
from training.scenes import Scene, render_drive
from training.scenes.depth import measured
from training.scenes.driving_bag import RATE_HZ, scene_target, write_driving_bag

SOLID = (0.0, 0.0, 9.0), (1.0, 1.0, 1.0), 0.0
DRIVE = {"seed": 2024, "streets": 3, "frames_per_street": 1, "size": (128, 256)}


def objects(*places: tuple[float, float, float], label: int = 2, score: float = 0.9):
    """Cars of 2 x 1.5 x 4 m around what is seen of them."""
    positions = np.array(places, float).reshape(-1, 3)
    sizes = np.tile([2.0, 1.5, 4.0], (len(positions), 1))
    centers = positions + np.array([0, 0, 2])
    corners = 100 * positions[:, :2] / positions[:, 2:]
    boxes = np.column_stack([corners, corners + 10])
    labels, scores = np.full(len(positions), label), np.full(len(positions), score)
    return PlacedObjects(labels, scores, boxes, positions, centers, sizes)


def test_errors_worked_out_by_hand() -> None:
    truth = objects((0, 0, 5.0), (3, 4, 12), (-9, 0, 30), (20, 0, 60))
    near = objects((0, 0, 5.1), (3, 4, 12.26))
    errors = PositionErrors()
    errors.add(replace(near, sizes=near.sizes + np.array([0.5, 0, -1])), 3, truth)
    found = errors.score()
    assert found["position_error_0_10_m"] == pytest.approx(0.1 / 5)
    assert found["position_error_10_20_m"] == pytest.approx(0.26 / 13)
    assert found["position_error_up_to_40_m"] == pytest.approx(0.02)
    assert found["center_error_0_10_m"] == pytest.approx(0.1 / 5)
    assert np.isnan(found["position_error_20_40_m"]) and np.isnan(found["position_error_40_m_up"])
    assert [found[f"placed_{r}"] for r in ("0_10_m", "20_40_m", "up_to_40_m")] == [1, 0, 2 / 3]
    assert found["objects_20_40_m"] == found["objects_40_m_up"] == 1
    assert [found[f"{s}_error_m"] for s in ("width", "height", "length")] == [0.5, 0, 1]
    assert found["placed_of_shown"] == pytest.approx(2 / 3)


def test_only_certain_objects_of_the_class_at_the_place_in_the_picture_find_one() -> None:
    truth = objects((0, 0, 5.0))
    for wrong in (
        objects((0, 0, 5.0), score=0.2),
        objects((0, 0, 5.0), label=3),
        objects((2, 0, 5.0)),
        objects(),
    ):
        errors = PositionErrors()
        errors.add(wrong, 1, truth)
        assert errors.score()["placed_0_10_m"] == 0
    errors = PositionErrors()
    errors.add(objects((0, 0, 5.0)), 1, objects())
    assert np.isnan(errors.score()["placed_up_to_40_m"])


def test_a_turned_box_reaches_further_across() -> None:
    reach = hull(np.array([[2.0, 1.5, 4.0]] * 3), np.array([0, np.pi / 2, np.pi / 4]))
    assert reach[0] == pytest.approx([2, 1.5, 4]) and reach[1] == pytest.approx([4, 1.5, 2])
    assert reach[2] == pytest.approx([3 * 2**0.5, 1.5, 3 * 2**0.5])


def perfect(scene: Scene) -> Predictions:
    """What a model would find that sees everything."""
    target = scene_target(scene)
    target = target[~target.crowd]
    windows = target.boxes.long()
    crops = [
        mask[y1:y2, x1:x2]
        for mask, (x1, y1, x2, y2) in zip(target.masks, windows.tolist(), strict=True)
    ]
    masks = Masks.from_crops(windows, crops) if crops else Masks.empty()
    scores = torch.linspace(0.9, 0.5, len(crops))
    return Predictions(DRIVE["size"], target.boxes, scores, target.labels, masks=masks)


def test_results_are_scored_the_same_as_they_are_found_and_as_they_were_recorded(
    tmp_path: Path,
) -> None:
    write_driving_bag(tmp_path / "drive.mcap", **DRIVE, depth=True)
    errors = PositionErrors()
    with BagWriter(tmp_path / "out.mcap") as out:
        for stamp, scene in render_drive(**DRIVE, rate_hz=RATE_HZ, depth=True):
            found = perfect(scene)
            placed = lift(found, measured(scene.depth), Intrinsics(*scene.intrinsics))
            shown = lifted(placed, found)
            errors.add(shown, len(found.labels), true_objects(scene))
            header = header_message(START_NS + stamp, FRAME_ID)
            names = [CITYSCAPES.things[k] for k in found.labels.tolist()]
            flat = detections_message(header, found.boxes.tolist(), names, [""] * len(names))
            for one, score in zip(flat.detections, found.scores.tolist(), strict=True):
                one.results[0].hypothesis.score = score
            out.write("/joint/camera/detections", flat, START_NS + stamp)
            names = [names[k] for k in placed.index]
            solids = [(c, s, 0.0) for c, s in zip(placed.center, placed.size, strict=True)]
            ids = [""] * len(names)
            deep = detections_3d_message(header, names, ids, placed.position, solids)
            for one, score in zip(deep.detections, shown.scores.tolist(), strict=True):
                one.results[0].hypothesis.score = score
            out.write("/joint/camera/detections_3d", deep, START_NS + stamp)
    with BagReader(tmp_path / "drive.mcap") as drive, BagReader(tmp_path / "out.mcap") as results:
        recorded = placed_in_recordings(drive, results, "/joint/camera", IMAGE, CITYSCAPES)
        nobody = placed_in_recordings(drive, results, "/other/camera", IMAGE, CITYSCAPES)
    score = errors.score()
    assert recorded.score() == pytest.approx(score, nan_ok=True)
    assert score["position_error_up_to_40_m"] < 0.01 and score["placed_up_to_40_m"] > 0.9
    assert len(recorded) == 3 and len(nobody) == 0
    settings = Settings(shipped_weights("rdsnet"))
    online = evaluate_online(
        survey(tmp_path / "drive.mcap"), tmp_path / "out.mcap", settings, CITYSCAPES
    )
    assert online.document()["positions"] == rounded(score)


def test_a_sensor_has_noise_and_holes_as_asked_for() -> None:
    depth = np.full((256, 512), 20, np.float32)
    assert (measured(depth) == 20_000).all()
    noisy = measured(depth, noise=0.05, holes=0.1, seed=3)
    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.001)
    assert noisy[noisy > 0].std() == pytest.approx(1000, rel=0.05)
    assert (noisy != measured(depth, noise=0.05, holes=0.1, seed=4)).any()
    assert measured(np.array([[0.0, 65.535, 65.6]])).tolist() == [[0, 65535, 0]]


def test_objects_in_space_are_known_in_the_picture_by_class_score_and_track() -> None:
    header = header_message(1, FRAME_ID)
    names = ["car", "person", "car"]
    seen = detections_message(header, [[0, 0, k, k] for k in (1, 2, 3)], names, ["", "", "7"])
    placed = detections_3d_message(header, names, ["", "", "7"], [(0, 0, 9)] * 3, [SOLID] * 3)
    assert _are_among(seen.detections, placed.detections[1:]) == [False, True, True]
    assert _are_among(seen.detections, []) == [False] * 3
    with pytest.raises(ValueError, match="1 objects in space are none"):
        _are_among(seen.detections[:2], placed.detections[1:])

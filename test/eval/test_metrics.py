import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import (
    AveragePrecision,
    ObjectConfusion,
    PixelConfusion,
    draws,
    foreground_truth,
    gains,
    intervals,
)

SIZE = (64, 96)
ONE = pytest.approx(1, abs=1e-12)
"""The COCO tools divide by a little more than what was found."""
NAMES = ("person", "rider", "car")


def filled(boxes: Tensor) -> Tensor:
    """Masks bool [N, H, W] that fill whole-numbered boxes [N, 4]."""
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def target(boxes: list[list[float]], labels: list[int], crowd: list[bool] | None = None) -> Target:
    corners = torch.tensor(boxes).view(-1, 4).float()
    groups = None if crowd is None else torch.tensor(crowd)
    return Target(corners, torch.tensor(labels, dtype=torch.int64), filled(corners), crowd=groups)


def seen(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Predictions:
    corners = torch.tensor(boxes).view(-1, 4).float()
    masks = Masks.from_bitmaps(filled(corners))
    return Predictions(
        SIZE, corners, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64), masks
    )


def test_the_truth_itself_scores_one_and_other_classes_nothing():
    scores = AveragePrecision(NAMES)
    boxes = [[2, 2, 20, 30], [40, 10, 90, 60]]
    scores.add(seen(boxes, [0.9, 0.8], [0, 2]), target(boxes, [0, 2]))
    for result in (scores.boxes(), scores.masks()):
        assert (result.ap, result.ap50, result.ap75) == (ONE, ONE, ONE)
        assert result.classes["car"] == (ONE, ONE, 1)
        assert math.isnan(result.classes["rider"][0]) and result.classes["rider"][2] == 0


def test_one_of_two_objects_found_after_a_false_alarm_gives_the_number_worked_out_by_hand():
    # precision is 1/2 at every recall up to 1/2: 51 of the 101 points, then nothing
    scores = AveragePrecision(NAMES)
    objects = [[0, 0, 20, 20], [40, 40, 60, 60]]
    scores.add(seen([[70, 0, 90, 20], [0, 0, 20, 20]], [0.9, 0.5], [2, 2]), target(objects, [2, 2]))
    assert scores.boxes().ap50 == pytest.approx(0.5 * 51 / 101)


def test_a_box_shifted_to_iou_two_thirds_counts_up_to_the_threshold_of_065():
    # 20 x 20 boxes 4 pixels apart: 320 / 480; right at 0.50, 0.55, 0.60 and 0.65, 4 of 10
    scores = AveragePrecision(NAMES)
    scores.add(seen([[4, 0, 24, 20]], [0.9], [2]), target([[0, 0, 20, 20]], [2]))
    assert scores.boxes().ap == pytest.approx(0.4)
    assert scores.masks().ap == pytest.approx(0.4)
    assert scores.boxes().ap75 == 0


def test_masks_are_scored_by_their_pixels_and_not_by_their_boxes():
    scores = AveragePrecision(NAMES)
    truth = target([[0, 0, 20, 20]], [2])
    truth.masks[0, :, 10:] = False  # the left half only
    scores.add(seen([[0, 0, 20, 20]], [0.9], [2]), truth)
    assert scores.boxes().ap == ONE
    assert scores.masks().ap == pytest.approx(0.1)  # IoU 200 / 400


def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    objects, labels = [[0, 0, 20, 20], [30, 0, 90, 60]], [2, 2]
    found = seen([[32, 2, 50, 20], [60, 30, 80, 50], [0, 0, 20, 20]], [0.9, 0.8, 0.7], [2, 2, 2])
    as_crowd, as_object = AveragePrecision(NAMES), AveragePrecision(NAMES)
    as_crowd.add(found, target(objects, labels, [False, True]))
    as_object.add(found, target(objects, labels))
    assert as_crowd.boxes().ap50 == ONE and as_crowd.boxes().classes["car"][2] == 1
    assert as_object.boxes().ap50 < 0.2


def test_nothing_detected_is_zero_and_nothing_there_is_not_a_number():
    nothing, one = Predictions.empty(SIZE), [[0, 0, 20, 20]]
    missed, empty, false_alarm = (AveragePrecision(NAMES) for _ in range(3))
    missed.add(nothing, target(one, [2]))
    empty.add(nothing, target([], []))
    false_alarm.add(seen(one, [0.9], [2]), target([], []))
    assert missed.boxes().ap == 0 and missed.masks().ap == 0
    assert math.isnan(empty.boxes().ap) and math.isnan(false_alarm.masks().ap50)
    assert math.isnan(AveragePrecision(NAMES).boxes().ap)


def test_only_crowds_are_like_nothing_there():
    scores = AveragePrecision(NAMES)
    scores.add(seen([[0, 0, 20, 20]], [0.9], [2]), target([[0, 0, 20, 20]], [2], [True]))
    assert math.isnan(scores.boxes().ap)


def test_results_without_masks_have_box_scores():
    scores, box = AveragePrecision(NAMES), [[0, 0, 20, 20]]
    found = seen(box, [0.9], [2])
    scores.add(Predictions(SIZE, found.boxes, found.scores, found.labels), target(box, [2]))
    assert scores.boxes().ap == ONE and scores.masks().ap == 0


def test_a_score_that_is_no_number_and_another_size_are_refused():
    scores = AveragePrecision(NAMES)
    with pytest.raises(ValueError, match="finite"):
        scores.add(seen([[0, 0, 9, 9]], [math.nan], [0]), target([], []))
    with pytest.raises(ValueError, match=r"\(64, 96\).*\(9, 9\)"):
        scores.add(Predictions.empty((9, 9)), target([[0, 0, 9, 9]], [0]))


def test_the_annotated_area_and_not_that_of_the_mask_says_whether_an_object_is_small():
    scores, box = AveragePrecision(NAMES), [[0, 0, 20, 20]]
    scores.add(seen(box, [0.9], [2]), target(box, [2]), torch.tensor([2000.0]))
    assert scores.boxes().medium == ONE and math.isnan(scores.boxes().small)


def test_a_hundred_detections_of_each_class_count_and_no_more():
    scores, box = AveragePrecision(NAMES), [0, 0, 20, 20]
    far = [[60, 40, 80, 60]] * 100
    found = seen([*far, box, box], [*np.linspace(0.9, 0.5, 100), 0.4, 0.3], [2] * 101 + [0])
    scores.add(found, target([box, box], [0, 2]))
    assert scores.boxes().classes["car"][1] == 0 and scores.boxes().classes["person"][1] == ONE


def scored(*right: bool) -> AveragePrecision:
    """An image for each argument, with one object that was found, or missed beside it."""
    scores, box = AveragePrecision(NAMES), [[0, 0, 20, 20]]
    for k, hit in enumerate(right):
        found = box if hit else [[50, 30, 70, 50]]
        scores.add(seen(found, [0.9 - 0.01 * k], [2]), target(box, [2]))
    return scores


def test_scores_of_some_images_are_those_of_these_images():
    scores = scored(True, False, True)
    assert len(scores) == 3
    assert scores.score([0, 2])["box_ap"] == ONE and scores.score([1])["mask_ap50"] == 0
    assert scores.score([0, 1, 1]) == pytest.approx(scored(True, False, False).score(), nan_ok=True)
    assert scores.score(range(3)) == pytest.approx(scores.score(), nan_ok=True)


def test_scoring_says_nothing_on_the_standard_output(capsys: pytest.CaptureFixture[str]):
    scored(True, False).score()
    assert capsys.readouterr().out == ""


def test_the_names_of_the_numbers_and_none_of_masks_without_masks():
    names = {"ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_100"}
    scores = scored(True)
    assert set(scores.score()) == {f"{kind}_{name}" for kind in ("box", "mask") for name in names}
    without, found = AveragePrecision(NAMES), seen([[0, 0, 20, 20]], [0.9], [2])
    without.add(replace(found, masks=None), target([[0, 0, 20, 20]], [2]))
    assert set(without.score()) == {f"box_{name}" for name in names}


def test_a_score_compared_with_itself_is_no_difference_and_with_a_better_one_is_clear():
    worse, better = scored(*[True, False] * 20), scored(*[True, True, True, False] * 10)
    rows, more = (draws(one.score, 40, resamples=200) for one in (worse, better))
    same = intervals(gains(rows, rows))["box_ap"]
    assert (same.mean, same.low, same.high, same.is_clear) == (0, 0, 0, False)
    gain = intervals(gains(rows, more))["box_ap"]
    assert gain.is_clear and 0 < gain.low < gain.mean < gain.high
    assert gain.mean == better.boxes().ap - worse.boxes().ap
    assert gain == intervals(gains(rows, draws(better.score, 40, resamples=200)))["box_ap"]


def test_a_bootstrap_interval_is_as_wide_as_statistics_says():
    # recall of n independent images has variance p (1 - p) / n: the interval is 3.92 of its root
    right = np.random.default_rng(0).random(400) < 0.5
    score, none = scored(*right).score, AveragePrecision(NAMES)
    found = intervals(draws(score, 400, resamples=400))["box_ar_100"]
    assert found.mean == score()["box_ar_100"]
    assert found.high - found.low == pytest.approx(3.92 * math.sqrt(0.25 / 400), rel=0.15)
    assert math.isnan(intervals(draws(none.score, 0, 3))["box_ap"].low)


def test_objects_found_as_another_class_missed_made_up_or_in_a_crowd():
    mistakes = ObjectConfusion(NAMES)
    objects = [[0, 0, 20, 20], [30, 0, 50, 20], [60, 0, 80, 20], [0, 30, 40, 60]]
    truth = target(objects, [0, 2, 2, 1], [False, False, False, True])
    found = [[0, 0, 20, 19], [30, 0, 50, 20], [60, 40, 70, 50], [2, 32, 20, 50], [0, 0, 20, 20]]
    mistakes.add(seen(found, [0.9, 0.8, 0.7, 0.6, 0.29], [0, 1, 2, 2, 0]), truth)
    wanted = np.zeros((4, 4))
    wanted[0, 0] = wanted[2, 1] = wanted[2, 3] = wanted[3, 2] = 1
    assert mistakes.counts.tolist() == wanted.tolist()
    assert mistakes.quality.tolist() == [2 * 1 / (3 + 3)]
    mistakes.add(Predictions.empty(SIZE), target([], []))
    assert math.isnan(mistakes.quality[1])


def test_iou_of_a_small_map_is_the_number_worked_out_by_hand():
    confusion = PixelConfusion(3)
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 255, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 0]], dtype=torch.uint8)
    confusion.add(predicted, truth)
    assert confusion.iou()[:2].tolist() == pytest.approx([2 / 4, 2 / 4])
    assert confusion.iou()[2].isnan()  # predicted where nothing is annotated only
    assert confusion.mean_iou() == pytest.approx(0.5)


def test_the_matrix_of_some_images_is_that_of_these_images():
    confusion, alone = PixelConfusion(2), PixelConfusion(2)
    maps = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]])
    for predicted in (maps[0], maps[1], maps[0] * 0):
        confusion.add(predicted, maps[1])
    for predicted in (maps[0], maps[0], maps[0] * 0):
        alone.add(predicted, maps[1])
    assert confusion.over([0, 2, 0]).counts.equal(alone.counts)
    assert confusion.over().counts.equal(confusion.counts)


def test_a_class_predicted_but_not_there_counts_zero_in_the_plain_mean_alone():
    confusion = PixelConfusion(3)
    confusion.add(torch.tensor([[0, 0, 0, 2]]), torch.tensor([[0, 0, 0, 0]]))
    assert confusion.iou().tolist()[::2] == [0.75, 0]
    assert confusion.mean_iou() == pytest.approx(0.375)
    assert confusion.mean_iou(min_share=0.001) == pytest.approx(0.75)


def test_classes_below_a_thousandth_of_the_pixels_leave_the_mean():
    confusion, truth = PixelConfusion(2), torch.zeros(100, 100, dtype=torch.uint8)
    truth[0, :9] = 1  # 9 of 10,000
    confusion.add(torch.zeros(100, 100, dtype=torch.uint8), truth)
    assert confusion.mean_iou(0.001) == pytest.approx(0.9991)
    assert confusion.mean_iou() == pytest.approx(0.9991 / 2)


def test_a_pixel_predicted_as_unlabelled_is_wrong():
    confusion = PixelConfusion(2)
    confusion.add(torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([[0, 0]]))
    assert confusion.iou()[0] == 0.5


def test_images_add_up_in_one_matrix_rather_than_in_a_mean_of_images():
    confusion = PixelConfusion(2)
    confusion.add(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 0, 0, 0]]))
    confusion.add(torch.tensor([[1, 1]]), torch.tensor([[0, 1]]))
    assert confusion.iou().tolist() == pytest.approx([4 / 5, 1 / 2])


def test_the_mean_of_each_image_is_that_of_the_image_alone():
    confusion, random = PixelConfusion(4), torch.Generator().manual_seed(0)
    for classes in (2, 4, 3):
        planes = torch.randint(0, classes, (2, 6, 6), generator=random)
        confusion.add(planes[0] * 2, planes[1])
    confusion.add(torch.zeros(2, 2), torch.full((2, 2), 255))
    alone = [confusion.over([k]).mean_iou() for k in range(4)]
    assert confusion.mean_ious() == pytest.approx(alone, nan_ok=True) and np.isnan(alone[3])


def test_an_empty_matrix_has_no_mean_and_wrong_input_is_refused():
    assert math.isnan(PixelConfusion(3).mean_iou())
    with pytest.raises(ValueError, match=r"\[1, 2\].*\[2, 2\]"):
        PixelConfusion(3).add(torch.zeros(1, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="class 7"):
        PixelConfusion(3).add(torch.zeros(1, 1), torch.full((1, 1), 7))


def test_foreground_is_every_thing_and_the_unlabelled_stay_so():
    semantic = torch.tensor([[0, 10, 11, 13, 18, 255]], dtype=torch.uint8)
    assert foreground_truth(semantic, CITYSCAPES).tolist() == [[0, 0, 1, 1, 1, 255]]

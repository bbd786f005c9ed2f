import math

import numpy as np
import pytest
import torch
from torch import Tensor

from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from training.metrics import AveragePrecision, Confusion, foreground_truth

SIZE = (64, 96)
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


def random_scene(generator: np.random.Generator) -> tuple[Predictions, Target]:
    """Objects with crowds among them, and detections of which some are right and many are not."""
    corner = generator.integers(0, 40, (8, 2))
    boxes = np.concatenate([corner, corner + generator.integers(4, 24, (8, 2))], 1)
    labels = generator.integers(0, 3, 8)
    moved = np.concatenate([boxes, boxes[:4]]) + generator.integers(-2, 3, (12, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    order = np.sort(generator.uniform(0.05, 1, 12))[::-1].copy()
    guesses = np.where(generator.random(12) < 0.7, np.concatenate([labels, labels[:4]]), 0)
    return (
        seen(moved.clip(0, 63).tolist(), order.tolist(), guesses.tolist()),
        target(boxes.tolist(), labels.tolist(), (generator.random(8) < 0.2).tolist()),
    )


def test_the_truth_itself_scores_one_and_other_classes_nothing():
    scores = AveragePrecision(NAMES)
    boxes = [[2, 2, 20, 30], [40, 10, 90, 60]]
    scores.add(seen(boxes, [0.9, 0.8], [0, 2]), target(boxes, [0, 2]))
    for result in (scores.boxes(), scores.masks()):
        assert (result.ap, result.ap50, result.ap75) == (1, 1, 1)
        assert result.classes["car"] == (1, 1, 1)
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
    assert scores.boxes().ap == 1
    assert scores.masks().ap == pytest.approx(0.1)  # IoU 200 / 400


def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    objects, labels = [[0, 0, 20, 20], [30, 0, 90, 60]], [2, 2]
    found = seen([[32, 2, 50, 20], [60, 30, 80, 50], [0, 0, 20, 20]], [0.9, 0.8, 0.7], [2, 2, 2])
    as_crowd, as_object = AveragePrecision(NAMES), AveragePrecision(NAMES)
    as_crowd.add(found, target(objects, labels, [False, True]))
    as_object.add(found, target(objects, labels))
    assert as_crowd.boxes().ap50 == 1 and as_crowd.boxes().classes["car"][2] == 1
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
    assert scores.boxes().ap == 1 and scores.masks().ap == 0


def test_a_score_that_is_no_number_and_another_size_are_refused():
    scores = AveragePrecision(NAMES)
    with pytest.raises(ValueError, match="finite"):
        scores.add(seen([[0, 0, 9, 9]], [math.nan], [0]), target([], []))
    with pytest.raises(ValueError, match=r"\(64, 96\).*\(9, 9\)"):
        scores.add(Predictions.empty((9, 9)), target([[0, 0, 9, 9]], [0]))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_random_scenes_score_as_the_coco_tools_say(kind: str):
    tools = pytest.importorskip("pycocotools.cocoeval")
    from pycocotools.coco import COCO

    generator, scores = np.random.default_rng(3), AveragePrecision(NAMES)
    for _ in range(12):
        scores.add(*random_scene(generator))
    reference = COCO()
    reference.dataset = scores._dataset()
    reference.createIndex()
    fields = {"bbox": "segmentation", "segm": "bbox"}
    found = [{k: v for k, v in d.items() if k != fields[kind]} for d in scores._found]
    oracle = tools.COCOeval(reference, reference.loadRes(found), kind)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    ours = scores.boxes() if kind == "bbox" else scores.masks()
    numbers = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large]
    expected = [math.nan if s == -1 else s for s in oracle.stats[:6]]
    assert 0.05 < ours.ap < 0.95
    assert numbers == pytest.approx(expected, abs=1e-9, nan_ok=True)
    for k, name in enumerate(NAMES):
        by_hand = oracle.eval["precision"][0, :, k, 0, -1].mean()
        assert ours.classes[name][1] == pytest.approx(by_hand, abs=1e-9)


def test_iou_of_a_small_map_is_the_number_worked_out_by_hand():
    confusion = Confusion(3)
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 255, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 0]], dtype=torch.uint8)
    confusion.add(predicted, truth)
    assert confusion.iou()[:2].tolist() == pytest.approx([2 / 4, 2 / 4])
    assert confusion.iou()[2].isnan()  # predicted where nothing is annotated only
    assert confusion.mean_iou() == pytest.approx(0.5)


def test_a_class_predicted_but_not_there_counts_zero_in_the_plain_mean_alone():
    confusion = Confusion(3)
    confusion.add(torch.tensor([[0, 0, 0, 2]]), torch.tensor([[0, 0, 0, 0]]))
    assert confusion.iou().tolist()[::2] == [0.75, 0]
    assert confusion.mean_iou() == pytest.approx(0.375)
    assert confusion.mean_iou(min_share=0.001) == pytest.approx(0.75)


def test_classes_below_a_thousandth_of_the_pixels_leave_the_mean():
    confusion, truth = Confusion(2), torch.zeros(100, 100, dtype=torch.uint8)
    truth[0, :9] = 1  # 9 of 10,000
    confusion.add(torch.zeros(100, 100, dtype=torch.uint8), truth)
    assert confusion.mean_iou(0.001) == pytest.approx(0.9991)
    assert confusion.mean_iou() == pytest.approx(0.9991 / 2)


def test_a_pixel_predicted_as_unlabelled_is_wrong():
    confusion = Confusion(2)
    confusion.add(torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([[0, 0]]))
    assert confusion.iou()[0] == 0.5


def test_images_add_up_in_one_matrix_rather_than_in_a_mean_of_images():
    confusion = Confusion(2)
    confusion.add(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 0, 0, 0]]))
    confusion.add(torch.tensor([[1, 1]]), torch.tensor([[0, 1]]))
    assert confusion.iou().tolist() == pytest.approx([4 / 5, 1 / 2])


def test_an_empty_matrix_has_no_mean_and_wrong_input_is_refused():
    assert math.isnan(Confusion(3).mean_iou())
    with pytest.raises(ValueError, match=r"\[1, 2\].*\[2, 2\]"):
        Confusion(3).add(torch.zeros(1, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="class 7"):
        Confusion(3).add(torch.zeros(1, 1), torch.full((1, 1), 7))


def test_foreground_is_every_thing_and_the_unlabelled_stay_so():
    semantic = torch.tensor([[0, 10, 11, 13, 18, 255]], dtype=torch.uint8)
    assert foreground_truth(semantic, CITYSCAPES).tolist() == [[0, 0, 1, 1, 1, 255]]

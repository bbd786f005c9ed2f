import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointseg_core.classes import CITYSCAPES, Classes
from jointseg_core.panoptic import PanopticFusion
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import (
    Agreement,
    PanopticQuality,
    Segments,
    merge_segments,
    true_segments,
)
from jointseg_eval.metrics.panoptic import Categories

SIZE = (20, 40)
ROAD, SKY, PERSON, CAR = 0, 10, 11, 13


def mask(x1: int, y1: int, x2: int, y2: int) -> torch.Tensor:
    pixels = torch.zeros(SIZE, dtype=torch.bool)
    pixels[y1:y2, x1:x2] = True
    return pixels


def objects(*masks: torch.Tensor) -> torch.Tensor:
    return torch.stack(masks) if masks else torch.zeros(0, *SIZE, dtype=torch.bool)


def found(masks: list, scores: list, labels: list, semantic: np.ndarray | None = None):
    packed = Masks.from_bitmaps(objects(*masks))
    labels, scores = torch.tensor(labels).long(), torch.tensor(scores)
    plane = None if semantic is None else torch.from_numpy(semantic.astype(np.uint8))
    return Predictions(SIZE, packed.windows.float(), scores, labels, packed, plane)


def target(masks, labels, semantic=None, crowd=None) -> Target:
    shown = objects(*masks)
    groups = None if crowd is None else torch.tensor(crowd)
    labels = torch.tensor(labels).long()
    semantic = torch.from_numpy(half_road()) if semantic is None else semantic
    return Target(Masks.from_bitmaps(shown).windows.float(), labels, shown, semantic, groups)


def half_road() -> np.ndarray:
    semantic = np.full(SIZE, SKY)
    semantic[10:] = ROAD
    return semantic


def shares(segments: Segments) -> dict[int, int]:
    """Pixels of each label."""
    pixels = np.bincount(segments.ids.ravel(), minlength=len(segments.labels) + 1)[1:]
    return dict(zip(segments.labels.tolist(), pixels.tolist(), strict=True))


def test_certain_objects_cover_others_and_stuff_fills_the_rest():
    masks = [mask(0, 0, 10, 10), mask(5, 0, 15, 10)]
    segments = merge_segments(found(masks, [0.6, 0.9], [0, 2], half_road()), CITYSCAPES)
    assert shares(segments) == {CAR: 100, PERSON: 50, SKY: 250, ROAD: 400}


def test_what_is_uncertain_or_mostly_hidden_or_tiny_is_left_out():
    masks = [mask(0, 0, 10, 10), mask(4, 0, 10, 10), mask(30, 0, 40, 10)]
    semantic = half_road()
    semantic[0, 20] = 2  # one pixel, less than 0.002 of 800
    segments = merge_segments(found(masks, [0.9, 0.8, 0.4], [0, 2, 2], semantic), CITYSCAPES)
    assert shares(segments) == {PERSON: 100, SKY: 299, ROAD: 400}
    assert segments.ids[0, 20] == 0


def test_pixels_called_a_thing_that_belong_to_no_object_stay_free():
    semantic = np.full(SIZE, CAR)
    segments = merge_segments(found([], [], [], semantic), CITYSCAPES)
    assert len(segments.labels) == 0 and not segments.ids.any()


def test_the_annotation_scores_one_against_itself():
    semantic = torch.from_numpy(half_road())
    truth = true_segments(target([mask(0, 0, 10, 10)], [2], semantic), CITYSCAPES)
    quality = PanopticQuality(CITYSCAPES)
    quality.add(truth, truth)
    assert list(quality.score().values()) == [1.0] * 9
    assert math.isnan(quality.classes()[1, 0])


def test_quality_is_the_number_worked_out_by_hand():
    # one car at IoU 80 / 120, one missed, one made up: PQ = (2/3) / (1 + 1/2 + 1/2)
    truth = target([mask(0, 0, 10, 10), mask(20, 0, 30, 10)], [2, 2])
    seen = found([mask(2, 0, 12, 10), mask(20, 10, 30, 20)], [0.9, 0.8], [2, 2])
    quality = PanopticQuality(CITYSCAPES)
    quality.add(merge_segments(seen, CITYSCAPES), true_segments(truth, CITYSCAPES))
    car = {"pq": 1 / 3, "sq": 2 / 3, "rq": 1 / 2}
    wanted = {name: value / 3 for name, value in car.items()}
    wanted |= {f"{name}_things": value for name, value in car.items()}
    wanted |= {f"{name}_stuff": 0 for name in car}
    assert quality.score() == pytest.approx(wanted)  # road and sky are there and were not found


def test_images_add_up_and_some_of_them_score_alone():
    stuff = torch.from_numpy(half_road())
    right, wrong = (
        true_segments(target([], [], plane), CITYSCAPES) for plane in (stuff, stuff.flip(0))
    )
    quality = PanopticQuality(CITYSCAPES)
    quality.add(right, right)
    quality.add(wrong, right)
    assert quality.score([0])["pq"] == 1 and quality.score([1])["pq"] == 0
    assert quality.score()["pq"] == pytest.approx(1 / 2) == quality.score([0, 1, 0, 1])["pq"]
    assert quality.score([0, 0, 1])["rq"] == pytest.approx(2 / 3)


def test_what_lies_in_a_group_or_in_void_is_not_wrong():
    semantic = torch.full(SIZE, 255)
    semantic[:, :20] = ROAD
    group = target([mask(0, 0, 10, 10)], [2], semantic, [True])
    quality = PanopticQuality(CITYSCAPES)
    cars = found([mask(0, 0, 6, 6), mask(25, 0, 35, 10)], [0.9, 0.8], [2, 2])
    quality.add(merge_segments(cars, CITYSCAPES), true_segments(group, CITYSCAPES))
    assert math.isnan(quality.score()["pq_things"]) and quality.score()["pq_stuff"] == 0
    people = found([mask(0, 0, 6, 6)], [0.9], [0])  # in a group of another class
    quality.add(merge_segments(people, CITYSCAPES), true_segments(group, CITYSCAPES))
    assert quality.score()["pq_things"] == 0


def test_things_without_a_class_of_pixels_get_numbers_of_their_own():
    classes = Classes(("cat", "dog", "cup"), ("grass", "dog"), (-1, 1, -1))
    categories = Categories.of(classes)
    assert categories.names == ("grass", "dog", "cat", "cup")
    assert categories.of_things == (2, 1, 3)
    assert categories.are_things.tolist() == [False, True, True, True]
    assert Categories.of(Classes(("cat", "dog"))).names == ("cat", "dog")


def test_where_annotated_objects_overlap_the_smaller_one_is_on_top():
    truth = target([mask(0, 0, 20, 10), mask(5, 0, 10, 10)], [0, 2])
    assert shares(true_segments(truth, CITYSCAPES)) == {PERSON: 150, CAR: 50, SKY: 200, ROAD: 400}


def test_other_sizes_and_annotations_of_objects_alone_are_refused():
    segments = true_segments(target([], []), CITYSCAPES)
    with pytest.raises(ValueError, match="no class map"):
        true_segments(replace(target([], []), semantic=None), CITYSCAPES)
    other = Segments(np.zeros((3, 4), np.int32), np.zeros(0, np.int64), np.zeros(0, bool))
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(20, 40\)"):
        PanopticQuality(CITYSCAPES).add(other, segments)


def test_agreement_is_the_mean_share_of_objects_whose_pixels_are_of_their_class():
    semantic = half_road()
    semantic[:10, :5] = CAR
    masks = [mask(0, 0, 10, 10), mask(0, 0, 5, 5), mask(20, 0, 30, 10), mask(0, 0, 0, 0)]
    agreement = Agreement(CITYSCAPES)
    agreement.add(found(masks, [0.9, 0.8, 0.4, 0.9], [2, 2, 2, 2], semantic))
    agreement.add(found([mask(0, 0, 5, 5)], [0.9], [0], semantic))
    agreement.add(found([], [], [], semantic))
    assert agreement.score([0]) == {"agreement": (0.5 + 1) / 2}
    assert agreement.score()["agreement"] == pytest.approx(1.5 / 3)
    assert math.isnan(agreement.score([2])["agreement"])
    again = Agreement(CITYSCAPES)
    again.extend(agreement.columns())
    assert again.score() == agreement.score() and len(again) == 3


def test_a_model_decides_about_its_own_thresholds():
    fusion = PanopticFusion((0,), min_score=0.3)  # of a model with a single class
    seen = replace(found([mask(0, 0, 10, 10)], [0.4], [2]), fusion=fusion)
    assert shares(merge_segments(seen, CITYSCAPES)) == {CAR: 100}

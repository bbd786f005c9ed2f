"""Recall by distance is a share of the objects that stand so far away."""

import math

import numpy as np
import torch

from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import DistanceRecall

SIZE = (100, 200)


def boxes(places: list[int]) -> torch.Tensor:
    """Squares of ten pixels, one every twenty pixels."""
    return torch.tensor([[20.0 * k, 10, 20 * k + 10, 20] for k in places]).view(-1, 4)


def objects(labels: list[int], crowd: tuple[int, ...] = ()) -> Target:
    every, count = boxes(list(range(len(labels)))), len(labels)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    crowds = torch.tensor([k in crowd for k in range(count)], dtype=torch.bool)
    return Target(every, torch.tensor(labels, dtype=torch.int64), masks, crowd=crowds)


def found(places: list[int], scores: list[float], labels: list[int]) -> Predictions:
    return Predictions(SIZE, boxes(places), torch.tensor(scores), torch.tensor(labels))


def test_objects_count_in_the_range_in_which_they_stand():
    recall = DistanceRecall()
    target = objects([0, 0, 1, 1, 0, 1], crowd=(5,))
    far = torch.tensor([0.6, 14.99, 15.0, 50.0, math.nan, 3.0])
    recall.add(found([0, 1, 2, 3, 4], [0.9, 0.29, 0.5, 0.8, 0.7], [0, 0, 1, 0, 0]), target, far)
    assert recall.total("images").tolist() == [[1, 2], [1, 1], [0, 0], [0, 1]]
    scores = recall.score()
    assert scores["recall_0_15_m"] == 0.5 and scores["recall_15_30_m"] == 1
    assert math.isnan(scores["recall_30_50_m"]) and scores["recall_50_m_up"] == 0
    assert [scores[f"objects_{n}"] for n in ("0_15_m", "50_m_up")] == [2, 1]


def test_an_object_is_found_once_and_only_by_its_class():
    recall = DistanceRecall()
    twice = found([0, 0], [0.9, 0.8], [0, 0])
    recall.add(twice, objects([0, 0]), torch.tensor([5.0, 5.0]))
    recall.add(found([0], [0.9], [1]), objects([0]), torch.tensor([5.0]))
    assert recall.total("images").tolist()[0] == [1, 3]
    assert recall.score([0, 0])["recall_0_15_m"] == 0.5 and recall.score([1])["recall_0_15_m"] == 0


def test_without_distances_there_are_no_numbers_and_columns_go_on():
    recall, other = DistanceRecall(), DistanceRecall()
    recall.add(found([0], [0.9], [0]), objects([0]), None)
    assert recall.score() == {} and len(recall) == 1
    other.add(found([0], [0.9], [0]), objects([0]), torch.tensor([40.0]))
    recall.extend(other.columns())
    assert len(recall) == 2 and recall.score()["recall_30_50_m"] == 1
    assert np.array_equal(recall.total("images", [1]), other.total("images"))
    recall.add(Predictions.empty(SIZE), objects([]), torch.zeros(0))
    assert recall.score()["objects_30_50_m"] == 1

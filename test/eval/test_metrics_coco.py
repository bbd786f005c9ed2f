"""Our numbers are those of the COCO tools, on random pictures with all that they hold."""

import contextlib
import io
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import AveragePrecision, ProposalRecall
from jointseg_eval.metrics.proposals import LIMITS

SIZE = (160, 220)
NAMES = ("person", "rider", "car", "train")


@dataclass(frozen=True)
class Picture:
    """What was found in a picture, proposals [P, 4] and [P] included, and what is there."""

    found: Predictions
    target: Target
    areas: torch.Tensor
    proposals: torch.Tensor
    objectness: torch.Tensor


def random_picture(seed: int, objects: int = 9, doubles: int = 3, steps: int = 20) -> Picture:
    """Ellipses of all sizes, crowds among them, found more or less well; scores in `steps`."""
    random = np.random.default_rng(seed)
    centers = random.uniform(0, SIZE[::-1], (objects, 2))
    radii = random.choice([4, 10, 25, 70], (objects, 1)) * random.uniform(0.7, 1.4, (objects, 2))
    masks, labels = ellipses(centers, radii), random.integers(0, 3, objects)
    there = masks.flatten(1).any(1)
    target = Target(
        tight(masks)[there],
        torch.from_numpy(labels)[there],
        masks[there],
        crowd=torch.from_numpy(random.random(objects) < 0.2)[there],
    )
    again = np.repeat(np.arange(objects), doubles)
    shift, zoom = random.normal(0, 2, (len(again), 2)), random.uniform(0.8, 1.2, (len(again), 2))
    seen = ellipses(centers[again] + shift, radii[again] * zoom)
    guesses = np.where(random.random(len(again)) < 0.8, labels[again], random.integers(0, 3))
    scores = torch.from_numpy(random.uniform(0.05, 1, len(again))).float().mul(steps).ceil() / steps
    order = (-scores).argsort(stable=True)
    seen, guesses, scores = seen[order], torch.from_numpy(guesses)[order], scores[order]
    found = Predictions(SIZE, tight(seen), scores, guesses, Masks.from_bitmaps(seen))
    areas = target.masks.flatten(1).sum(1) * random.uniform(0.7, 1.3)
    boxes = torch.from_numpy(random.uniform(0, 160, (1200, 4))).float()
    boxes[:, 2:] += boxes[:, :2]
    boxes[: len(again)] = tight(seen)
    objectness = torch.from_numpy(random.random(len(boxes))).float()
    objectness[: len(again)] += 0.3
    mixed = torch.from_numpy(random.permutation(len(boxes)))
    return Picture(found, target, areas, boxes[mixed], objectness[mixed])


def ellipses(centers: np.ndarray, radii: np.ndarray) -> torch.Tensor:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pairs = zip(centers, radii, strict=True)
    shown = [((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1 for (cx, cy), (rx, ry) in pairs]
    return torch.from_numpy(np.stack(shown))


def tight(masks: torch.Tensor) -> torch.Tensor:
    return Masks.from_bitmaps(masks).windows.float()


PICTURES = [random_picture(seed) for seed in range(8)]
PICTURES += [random_picture(20, objects=5, doubles=70)]  # more than 100 detections of a class
PICTURES += [replace(PICTURES[0], found=Predictions.empty(SIZE))]
PICTURES += [replace(PICTURES[1], target=PICTURES[1].target[torch.zeros(0).long()])]


def ours(pictures: list[Picture]) -> AveragePrecision:
    scores = AveragePrecision(NAMES)
    for picture in pictures:
        scores.add(picture.found, picture.target, picture.areas[: len(picture.target.labels)])
    return scores


def theirs(kind: str, pictures: list[Picture], limits: tuple[int, ...] = (1, 10, 100)):
    """The COCO tools after `accumulate`; kind is bbox, segm, or bbox of proposals."""
    truth, found = COCO(), []
    truth.dataset = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(pictures))],
        "annotations": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
    }
    for i, picture in enumerate(pictures):
        truth.dataset["annotations"] += annotations(i, picture)
        if limits[-1] == 1000:
            found += results(i, picture.proposals, picture.objectness)
        else:
            found += results(i, picture.found.boxes, picture.found.scores, picture.found, kind)
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.params.maxDets = list(limits)
        evaluation.params.useCats = int(limits[-1] != 1000)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def annotations(image: int, picture: Picture) -> list[dict]:
    target = picture.target
    return [
        {
            "image_id": image,
            "category_id": int(target.labels[k]),
            "bbox": corner_and_size(target.boxes[k]),
            "area": float(picture.areas[k]),
            "iscrowd": int(target.crowd[k]),
            "segmentation": encode(target.masks[k]),
        }
        for k in range(len(target.labels))
    ]


def results(image, boxes, scores, found: Predictions | None = None, kind: str = "bbox"):
    rows = [
        {"image_id": image, "category_id": 0, "bbox": corner_and_size(b), "score": float(s)}
        for b, s in zip(boxes, scores, strict=True)
    ]
    for k, row in enumerate(rows if found else []):
        row["category_id"] = int(found.labels[k])
        if kind == "segm":
            del row["bbox"]
            row["segmentation"] = encode(found.masks[k : k + 1].bitmaps(SIZE)[0])
    return rows


def corner_and_size(box: torch.Tensor) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def encode(mask: torch.Tensor) -> dict:
    return run_lengths.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))


def mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_average_precision_is_that_of_the_coco_tools(kind: str):
    scores = ours(PICTURES)
    found, oracle = (scores.boxes() if kind == "bbox" else scores.masks()), theirs(kind, PICTURES)
    precision, recall = oracle["precision"][..., -1], oracle["recall"][..., -1]
    wanted = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    wanted += [precision[..., area] for area in (1, 2, 3)] + [recall[..., 0]]
    numbers = [found.ap, found.ap50, found.ap75, found.small, found.medium, found.large]
    assert 0.1 < found.ap < 0.9
    assert [*numbers, found.recall] == pytest.approx([mean(w) for w in wanted], abs=1e-9)
    assert found.by_iou == pytest.approx([mean(p[..., 0]) for p in precision], abs=1e-9)
    for k, name in enumerate(NAMES):
        both = [mean(precision[:, :, k, 0]), mean(precision[0, :, k, 0])]
        assert found.classes[name][:2] == pytest.approx(both, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_every_point_of_a_curve_is_that_of_the_coco_tools(kind: str):
    scores, oracle = ours(PICTURES), theirs(kind, PICTURES)["precision"]
    for level, iou in ((0, 0.5), (5, 0.75), (9, 0.95)):
        curve = scores.curve("box" if kind == "bbox" else "mask", 2, iou)
        assert curve == pytest.approx(oracle[level, :, 2, 0, -1], abs=1e-9)


def test_all_images_as_a_list_score_as_the_coco_tools_accumulate_them():
    scores = ours(PICTURES)
    everything = scores.score(), scores.boxes().by_iou, scores.masks().by_iou
    every = range(len(PICTURES))
    listed = scores.score(every), scores.boxes(every).by_iou, scores.masks(every).by_iou
    for one, other in zip(everything, listed, strict=True):
        assert other == pytest.approx(one, rel=0, abs=1e-12)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_resampled_images_score_as_if_they_had_been_evaluated_so_often(kind: str):
    pictures = [random_picture(seed, steps=1 << 20) for seed in range(5)]  # no ties
    chosen = [3, 3, 0, 4, 3, 0]
    oracle = theirs(kind, [pictures[i] for i in chosen])["precision"][..., -1]
    scores = ours(pictures)
    found = scores.boxes(chosen) if kind == "bbox" else scores.masks(chosen)
    numbers = [found.ap, found.ap50, found.small, found.large]
    wanted = [oracle[..., 0], oracle[0, ..., 0], oracle[..., 1], oracle[..., 3]]
    assert numbers == pytest.approx([mean(w) for w in wanted], abs=1e-9)


def test_recall_of_proposals_is_that_of_the_coco_tools():
    recall, ours = theirs("bbox", PICTURES, LIMITS)["recall"][:, 0], ProposalRecall()
    for p in PICTURES:
        count = len(p.target.labels)
        ours.add(p.proposals, p.objectness, p.target, p.areas[:count])
    wanted = {f"ar_{limit}": recall[:, 0, k].mean() for k, limit in enumerate(LIMITS)}
    for area, name in enumerate(("small", "medium", "large"), start=1):
        wanted[f"ar_1000_{name}"] = recall[:, area, 2].mean()
    wanted |= {"recall_50": recall[0, 0, 2], "recall_70": recall[4, 0, 2]}
    best = [p.proposals[p.objectness.argsort(descending=True)[: LIMITS[-1]]] for p in PICTURES]
    sought = [p.target.boxes[~p.target.crowd] for p in PICTURES]
    overlaps = [box_iou(*pair) for pair in zip(best, sought, strict=True)]
    foreground = torch.cat([(o >= 0.5).any(1) for o in overlaps])
    wanted["foreground_share"] = float(foreground.double().mean())
    assert 0.1 < wanted["ar_10"] < wanted["ar_100"] < wanted["ar_1000"] < 1
    assert ours.score() == pytest.approx(wanted, abs=1e-9)


def test_images_without_proposals_or_objects_count_as_missed_or_nothing():
    recall, none, objectness = ProposalRecall(), torch.zeros(0, 4), torch.zeros(0)
    assert all(math.isnan(value) for value in recall.score().values())
    recall.add(none, objectness, PICTURES[0].target)
    recall.add(none, objectness, PICTURES[-1].target)
    recall.add(PICTURES[-1].proposals, PICTURES[-1].objectness, PICTURES[-1].target)
    assert recall.score()["ar_1000"] == 0 and math.isnan(recall.score([1, 2])["ar_1000"])
    assert recall.score([2])["foreground_share"] == 0

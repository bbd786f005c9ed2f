"""How much detections and annotated objects overlap, and which belongs to which (COCO's rules)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from jointseg_core.predictions import Masks
from jointseg_core.targets import Target


def as_array(values: Tensor) -> np.ndarray:
    """A tensor on the CPU for arithmetic in double precision; integers and bits stay such."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas [N] of boxes [N, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_intersections(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Common area [D, G] of boxes [D, 4] and [G, 4]."""
    upper = np.maximum(found[:, None, :2], truth[None, :, :2])
    lower = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    return (lower - upper).clip(min=0).prod(-1)


def mask_areas(masks: Masks) -> np.ndarray:
    """Pixels int64 [N] of each mask."""
    return np.array([np.count_nonzero(as_array(crop)) for crop in masks.crops()], np.int64)


def object_areas(target: Target, areas: Tensor | None) -> np.ndarray:
    """Areas [G] of objects: as annotated where that is known, else the pixels of their masks."""
    if areas is not None:
        return as_array(areas)
    return np.array([np.count_nonzero(mask) for mask in as_array(target.masks)], np.int64)


def mask_intersections(found: Masks, truth: Masks) -> np.ndarray:
    """Common pixels int64 [D, G] of two sets of masks of one image."""
    table = np.zeros((len(found), len(truth)), np.int64)
    windows, others = as_array(found.windows), as_array(truth.windows)
    crops, other_crops = ([as_array(c) for c in masks.crops()] for masks in (found, truth))
    for d, g in zip(*(box_intersections(windows, others) > 0).nonzero(), strict=True):
        x1, y1 = np.maximum(windows[d, :2], others[g, :2])
        x2, y2 = np.minimum(windows[d, 2:], others[g, 2:])
        shared = [
            crop[y1 - y : y2 - y, x1 - x : x2 - x]
            for crop, (x, y) in ((crops[d], windows[d, :2]), (other_crops[g], others[g, :2]))
        ]
        table[d, g] = np.count_nonzero(shared[0] & shared[1])
    return table


def covered(masks: Masks, area: np.ndarray) -> np.ndarray:
    """Pixels int64 [N] of each mask that lie in an area, bool [H, W]."""
    windows, crops = masks.windows.tolist(), masks.crops()
    inside = [
        np.count_nonzero(area[y1:y2, x1:x2] & as_array(crop))
        for (x1, y1, x2, y2), crop in zip(windows, crops, strict=True)
    ]
    return np.array(inside, np.int64)


def overlap(
    common: np.ndarray, found: np.ndarray, truth: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """IoU [D, G] from the areas in common [D, G] and of each, [D] and [G].

    With a crowd it is the share of the detection that lies in it.
    """
    union = found[:, None] + truth[None] - common
    whole = np.where(crowd[None], found[:, None], union)
    return np.divide(common, whole, out=np.zeros(common.shape), where=whole > 0)


def box_overlap(found: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, G] of boxes [D, 4] and [G, 4], some of which are crowds [G]."""
    return overlap(box_intersections(found, truth), box_areas(found), box_areas(truth), crowd)


def match(
    overlaps: np.ndarray, thresholds: Sequence[float], ignored: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """The object of each detection, or -1: int64 [A, T, D].

    overlaps    [D, G]  of detections, best first, with objects
    thresholds  [T]     least overlap of a pair
    ignored     [A, G]  the objects that are not sought, in each of A readings of the annotation
    crowd       [G]     objects to which any number of detections may belong

    Detections choose in order: the object they overlap most among the free ones that are sought,
    else among the free ones that are ignored.
    """
    levels, count = np.asarray(thresholds)[:, None], overlaps.shape[1]
    matched = np.full((len(ignored), len(thresholds), len(overlaps)), -1)
    taken = np.zeros((len(ignored), len(thresholds), count), bool)
    for d in np.flatnonzero((overlaps >= levels.min()).any(1)):
        free = (overlaps[d] >= levels) & ~taken
        sought = free & ~ignored[:, None]
        pool = np.where(sought.any(-1, keepdims=True), sought, free)
        last_first = np.where(pool, overlaps[d], -1)[..., ::-1]  # of equals COCO takes the last
        best = count - 1 - last_first.argmax(-1)
        reading, level = pool.any(-1).nonzero()
        chosen = best[reading, level]
        matched[reading, level, d] = chosen
        taken[reading, level, chosen] = ~crowd[chosen]
    return matched

"""How many pixels masks have, and have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as run_lengths
from torch import Tensor

from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target


def as_array(values: Tensor) -> np.ndarray:
    """A tensor on the CPU for arithmetic in double precision; integers and bits stay such."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def box_intersections(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Common area [D, G] of boxes [D, 4] and [G, 4]."""
    upper = np.maximum(found[:, None, :2], truth[None, :, :2])
    lower = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    return (lower - upper).clip(min=0).prod(-1)


def box_overlaps(found: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, G] of boxes [D, 4] and [G, 4]; with a crowd [G] the share of the box inside it.

    By the COCO tools, whose last bit decides at an IoU that is asked for.
    """
    found, truth = (np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], 1) for b in (found, truth))
    overlaps = run_lengths.iou(found, truth, crowd.astype(np.uint8).tolist())
    return np.reshape(overlaps, (len(found), len(truth)))


def mask_areas(masks: Masks) -> np.ndarray:
    """Pixels int64 [N] of each mask."""
    return np.array([np.count_nonzero(as_array(crop)) for crop in masks.crops()], np.int64)


def object_areas(target: Target, areas: Tensor | None) -> np.ndarray:
    """Areas [G] of objects: as annotated where that is known, else the pixels of their masks."""
    if areas is not None:
        return as_array(areas)
    return np.array([np.count_nonzero(mask) for mask in as_array(target.masks)], np.int64)


@dataclass(frozen=True, eq=False)
class SharedPixels:
    """The pixels of D masks that were found and of G true ones, of one image.

    found   int64 [D]
    truth   int64 [G]
    common  int64 [D, G]  0 for pairs of two classes
    """

    found: np.ndarray
    truth: np.ndarray
    common: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, target: Target) -> SharedPixels:
        """Of results that have masks."""
        masks, truth = predictions.masks, Masks.from_bitmaps(target.masks)
        same = as_array(predictions.labels)[:, None] == as_array(target.labels)
        return cls(mask_areas(masks), mask_areas(truth), mask_intersections(masks, truth, same))

    def overlaps(self, crowd: np.ndarray) -> np.ndarray:
        """IoU [D, G] of pairs of a class; with a crowd [G] the share of the mask inside it."""
        union = self.found[:, None] + np.where(crowd, 0, self.truth - self.common)
        return self.common / np.maximum(union, 1)


def mask_intersections(found: Masks, truth: Masks, wanted: np.ndarray) -> np.ndarray:
    """Common pixels int64 [D, G] of two sets of masks of one image; 0 where not wanted [D, G]."""
    table = np.zeros((len(found), len(truth)), np.int64)
    windows, others = as_array(found.windows), as_array(truth.windows)
    crops, other_crops = ([as_array(c) for c in masks.crops()] for masks in (found, truth))
    near = wanted & (box_intersections(windows, others) > 0)
    for d, g in zip(*near.nonzero(), strict=True):
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

"""How many pixels masks have, and have in common."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from jointseg_core.predictions import Masks
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

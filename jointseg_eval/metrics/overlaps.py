"""How many pixels masks have, and have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target


def as_array(values: Tensor) -> np.ndarray:
    """A tensor on the CPU for arithmetic in double precision; integers and bits stay such."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def count_values(values: np.ndarray, length: int) -> np.ndarray:
    """How often each number from 0 to `length` - 1 and beyond occurs in integers of any shape.

    By torch, which counts small integers as they are, while NumPy makes large ones of them first.
    """
    return torch.from_numpy(values).flatten().bincount(minlength=length).numpy()


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


@dataclass(frozen=True, eq=False)
class Crops:
    """N masks of an image, each cut to its own window, for counting pixels.

    windows  N times x1, y1, x2, y2 in pixels, right and bottom exclusive
    pixels   N times bool [h, w]
    """

    windows: list[list[int]]
    pixels: list[np.ndarray]

    @classmethod
    def of(cls, masks: Masks) -> Crops:
        """Masks as results have them."""
        windows, pixels = masks.windows.tolist(), as_array(masks.pixels)
        sizes = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in windows]
        ends = accumulate((h * w for h, w in sizes), initial=0)
        places = zip(pairwise(ends), sizes, strict=True)
        return cls(windows, [pixels[start:end].reshape(size) for (start, end), size in places])

    @classmethod
    def cut(cls, bitmaps: Tensor) -> Crops:
        """Full-size masks, bool [N, H, W], in their tight windows."""
        windows, crops, masks = [], [], as_array(bitmaps)
        for mask, rows in zip(masks, masks.any(2), strict=True):
            y1, y2 = _span(rows)
            x1, x2 = _span(mask[y1:y2].any(0))
            windows.append([x1, y1, x2, y2])
            crops.append(mask[y1:y2, x1:x2])
        return cls(windows, crops)

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels int64 [N] of each mask."""
        return np.array([np.count_nonzero(crop) for crop in self.pixels], np.int64)

    def covered(self, area: np.ndarray) -> np.ndarray:
        """Pixels int64 [N] of each mask that lie in an area, bool [H, W]."""
        if not area.any():
            return np.zeros(len(self.pixels), np.int64)
        pairs = zip(self.windows, self.pixels, strict=True)
        inside = [np.count_nonzero(area[y1:y2, x1:x2] & crop) for (x1, y1, x2, y2), crop in pairs]
        return np.array(inside, np.int64)

    def shared(self, others: Crops, wanted: np.ndarray) -> np.ndarray:
        """Pixels int64 [N, M] in common with M others of the image; 0 where not wanted [N, M]."""
        table = np.zeros(wanted.shape, np.int64)
        windows, theirs = (np.reshape(m.windows, (-1, 4)) for m in (self, others))
        near = wanted & (box_intersections(windows, theirs) > 0)
        for n, m in zip(*(places.tolist() for places in near.nonzero()), strict=True):
            (x, y, right, bottom), (u, v, end, floor) = self.windows[n], others.windows[m]
            x1, y1, x2, y2 = max(x, u), max(y, v), min(right, end), min(bottom, floor)
            ours = self.pixels[n][y1 - y : y2 - y, x1 - x : x2 - x]
            other = others.pixels[m][y1 - v : y2 - v, x1 - u : x2 - u]
            table[n, m] = np.count_nonzero(ours & other)
        return table

    def shares(self, boxes: np.ndarray) -> np.ndarray:
        """Share [N, M] of each mask that lies in each of boxes [M, 4]."""
        windows = [[int(x1), int(y1), math.ceil(x2), math.ceil(y2)] for x1, y1, x2, y2 in boxes]
        windows = [[max(0, side) for side in window] for window in windows]
        full = [np.ones((y2 - y1, x2 - x1), bool) for x1, y1, x2, y2 in windows]
        wanted = np.ones((len(self.pixels), len(windows)), bool)
        return self.shared(Crops(windows, full), wanted) / np.maximum(self.areas[:, None], 1)


def _span(used: np.ndarray) -> tuple[int, int]:
    """From the first to behind the last that is used, bool [L]; 0 to 0 where none is."""
    places = used.nonzero()[0]
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def object_areas(target: Target, areas: Tensor | None) -> np.ndarray:
    """Areas [G] of objects: as annotated where that is known, else the pixels of their masks."""
    if areas is not None:
        return as_array(areas)
    return np.array([np.count_nonzero(mask) for mask in as_array(target.masks)], np.int64)


@dataclass(frozen=True, eq=False)
class SharedPixels:
    """The pixels of D masks that were found and of G true ones, of one image.

    found   [D]
    truth   [G]
    common  int64 [D, G]  0 for pairs of two classes
    """

    found: Crops
    truth: Crops
    common: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, target: Target) -> SharedPixels:
        """Of results that have masks."""
        found, truth = Crops.of(predictions.masks), Crops.cut(target.masks)
        same = as_array(predictions.labels)[:, None] == as_array(target.labels)
        return cls(found, truth, found.shared(truth, same))

    def overlaps(self, crowd: np.ndarray) -> np.ndarray:
        """IoU [D, G] of pairs of a class; with a crowd [G] the share of the mask inside it."""
        union = self.found.areas[:, None] + np.where(crowd, 0, self.truth.areas - self.common)
        return self.common / np.maximum(union, 1)

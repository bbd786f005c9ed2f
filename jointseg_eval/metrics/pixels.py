"""IoU of class maps, from one confusion matrix over all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_eval.metrics.columns import ImageColumns, image_weights
from jointseg_eval.metrics.overlaps import as_array

MIN_SHARE = 0.001
"""Classes with fewer than this share of the annotated pixels are left out of the demo's mean."""


class PixelConfusion(ImageColumns):
    """Counts which class was predicted for the pixels of each class, over many images.

    Pixels whose annotation is 255 are left out; a pixel predicted as none of the classes (255
    included) is wrong. The columns:

    lengths        int [I]  how many places in the table of an image are not 0
    cells, counts  int [N]  these places of one image after the other, and what is there
    """

    def __init__(self, classes: int) -> None:
        super().__init__(**{name: np.zeros(0, np.int32) for name in ("lengths", "cells", "counts")})
        self.classes = classes
        self.counts = torch.zeros(classes, classes + 1, dtype=torch.int64)  # [truth, predicted]

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """One more image: class maps [H, W] of any integer type; ValueError when sizes differ."""
        if predicted.shape != truth.shape:
            raise ValueError(f"class map is {list(predicted.shape)}, truth {list(truth.shape)}")
        width = self.classes + 1
        pairs = truth.int() * width + predicted.int().clamp(0, self.classes)
        table = pairs.flatten().bincount(minlength=256 * width)[: 256 * width].view(256, width)
        if len(unknown := table[self.classes : UNLABELLED].sum(1).nonzero()):
            highest = self.classes + int(unknown.max())
            raise ValueError(
                f"truth holds class {highest}, expected 0 to {self.classes - 1} or 255"
            )
        counts = as_array(table[: self.classes]).ravel()
        cells = counts.nonzero()[0]
        parts = {"cells": cells, "counts": counts[cells], "lengths": np.array([len(cells)])}
        self.extend({name: values.astype(np.int32) for name, values in parts.items()})

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        super().extend(columns)
        cells, counts = (torch.from_numpy(columns[name]).long() for name in ("cells", "counts"))
        self.counts.view(-1).index_add_(0, cells, counts)

    def over(self, images: Sequence[int] | None = None) -> PixelConfusion:
        """The counts of the images with these numbers alone, repeats allowed."""
        columns, chosen = self.columns(), PixelConfusion(self.classes)
        weights = np.repeat(image_weights(images, len(self)), columns["lengths"])
        counts = np.bincount(columns["cells"], weights * columns["counts"], chosen.counts.numel())
        chosen.counts += torch.from_numpy(counts).long().view_as(chosen.counts)
        return chosen

    def mean_ious(self) -> np.ndarray:
        """The mean IoU of each image by itself [I]."""
        columns, width = self.columns(), self.classes + 1
        truth, found = np.divmod(columns["cells"], width)
        first = np.repeat(np.arange(len(self)) * width, columns["lengths"])

        def sums(classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
            table = np.bincount(first + classes, counts, len(self) * width)
            return table.reshape(-1, width)[:, : self.classes]

        counts = columns["counts"]
        hits = sums(truth, counts * (truth == found))
        union = sums(truth, counts) + sums(found, counts) - hits
        ious = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
        known = (union > 0).sum(1)
        return np.divide(ious.sum(1), known, out=np.full(len(self), np.nan), where=known > 0)

    def iou(self) -> Tensor:
        """IoU of each class [C], 0 to 1; NaN for a class neither annotated nor predicted."""
        hits = self.counts[:, : self.classes].diagonal().double()
        union = self.counts.sum(1) + self.counts[:, : self.classes].sum(0) - hits
        return hits / union

    def share(self) -> Tensor:
        """Share of each class [C] in the annotated pixels."""
        return self.counts.sum(1).double() / max(1, int(self.counts.sum()))

    def mean_iou(self, min_share: float = 0.0) -> float:
        """Mean IoU of the classes that have at least `min_share` of the annotated pixels.

        With 0, of all that are annotated or predicted anywhere. NaN when there are none.
        """
        return float(self.iou()[self.share() >= min_share].nanmean())


def foreground_truth(semantic: Tensor, classes: Classes) -> Tensor:
    """1 where a class map [H, W] shows a thing, 0 elsewhere, 255 where nothing is annotated."""
    table = np.zeros(256, np.uint8)
    table[[k for k in classes.thing_to_semantic if k >= 0]] = 1
    table[UNLABELLED] = UNLABELLED
    return torch.from_numpy(table[as_array(semantic)])

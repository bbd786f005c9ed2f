"""One picture without overlaps from objects and classes of pixels.

The heuristic of Panoptic Feature Pyramid Networks (Kirillov et al., 2019, section 3): objects one
after the other, the most certain first, each on what the others left free; then what remains of
stuff. `Predictions.panoptic` computes it when it is first read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jointseg_core.classes import UNLABELLED
from jointseg_core.predictions import Masks, Panoptic, Predictions, Segment

_NUMBERS = 256  # segments of a class that can be told from each other; number 0 is that of stuff
VOID = _NUMBERS * UNLABELLED
"""The value of a pixel whose segment is unsure."""


@dataclass(frozen=True)
class PanopticFusion:
    """How objects and classes of pixels become one picture.

    things       for each label of an object the class of its pixels; all other classes are stuff
    min_score    less certain objects are left out
    min_visible  and those that show a smaller share of their mask behind more certain ones
    min_stuff    stuff on a smaller share of the image is left out
    """

    things: tuple[int, ...]
    min_score: float = 0.5
    min_visible: float = 0.5
    min_stuff: float = 0.002

    @torch.no_grad()
    def __call__(self, found: Predictions) -> Panoptic:
        """The picture of what was found; without masks it is stuff alone, or else nothing."""
        ids = found.boxes.new_full(found.image_size, VOID, dtype=torch.int32)
        free = torch.ones_like(ids, dtype=torch.bool)
        segments: list[Segment] = []
        if found.masks is not None:
            segments += self._paint(ids, free, found, found.masks)
        if found.semantic is not None:
            segments += self._fill(ids, free, found.semantic, found.confidence)
        return Panoptic(ids, tuple(segments))

    def _paint(
        self, ids: Tensor, free: Tensor, found: Predictions, masks: Masks
    ) -> Iterator[Segment]:
        """Objects onto free pixels, those beyond the last number of their class left out."""
        numbers: Counter[int] = Counter()
        scores, labels = found.scores.tolist(), found.labels.tolist()
        windows, crops = masks.windows.tolist(), masks.crops()
        for k in sorted(range(len(found)), key=scores.__getitem__, reverse=True):
            (x1, y1, x2, y2), label = windows[k], self.things[labels[k]]
            if scores[k] < self.min_score or numbers[label] + 1 == _NUMBERS:
                continue
            still_free = free[y1:y2, x1:x2]
            visible = crops[k] & still_free
            area = int(visible.count_nonzero())
            if area and area >= self.min_visible * int(crops[k].count_nonzero()):
                numbers[label] += 1
                segment = Segment(
                    _NUMBERS * label + numbers[label], label, True, scores[k], area, k
                )
                ids[y1:y2, x1:x2].masked_fill_(visible, segment.id)
                still_free ^= visible
                yield segment

    def _fill(
        self, ids: Tensor, free: Tensor, semantic: Tensor, confidence: Tensor | None
    ) -> Iterator[Segment]:
        """What is stuff in the class map onto the pixels that are still free."""
        taken = (~free).byte() * UNLABELLED  # x | 255 is 255
        classes = (semantic | taken).flatten()
        areas = torch.bincount(classes, minlength=UNLABELLED + 1).tolist()
        sums = areas
        if confidence is not None:
            weights = confidence.flatten().double()
            sums = torch.bincount(classes, weights, UNLABELLED + 1).tolist()
        least = max(1, self.min_stuff * ids.numel())
        values = ids.new_full((UNLABELLED + 1,), VOID)
        for label, area in enumerate(areas[:UNLABELLED]):
            if area >= least and label not in self.things:
                values[label] = _NUMBERS * label
                yield Segment(_NUMBERS * label, label, False, sums[label] / area, area, -1)
        painted = values.index_select(0, classes.int()).view_as(ids)
        torch.minimum(ids, painted, out=ids)  # VOID is the largest value

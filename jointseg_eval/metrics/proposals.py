"""How many objects the proposals find, whatever their class (COCO's AR of proposals)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import ImageColumns
from jointseg_eval.metrics.matching import AREAS, IOUS, are_outside, match
from jointseg_eval.metrics.overlaps import as_array, box_overlaps, object_areas

LIMITS = (10, 100, 1000)
"""Proposals of an image that count, best first."""


class ProposalRecall(ImageColumns):
    """Collects the proposals of many images, then tells how many objects they found.

    found       int [I, IoUs, areas, limits]  objects found by so many proposals
    sought      int [I, areas]                and those there are
    foreground  int [I, 2]                    proposals that overlap an object, and all
    """

    def __init__(self) -> None:
        super().__init__(
            found=np.zeros((0, len(IOUS), len(AREAS), len(LIMITS)), np.int64),
            sought=np.zeros((0, len(AREAS)), np.int64),
            foreground=np.zeros((0, 2), np.int64),
        )

    def add(
        self, boxes: Tensor, scores: Tensor, target: Target, areas: Tensor | None = None
    ) -> None:
        """One more image: proposals [P, 4] with scores [P] in any order.

        Crowds of the target are ignored; areas [N] as for `AveragePrecision.add`.
        """
        crowd = as_array(target.crowd)
        excused = crowd | are_outside(object_areas(target, areas))  # [A, G]
        best = np.argsort(-as_array(scores), kind="stable")[: LIMITS[-1]]
        overlaps = box_overlaps(as_array(boxes)[best], as_array(target.boxes), crowd)
        matched = match(overlaps, excused, crowd, IOUS)  # [A, T, D]
        no = np.ones((len(AREAS), 1), bool)
        right = ~np.take_along_axis(np.append(excused, no, 1)[:, None], matched, 2)
        found = np.stack([right[:, :, :limit].sum(2).T for limit in LIMITS], 2)
        foreground = (overlaps[:, ~crowd] >= IOUS[0]).any(1).sum(), len(best)
        self.extend(
            {
                "found": found[None],
                "sought": (~excused).sum(1)[None],
                "foreground": np.array([foreground]),
            }
        )

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """The numbers by name, of the images with these numbers or of all.

        ar_10, ar_100 and ar_1000 are mean recalls over IoU 0.5 to 0.95; the others are of 1000
        proposals: ar_1000_small, _medium and _large by the areas of COCO, recall_50 and recall_70
        at one IoU, and foreground_share, how many of them overlap an object by IoU 0.5.
        """
        found, sought = self.total("found", images), self.total("sought", images)[:, None]
        recall = np.divide(found, sought, out=np.full(found.shape, np.nan), where=sought > 0)
        named = {f"ar_{limit}": recall[:, 0, k].mean() for k, limit in enumerate(LIMITS)}
        for area, name in enumerate(AREAS):
            if area:
                named[f"ar_1000_{name}"] = recall[:, area, -1].mean()
        named |= {"recall_50": recall[0, 0, -1], "recall_70": recall[4, 0, -1]}
        foreground, made = self.total("foreground", images)
        named["foreground_share"] = foreground / made if made else np.nan
        return {name: float(value) for name, value in named.items()}

"""How many objects the proposals find, whatever their class (COCO's AR of proposals)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from jointseg_core.targets import Target
from jointseg_eval.metrics.coco_tools import AREAS, IOUS, annotations, count_sought, evaluate_image
from jointseg_eval.metrics.overlaps import as_array, object_areas
from jointseg_eval.metrics.resampling import image_weights

LIMITS = (10, 100, 1000)
"""Proposals of an image that count, best first."""


class ProposalRecall:
    """Collects the proposals of many images, then tells how many objects they found."""

    def __init__(self) -> None:
        self._found: list[np.ndarray] = []  # per image [IoUs, areas, limits]
        self._sought: list[list[int]] = []  # per image [areas]
        self._foreground: list[tuple[int, int]] = []  # per image, and how many proposals there were

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._found)

    def add(
        self, boxes: Tensor, scores: Tensor, target: Target, areas: Tensor | None = None
    ) -> None:
        """One more image: proposals [P, 4] with scores [P] in any order.

        Crowds of the target are ignored; areas [N] as for `AveragePrecision.add`.
        """
        crowd, areas = as_array(target.crowd), object_areas(target, areas)
        truth = annotations(target.boxes, iscrowd=crowd.tolist(), area=areas.tolist())
        evaluated = evaluate_image(truth, annotations(boxes, score=scores.tolist()), LIMITS)
        sought = [count_sought(result) for result in evaluated.evalImgs]
        self._sought.append(sought)
        self._found.append(evaluated.eval["recall"][:, 0] * np.reshape(sought, (-1, 1)))
        overlaps = np.reshape(evaluated.ious[0, 0], (min(len(boxes), LIMITS[-1]), len(crowd)))
        self._foreground.append(((overlaps[:, ~crowd] >= IOUS[0]).any(1).sum(), len(overlaps)))

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """The numbers by name, of the images with these numbers or of all.

        ar_10, ar_100 and ar_1000 are mean recalls over IoU 0.5 to 0.95; the others are of 1000
        proposals: ar_1000_small, _medium and _large by the areas of COCO, recall_50 and recall_70
        at one IoU, and foreground_share, how many of them overlap an object by IoU 0.5.
        """
        weights = image_weights(images, len(self))
        found = np.tensordot(weights, np.reshape(self._found, (-1, 10, 4, 3)), 1)
        sought = np.tensordot(weights, np.reshape(self._sought, (-1, 4)), 1)[:, None]
        recall = np.divide(found, sought, out=np.full(found.shape, np.nan), where=sought > 0)
        named = {f"ar_{limit}": recall[:, 0, k].mean() for k, limit in enumerate(LIMITS)}
        for area, name in enumerate(AREAS):
            if area:
                named[f"ar_1000_{name}"] = recall[:, area, -1].mean()
        named |= {"recall_50": recall[0, 0, -1], "recall_70": recall[4, 0, -1]}
        foreground, made = weights @ np.reshape(self._foreground, (-1, 2))
        named["foreground_share"] = foreground / made if made else np.nan
        return {name: float(value) for name, value in named.items()}

    def columns(self) -> dict[str, np.ndarray]:
        """All that the scores come from, to be given to `extend` elsewhere."""
        return {
            "found": np.reshape(self._found, (-1, len(IOUS), len(AREAS), len(LIMITS))),
            "sought": np.reshape(self._sought, (-1, len(AREAS))),
            "foreground": np.reshape(self._foreground, (-1, 2)),
        }

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        self._found += list(columns["found"])
        self._sought += columns["sought"].tolist()
        self._foreground += columns["foreground"].tolist()

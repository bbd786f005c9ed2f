"""Whether a model's objects and its classes of pixels agree, before anything reconciles them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.panoptic import PanopticFusion
from jointseg_core.predictions import Predictions
from jointseg_eval.metrics.columns import ImageColumns
from jointseg_eval.metrics.overlaps import Crops, as_array
from jointseg_eval.metrics.panoptic import Categories


class Agreement(ImageColumns):
    """The mean share of an object's pixels that carry its class in the class map.

    Of the objects that are certain enough for a panoptic picture, with a mask that is not empty.
    Columns: images [I, 2], the sum of the shares and the objects of each.
    """

    def __init__(self, classes: Classes) -> None:
        super().__init__(images=np.zeros((0, 2)))
        self._numbers = Categories.of(classes).of_things

    def add(self, found: Predictions, masks: Crops | None = None) -> None:
        """One more image, with masks, cut already where they are known so, and a class map."""
        shares, semantic, labels = [], as_array(found.semantic), found.labels.tolist()
        masks = masks or Crops.of(found.masks)
        sure = found.scores >= (found.fusion or PanopticFusion(())).min_score
        for k in sure.nonzero().flatten().tolist():
            x1, y1, x2, y2 = masks.windows[k]
            if len(classes := semantic[y1:y2, x1:x2][masks.pixels[k]]):
                shares.append(float((classes == self._numbers[labels[k]]).mean()))
        self.extend({"images": np.array([[sum(shares), len(shares)]])})

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """agreement, of the images with these numbers or of all; NaN where no object is sure."""
        total, count = self.total("images", images)
        return {"agreement": float(total / count) if count else float("nan")}

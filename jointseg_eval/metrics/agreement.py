"""Whether a model's objects and its classes of pixels agree, before anything reconciles them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.panoptic import PanopticFusion
from jointseg_core.predictions import Predictions
from jointseg_eval.metrics.overlaps import Crops, as_array
from jointseg_eval.metrics.panoptic import Categories
from jointseg_eval.metrics.resampling import image_weights


class Agreement:
    """The mean share of an object's pixels that carry its class in the class map.

    Of the objects that are certain enough for a panoptic picture, with a mask that is not empty.
    """

    def __init__(self, classes: Classes) -> None:
        self._numbers = Categories.of(classes).of_things
        self._images: list[tuple[float, int]] = []  # per image: sum of the shares, objects

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._images)

    def add(self, found: Predictions, masks: Crops | None = None) -> None:
        """One more image, with masks, cut already where they are known so, and a class map."""
        shares, semantic, labels = [], as_array(found.semantic), found.labels.tolist()
        masks = masks or Crops.of(found.masks)
        sure = found.scores >= (found.fusion or PanopticFusion(())).min_score
        for k in sure.nonzero().flatten().tolist():
            x1, y1, x2, y2 = masks.windows[k]
            if len(classes := semantic[y1:y2, x1:x2][masks.pixels[k]]):
                shares.append(float((classes == self._numbers[labels[k]]).mean()))
        self._images.append((sum(shares), len(shares)))

    def columns(self) -> dict[str, np.ndarray]:
        """All that the score comes from, to be given to `extend` elsewhere."""
        return {"images": np.reshape(self._images, (-1, 2))}

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        self._images += [tuple(row) for row in columns["images"]]

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """agreement, of the images with these numbers or of all; NaN where no object is sure."""
        weights = image_weights(images, len(self))
        total, count = weights @ np.reshape(self._images, (-1, 2))
        return {"agreement": float(total / count) if count else float("nan")}

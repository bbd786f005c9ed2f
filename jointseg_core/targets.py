"""Training: annotations of images, which anchors have to find which object, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from jointseg_core.predictions import Masks, Predictions, check_shape

NEGATIVE, IGNORED = -1, -2
"""An anchor that is background, and one that is neither; others carry the index of their object."""


@dataclass(frozen=True, eq=False)
class Target:
    """The annotation of one image of H x W pixels.

    boxes     [N, 4]     float   x1, y1, x2, y2 in pixels
    labels    [N]        int64   0..K-1
    masks     [N, H, W]  bool    visible pixels of each object, none where its box alone is known
    semantic  [H, W]     int64   class of every pixel, 255 = ignore    (or None)
    crowd     [N]        bool    a group, ignored rather than sought   (default none)
    seed      int                of this image's random samples        (None: torch's own generator)
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    semantic: Tensor | None = None
    crowd: Tensor = None  # type: ignore[assignment]  # is set below where it is not given
    seed: int | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.crowd is None:
            object.__setattr__(self, "crowd", torch.zeros_like(self.labels, dtype=torch.bool))
        check_shape("boxes", self.boxes, count, 4)
        check_shape("masks", self.masks, count, None, None)
        check_shape("crowd", self.crowd, count)
        if self.semantic is not None:
            check_shape("semantic", self.semantic, *self.masks.shape[1:])

    def __getitem__(self, keep: Tensor) -> Target:
        """The objects chosen by a boolean mask or indices; the semantic map and the seed stay."""
        objects = ("boxes", "labels", "masks", "crowd")
        return replace(self, **{name: getattr(self, name)[keep] for name in objects})

    def to(self, device: torch.device | str) -> Target:
        """The same annotation on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)

    def sought(self) -> Target:
        """The same without its groups."""
        return self[~self.crowd]

    def boxes_alone(self) -> Tensor:
        """Which objects have a box and no pixel of a mask, bool [N]: these train no masks."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return (sides > 0).all(1) & ~self.crowd & ~self.masks.flatten(1).any(1)

    def generator(self) -> torch.Generator | None:
        """A fresh generator that draws the same for this image in whatever batch it is."""
        return None if self.seed is None else torch.Generator().manual_seed(self.seed)

    def as_predictions(self, like: Predictions | None = None) -> Predictions:
        """The annotation as if it had been found: all scores 1, groups left out.

        With `like`, an object's masks and the class of every pixel only where `like` has them.
        """
        single = self.sought()
        height, width = single.masks.shape[1:]
        masks = like is None or like.masks is not None
        semantic = None if like is not None and like.semantic is None else single.semantic
        return Predictions(
            (height, width) if like is None else like.image_size,
            single.boxes.float(),
            torch.ones(len(single.labels)),
            single.labels,
            masks=Masks.from_bitmaps(single.masks) if masks else None,
            semantic=None if semantic is None else semantic.byte(),
        )


def assign_anchors(anchors: Tensor, boxes: Tensor, positive: float, negative: float) -> Tensor:
    """The object of each anchor [A], or NEGATIVE (best IoU < negative) or IGNORED.

    An anchor takes the object it overlaps most if that IoU >= positive; every object also takes
    the anchors it overlaps most, whatever the IoU.
    """
    if not len(boxes):
        return torch.full((len(anchors),), NEGATIVE, device=anchors.device)
    overlaps: Tensor = box_iou(boxes, anchors)  # [N, A]
    best, assigned = overlaps.max(0)
    assigned[best < positive] = IGNORED
    assigned[best < negative] = NEGATIVE
    # an object that no anchor fits well would otherwise train nothing; several may tie
    best_of_object = overlaps.max(1, keepdim=True).values
    owner, anchor = ((overlaps == best_of_object) & (best_of_object > 0)).nonzero(as_tuple=True)
    assigned[anchor] = owner
    return assigned


def assign_batch(
    targets: list[Target], anchors: list[Tensor], positive: float, negative: float
) -> list[tuple[Target, Tensor]]:
    """What is sought in each image, crowds left out, and the object of each anchor [A] of it.

    anchors are those of each level; the rest is as in `assign_anchors`.
    """
    every, sought = torch.cat(anchors), [target.sought() for target in targets]
    return [(target, assign_anchors(every, target.boxes, positive, negative)) for target in sought]


def divide(
    losses: Mapping[str, Sequence[Tensor]], counts: Mapping[str, float]
) -> dict[str, Tensor]:
    """The sum of each name's losses by the count of that name, or by 1 if that is less.

    Sums and counts of images add up, so a batch may be spread over steps and processes: divided by
    the counts of the whole batch, the losses of its parts (and their gradients) add up to its own.
    """
    return {name: reduce(torch.add, some) / max(counts[name], 1) for name, some in losses.items()}


def count_positives(found: list[tuple[Target, Tensor]]) -> int:
    """Anchors that were assigned an object, at least one for each image."""
    return sum(max(1, int((assigned >= 0).sum())) for _, assigned in found)


def anchor_labels(target: Target, assigned: Tensor, background: int) -> Tensor:
    """The class of each anchor's object [A], `background` where it has none."""
    labels = torch.cat([target.labels, target.labels.new_tensor([background])])
    return labels[assigned.clamp(min=-1)]  # NEGATIVE and IGNORED take the last one


def sample(
    assigned: Tensor,
    count: int,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Indices of at most `count` random anchors; positives fill at most their share."""
    positives = random_subset(
        (assigned >= 0).nonzero().flatten(), int(count * positive_share), generator
    )
    negatives = random_subset(
        (assigned == NEGATIVE).nonzero().flatten(), count - len(positives), generator
    )
    return torch.cat([positives, negatives])


def sample_size(assigned: Tensor, count: int, positive_share: float) -> int:
    """How many anchors `sample` chooses, without choosing."""
    positives = min(int((assigned >= 0).sum()), int(count * positive_share))
    return positives + min(int((assigned == NEGATIVE).sum()), count - positives)


def random_subset(indices: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """At most `count` of the indices, uniformly; all of them, in order, if they are no more."""
    if len(indices) <= count:
        return indices
    order = torch.randperm(len(indices), generator=generator).to(indices.device)
    return indices[order[:count]]

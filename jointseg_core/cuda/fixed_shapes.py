"""The choice among boxes with shapes that do not depend on the picture.

A GPU runs such steps one after the other without asking the host, so they can be captured once (see
`cuda.graph`). Every list has a fixed length; a count on the device says how much of it holds. The
reference is `jointseg_core.boxes`, with lists of any length; these functions say when they could
not do the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Masks, Predictions

_NMS_STEPS = 16  # of the iteration in `suppress`; pictures of roads need 2 to 8, see docs/gpu.md
_PAIRS = 1000  # of an anchor and a class that may take part in NMS


class Limits(NamedTuple):
    """The thresholds of a config as numbers on the device, so that they can change meanwhile."""

    score: Tensor  # []
    nms_iou: Tensor  # []
    detections: Tensor  # []
    mask_logit: Tensor  # []


class FixedFrame(NamedTuple):
    """What a model found in one picture, in fields of fixed length; 0 beyond the counts."""

    counts: Tensor  # [3] int64: objects, mask pixels, and 1 where the result is exact
    boxes: Tensor  # [M, 4]
    scores: Tensor  # [M]
    labels: Tensor  # [M]
    windows: Tensor  # [M, 4] int64, [0, 4] without masks
    bits: Tensor  # [P / 8] uint8: the pixels of all windows as in `Masks`; [0] without masks
    semantic: Tensor  # [H, W] uint8, [0] without classes of pixels
    confidence: Tensor  # [H, W], or [0]
    foreground: Tensor  # [H, W] bool, or [0]

    def with_masks(self, windows: Tensor, pixels: Tensor, boxes: Tensor) -> FixedFrame:
        """The same with windows [M, 4], their pixels bool [P] as in `Masks`, and other boxes.

        It is exact where the windows hold no more than P pixels; P is a multiple of 8.
        """
        count, _, exact = self.counts.unbind()
        total = (windows[:, 2:] - windows[:, :2]).prod(1).sum()
        return self._replace(
            counts=torch.stack([count, total, exact * (total <= len(pixels))]),
            boxes=boxes,
            windows=windows,
            bits=_pack_bits(pixels),
        )

    def to_predictions(self, frame: Letterbox) -> Predictions | None:
        """The same on the CPU, where these are; None where the result is not exact.

        Without the panoptic fusion, which no tensor says.
        """
        count, pixels, exact = self.counts.tolist()
        if not exact:
            return None
        masked, mapped = len(self.bits), len(self.semantic)
        return Predictions(
            frame.image_size,
            self.boxes[:count],
            self.scores[:count],
            self.labels[:count],
            Masks(self.windows[:count], _unpack_bits(self.bits, pixels)) if masked else None,
            self.semantic if mapped else None,
            self.confidence if mapped else None,
            self.foreground if mapped else None,
        )


class _Kept(NamedTuple):
    """The first of what `suppress` keeps, at most M: which, how many, and whether that is exact."""

    rows: Tensor  # [M], 0 beyond the number
    number: Tensor  # []
    exact: Tensor  # [] bool

    def select(self, values: Tensor) -> Tensor:
        """Those rows of values [K, ...], and 0 beyond the number, [M, ...]."""
        real = torch.arange(len(self.rows), device=values.device) < self.number
        missing = (~real).view(-1, *[1] * (values.ndim - 1))
        return values[self.rows].masked_fill(missing, 0)

    def frame(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> FixedFrame:
        """These of boxes [P, 4], scores and labels [P], without masks and maps."""
        none = labels.new_zeros(0, dtype=torch.uint8)
        return FixedFrame(
            torch.stack([self.number, torch.zeros_like(self.number), self.exact.long()]),
            self.select(boxes),
            self.select(scores),
            self.select(labels),
            windows=labels.new_zeros(0, 4),
            bits=none,
            semantic=none,
            confidence=boxes.new_zeros(0),
            foreground=none.bool(),
        )


def best_pairs(scores: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
    """The best of scores [n, K] above the threshold: rows [P], classes [P], scores [P], count [].

    P is 1000, or n K if that is less. Pairs that are not above it score -1 and come last; the
    count is of all that are above it, also of those that found no place.
    """
    above = scores > threshold
    ranked = scores.masked_fill(~above, -1).flatten()
    top = ranked.topk(min(_PAIRS, len(ranked)))
    classes = scores.shape[1]
    return top.indices // classes, top.indices % classes, top.values, above.sum()


def suppress(
    boxes: Tensor, valid: Tensor, iou: Tensor | float, same: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy NMS on boxes [..., K, 4], best first: kept [..., K] after n - 1 and after n steps.

    valid [..., K] says which boxes take part; with `same` [..., K, K] only pairs that are so can
    suppress each other. A box is kept if no kept box before it overlaps it by more than `iou`.

    All boxes apply that rule to the last step's answer at once, _NMS_STEPS times. It says whether
    box j is kept from boxes before j alone, hence (by induction over j) it has one fixed point,
    which is the answer of sequential NMS, and step j is right about the first j boxes for good.
    So where two steps agree on the first j boxes they are right about them, and K steps always
    suffice; chains of boxes that each overlap the next alone do need that many.
    """
    clash = _overlaps(boxes.double()) > iou
    if same is not None:
        clash &= same
    clash = clash.tril(-1).float()  # [..., j, i]: would i, which comes before j, suppress it?
    kept = before = valid
    for _ in range(_NMS_STEPS):
        before = kept
        kept = valid & ((clash @ before.float()[..., None])[..., 0] == 0)
    return before, kept


def _overlaps(boxes: Tensor) -> Tensor:
    """IoU [..., K, K] of boxes [..., K, 4] with each other, rounded as torchvision's NMS does."""
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    one, other = boxes[..., :, None, :], boxes[..., None, :, :]
    first, last = torch.maximum(one[..., :2], other[..., :2]), one[..., 2:].minimum(other[..., 2:])
    shared = (last - first).clamp(min=0).prod(-1)
    return shared / (areas[..., :, None] + areas[..., None, :] - shared)


def _first_kept(before: Tensor, kept: Tensor, limit: Tensor, capacity: int) -> _Kept:
    """The first `limit` <= capacity of the kept boxes [K]; both are results of `suppress`.

    They are exact where the last two steps agree up to the last of them, whatever follows.
    """
    first, earlier = (k & (k.cumsum(0) <= limit) for k in (kept, before))
    slots = (first.cumsum(0) - 1).masked_fill(~first, capacity)  # one more, for all others
    numbers = torch.arange(len(kept), device=kept.device)
    index = numbers.new_zeros(capacity + 1).scatter(0, slots, numbers)[:capacity]
    count = first.sum()
    index = index.masked_fill(torch.arange(capacity, device=kept.device) >= count, 0)
    return _Kept(index, count, (first == earlier).all())


def detect(
    boxes: Tensor, scores: Tensor, labels: Tensor, found: Tensor, limits: Limits, capacity: int
) -> _Kept:
    """What survives NMS of the pairs of `best_pairs`, at most `capacity` rows of them.

    boxes [P, 4], scores and labels [P]; boxes without area are not found. Pairs that found no place
    score less than these, so they change nothing once enough are kept.
    """
    valid = (scores > limits.score) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    same = labels[:, None] == labels
    kept = _first_kept(*suppress(boxes, valid, limits.nms_iou, same), limits.detections, capacity)
    complete = (found <= len(scores)) | (kept.number >= limits.detections)
    return kept._replace(exact=kept.exact & complete)


def _pack_bits(bits: Tensor) -> Tensor:
    """bool [n], n a multiple of 8, as uint8 [n / 8]; the first is the lowest bit."""
    shifts = torch.arange(8, device=bits.device, dtype=torch.uint8)
    return (bits.view(-1, 8).byte() << shifts).sum(1, dtype=torch.uint8)


def _unpack_bits(packed: Tensor, count: int) -> Tensor:
    """The first `count` of packed bits, bool [count], on the CPU."""
    bits = np.unpackbits(packed[: -(-count // 8)].numpy(), count=count, bitorder="little")
    return torch.from_numpy(bits).view(torch.bool)

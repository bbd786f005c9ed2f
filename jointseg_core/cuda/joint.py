"""Decoding of the joint network with fixed shapes; `Joint.decode` is the reference.

Objects that are not there have no area, score 0 and come last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jointseg_core.correlation import correlate, mask_windows
from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda.fixed_shapes import FixedFrame, Limits, best_pairs, detect
from jointseg_core.exchange import Instances
from jointseg_core.joint import Joint, JointOutput
from jointseg_core.letterbox import Letterbox
from jointseg_core.segmentation import pixel_maps


@torch.no_grad()
def decode_fixed(
    model: Joint,
    output: JointOutput,
    frames: list[Letterbox],
    limits: Limits,
    capacity: int,
) -> list[FixedFrame]:
    """What `Joint.decode` finds in each image, on the device; M is the capacity.

    limits.detections is at most that.
    """
    images = [output.image(i) for i in range(len(frames))]
    return [_decode(model, *image, limits, capacity) for image in zip(images, frames, strict=True)]


class _Objects(NamedTuple):
    """What is found, best first."""

    found: Instances  # [M, ...]
    scores: Tensor  # [M], 0 where nothing is
    labels: Tensor  # [M]
    counts: Tensor  # [3], see FixedFrame

    @property
    def real(self) -> Tensor:
        """1 where there is an object, [M, 1]."""
        return (self.scores > 0).long()[:, None]


def _decode(
    model: Joint, output: JointOutput, frame: Letterbox, limits: Limits, capacity: int
) -> FixedFrame:
    objects = _look_again(model, output, _detect(model, output, frame, limits, capacity), limits)
    found, real = objects.found, objects.real
    masks = correlate(found.kernels, output.pixels)
    shown = model.exchange.shown(masks, found.boxes) * real[..., None]
    windows = mask_windows(frame.to_image(found.boxes), model.config.test_margin, frame) * real
    pixels, _, _ = rdsnet_fixed.crop_masks(masks, windows, frame, limits.mask_logit)
    logits = model.informed(output, found, shown)
    maps = pixel_maps(*logits, model.config.things, frame, dense=True)
    boxes = model.refined(shown, found.boxes, frame) * real
    none = windows.new_zeros(0, dtype=torch.uint8)
    bare = FixedFrame(objects.counts, boxes, objects.scores, objects.labels, windows, none, *maps)
    return bare.with_masks(windows, pixels, boxes)


def _detect(
    model: Joint, output: JointOutput, frame: Letterbox, limits: Limits, capacity: int
) -> _Objects:
    """What survives NMS, before the second look."""
    sizes = [len(level) for level in output.anchors]
    best = output.class_logits.amax(1)
    cells = rdsnet_fixed.as_many_of_levels(best, sizes, model.config.candidates)
    rows, labels, scores, number = best_pairs(output.class_logits[cells].sigmoid(), limits.score)
    found = output.instances(cells[rows])
    boxes = frame.to_image(found.boxes)
    kept = detect(boxes, scores, labels, number, limits, capacity)
    chosen = Instances(*(kept.select(values) for values in found))
    counts = torch.stack([kept.number, torch.zeros_like(kept.number), kept.exact.long()])
    return _Objects(chosen, kept.select(scores), kept.select(labels), counts)


def _look_again(model: Joint, output: JointOutput, objects: _Objects, limits: Limits) -> _Objects:
    """Objects with the scores of their second look, those below the threshold left out."""
    found, real = model.second_look(output, objects.found), objects.real[:, 0]
    scores = found.class_logits.sigmoid().gather(1, objects.labels[:, None])[:, 0] * real
    scores = scores * (scores > limits.score)
    order = scores.argsort(descending=True, stable=True)
    there = (scores[order] > 0)[:, None]
    _, none, exact = objects.counts.unbind()
    found = Instances(*(values[order] * there for values in found))
    labels = objects.labels[order] * there[:, 0]
    return _Objects(found, scores[order], labels, torch.stack([there.sum(), none, exact]))

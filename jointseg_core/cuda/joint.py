"""The joint network's decoding with fixed shapes: objects as RDSNet's, pixels as SegRPN's."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda import segrpn as segrpn_fixed
from jointseg_core.cuda.fixed_shapes import Limits
from jointseg_core.cuda.rdsnet import FixedObjects
from jointseg_core.joint import Joint, JointOutput
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.segmentation import PixelMaps


class FixedFrame(NamedTuple):
    """All of one picture in fields of fixed length: those of `FixedObjects`, then the maps."""

    counts: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    windows: Tensor
    bits: Tensor
    semantic: Tensor  # [H, W] uint8
    confidence: Tensor  # [H, W]
    foreground: Tensor  # [H, W] bool

    def to_predictions(self, frame: Letterbox) -> Predictions | None:
        """The same on the CPU, where these are; None where the result is not exact.

        Without the fusion, which no tensor says.
        """
        found = FixedObjects(*self[:6]).to_predictions(frame)
        return None if found is None else replace(found, **PixelMaps(*self[6:])._asdict())


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
    objects = rdsnet_fixed.decode_fixed(model, output.objects, frames, limits, capacity)
    logits = zip(output.semantic_logits, output.background_logits, strict=True)
    return [
        FixedFrame(*found, *segrpn_fixed.pixel_maps(*maps, model.config.things, frame))
        for found, maps, frame in zip(objects, logits, frames, strict=True)
    ]

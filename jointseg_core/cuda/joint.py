"""The joint network's decoding with fixed shapes: objects as RDSNet's, pixels as SegRPN's."""

from __future__ import annotations

import torch

from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda.fixed_shapes import FixedFrame, Limits
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
    objects = rdsnet_fixed.decode_fixed(model, output.objects, frames, limits, capacity)
    logits = zip(output.semantic_logits, output.background_logits, strict=True)
    maps = [
        pixel_maps(*image, model.config.things, frame, dense=True)._asdict()
        for image, frame in zip(logits, frames, strict=True)
    ]
    return [found._replace(**pixels) for found, pixels in zip(objects, maps, strict=True)]

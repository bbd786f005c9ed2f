"""Mask post-processing alone, RDSNet 3.1 and 3.3: from representations to masks and boxes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import letterbox
from benchmarks.networks.planting import street_scene
from benchmarks.networks.released import in_network, oracle_masks, released_masks
from benchmarks.networks.settings import Settings
from jointseg_core.checkpoint import preset
from jointseg_core.correlation import (
    MASK_STRIDE,
    contrast,
    correlate,
    sample_masks,
    threshold_masks,
)
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Masks
from jointseg_core.refinement import BoundaryRefinement, mask_profiles

COUNTS = (10, 30, 100)
"""Numbers of objects; each is a stage of its own."""


def our_masks(
    representations: Tensor,
    pixels: Tensor,
    boxes: Tensor,
    frame: Letterbox,
    refinement: BoundaryRefinement,
    margin: float,
    threshold: float,
) -> tuple[Masks, Tensor]:
    """From representations to masks and refined boxes, as `RDSNet.decode` does it.

    representations [N, 2, d], pixels [d, h, w], boxes [N, 4] in camera pixels.
    """
    logits, content = correlate(contrast(representations), pixels), frame.content
    masks = threshold_masks(*sample_masks(logits, boxes, margin, frame), threshold)
    boxes = in_network(boxes, frame)
    crops = sample_masks(logits, boxes, margin, content)
    refined = refinement(*mask_profiles(*crops, content.image_size), boxes)
    return masks, frame.to_image(refined)


def given(settings: Settings, count: int) -> tuple:
    """What `our_masks` takes for so many objects of a scene, the same in every process.

    The values are sixteenths, so that sums of products are exact in fp32 whatever their order.
    """
    config = preset("rdsnet", settings.preset)
    generator = torch.Generator().manual_seed(settings.seed)
    cells = [side // MASK_STRIDE for side in settings.size]
    representations, pixels = (
        (torch.randn(*shape, generator=generator) * scale).round() / 16
        for shape, scale in (
            ((count, 2, config.filter_size), 8),
            ((config.filter_size, *cells), 16),
        )
    )
    scene = street_scene(count, settings.image, 80, settings.seed)
    tensors = (x.to(settings.device) for x in (representations, pixels, scene.boxes))
    refinement = BoundaryRefinement(config.gamma, config.refinement_reach).to(settings.device)
    return *tensors, letterbox(settings), refinement, config.test_margin, config.mask_threshold


def post_processing(
    name: str, settings: Settings, clock: StageClock
) -> Callable[[np.ndarray], Masks | Tensor]:
    """That of an entry for all COUNTS; returns the last one's masks."""
    compute, inputs = ENTRIES[name], [given(settings, count) for count in COUNTS]

    @torch.inference_mode()
    def see(_: np.ndarray) -> Masks | Tensor:
        for count, one in zip(COUNTS, inputs, strict=True):
            masks, _ = compute(*one)
            clock.mark(str(count))
        return masks

    return see


@torch.inference_mode()
def compare_masks(settings: Settings, count: int) -> dict[str, int]:
    """Mask bits inside the crops and how many of the picture's differ from the published
    computation with one resize, and how many of the boxes differ."""
    inputs = given(settings, count)
    masks, boxes = our_masks(*inputs)
    bitmaps, wanted_boxes = oracle_masks(*inputs)
    return {
        "objects": count,
        "bits": int(masks.areas.sum()),
        "bits_differing": differing_bits(masks, bitmaps),
        "boxes_differing": int((boxes != wanted_boxes).any(1).sum()),
    }


def differing_bits(masks: Masks, bitmaps: Tensor) -> int:
    """Pixels of the picture in which packed masks and bitmaps, bool [N, H, W], differ."""
    size = tuple(bitmaps.shape[-2:])
    return sum(
        int((masks[i : i + 1].bitmaps(size)[0] != bitmap).sum()) for i, bitmap in enumerate(bitmaps)
    )


ENTRIES = {"masks-ours": our_masks, "masks-released": released_masks}

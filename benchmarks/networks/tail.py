"""The mask tail alone, RDSNet 3.1 and 3.3: from representations to masks and refined boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.ours import letterbox, mask_tail
from benchmarks.networks.planting import street_scene
from benchmarks.networks.released import oracle_tail, released_tail
from benchmarks.networks.settings import Settings
from jointseg_core.checkpoint import preset
from jointseg_core.correlation import MASK_STRIDE
from jointseg_core.predictions import Masks
from jointseg_core.refinement import BoundaryRefinement

COUNTS = (10, 30, 100)
"""Numbers of objects; each is a stage of its own."""


class TailInput(NamedTuple):
    """Random representations [N, 2, d] and pixels [d, h, w], boxes [N, 4] in camera pixels.

    The values are sixteenths, so that sums of products are exact in fp32 whatever their order.
    """

    representations: Tensor
    pixels: Tensor
    boxes: Tensor


def tail_input(settings: Settings, count: int) -> TailInput:
    """The same in every process."""
    generator = torch.Generator().manual_seed(settings.seed)
    length = preset("rdsnet", settings.preset).filter_size
    cells = [side // MASK_STRIDE for side in settings.size]
    representations, pixels = (
        (torch.randn(*shape, generator=generator) * scale).round() / 16
        for shape, scale in (((count, 2, length), 8), ((length, *cells), 16))
    )
    scene = street_scene(count, settings.image, 80, settings.seed)
    return TailInput(*(x.to(settings.device) for x in (representations, pixels, scene.boxes)))


def tail(
    settings: Settings, compute: Callable, clock: StageClock
) -> Callable[[np.ndarray], Masks | Tensor]:
    """`mask_tail` or `released_tail` for all COUNTS; returns the last one's masks."""
    inputs = [tail_input(settings, count) for count in COUNTS]
    rest = _rest(settings)

    @torch.inference_mode()
    def see(_: np.ndarray) -> Masks | Tensor:
        for count, given in zip(COUNTS, inputs, strict=True):
            masks, _ = compute(*given, *rest)
            clock.mark(str(count))
        return masks

    return see


def _rest(settings: Settings) -> tuple:
    """What a tail needs besides its input: frame, refinement, margin and threshold."""
    config = preset("rdsnet", settings.preset)
    refinement = BoundaryRefinement(config.gamma, config.refinement_reach).to(settings.device)
    return letterbox(settings), refinement, config.test_margin, config.mask_threshold


@torch.inference_mode()
def compare_tails(settings: Settings, count: int) -> dict[str, int]:
    """Mask bits inside the crops and how many of them differ from the published computation with
    one resize, set bits outside the crops, and how many of the boxes differ."""
    given, rest = tail_input(settings, count), _rest(settings)
    masks, boxes = mask_tail(*given, *rest)
    bitmaps, wanted_boxes = oracle_tail(*given, *rest)
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


TAILS = {"tail-ours": mask_tail, "tail-released": released_tail}

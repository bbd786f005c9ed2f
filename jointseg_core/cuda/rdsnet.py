"""RDSNet's decoding with fixed shapes: from raw outputs to packed masks without asking the host.

`RDSNet.decode` is the reference and says what each step is for. This gives the same objects or,
when more is found than fits or NMS has not come to rest, a result that is marked as not exact.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from jointseg_core.boxes import decode_boxes
from jointseg_core.correlation import MASK_STRIDE, contrast, correlate, mask_windows
from jointseg_core.cuda.fixed_shapes import (
    FixedFrame,
    Limits,
    best_pairs,
    detect,
)
from jointseg_core.letterbox import Letterbox
from jointseg_core.rdsnet import RDSNet, RDSNetOutput

_MASK_SPACE = 4  # pictures of mask pixels that a result has room for; 100 objects fill about 3


@torch.no_grad()
def decode_fixed(
    model: RDSNet,
    output: RDSNetOutput,
    frames: list[Letterbox],
    limits: Limits,
    capacity: int,
) -> list[FixedFrame]:
    """What `RDSNet.decode` finds in each image, on the device; M is the capacity.

    limits.detections is at most that.
    """
    images = [output.image(i) for i in range(len(frames))]
    return [_decode(model, *image, limits, capacity) for image in zip(images, frames, strict=True)]


def _decode(
    model: RDSNet, output: RDSNetOutput, frame: Letterbox, limits: Limits, capacity: int
) -> FixedFrame:
    found, anchors, boxes = _detect(model, output, frame, limits, capacity)
    if not model.config.filter_size:
        return found
    return _with_masks(model, output, found, anchors, boxes, frame, limits)


def _detect(
    model: RDSNet, output: RDSNetOutput, frame: Letterbox, limits: Limits, capacity: int
) -> tuple[FixedFrame, Tensor, Tensor]:
    """The objects without masks, their anchors [M], and their boxes [M, 4] in network pixels."""
    config, stream = model.config, model.object_stream
    sizes = [len(level) for level in output.anchors]
    anchors = as_many_of_levels(output.class_logits.amax(1), sizes, config.candidates)
    scores = output.class_logits[anchors].float().sigmoid()  # [n, K]
    rows, labels, scores, found = best_pairs(scores, limits.score)
    anchors = anchors[rows]
    # a box for every pair, so an anchor's is computed once for each of its classes
    deltas = stream.box_deltas.at_each(output.box_features, anchors, stream.per_cell)
    network_boxes = decode_boxes(deltas, torch.cat(output.anchors)[anchors])
    boxes = frame.to_image(network_boxes)
    kept = detect(boxes, scores, labels, found, limits, capacity)
    return kept.frame(boxes, scores, labels), anchors[kept.rows], kept.select(network_boxes)


def as_many_of_levels(scores: Tensor, sizes: list[int], limit: int) -> Tensor:
    """Each level's `limit` best anchors, or all it has: indices [n] into scores [A]."""
    chosen, start = [], 0
    for size in sizes:
        chosen.append(start + scores[start : start + size].topk(min(limit, size)).indices)
        start += size
    return torch.cat(chosen)


def _with_masks(
    model: RDSNet,
    output: RDSNetOutput,
    found: FixedFrame,
    anchors: Tensor,
    boxes: Tensor,
    frame: Letterbox,
    limits: Limits,
) -> FixedFrame:
    """The objects of these anchors with their masks, and the boxes that the masks refine.

    boxes [M, 4] are those in network pixels, where they are refined.
    """
    config, stream = model.config, model.object_stream
    values = stream.filters.at_each(output.filter_features, anchors, stream.per_cell)
    representations = contrast(values.view(-1, 2, config.filter_size))
    # windows of objects that are not there are empty
    real = (torch.arange(len(anchors), device=anchors.device) < found.counts[0])[:, None]
    windows = mask_windows(found.boxes, config.test_margin, frame) * real
    logits = correlate(representations, output.pixels)
    pixels, *profiles = crop_masks(logits, windows, frame, limits.mask_logit)
    if not config.gamma:
        return found.with_masks(windows, pixels, found.boxes)
    content = frame.content
    boxes = content.to_image(boxes)
    if content != frame:
        inside = mask_windows(boxes, config.test_margin, content) * real
        _, *profiles = crop_masks(logits, inside, content, limits.mask_logit, room=2)
    refined = frame.to_image(model.refinement(*profiles, boxes))
    return found.with_masks(windows, pixels, refined * real)


def crop_masks(
    logits: Tensor, windows: Tensor, frame: Letterbox, threshold: Tensor, room: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask pixels, bool [P] as in `Masks`, and the profiles of `mask_profiles`, [M, W] and [M, H].

    logits [M, h, w] at MASK_STRIDE; a pixel is set where its logit, sampled as `Letterbox.sample`
    does, is above the threshold. room is a factor on P, for windows that no check of P sees.
    """
    crop = _kernel().crop_masks if logits.is_cuda and _kernel_works() else _crop_masks
    pixels, columns, rows = crop(logits, windows, frame, threshold, room * _space(frame))
    return pixels, columns.sigmoid(), rows.sigmoid()


def _kernel() -> ModuleType:
    return import_module("jointseg_core.cuda.mask_kernel")  # needs Triton


@cache
def _kernel_works() -> bool:
    """Whether Triton compiles the kernel here: tried once on a GPU, else with one warning."""
    frame = Letterbox((8, 8), (8, 8))
    windows, logits = torch.zeros(1, 4).long().cuda(), torch.zeros(1, 2, 2).cuda()
    try:
        _kernel().crop_masks(logits, windows, frame, logits[0, 0, 0], 8)
    except Exception as error:  # of Triton, of its C compiler, or of the import
        warnings.warn(f"masks are cropped without a kernel of their own: {error}", stacklevel=2)
        return False
    return True


def _space(frame: Letterbox) -> int:
    """Mask pixels that a result has room for, a multiple of 8."""
    height, width = frame.image_size
    return -(-_MASK_SPACE * height * width // 8) * 8


def _areas(windows: Tensor) -> Tensor:
    """Pixels in each of the windows [N, 4]."""
    return (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])


def _crop_masks(
    logits: Tensor, windows: Tensor, frame: Letterbox, threshold: Tensor, capacity: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As `crop_masks`, with room for `capacity` pixels: others are missing everywhere."""
    (height, width), size = frame.image_size, _areas(windows)
    number = torch.arange(capacity, device=logits.device)
    ends = size.cumsum(0)
    # every place of the space finds its window, and its pixel there; places beyond all are masked
    owner = torch.searchsorted(ends, number, right=True).clamp(max=len(windows) - 1)
    inside = number < ends[-1]
    x1, y1, x2, _ = windows[owner].unbind(1)
    local, wide = number - (ends - size)[owner], (x2 - x1).clamp(min=1)
    x, y = (x1 + local % wide).clamp(max=width - 1), (y1 + local // wide).clamp(max=height - 1)
    values = _bilinear(logits, owner, x, y, frame).masked_fill(~inside, float("-inf"))
    columns, rows = (
        logits.new_full((len(windows) * length,), float("-inf"))
        .scatter_reduce(0, owner * length + place, values, "amax")
        .view(-1, length)
        for place, length in ((x, width), (y, height))
    )
    return (values > threshold) & inside, columns, rows


def _bilinear(maps: Tensor, owner: Tensor, x: Tensor, y: Tensor, frame: Letterbox) -> Tensor:
    """Values [P] of the maps [M, h, w] of these owners at camera pixels (x, y), each [P]."""
    rows, columns = frame.neighbours(maps, MASK_STRIDE)
    (upper, lower, below), (left, right, beside) = rows.at(y), columns.at(x)
    height, width = maps.shape[1:]
    flat, first = maps.flatten(), owner * height
    upper, lower = (first + upper) * width, (first + lower) * width
    at_left = torch.lerp(flat[upper + left], flat[lower + left], below)
    at_right = torch.lerp(flat[upper + right], flat[lower + right], below)
    return torch.lerp(at_left, at_right, beside)

"""SegRPN's decoding with fixed shapes: from raw outputs to boxes and maps without asking the host.

`SegRPN.decode` is the reference; the number of proposals and detections is fixed here, and counts
on the device say how many there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.boxes import BOX_WEIGHTS, decode_boxes
from jointseg_core.cuda.fixed_shapes import (
    FixedFrame,
    Limits,
    best_pairs,
    detect,
    suppress,
)
from jointseg_core.letterbox import Letterbox
from jointseg_core.segmentation import MAP_STRIDE, pixel_maps
from jointseg_core.segrpn import SegRPN, SegRPNOutput
from jointseg_core.tensors import constants


@torch.no_grad()
def decode_fixed(
    model: SegRPN,
    output: SegRPNOutput,
    frames: list[Letterbox],
    limits: Limits,
    capacity: int,
) -> list[FixedFrame]:
    """What `SegRPN.decode` finds in each image, on the device; M is the capacity.

    limits.detections is at most that.
    """
    scores = model.proposal_scores(output)
    images = zip(scores.float(), output.box_deltas, strict=True)
    proposals = [_propose(model, *image, output) for image in images]
    logits, deltas = model.region_head(output.features, [boxes for boxes, _, _ in proposals])
    count = len(proposals[0][0])
    pairs = zip(
        torch.split(logits.softmax(1)[:, :-1], count), torch.split(deltas, count), strict=True
    )
    return [
        _decode(model, output, i, frame, *parts, *proposals[i], limits, capacity)
        for i, (frame, parts) in enumerate(zip(frames, pairs, strict=True))
    ]


def _propose(
    model: SegRPN, scores: Tensor, deltas: Tensor, output: SegRPNOutput
) -> tuple[Tensor, Tensor, Tensor]:
    """Proposals [R, 4] of one image, which are real [R], and whether they are exact.

    scores [A], deltas [A, 4]. Levels do not compete in NMS, so each has its own, side by side.
    """
    config, sizes = model.config, [len(level) for level in output.anchors]
    best = [
        part.topk(min(config.candidates_test, len(part))) for part in torch.split(scores, sizes)
    ]
    longest = max(len(top.values) for top in best)
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    index = torch.stack(
        [_filled(s + top.indices, longest, 0) for s, top in zip(starts, best, strict=True)]
    )
    scores = torch.stack([_filled(top.values, longest, float("-inf")) for top in best])
    anchors = torch.cat(output.anchors)[index]  # [levels, n, 4]
    height, width = (MAP_STRIDE * side for side in output.semantic_logits.shape[-2:])
    frame = Letterbox((height, width), (height, width))  # clips to the input
    boxes = frame.to_image(decode_boxes(deltas[index].float(), anchors))
    valid = (boxes[..., 2:] - boxes[..., :2] >= 1).all(-1) & (scores > float("-inf"))
    before, kept = suppress(boxes, valid, config.proposal_nms_iou)
    scores = scores.masked_fill(~kept, float("-inf")).flatten()
    top = scores.topk(min(config.proposals_test, len(scores)))
    real = top.values > float("-inf")
    return boxes.flatten(0, 1)[top.indices] * real[:, None], real, (before == kept).all()


def _filled(values: Tensor, length: int, value: float) -> Tensor:
    return F.pad(values, (0, length - len(values)), value=value)


def _decode(
    model: SegRPN,
    output: SegRPNOutput,
    index: int,
    frame: Letterbox,
    scores: Tensor,
    deltas: Tensor,
    regions: Tensor,
    real: Tensor,
    exact: Tensor,
    limits: Limits,
    capacity: int,
) -> FixedFrame:
    rows, labels, scores, found = best_pairs(scores * real[:, None], limits.score)
    deltas = deltas[rows, labels] / constants(BOX_WEIGHTS, deltas)
    boxes = frame.to_image(decode_boxes(deltas, regions[rows]))
    kept = detect(boxes, scores, labels, found, limits, capacity)
    objects = kept._replace(exact=kept.exact & exact).frame(boxes, scores, labels)
    logits = output.semantic_logits[index], output.background_logits[index]
    maps = pixel_maps(*logits, model.config.things, frame, dense=True)
    return objects._replace(**maps._asdict())

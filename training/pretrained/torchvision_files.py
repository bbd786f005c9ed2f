"""Weights of torchvision: ResNets, RetinaNets and Faster R-CNNs, under this package's names.

What differs from the networks here, and what is done about it:

- The nine anchors of a RetinaNet cell are ordered by ratio, then scale; here by scale, then ratio.
- Anchors sit on the corners of the cells, here on their centres: half a stride is the same share
  of an anchor's sides on every level, so it goes into the biases of the box deltas. Their sides are
  rounded to whole pixels, which moves them by up to 2.8 % on the finest level and less above.
- Class rows are COCO's ids with background first; they are matched by name.
- The FPN of Faster R-CNN v2 has batch norms, which are folded into the convolutions before them.
- P7 reads P6 through a ReLU, here directly.
- Detectors of the first generation have frozen norms without the 1e-5 beside the variance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights

from training.pretrained.source import COCO_ROWS, Rule, Source, renamed

NORM_EPS = 1e-5
RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
ANCHOR_NOTE = (
    "anchors of the file have sides in whole pixels (up to 2.8 % off on the finest level) and sit "
    "on corners of cells; the biases of box_deltas make up for the latter"
)
P7_NOTE = "P7 of the file's network reads P6 through a ReLU, here directly"

_TRUNK: tuple[Rule, ...] = (
    (r"backbone\.body\.(.+)", r"backbone.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"pyramid.lateral.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"pyramid.output.\1.\2"),
    (r"backbone\.fpn\.extra_blocks\.(p6|p7)\.(.+)", r"pyramid.coarser.\1.\2"),
)


def _tower(head: str, ours: str) -> tuple[Rule, ...]:
    """A RetinaNet head's convolutions; in older files every second entry of a flat list."""
    flat = ((rf"head\.{head}\.conv\.{2 * i}\.(weight|bias)", rf"{ours}.{i}.0.\1") for i in range(4))
    return ((rf"head\.{head}\.conv\.(\d+\.\d+\.)(weight|bias)", rf"{ours}.\1\2"), *flat)


_RETINANET = (
    *_TRUNK,
    *_tower("classification_head", "object_stream.class_tower"),
    *_tower("regression_head", "object_stream.box_tower"),
    (r"head\.classification_head\.cls_logits\.(.+)", r"object_stream.class_logits.\1"),
    (r"head\.regression_head\.bbox_reg\.(.+)", r"object_stream.box_deltas.\1"),
)
_FASTER_RCNN = (
    *_TRUNK,
    (r"rpn\.head\.conv\.(?:0\.0\.)?(weight|bias)", r"proposal_head.conv.\1"),
    (r"rpn\.head\.conv\.1\.0\.(weight|bias)", r"proposal_head.conv.1.\1"),
    (r"rpn\.head\.cls_logits\.(.+)", r"proposal_head.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.+)", r"proposal_head.box_deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"region_head.hidden.0.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"region_head.hidden.2.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"region_head.class_logits.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"region_head.box_deltas.\1"),
)


def resnet(tensors: Mapping[str, Tensor]) -> Source:
    """A ResNet for ImageNet: the backbone; its classifier stays unexpected."""
    rules = [(r"((?:conv1|bn1|layer\d)\..+)", r"backbone.\1")]
    return renamed("ResNet of torchvision", tensors, rules)


def retinanet(tensors: Mapping[str, Tensor]) -> Source:
    """A RetinaNet on a ResNet: backbone, pyramid, towers and predictions of the object stream."""
    source = renamed(
        "RetinaNet of torchvision",
        _plain_norms(tensors),
        _RETINANET,
        classes={"object_stream.class_logits": COCO_ROWS},
        notes=(ANCHOR_NOTE, P7_NOTE),
    )
    make_scale_major(source, "object_stream.class_logits", "object_stream.box_deltas")
    _recentre(source, "object_stream.box_deltas.bias", anchor_sides(4.0, OCTAVES))
    return source


def faster_rcnn(tensors: Mapping[str, Tensor]) -> Source:
    """A Faster or Mask R-CNN on a ResNet: backbone, pyramid, proposals and regions."""
    source = renamed(
        "Faster R-CNN of torchvision",
        _fold_pyramid_norms(_plain_norms(tensors)),
        _FASTER_RCNN,
        classes=dict.fromkeys(("region_head.class_logits", "region_head.box_deltas"), COCO_ROWS),
        notes=(ANCHOR_NOTE,),
    )
    _recentre(source, "proposal_head.box_deltas.bias", anchor_sides(8.0))
    return source


def make_scale_major(source: Source, *layers: str) -> None:
    """Rows [k * n, ...] of a cell's anchors, ordered by ratio and scale, by scale and ratio.

    Rows of other than 3 x 3 anchors stay as they are; they fit no model.
    """
    for name, rows in source.tensors.items():
        if name.startswith(layers) and len(rows) % 9 == 0:
            source.tensors[name] = rows.unflatten(0, (3, 3, -1)).transpose(0, 1).flatten(0, 2)


def anchor_sides(base: float, scales: tuple[float, ...] = (1.0,)) -> Tensor:
    """Width and height [k, 2] of a cell's anchors in strides, by scale and ratio."""
    return torch.tensor([[base * s / r**0.5, base * s * r**0.5] for s in scales for r in RATIOS])


def _recentre(source: Source, name: str, sides: Tensor) -> None:
    """Box deltas from corners of cells to the same deltas from their centres, half a stride on."""
    if source.tensors[name].numel() == 2 * sides.numel():
        deltas = source.tensors[name].float().unflatten(0, (-1, 4)).clone()
        deltas[:, :2] -= 0.5 / sides
        source.tensors[name] = deltas.flatten()


def _plain_norms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Variances with NORM_EPS taken off where the norms were frozen ones, which add nothing.

    Frozen norms are those that count no batches. Variances below NORM_EPS become 0.
    """
    if any(name.endswith("num_batches_tracked") for name in tensors):
        return dict(tensors)
    return {
        name: (tensor - NORM_EPS).clamp(min=0) if name.endswith("running_var") else tensor
        for name, tensor in tensors.items()
    }


def _fold_pyramid_norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions of the pyramid with bias instead of convolutions with batch norm."""
    folded = dict(tensors)
    for name in tensors:
        if match := re.fullmatch(r"(backbone\.fpn\.\w+\.\d+)\.1\.running_mean", name):
            block = match[1]
            norm = [
                folded.pop(f"{block}.1.{part}")
                for part in ("running_mean", "running_var", "weight", "bias")
            ]
            mean, variance, weight, bias = norm
            conv = tensors[f"{block}.0.weight"]
            folded[f"{block}.0.weight"], folded[f"{block}.0.bias"] = fuse_conv_bn_weights(
                conv, None, mean, variance, NORM_EPS, weight, bias
            )
    return folded

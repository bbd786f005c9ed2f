"""RDSNet_s: the small, fast RDSNet on YOLACT's streams, and YOLACT itself as its baseline.

AAAI 2020, section 4.1. Backbone, pyramid, detection head and pixel stream are YOLACT's; masks come
from RDSNet's correlation in place of a linear combination of prototypes. The input is stretched to
550 x 550 pixels: use `Preprocessing((550, 550), keep_ratio=False)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.backbone import Backbone, FeaturePyramid, StridedConvLevels, build_backbone
from jointseg_core.boxes import (
    BOX_WEIGHTS,
    AnchorGrid,
    best_of_levels,
    box_loss,
    decode_boxes,
    detect,
    of_any_class,
)
from jointseg_core.correlation import (
    contrast,
    correlate,
    count_mask_samples,
    mask_losses,
    mask_samples,
    sample_masks,
    shrink_masks,
    threshold_masks,
)
from jointseg_core.layers import CellConv2d, conv_norm_relu, init_xavier, per_anchor, tower
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.targets import (
    IGNORED,
    Target,
    anchor_labels,
    assign_batch,
    count_positives,
    divide,
)

_STRIDES = (8, 16, 32, 64, 128)
_BOX_LOSS_WEIGHT = 1.5
_HARD_NEGATIVES = 3  # background anchors per object in the classification loss


@dataclass(frozen=True)
class RDSNetSConfig:
    """The numbers of the paper and of YOLACT, for ImageNet weights; see PRESETS for smaller ones.

    Table 3 by neutral values: train_margin=0 is a row without TE, hard_ratio=inf without OHEM,
    test_margin=0 without IE; `as_yolact` is its first row.
    """

    num_classes: int
    backbone: str = "r101"  # tiny, r18, r50, r101 or lite0
    norm: str = "trainable"
    frozen_stages: int = 0
    channels: int = 256
    head_groups: int = 0  # groups of the heads' group norm, 0 = none
    filter_size: int = 32  # d, length of a representation
    linear_combination: bool = False  # YOLACT's masks instead of the correlation
    anchor_size: float = 3.0  # side of a level's square anchor in strides
    max_masks: int = 100  # positive anchors per image that train masks
    min_mask_area: int = 0  # network pixels; smaller objects train no masks
    mask_weight: float = 6.125  # of the mask loss
    train_margin: float = 0.25  # crops expand boxes by 1.5 in training
    test_margin: float = 0.1  # and by 1.2 at inference
    hard_ratio: float = 1.0  # background pixels per object pixel in the mask loss; inf = all
    candidates: int = 1000  # per level, before NMS
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    mask_threshold: float = 0.4
    max_detections: int = 100


def as_yolact(config: RDSNetSConfig) -> RDSNetSConfig:
    """The baseline "LC" of Table 3: linear combination, crops are the boxes, all pixels count."""
    return replace(
        config,
        linear_combination=True,
        train_margin=0.0,
        test_margin=0.0,
        hard_ratio=math.inf,
        mask_threshold=0.5,
    )


class RDSNetSOutput(NamedTuple):
    """What `forward` computes.

    The convolutions for boxes and representations are left to loss and decoding, which need them at
    a few anchors only; that of the auxiliary segmentation is for the loss alone.
    """

    anchors: list[Tensor]  # per level [h * w * k, 4]
    class_logits: Tensor  # [B, A, K + 1], background comes last
    features: list[Tensor]  # per level [B, C, h, w], for boxes and representations
    finest: Tensor  # P3 [B, C, H/8, W/8], for the auxiliary segmentation
    pixels: Tensor  # [B, d, H/4, W/4]

    def image(self, index: int) -> RDSNetSOutput:
        """The output for one image of the batch, without the batch dimension."""
        return RDSNetSOutput(
            self.anchors,
            self.class_logits[index],
            [f[index] for f in self.features],
            self.finest[index],
            self.pixels[index],
        )


class _SharedHead(nn.Module):
    """One convolution for all levels, then classes, boxes and representations of objects."""

    def __init__(self, config: RDSNetSConfig, per_cell: int) -> None:
        super().__init__()
        channels, self.filter_size = config.channels, config.filter_size
        self.per_cell, self.outputs = per_cell, config.num_classes + 1
        self.linear_combination = config.linear_combination
        values = self.filter_size * (1 if self.linear_combination else 2)
        self.shared = conv_norm_relu(channels, channels, config.head_groups)
        self.class_logits = nn.Conv2d(channels, per_cell * self.outputs, 3, padding=1)
        self.box_deltas = CellConv2d(channels, per_cell * 4)
        self.filters = CellConv2d(channels, per_cell * values)
        init_xavier(self)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """P3..P7 [B, C, h, w] to class logits [B, A, K + 1] and features of the same sizes."""
        features = [self.shared(level) for level in levels]
        return per_anchor([self.class_logits(f) for f in features], self.outputs), features

    def deltas_at(self, features: list[Tensor], anchors: Tensor) -> Tensor:
        """Box deltas [n, 4] of anchors [n] of one image, times BOX_WEIGHTS."""
        return self.box_deltas.at_anchors(features, anchors, self.per_cell)

    def representations_at(self, features: list[Tensor], anchors: Tensor) -> Tensor:
        """What anchors [n] of one image multiply pixels by to get the logits of masks [n, d]."""
        values = self.filters.at_anchors(features, anchors, self.per_cell)
        if self.linear_combination:
            return values.tanh()
        return contrast(values.view(-1, 2, self.filter_size))


class _Prototypes(nn.Module):
    """YOLACT's pixel stream, P3 at twice its size; rectified as there, or linear as in RDSNet."""

    def __init__(self, channels: int, filter_size: int, groups: int, rectified: bool) -> None:
        super().__init__()
        self.before = tower(channels, channels, 3, groups)
        self.after = conv_norm_relu(channels, channels, groups)
        self.output = nn.Conv2d(channels, filter_size, 1)
        self.activation = nn.ReLU() if rectified else nn.Identity()
        init_xavier(self)

    def forward(self, finest: Tensor) -> Tensor:
        """P3 [B, C, H/8, W/8] to pixel representations [B, d, H/4, W/4], in fp32."""
        enlarged = F.interpolate(self.before(finest), scale_factor=2, mode="bilinear")
        pixels: Tensor = self.activation(self.output(self.after(enlarged)).float())
        return pixels


class RDSNetS(nn.Module):
    """YOLACT's streams, RDSNet's correlation; see `build_rdsnet_s`."""

    def __init__(
        self,
        config: RDSNetSConfig,
        backbone: Backbone,
        pyramid: FeaturePyramid,
        anchors: AnchorGrid,
        object_stream: _SharedHead,
        pixel_stream: _Prototypes,
        segmentation: nn.Conv2d,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.pyramid = pyramid
        self.anchors = anchors
        self.object_stream = object_stream
        self.pixel_stream = pixel_stream
        self.segmentation = segmentation

    def forward(self, images: Tensor) -> RDSNetSOutput:
        """Raw outputs for normalised images [B, 3, H, W] of any size."""
        levels = self.pyramid(self.backbone(images)[1:])  # P3..P7
        class_logits, features = self.object_stream(levels)
        anchors = self.anchors(images.shape[-2:], images.device)
        pixels = self.pixel_stream(levels[0])
        return RDSNetSOutput(anchors, class_logits, features, levels[0], pixels)

    # -- training -----------------------------------------------------------------------------

    def loss(
        self,
        output: RDSNetSOutput,
        targets: list[Target],
        counts: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Losses `classification`, `box`, `mask` and `segmentation` with YOLACT's weights in them.

        Each is a sum over this batch, divided by its `counts`, by default those of this batch. The
        last one, of all classes over all pixels of P3, helps in training and has no other use.
        Targets are in network pixels.
        """
        sought = self._assign(targets, output.anchors)
        images = [(output.image(i), *pair) for i, pair in enumerate(sought)]
        losses = {
            "classification": [self._class_loss(*image) for image in images],
            "box": [self._box_loss(*image) for image in images],
            "mask": [self._mask_loss(*image) for image in images],
            "segmentation": [self._segmentation_loss(output.finest, [t for t, _ in sought])],
        }
        cells = output.finest.shape[-2] * output.finest.shape[-1]
        return divide(losses, self._counts(sought, cells) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: Sequence[int]) -> dict[str, float]:
        """What `loss` divides by, for images that fill an input of (H, W) pixels.

        classification, box  positive anchors, at least one for each image
        mask                 positive anchors that train masks: for each image those whose object
                             has more than min_mask_area pixels, at most max_masks
        segmentation         cells of P3

        They need no network; see `divide` for batches that are computed in parts.
        """
        anchors = self.anchors(input_size, targets[0].boxes.device)
        cells = math.prod(math.ceil(side / _STRIDES[0]) for side in input_size)
        return self._counts(self._assign(targets, anchors), cells)

    def _counts(self, sought: list[tuple[Target, Tensor]], cells: int) -> dict[str, float]:
        positives = count_positives(sought)
        return {
            "classification": positives,
            "box": positives,
            "mask": count_mask_samples(sought, **self._mask_limits),
            "segmentation": cells * len(sought),
        }

    def _assign(self, targets: list[Target], anchors: list[Tensor]) -> list[tuple[Target, Tensor]]:
        return assign_batch(targets, anchors, 0.5, 0.4)

    @property
    def _mask_limits(self) -> dict[str, int]:
        return {"min_area": self.config.min_mask_area, "limit": self.config.max_masks}

    def _class_loss(self, output: RDSNetSOutput, target: Target, assigned: Tensor) -> Tensor:
        counted = assigned != IGNORED
        labels = anchor_labels(target, assigned, self.config.num_classes)[counted]
        return _mined_cross_entropy(output.class_logits[counted], labels, _HARD_NEGATIVES)

    def _box_loss(self, output: RDSNetSOutput, target: Target, assigned: Tensor) -> Tensor:
        positive = (assigned >= 0).nonzero().flatten()
        deltas = self.object_stream.deltas_at(output.features, positive)
        anchors, boxes = torch.cat(output.anchors)[positive], target.boxes[assigned[positive]]
        scale = deltas.new_tensor(BOX_WEIGHTS)
        return box_loss(deltas, boxes, anchors, beta=1.0, scale=scale) * _BOX_LOSS_WEIGHT

    def _mask_loss(self, output: RDSNetSOutput, target: Target, assigned: Tensor) -> Tensor:
        sampled, config = mask_samples(target, assigned, **self._mask_limits), self.config
        representations = self.object_stream.representations_at(output.features, sampled)
        crops = target, assigned[sampled], config.train_margin, config.hard_ratio
        return mask_losses(representations, output.pixels, *crops).sum() * config.mask_weight

    def _segmentation_loss(self, finest: Tensor, targets: list[Target]) -> Tensor:
        logits = self.segmentation(finest)
        wanted = torch.stack([_class_maps(target, logits.shape[1]) for target in targets])
        return F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="sum")

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: RDSNetSOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects of each image with their masks, in camera pixels."""
        return [self._decode(output.image(i), frame) for i, frame in enumerate(frames)]

    def _decode(self, output: RDSNetSOutput, frame: Letterbox) -> Predictions:
        config, all_scores = self.config, _scores(output)
        anchors = self._candidates(output, all_scores, config.score_threshold)
        boxes, scores = self._boxes_at(output, anchors, frame), all_scores[anchors]
        limits = config.score_threshold, config.nms_iou, config.max_detections
        rows, labels = detect(boxes, scores, *limits)
        representations = self.object_stream.representations_at(output.features, anchors[rows])
        logits = correlate(representations, output.pixels)
        crops = sample_masks(logits, boxes[rows], config.test_margin, frame)
        masks = threshold_masks(*crops, config.mask_threshold)
        return Predictions(frame.image_size, boxes[rows], scores[rows, labels], labels, masks)

    @torch.no_grad()
    def proposals(
        self, output: RDSNetSOutput, frames: list[Letterbox], limit: int = 1000
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes [n, 4] in camera pixels and scores [n] of each image, n <= limit, best first.

        An anchor scores as its best class does; NMS is that of `of_any_class`.
        """
        results = []
        for image, frame in ((output.image(i), frame) for i, frame in enumerate(frames)):
            scores = _scores(image)
            anchors = self._candidates(image, scores, threshold=0)
            boxes = self._boxes_at(image, anchors, frame)
            results.append(of_any_class(boxes, scores[anchors].amax(1), limit))
        return results

    def _candidates(self, output: RDSNetSOutput, scores: Tensor, threshold: float) -> Tensor:
        """Indices of each level's best anchors, without those whose best class is not above it."""
        sizes = [len(level) for level in output.anchors]
        return best_of_levels(scores.amax(1), sizes, self.config.candidates, threshold)[0]

    def _boxes_at(self, output: RDSNetSOutput, anchors: Tensor, frame: Letterbox) -> Tensor:
        deltas = self.object_stream.deltas_at(output.features, anchors)
        deltas = deltas / deltas.new_tensor(BOX_WEIGHTS)
        return frame.to_image(decode_boxes(deltas, torch.cat(output.anchors)[anchors]))


def _scores(output: RDSNetSOutput) -> Tensor:
    """Probabilities [A, K] of the classes of one image's anchors."""
    return output.class_logits.float().softmax(1)[:, :-1]


def _mined_cross_entropy(logits: Tensor, labels: Tensor, ratio: float) -> Tensor:
    """Cross entropy of logits [A, K + 1] at all objects and the hardest background, summed.

    labels [A] hold 0..K-1 for an object and K for background, of which `ratio` times as many count
    as there are objects, those with the highest losses (as if one, where there is no object).
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    is_object = labels < logits.shape[1] - 1
    background = losses[~is_object]
    wanted = int(ratio * max(1, int(is_object.sum())))
    return losses[is_object].sum() + background.topk(min(wanted, len(background))).values.sum()


def _class_maps(target: Target, num_classes: int) -> Tensor:
    """Where objects of each class are: maps [K, h, w] of 0 and 1 in cells of P3."""
    masks = shrink_masks(target.masks, _STRIDES[0]).float()
    return (
        masks.new_zeros(num_classes, *masks.shape[1:])
        .index_add(0, target.labels, masks)
        .clamp(max=1)
    )


# -- building ---------------------------------------------------------------------------------

PRESETS = {
    "r101": RDSNetSConfig(80),
    "r50": RDSNetSConfig(80, backbone="r50"),
    "tiny": RDSNetSConfig(
        8,
        backbone="tiny",
        channels=64,
        head_groups=8,
        filter_size=16,
        anchor_size=2.0,
        max_masks=40,
        min_mask_area=20,
    ),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""


def build_rdsnet_s(config: RDSNetSConfig) -> RDSNetS:
    """RDSNet_s, or YOLACT for a config of `as_yolact`."""
    backbone = build_backbone(config.backbone, config.norm, config.frozen_stages)
    channels, groups = config.channels, config.head_groups
    anchors = AnchorGrid(_STRIDES, config.anchor_size)
    segmentation = nn.Conv2d(channels, config.num_classes, 1)
    init_xavier(segmentation)
    return RDSNetS(
        config,
        backbone=backbone,
        pyramid=FeaturePyramid(
            backbone.widths[1:],
            channels,
            StridedConvLevels(None, channels),
            top_down="bilinear",
            activation=nn.ReLU(),
        ),
        anchors=anchors,
        object_stream=_SharedHead(config, anchors.per_cell),
        pixel_stream=_Prototypes(channels, config.filter_size, groups, config.linear_combination),
        segmentation=segmentation,
    )

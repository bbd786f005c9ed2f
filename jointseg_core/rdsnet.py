"""RDSNet: a new deep architecture for reciprocal object detection and instance segmentation.

AAAI 2020; section numbers refer to it. This is the RetinaNet instance as its authors released it:
an object stream finds boxes and gives every object a representation, a pixel stream gives every
pixel one, and their correlation is the object's mask. Masks then refine the boxes (3.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from jointseg_core.anchors import AnchorGrid
from jointseg_core.backbone import FeaturePyramid, ResNet, StridedConvLevels
from jointseg_core.boxes import crop_windows, decode_boxes, has_area, window_pixels
from jointseg_core.layers import (
    CellConv2d,
    conv_norm_relu,
    init_normal,
    init_xavier,
    per_anchor,
    tower,
)
from jointseg_core.losses import (
    box_loss,
    divide,
    focal_loss,
    mean_per_object,
    select_hard_pixels,
)
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.preprocessing import Letterbox
from jointseg_core.refinement import BoundaryRefinement, mask_profiles
from jointseg_core.targets import IGNORED, Target, assign_anchors, random_subset

MASK_STRIDE = 4
"""Network pixels per cell of the pixel stream's map."""
OCTAVE_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Anchor sides of a level against its smallest."""


@dataclass(frozen=True)
class RDSNetConfig:
    """The numbers of the paper, for ImageNet weights; see PRESETS for smaller networks."""

    num_classes: int
    backbone: str = "r101"
    norm: str = "fixed_statistics"
    frozen_stages: int = 2
    channels: int = 256
    head_depth: int = 4
    head_groups: int = 32  # groups of the heads' group norm, 0 = none
    filter_size: int = 32  # d, length of a representation
    anchor_size: float = 4.0  # side of a level's smallest anchor in strides
    pixel_level: int = 3  # finest level of the pixel stream: 3 as released, 2 as printed
    max_masks: int = 100  # positive anchors per image that train masks
    min_mask_area: int = 100  # network pixels; smaller objects train no masks
    train_margin: float = 0.25  # crops expand boxes by 1.5 in training
    test_margin: float = 0.1  # and by 1.2 at inference
    hard_ratio: float = 1.0  # background pixels per object pixel in the mask loss; inf = all
    gamma: float = 0.05  # prior of the boundary refinement in box sides; 0 = no refinement
    candidates: int = 1000  # per level, before NMS
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    mask_threshold: float = 0.4
    max_detections: int = 100


class RDSNetOutput(NamedTuple):
    """What `forward` computes; the last convolution of two heads waits until it is known where."""

    anchors: list[Tensor]  # per level [h * w * k, 4]
    class_logits: Tensor  # [B, A, K]
    box_features: list[Tensor]  # per level [B, C, h, w]
    filter_features: list[Tensor]  # per level [B, C, h, w]
    pixels: Tensor  # [B, d, H/4, W/4]

    def image(self, index: int) -> RDSNetOutput:
        """The output for one image of the batch, without the batch dimension."""
        return RDSNetOutput(
            self.anchors,
            self.class_logits[index],
            [f[index] for f in self.box_features],
            [f[index] for f in self.filter_features],
            self.pixels[index],
        )


class ObjectStream(nn.Module):
    """Three towers over all levels: classes, boxes, and representations of objects (3.1)."""

    def __init__(self, config: RDSNetConfig, per_cell: int) -> None:
        super().__init__()
        channels, depth, groups = config.channels, config.head_depth, config.head_groups
        self.num_classes, self.filter_size, self.per_cell = (
            config.num_classes,
            config.filter_size,
            per_cell,
        )
        self.class_tower = tower(channels, channels, depth, groups)
        self.box_tower = tower(channels, channels, depth, groups)
        self.filter_tower = tower(channels, channels, depth, groups)
        self.class_logits = nn.Conv2d(channels, per_cell * config.num_classes, 3, padding=1)
        self.box_deltas = CellConv2d(channels, per_cell * 4)
        self.filters = CellConv2d(channels, per_cell * 2 * config.filter_size)
        init_normal(self)
        nn.init.constant_(self.class_logits.bias, -math.log(0.99 / 0.01))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """P3..P7 [B, C, h, w] to class logits [B, A, K] and the features of the other two heads."""
        logits = per_anchor(
            [self.class_logits(self.class_tower(f)) for f in features], self.num_classes
        )
        return (
            logits,
            [self.box_tower(f) for f in features],
            [self.filter_tower(f) for f in features],
        )

    def deltas_at(self, box_features: list[Tensor], anchors: Tensor) -> Tensor:
        """Box deltas [n, 4] of anchors [n] (their indices) of one image."""
        return self._at(self.box_deltas, box_features, anchors).view(-1, 4)

    def filters_at(self, filter_features: list[Tensor], anchors: Tensor) -> Tensor:
        """Representations [n, 2, d] of anchors [n] of one image: background, then object."""
        values = self._at(self.filters, filter_features, anchors)
        return values.view(-1, 2, self.filter_size)

    def _at(self, conv: CellConv2d, features: list[Tensor], anchors: Tensor) -> Tensor:
        cells, inverse = (anchors // self.per_cell).unique(return_inverse=True)
        values = conv.at(features, cells).unflatten(1, (self.per_cell, -1))
        return values[inverse, anchors % self.per_cell]


class PixelStream(nn.Module):
    """Sums the pyramid at its finest level and gives every cell a representation (3.1).

    levels  how many pyramid levels come in, finest first
    up      whether the sum is doubled in size (P3 to stride 4); P2 needs no doubling
    """

    def __init__(
        self, channels: int, filter_size: int, groups: int, levels: int = 3, up: bool = True
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.ModuleList(
                    [conv_norm_relu(channels, channels, groups) for _ in range(max(1, level))]
                )
                for level in range(levels)
            ]
        )
        self.merge = conv_norm_relu(channels, channels, groups) if up else nn.Identity()
        self.factor = 2 if up else 1
        init_xavier(self)
        self.output = nn.Conv2d(channels, filter_size, 1)
        init_normal(self.output)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps [B, C, h, w] to pixel representations [B, d, H/4, W/4]."""
        merged = self.merge(sum(self._branch(i, f) for i, f in enumerate(features)))
        # a 1x1 convolution and a bilinear resize commute: project first, there are fewer pixels
        return _enlarge(self.output(merged), self.factor)

    def _branch(self, level: int, x: Tensor) -> Tensor:
        for conv in self.branches[level]:
            x = _enlarge(conv(x), 2 if level else 1)
        return x


def _enlarge(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


def correlate(filters: Tensor, pixels: Tensor) -> Tensor:
    """Mask logits [..., h, w] of representations [..., d] over pixels [d, h, w] (3.1).

    With [N, 2, d] these are background and object logits; with the difference of the two,
    [N, d], the logit of the object's probability.
    """
    return torch.einsum("...d,dhw->...hw", filters, pixels)


def contrast(filters: Tensor) -> Tensor:
    """Object minus background representation [N, d]: its sigmoid is the softmax over the two."""
    return filters[:, 1] - filters[:, 0]


class RDSNet(nn.Module):
    """Object stream, pixel stream, correlation and refinement; see `build_rdsnet`."""

    def __init__(
        self,
        config: RDSNetConfig,
        backbone: nn.Module,
        pyramid: nn.Module,
        anchors: AnchorGrid,
        object_stream: ObjectStream,
        pixel_stream: nn.Module,
        refinement: BoundaryRefinement,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.pyramid = pyramid
        self.anchors = anchors
        self.object_stream = object_stream
        self.pixel_stream = pixel_stream
        self.refinement = refinement.requires_grad_(False)  # trains alone, in a second stage

    def forward(self, images: Tensor) -> RDSNetOutput:
        """Normalised images [B, 3, H, W]; H and W multiples of 32."""
        levels = self.pyramid(self.backbone(images)[-self.pyramid.inputs :])
        objects = levels[-5:]  # P3..P7
        class_logits, box_features, filter_features = self.object_stream(objects)
        pixels = self.pixel_stream(levels[: self.pyramid.inputs])  # up to P5
        anchors = self.anchors(tuple(images.shape[-2:]), images.device)
        return RDSNetOutput(anchors, class_logits, box_features, filter_features, pixels)

    # -- training -----------------------------------------------------------------------------

    def loss(
        self,
        output: RDSNetOutput,
        targets: list[Target],
        counts: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Losses `classification`, `box` and `mask` (3.2), each with weight 1.

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        """
        found = self._assign(targets, output.anchors)
        images = [(output.image(i), *pair) for i, pair in enumerate(found)]
        sums = {
            "classification": sum(self._class_loss(*image) for image in images),
            "box": sum(self._box_loss(*image) for image in images),
            "mask": sum(self._mask_losses(*image).sum() for image in images),
        }
        return divide(sums, self._counts(found) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: tuple[int, int]) -> dict[str, float]:
        """What `loss` divides by, for images that fill an input of (H, W) pixels.

        classification, box  positive anchors, at least one for each image
        mask                 positive anchors that train masks: for each image those whose object
                             has more than min_mask_area pixels, at most max_masks

        They need no network and add up over images, so those of all parts of a batch, handed to
        `loss` for each part, make the losses of the parts add up to the loss of the batch.
        """
        device = targets[0].boxes.device
        return self._counts(self._assign(targets, self.anchors(input_size, device)))

    def _counts(self, found: list[tuple[Target, Tensor]]) -> dict[str, float]:
        positives = sum(max(1, int((assigned >= 0).sum())) for _, assigned in found)
        masks = sum(min(len(self._mask_candidates(*pair)), self.config.max_masks) for pair in found)
        return {"classification": positives, "box": positives, "mask": masks}

    def _assign(self, targets: list[Target], anchors: list[Tensor]) -> list[tuple[Target, Tensor]]:
        """What is sought in each image, crowds left out, and the object of each anchor [A]."""
        sought = [target[~target.crowd] for target in targets]
        every = torch.cat(anchors)
        return [(target, assign_anchors(every, target.boxes, 0.5, 0.4)) for target in sought]

    def _class_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        background = target.labels.new_tensor([self.config.num_classes])
        labels = torch.cat([target.labels, background])[assigned]  # NEGATIVE takes the last one
        counted = assigned != IGNORED
        return focal_loss(output.class_logits[counted], labels[counted])

    def _box_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        positive = (assigned >= 0).nonzero().flatten()
        deltas = self.object_stream.deltas_at(output.box_features, positive)
        anchors = torch.cat(output.anchors)[positive]
        return box_loss(deltas, target.boxes[assigned[positive]], anchors, beta=0.11)

    def _mask_candidates(self, target: Target, assigned: Tensor) -> Tensor:
        """Anchors [n] that may train masks: the positives whose objects have enough pixels."""
        large = target.masks.flatten(1).sum(1) > self.config.min_mask_area
        usable = torch.cat([large, large.new_zeros(2)])[assigned]  # NEGATIVE and IGNORED take these
        return usable.nonzero().flatten()

    def _mask_samples(self, target: Target, assigned: Tensor) -> Tensor:
        """Anchors [n] that do: a random choice of those."""
        candidates = self._mask_candidates(target, assigned)
        return random_subset(candidates, self.config.max_masks, target.generator())

    def _mask_losses(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        """Mean loss over the counted pixels of each sampled object's crop [n]."""
        config, sampled = self.config, self._mask_samples(target, assigned)
        objects = assigned[sampled]
        size = output.pixels.shape[-2:]
        windows = crop_windows(target.boxes[objects] / MASK_STRIDE, config.train_margin, size)
        owner, x, y = window_pixels(windows)
        filters = contrast(self.object_stream.filters_at(output.filter_features, sampled))
        logits = (filters[owner] * output.pixels[:, y, x].T).sum(1)
        wanted = shrink_masks(target.masks)[objects[owner], y, x]
        losses = F.binary_cross_entropy_with_logits(
            logits, wanted.to(logits.dtype), reduction="none"
        )
        keep = select_hard_pixels(losses, wanted, owner, config.hard_ratio)
        return mean_per_object(losses, keep, owner, len(sampled))

    def refinement_loss(
        self,
        output: RDSNetOutput,
        targets: list[Target],
        counts: Mapping[str, float] | None = None,
    ) -> Tensor:
        """Cross entropy of the refined sides, mean over the anchors that train masks (3.3).

        The second training stage minimises it over the refinement's parameters alone. `counts` are
        those of `loss`; the one named mask is the divisor.
        """
        found = self._assign(targets, output.anchors)
        counts = self._counts(found) if counts is None else counts
        losses = [self._refinement_loss(output.image(i), *pair) for i, pair in enumerate(found)]
        return sum(losses) / max(counts["mask"], 1)

    def _refinement_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        sampled = self._mask_samples(target, assigned)
        if not len(sampled):
            return sum(parameter.sum() for parameter in self.refinement.parameters()) * 0
        height, width = (MASK_STRIDE * side for side in output.pixels.shape[-2:])
        frame = Letterbox((height, width), (height, width))
        with torch.no_grad():
            boxes = self._boxes_at(output, sampled, frame)
            windows, logits = self._mask_logits(output, sampled, boxes, frame)
            profiles = mask_profiles(logits, windows, frame.image_size)
        wanted = target.boxes[assigned[sampled]]
        return self.refinement.loss(*profiles, boxes, wanted) * len(sampled)

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: RDSNetOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects of each image with their masks, in camera pixels."""
        return [self._decode(output.image(i), frame) for i, frame in enumerate(frames)]

    def _decode(self, output: RDSNetOutput, frame: Letterbox) -> Predictions:
        anchors, boxes, scores, labels = self._detect(output, frame)
        windows, logits = self._mask_logits(output, anchors, boxes, frame)
        boxes = self.refinement(*mask_profiles(logits, windows, frame.image_size), boxes)
        threshold = logit(self.config.mask_threshold)
        masks = Masks.from_crops(windows, [crop > threshold for crop in logits])
        return Predictions(frame.image_size, boxes, scores, labels, masks)

    def _detect(
        self, output: RDSNetOutput, frame: Letterbox
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Anchors, boxes, scores and labels of what survives NMS, best first."""
        config = self.config
        candidates = self._candidates(output)
        scores = output.class_logits[candidates].sigmoid()  # [n, K]
        boxes = self._boxes_at(output, candidates, frame)
        found = (scores > config.score_threshold) & has_area(boxes)[:, None]  # none in the padding
        row, labels = found.nonzero(as_tuple=True)
        boxes, scores = boxes[row], scores[row, labels]
        keep = batched_nms(boxes, scores, labels, config.nms_iou)[: config.max_detections]
        return candidates[row[keep]], boxes[keep], scores[keep], labels[keep]

    def _candidates(self, output: RDSNetOutput) -> Tensor:
        """Indices of each level's best anchors, without those that no class can save."""
        best = output.class_logits.amax(1)
        threshold = logit(self.config.score_threshold)
        chosen, start = [], 0
        for level in output.anchors:
            logits = best[start : start + len(level)]
            top = logits.topk(min(self.config.candidates, len(level)))
            chosen.append(start + top.indices[top.values > threshold])
            start += len(level)
        return torch.cat(chosen)

    def _boxes_at(self, output: RDSNetOutput, anchors: Tensor, frame: Letterbox) -> Tensor:
        deltas = self.object_stream.deltas_at(output.box_features, anchors)
        return frame.to_image(decode_boxes(deltas, torch.cat(output.anchors)[anchors]))

    def _mask_logits(
        self, output: RDSNetOutput, anchors: Tensor, boxes: Tensor, frame: Letterbox
    ) -> tuple[Tensor, list[Tensor]]:
        """Windows [N, 4] around the anchors' objects, and the mask logits [h_i, w_i] inside."""
        cell = MASK_STRIDE / min(frame.scale)
        windows = crop_windows(boxes, self.config.test_margin, frame.image_size, min_pad=cell)
        filters = contrast(self.object_stream.filters_at(output.filter_features, anchors))
        maps = correlate(filters, output.pixels)  # [N, H/4, W/4]
        return windows, frame.sample(maps, MASK_STRIDE, windows)


def logit(probability: float) -> float:
    """The number whose sigmoid is the probability; infinite for 0 and 1."""
    return torch.tensor(probability, dtype=torch.float64).logit().item()


def shrink_masks(masks: Tensor) -> Tensor:
    """Masks [N, H, W] at the pixel stream's size, bool [N, H/4, W/4]."""
    if not len(masks):
        return masks[:, ::MASK_STRIDE, ::MASK_STRIDE]
    scale = 1 / MASK_STRIDE
    return F.interpolate(masks[:, None].float(), scale_factor=scale, mode="bilinear")[:, 0] > 0.5


# -- building ---------------------------------------------------------------------------------

PRESETS = {
    "r101": RDSNetConfig(80),
    "r50": RDSNetConfig(80, backbone="r50"),
    "r18": RDSNetConfig(80, backbone="r18", channels=128, head_depth=3),
    "tiny": RDSNetConfig(
        8,
        backbone="tiny",
        norm="trainable",
        frozen_stages=0,
        channels=64,
        head_depth=2,
        head_groups=8,
        filter_size=16,
        anchor_size=2.0,
        max_masks=40,
        min_mask_area=20,
    ),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""


def build_rdsnet(config: RDSNetConfig, backbone_weights: str | None = None) -> RDSNet:
    """RDSNet as released: pixel stream on P3..P5, group norm in the heads (4.1).

    backbone_weights is a ResNet file in torchvision's format; without it weights are random.
    """
    backbone = ResNet(config.backbone, config.norm, config.frozen_stages)
    if backbone_weights:
        backbone.load_imagenet(backbone_weights)
    widths = backbone.widths[config.pixel_level - 2 :]
    anchors = AnchorGrid((8, 16, 32, 64, 128), config.anchor_size, scales=OCTAVE_SCALES)
    return RDSNet(
        config,
        backbone=backbone,
        pyramid=FeaturePyramid(
            widths, config.channels, StridedConvLevels(backbone.widths[-1], config.channels)
        ),
        anchors=anchors,
        object_stream=ObjectStream(config, anchors.per_cell),
        pixel_stream=PixelStream(
            config.channels,
            config.filter_size,
            config.head_groups,
            levels=len(widths),
            up=config.pixel_level == 3,
        ),
        refinement=BoundaryRefinement(config.gamma),
    )


def build_rdsnet_printed(config: RDSNetConfig, backbone_weights: str | None = None) -> RDSNet:
    """RDSNet as printed: pixel stream on P2..P5 as in PanopticFPN, no norm in the heads."""
    return build_rdsnet(replace(config, pixel_level=2, head_groups=0), backbone_weights)

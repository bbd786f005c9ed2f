"""RDSNet: a new deep architecture for reciprocal object detection and instance segmentation.

AAAI 2020; section numbers refer to it. This is the instance on RetinaNet as its authors released
it: an object stream finds boxes and gives every object a representation, a pixel stream gives every
pixel one, and their correlation is the object's mask (3.1). Masks then refine the boxes (3.3).
Where the released code and the paper differ, the code counts: its numbers are those of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from jointseg_core.backbone import Backbone, FeaturePyramid, StridedConvLevels, build_backbone
from jointseg_core.boxes import (
    AnchorGrid,
    best_of_levels,
    box_loss,
    decode_boxes,
    detect,
    logit,
    of_any_class,
)
from jointseg_core.correlation import (
    MASK_STRIDE,
    NoPixelStream,
    ObjectStream,
    PixelStream,
    contrast,
    correlate,
    count_mask_samples,
    mask_losses,
    mask_samples,
    sample_masks,
    threshold_masks,
)
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.refinement import BoundaryRefinement, mask_profiles
from jointseg_core.targets import (
    IGNORED,
    Target,
    anchor_labels,
    assign_batch,
    count_positives,
    divide,
)

_OCTAVE_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # anchor sides of a level


@dataclass(frozen=True)
class RDSNetConfig:
    """The numbers of the paper, for ImageNet weights; see PRESETS for smaller networks."""

    num_classes: int
    backbone: str = "r101"  # tiny, r18, r50, r101 or lite0
    norm: str = "fixed_statistics"  # of the backbone, see `build_backbone`
    frozen_stages: int = 2  # of the backbone: stem and first stage
    channels: int = 256  # of the pyramid and both streams
    head_depth: int = 4  # 3x3 convolutions in each tower of the object stream
    head_groups: int = 32  # groups of the heads' group norm, 0 = none
    pixel_groups: int | None = None  # the same of the pixel stream; None = as many
    filter_size: int = 32  # d, length of a representation; 0 = RetinaNet, without masks
    anchor_size: float = 4.0  # side of a level's smallest anchor in strides
    pixel_level: int = 3  # finest level of the pixel stream: 3 as released, 2 as printed
    max_masks: int = 100  # positive anchors per image that train masks
    min_mask_area: int = 100  # network pixels; smaller objects train no masks
    train_margin: float = 0.25  # crops expand boxes by 1.5 in training
    test_margin: float = 0.1  # and by 1.2 at inference
    hard_ratio: float = 1.0  # background pixels per object pixel in the mask loss; inf = all
    gamma: float = 0.05  # prior of the boundary refinement in box sides; 0 = no refinement
    refinement_reach: int = 4  # s: its kernel sees so many pixels to either side
    candidates: int = 1000  # per level, before NMS
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    mask_threshold: float = 0.4  # probability above which a pixel is the object's
    max_detections: int = 100  # per image


class RDSNetOutput(NamedTuple):
    """What `forward` computes.

    The last convolutions for boxes and for representations are left to loss and decoding, which
    need them at a few anchors only.
    """

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


class RDSNet(nn.Module):
    """Object stream, pixel stream, correlation and refinement; see `build_rdsnet`."""

    def __init__(
        self,
        config: RDSNetConfig,
        backbone: Backbone,
        pyramid: FeaturePyramid,
        anchors: AnchorGrid,
        object_stream: ObjectStream,
        pixel_stream: PixelStream | NoPixelStream,
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
        """Raw outputs for normalised images [B, 3, H, W]; H and W multiples of 32."""
        levels = self.pyramid(self.backbone(images)[-self.pyramid.inputs :])
        return self.streams(levels, images.shape[-2:])

    def streams(self, levels: list[Tensor], input_size: Sequence[int]) -> RDSNetOutput:
        """Both streams on the pyramid of an input of (H, W) pixels, from its pixel_level to P7."""
        class_logits, box_features, filter_features = self.object_stream(levels[-5:])  # P3..P7
        pixels = self.pixel_stream(levels[:-2])  # up to P5
        anchors = self.anchors(input_size, pixels.device)
        return RDSNetOutput(anchors, class_logits, box_features, filter_features, pixels)

    # -- training -----------------------------------------------------------------------------

    def loss(
        self, output: RDSNetOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Losses `classification`, `box` and `mask` (3.2), each with weight 1.

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        Targets are in network pixels.
        """
        sought = self._assign(targets, output.anchors)
        images = [(output.image(i), *pair) for i, pair in enumerate(sought)]
        losses = {
            "classification": [self._class_loss(*image) for image in images],
            "box": [self._box_loss(*image) for image in images],
        }
        if self.config.filter_size:
            losses["mask"] = [self._mask_loss(*image) for image in images]
        return divide(losses, self._counts(sought) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: Sequence[int]) -> dict[str, float]:
        """What `loss` divides by, for images that fill an input of (H, W) pixels.

        classification, box  positive anchors, at least one for each image
        mask                 positive anchors that train masks: for each image those whose object
                             has more than min_mask_area pixels, at most max_masks

        They need no network; see `divide` for batches that are computed in parts.
        """
        device = targets[0].boxes.device
        return self._counts(self._assign(targets, self.anchors(input_size, device)))

    def _counts(self, sought: list[tuple[Target, Tensor]]) -> dict[str, float]:
        positives = count_positives(sought)
        counts: dict[str, float] = {"classification": positives, "box": positives}
        if self.config.filter_size:
            counts["mask"] = count_mask_samples(sought, **self._mask_limits)
        return counts

    def _assign(self, targets: list[Target], anchors: list[Tensor]) -> list[tuple[Target, Tensor]]:
        return assign_batch(targets, anchors, 0.5, 0.4)  # as RetinaNet

    @property
    def _mask_limits(self) -> dict[str, int]:
        return {"min_area": self.config.min_mask_area, "limit": self.config.max_masks}

    def _class_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        """Focal loss over all anchors that are positive or negative."""
        counted, classes = assigned != IGNORED, self.config.num_classes
        labels = anchor_labels(target, assigned, background=classes)[counted]
        logits = output.class_logits[counted]
        wanted = F.one_hot(labels, classes + 1)[:, :classes].to(logits.dtype)
        loss: Tensor = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")
        return loss

    def _box_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        positive = (assigned >= 0).nonzero().flatten()
        deltas = self.object_stream.deltas_at(output.box_features, positive)
        anchors = torch.cat(output.anchors)[positive]
        return box_loss(deltas, target.boxes[assigned[positive]], anchors, beta=0.11)

    def _mask_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        sampled = mask_samples(target, assigned, **self._mask_limits)
        representations = contrast(
            self.object_stream.representations_at(output.filter_features, sampled)
        )
        objects, config = assigned[sampled], self.config
        return mask_losses(
            representations, output.pixels, target, objects, config.train_margin, config.hard_ratio
        ).sum()

    def refinement_loss(
        self, output: RDSNetOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> Tensor:
        """Cross entropy of the refined sides, mean over the anchors that train masks (3.3).

        The second training stage minimises it over the refinement's parameters alone. `counts` are
        those of `loss`; the one named mask is the divisor.
        """
        sought = self._assign(targets, output.anchors)
        counts = self._counts(sought) if counts is None else counts
        losses = [self._refinement_loss(output.image(i), *pair) for i, pair in enumerate(sought)]
        return reduce(torch.add, losses) / max(counts["mask"], 1)

    def _refinement_loss(self, output: RDSNetOutput, target: Target, assigned: Tensor) -> Tensor:
        sampled = mask_samples(target, assigned, **self._mask_limits)
        if not len(sampled):  # 0, but with gradients, which every process of a step has to have
            return (self.refinement.kernel.sum() + self.refinement.bias.sum()) * 0
        height, width = (MASK_STRIDE * side for side in output.pixels.shape[-2:])
        frame = Letterbox((height, width), (height, width))
        with torch.no_grad():
            boxes = frame.to_image(self._boxes_at(output, sampled))
            crops = self._crops(self._mask_logits(output, sampled), boxes, frame)
            profiles = mask_profiles(*crops, frame.image_size)
        wanted = target.boxes[assigned[sampled]]
        return self.refinement.loss(*profiles, boxes, wanted) * len(sampled)  # a sum, as others

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: RDSNetOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects of each image with their masks, in camera pixels.

        frames say how each image lies in the network's input.
        """
        return [self._decode(output.image(i), frame) for i, frame in enumerate(frames)]

    def _decode(self, output: RDSNetOutput, frame: Letterbox) -> Predictions:
        config = self.config
        # boxes for these anchors alone, representations for those alone that survive NMS
        anchors = self._candidates(output, config.score_threshold)
        network_boxes = self._boxes_at(output, anchors)
        boxes = frame.to_image(network_boxes)
        scores = output.class_logits[anchors].float().sigmoid()  # [n, K]
        limits = config.score_threshold, config.nms_iou, config.max_detections
        rows, labels = detect(boxes, scores, *limits)
        found = Predictions(frame.image_size, boxes[rows], scores[rows, labels], labels)
        if not config.filter_size:
            return found
        logits = self._mask_logits(output, anchors[rows])
        crops = self._crops(logits, found.boxes, frame)
        found = replace(found, masks=threshold_masks(*crops, config.mask_threshold))
        if not config.gamma:
            return found
        return replace(found, boxes=self._refined(logits, network_boxes[rows], crops, frame))

    def _refined(
        self,
        logits: Tensor,
        boxes: Tensor,
        crops: tuple[list[Tensor], Tensor],
        frame: Letterbox,
    ) -> Tensor:
        """Boxes [N, 4] in camera pixels, refined by the masks of these logits [N, h, w] (3.3).

        That is done in network pixels, for which the kernel was trained (3.4); crops are those of
        the camera, which are the same where it has as many pixels.
        """
        content = frame.content
        boxes = content.to_image(boxes)
        crops = crops if content == frame else self._crops(logits, boxes, content)
        refined = self.refinement(*mask_profiles(*crops, content.image_size), boxes)
        return frame.to_image(refined)

    @torch.no_grad()
    def proposals(
        self, output: RDSNetOutput, frames: list[Letterbox], limit: int = 1000
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes [n, 4] in camera pixels and scores [n] of each image, n <= limit, best first.

        An anchor scores as its best class does; NMS is that of `of_any_class`.
        """
        results = []
        for image, frame in ((output.image(i), frame) for i, frame in enumerate(frames)):
            anchors = self._candidates(image, threshold=0)
            scores = image.class_logits[anchors].amax(1).float().sigmoid()
            boxes = frame.to_image(self._boxes_at(image, anchors))
            results.append(of_any_class(boxes, scores, limit))
        return results

    def _candidates(self, output: RDSNetOutput, threshold: float) -> Tensor:
        """Indices of each level's best anchors, without those whose best class is not above it."""
        best, sizes = output.class_logits.amax(1), [len(level) for level in output.anchors]
        # the sigmoid is monotonic: logits are compared, and only the winners become scores
        return best_of_levels(best, sizes, self.config.candidates, logit(threshold))[0]

    def _boxes_at(self, output: RDSNetOutput, anchors: Tensor) -> Tensor:
        """Boxes [n, 4] of anchors [n] in network pixels."""
        deltas = self.object_stream.deltas_at(output.box_features, anchors)
        return decode_boxes(deltas, torch.cat(output.anchors)[anchors])

    def _mask_logits(self, output: RDSNetOutput, anchors: Tensor) -> Tensor:
        """Those of the objects of anchors [n], [n, H/4, W/4]."""
        values = self.object_stream.representations_at(output.filter_features, anchors)
        return correlate(contrast(values), output.pixels)

    def _crops(
        self, logits: Tensor, boxes: Tensor, frame: Letterbox
    ) -> tuple[list[Tensor], Tensor]:
        return sample_masks(logits, boxes, self.config.test_margin, frame)


# -- building ---------------------------------------------------------------------------------

PRESETS = {
    "r101": RDSNetConfig(80),
    # as printed (3.1, 4.1): towers as RetinaNet's, the pixel stream as PanopticFPN's
    "printed": RDSNetConfig(80, pixel_level=2, head_groups=0, pixel_groups=32),
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
        pixel_level=2,
        max_masks=40,
        min_mask_area=20,
    ),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""


def build_rdsnet(config: RDSNetConfig) -> RDSNet:
    """RDSNet as released, pixel stream on P3..P5, group norm in the heads; "printed" differs."""
    return RDSNet(config, **_parts(config, config.pixel_level if config.filter_size else 3))


def _parts(config: RDSNetConfig, finest: int) -> dict[str, Any]:
    """The arguments of `RDSNet` beside its config, with a pyramid from P{finest} to P7."""
    channels, groups, d = config.channels, config.head_groups, config.filter_size
    pixel_groups = groups if config.pixel_groups is None else config.pixel_groups
    backbone = build_backbone(config.backbone, config.norm, config.frozen_stages)
    coarser = StridedConvLevels(backbone.widths[-1], channels)
    anchors = AnchorGrid((8, 16, 32, 64, 128), config.anchor_size, scales=_OCTAVE_SCALES)
    classes, cell, depth = config.num_classes, anchors.per_cell, config.head_depth
    levels = 6 - config.pixel_level  # of the pixel stream, up to P5
    return {
        "backbone": backbone,
        "pyramid": FeaturePyramid(backbone.widths[finest - 2 :], channels, coarser),
        "anchors": anchors,
        "object_stream": ObjectStream(channels, classes, cell, d, depth, groups),
        "pixel_stream": PixelStream(channels, d, pixel_groups, levels) if d else NoPixelStream(),
        "refinement": BoundaryRefinement(config.gamma, config.refinement_reach),
    }

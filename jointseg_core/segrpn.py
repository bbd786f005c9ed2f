"""SegRPN: scale aware joint object detection and semantic segmentation.

A two-stage detector on a feature pyramid with two more branches: one gives every pixel a class, the
other tells things from stuff without saying which, level by level. A second proposal head on that
class-agnostic branch (RPN_mask) then helps the first (RPN_det), through its features and its
scores. Tables and equations are the paper's; what it leaves open is as in the detectors it builds
on, Faster R-CNN and FPN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jointseg_core.backbone import Backbone, FeaturePyramid, SubsampledLevel, build_backbone
from jointseg_core.boxes import AnchorGrid, detect, has_area
from jointseg_core.classes import UNLABELLED
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.regions import RegionHead, region_losses, sample_regions
from jointseg_core.rpn import (
    ProposalHead,
    ScaleMapHead,
    anchor_losses,
    choose_proposals,
    fuse_features,
    fuse_scores,
)
from jointseg_core.scale_maps import true_scale_maps
from jointseg_core.segmentation import (
    MAP_STRIDE,
    Segmentation,
    pixel_losses,
    pixel_maps,
    trained_pixels,
)
from jointseg_core.targets import Target, assign_batch, divide, sample, sample_size

_POSITIVE_ANCHORS = 0.5  # at most this share of the sampled anchors are objects


@dataclass(frozen=True)
class SegRPNConfig:
    """The numbers of the paper; see PRESETS for smaller networks.

    fuse_features is the rows "RPN" of Table I, fuse_scores its rows "ROI"; with *_train alone they
    are "w/o during inference".
    """

    num_things: int = 8  # classes of objects
    num_classes: int = 19  # of pixels, things and stuff
    things: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)  # semantic classes that are things
    backbone: str = "r50"  # tiny, r18, r50, r101 or lite0
    norm: str = "fixed"  # of the backbone, see `build_backbone`
    frozen_stages: int = 0
    channels: int = 256  # of the pyramid and the proposal heads
    branch_channels: int = 128  # of both segmentation branches
    branch_groups: int = 32  # groups of their group norm
    region_channels: int = 1024  # of the region head's two layers
    anchor_size: float = 8.0  # side of a level's square anchor in strides
    canonical_size: float = 224.0  # regions of this size are pooled from P4
    class_agnostic: bool = True  # False: no such branch and no second proposal head, the baseline
    scale_case: int = 0  # with class_agnostic=False: rule by which true maps are given, 0 = none
    fuse_features_train: bool = True
    fuse_features_test: bool = True
    fuse_scores_train: bool = True
    fuse_scores_test: bool = True
    proposal_samples: int = 256  # anchors per image that train the proposal heads
    region_samples: int = 512  # proposals per image that train the region head
    pixel_loss_stride: int = 1  # every n-th row and column counts in the pixel losses
    candidates_train: int = 2000  # per level, before NMS
    candidates_test: int = 1000
    proposals_train: int = 2000  # per image, after NMS
    proposals_test: int = 1000
    proposal_nms_iou: float = 0.7
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100

    def with_true_scale_maps(self, case: int) -> SegRPNConfig:
        """The study of Table II: maps of the truth take the place of all that is class-agnostic.

        case 1, 2 or 3 says which level an object belongs to (see `scale_maps`); in the third,
        regions of 128 pixels instead of 224 are pooled from P4. The fuse_* switches choose the
        table's rows. The network needs `SegRPN.true_scale_maps` wherever a switch is on.
        """
        size = self.canonical_size * (128 / 224 if case == 3 else 1)
        return replace(self, class_agnostic=False, scale_case=case, canonical_size=size)


class SegRPNOutput(NamedTuple):
    """What `forward` computes over the whole image; regions follow in `loss` and `decode`."""

    features: list[Tensor]  # P2..P5 [B, C, h, w]
    anchors: list[Tensor]  # per level [h * w * k, 4]
    objectness: Tensor  # [B, A] of RPN_det
    box_deltas: Tensor  # [B, A, 4]
    mask_objectness: Tensor  # [B, A] of RPN_mask, or of the given scale maps
    mask_box_deltas: Tensor  # [B, A, 4]; [B, 0, 4] without RPN_mask
    semantic_logits: Tensor  # [B, classes, H/4, W/4]
    background_logits: Tensor  # [B, 1, H/4, W/4]; [B, 0, H/4, W/4] without that branch


class SegRPN(nn.Module):
    """Proposals helped by a class-agnostic segmentation, regions, semantics; see `build_segrpn`."""

    def __init__(
        self,
        config: SegRPNConfig,
        backbone: Backbone,
        pyramid: FeaturePyramid,
        anchors: AnchorGrid,
        proposal_head: ProposalHead,
        mask_proposal_head: ProposalHead | ScaleMapHead,
        segmentation: Segmentation,
        region_head: RegionHead,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.pyramid = pyramid
        self.anchors = anchors
        self.proposal_head = proposal_head
        self.mask_proposal_head = mask_proposal_head
        self.segmentation = segmentation
        self.region_head = region_head

    def forward(self, images: Tensor, scale_maps: list[Tensor] | None = None) -> SegRPNOutput:
        """Raw outputs for normalised images [B, 3, H, W]; H and W multiples of 32.

        scale_maps are those of `true_scale_maps`, for a network with a scale_case.
        """
        levels = self.pyramid(self.backbone(images))  # P2..P6
        agnostic, semantic_logits, background_logits = self.segmentation(levels)
        mask_inputs = agnostic or self._scale_maps_or_zeros(scale_maps, levels)
        # each proposal head: a 3x3 convolution, then (after the fusion) its two predictions
        mask_features = self.mask_proposal_head.features(mask_inputs)
        features = self.proposal_head.features(levels)
        if self._for_mode("fuse_features"):
            features = fuse_features(features, mask_features)
        objectness, box_deltas = self.proposal_head(features)
        mask_objectness, mask_box_deltas = self.mask_proposal_head(mask_features)
        return SegRPNOutput(
            levels[:4],
            self.anchors(images.shape[-2:], images.device),
            objectness,
            box_deltas,
            mask_objectness,
            mask_box_deltas,
            semantic_logits,
            background_logits,
        )

    def _for_mode(self, name: str) -> int:
        """A number of the config that differs between training and inference, or a switch."""
        value: int = getattr(self.config, f"{name}_{'train' if self.training else 'test'}")
        return value

    def _scale_maps_or_zeros(
        self, scale_maps: list[Tensor] | None, levels: list[Tensor]
    ) -> list[Tensor]:
        """The given maps, or zeros, which say that there is no object."""
        fused = self._for_mode("fuse_features") or self._for_mode("fuse_scores")
        if scale_maps is None and self.config.scale_case and fused:
            raise ValueError(
                f"scale_maps is None, but this SegRPN is told where objects are "
                f"(scale_case={self.config.scale_case}): pass true_scale_maps(targets)"
            )
        return scale_maps or [torch.zeros_like(level[:, :1]) for level in levels]

    def true_scale_maps(self, targets: list[Target]) -> list[Tensor] | None:
        """Where objects of each level are, maps [B, 1, h, w] of 0 and 1 for P2..P6 (Table II).

        The argument of `forward` in training and at inference, where targets are annotations in
        network pixels; None for a network without a scale_case. The case's sizes are for anchors
        of 8 strides and follow the anchors of smaller networks.
        """
        case, unit = self.config.scale_case, self.config.anchor_size / 8
        return true_scale_maps(targets, case, unit) if case else None

    @torch.no_grad()
    def propose(self, output: SegRPNOutput) -> list[Tensor]:
        """Proposals [n, 4] of each image in network pixels, best first."""
        limit = self._for_mode("proposals")
        return [boxes[:limit] for boxes, _ in self._scored_proposals(output)]

    @torch.no_grad()
    def proposals(
        self, output: SegRPNOutput, frames: list[Letterbox], limit: int = 1000
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes [n, 4] in camera pixels and scores [n] of each image, n <= limit, best first.

        They are those of `propose`, but for the limit and for those that lie in the padding.
        """
        results = []
        for (boxes, logits), frame in zip(self._scored_proposals(output), frames, strict=True):
            boxes = frame.to_image(boxes)
            shown = has_area(boxes)
            results.append((boxes[shown][:limit], logits[shown][:limit].sigmoid()))
        return results

    def proposal_scores(self, output: SegRPNOutput) -> Tensor:
        """What anchors are ranked by, [B, A]: RPN_det's objectness, or the fused one."""
        if self._for_mode("fuse_scores"):
            return fuse_scores(output.objectness, output.mask_objectness)
        return output.objectness

    def _scored_proposals(self, output: SegRPNOutput) -> list[tuple[Tensor, Tensor]]:
        scores = self.proposal_scores(output)
        limits = self._for_mode("candidates"), self.config.proposal_nms_iou
        return [
            choose_proposals(*image, output.anchors, _input_size(output), *limits)
            for image in zip(scores.float(), output.box_deltas, strict=True)
        ]

    # -- training -----------------------------------------------------------------------------

    def loss(
        self, output: SegRPNOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """The paper's eight losses, or the five of its baseline, each with weight 1.

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        Targets are in network pixels; those without a semantic map train no pixels.
        """
        sought = self._assign(targets, output.anchors)
        semantic = [self._semantic(target) for target in targets]
        generators = [target.generator() for target in targets]
        losses = {
            **self._proposal_losses(output, sought, generators),
            **self._region_losses(output, [target for target, _ in sought], generators),
        }
        logits = output.semantic_logits, output.background_logits
        pixels = pixel_losses(*logits, torch.stack(semantic), self.config.things)
        losses |= {name: [loss] for name, loss in pixels.items()}
        return divide(losses, self._counts(sought, semantic) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: Sequence[int]) -> dict[str, float]:
        """What `loss` divides by, for images that fill an input of (H, W) pixels.

        (mask_)proposal(_box)  sampled anchors, of all anchors at most proposal_samples an image
        region, region_box     region_samples for each image, however many there are to sample
        semantic, agnostic     labelled pixels, of every pixel_loss_stride-th row and column

        They need no network; see `divide` for batches that are computed in parts.
        """
        anchors = self.anchors(input_size, targets[0].boxes.device)
        return self._counts(self._assign(targets, anchors), [self._semantic(t) for t in targets])

    def _counts(
        self, sought: list[tuple[Target, Tensor]], semantic: list[Tensor]
    ) -> dict[str, float]:
        limit = self.config.proposal_samples
        anchors = sum(sample_size(assigned, limit, _POSITIVE_ANCHORS) for _, assigned in sought)
        regions = self.config.region_samples * len(sought)
        pixels = sum(int((classes != UNLABELLED).sum()) for classes in semantic)
        counts: dict[str, float] = {"proposal": anchors, "proposal_box": anchors}
        counts |= {"region": regions, "region_box": regions, "semantic": pixels}
        if self.config.class_agnostic:
            counts |= {"mask_proposal": anchors, "mask_proposal_box": anchors, "agnostic": pixels}
        return counts

    def _assign(self, targets: list[Target], anchors: list[Tensor]) -> list[tuple[Target, Tensor]]:
        return assign_batch(targets, anchors, 0.7, 0.3)  # as Faster R-CNN

    def _semantic(self, target: Target) -> Tensor:
        """Classes [h, w] of the pixels that train."""
        return trained_pixels(target, self.config.pixel_loss_stride)

    def _proposal_losses(
        self,
        output: SegRPNOutput,
        sought: list[tuple[Target, Tensor]],
        generators: list[torch.Generator | None],
    ) -> dict[str, list[Tensor]]:
        """Both proposal heads learn from the same anchors with the same labels.

        Scores are fused for ranking alone: each head's loss sees its own.
        """
        anchors, limit = torch.cat(output.anchors), self.config.proposal_samples
        samples = [
            (target, assigned, sample(assigned, limit, _POSITIVE_ANCHORS, generator))
            for (target, assigned), generator in zip(sought, generators, strict=True)
        ]
        heads = {"proposal": (output.objectness, output.box_deltas)}
        if self.config.class_agnostic:
            heads["mask_proposal"] = (output.mask_objectness, output.mask_box_deltas)
        losses: dict[str, list[Tensor]] = {}
        for name, predicted in heads.items():
            images = zip(*predicted, samples, strict=True)
            pairs = [anchor_losses(o, d, anchors, *sampled) for o, d, sampled in images]
            losses[name], losses[f"{name}_box"] = map(list, zip(*pairs, strict=True))
        return losses

    def _region_losses(
        self,
        output: SegRPNOutput,
        targets: list[Target],
        generators: list[torch.Generator | None],
    ) -> dict[str, list[Tensor]]:
        """Class and box of sampled proposals."""
        images = zip(self.propose(output), targets, generators, strict=True)
        sampled = [sample_regions(*image, self.config.region_samples) for image in images]
        regions, owners = [boxes for boxes, _ in sampled], [objects for _, objects in sampled]
        logits, deltas = self.region_head(output.features, regions)
        classes, boxes = region_losses(logits, deltas, regions, owners, targets)
        return {"region": [classes], "region_box": [boxes]}

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: SegRPNOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects, classes of pixels and foreground of each image, in camera pixels."""
        found = self.region_head.detect(output.features, self.propose(output))
        maps = zip(output.semantic_logits, output.background_logits, strict=True)
        images = zip(found, maps, frames, strict=True)
        return [self._decode(*regions, *logits, frame) for regions, logits, frame in images]

    def _decode(
        self, boxes: Tensor, scores: Tensor, semantic: Tensor, background: Tensor, frame: Letterbox
    ) -> Predictions:
        config = self.config
        boxes = frame.to_image(boxes)
        limits = config.score_threshold, config.nms_iou, config.max_detections
        rows, labels = detect(boxes, scores, *limits)
        maps = pixel_maps(semantic, background, config.things, frame)
        found = boxes[rows, labels], scores[rows, labels], labels
        return Predictions(frame.image_size, *found, **maps._asdict())


def _input_size(output: SegRPNOutput) -> tuple[int, int]:
    height, width = output.semantic_logits.shape[-2:]
    return MAP_STRIDE * height, MAP_STRIDE * width


# -- building ---------------------------------------------------------------------------------

PRESETS = {
    "r101": SegRPNConfig(backbone="r101"),
    "r50": SegRPNConfig(),
    "r18": SegRPNConfig(backbone="r18", channels=128, branch_channels=64, region_channels=512),
    "tiny": SegRPNConfig(
        backbone="tiny",
        norm="trainable",
        channels=48,
        branch_channels=32,
        branch_groups=8,
        region_channels=256,
        anchor_size=4.0,
        canonical_size=112.0,
        region_samples=64,
        pixel_loss_stride=2,
        candidates_train=500,
        candidates_test=300,
        proposals_train=500,
        proposals_test=200,
    ),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""


def build_segrpn(config: SegRPNConfig) -> SegRPN:
    """SegRPN with both branches on a ResNet feature pyramid P2..P6."""
    backbone = build_backbone(config.backbone, config.norm, config.frozen_stages)
    anchors = AnchorGrid((4, 8, 16, 32, 64), config.anchor_size)
    return SegRPN(
        config,
        backbone=backbone,
        pyramid=FeaturePyramid(backbone.widths, config.channels, SubsampledLevel()),
        anchors=anchors,
        proposal_head=ProposalHead(config.channels, config.channels, anchors.per_cell),
        mask_proposal_head=(
            ProposalHead(config.branch_channels, config.channels, anchors.per_cell)
            if config.class_agnostic
            else ScaleMapHead(anchors.per_cell)
        ),
        segmentation=Segmentation(
            config.channels,
            config.branch_channels,
            config.branch_groups,
            config.num_classes,
            config.class_agnostic,
        ),
        region_head=RegionHead(
            config.channels, config.region_channels, config.num_things, config.canonical_size
        ),
    )

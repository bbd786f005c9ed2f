"""SegRPN: scale aware joint object detection and semantic segmentation.

A two-stage detector on a feature pyramid with two more branches: one gives every pixel a class,
the other tells things from stuff without saying which, level by level. A second proposal head on
that class-agnostic branch then helps the first one, through its features and its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from jointseg_core.anchors import AnchorGrid
from jointseg_core.backbone import FeaturePyramid, ResNet, SubsampledLevel
from jointseg_core.boxes import decode_boxes, has_area
from jointseg_core.classes import UNLABELLED
from jointseg_core.layers import init_normal, per_anchor, tower
from jointseg_core.losses import box_loss, divide
from jointseg_core.predictions import Predictions
from jointseg_core.preprocessing import Letterbox
from jointseg_core.regions import BOX_WEIGHTS, RegionHead, assign_regions
from jointseg_core.targets import Target, assign_anchors, sample, sample_size

MAP_STRIDE = 4
"""Network pixels per cell of the semantic and the background map."""
POSITIVE_ANCHORS, POSITIVE_REGIONS = 0.5, 0.25
"""At most this share of the sampled anchors, and of the sampled regions, are objects."""
PROPOSAL_LOSSES = ("proposal", "proposal_box", "mask_proposal", "mask_proposal_box")


@dataclass(frozen=True)
class SegRPNConfig:
    """The numbers of the paper; see PRESETS for smaller networks.

    The four fuse_* switches are the paper's rows "ROI" (probabilities) and "RPN" (features), each
    with its "w/o during inference".
    """

    num_things: int = 8
    num_classes: int = 19
    things: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)  # semantic classes that are things
    backbone: str = "r50"
    norm: str = "fixed"
    frozen_stages: int = 0
    channels: int = 256
    branch_channels: int = 128
    branch_groups: int = 32
    region_channels: int = 1024
    anchor_size: float = 8.0  # side of a level's square anchor in strides
    canonical_size: float = 224.0  # regions of this size are pooled from P4
    fuse_features_train: bool = True
    fuse_features_test: bool = True
    fuse_scores_train: bool = True
    fuse_scores_test: bool = True
    proposal_samples: int = 256
    region_samples: int = 512
    pixel_loss_stride: int = 1  # every n-th row and column counts in the pixel losses
    candidates_train: int = 2000  # per level, before NMS
    candidates_test: int = 1000
    proposals_train: int = 2000
    proposals_test: int = 1000
    proposal_nms_iou: float = 0.7
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100


class SegRPNOutput(NamedTuple):
    """What `forward` computes over the whole image; regions follow in `loss` and `decode`."""

    features: list[Tensor]  # P2..P5 [B, C, h, w]
    anchors: list[Tensor]  # per level [h * w * k, 4]
    objectness: Tensor  # [B, A] of RPN_det
    box_deltas: Tensor  # [B, A, 4]
    mask_objectness: Tensor  # [B, A] of RPN_mask
    mask_box_deltas: Tensor  # [B, A, 4]
    semantic_logits: Tensor  # [B, classes, H/4, W/4]
    background_logits: Tensor  # [B, 1, H/4, W/4]


class ProposalHead(nn.Module):
    """Objectness and boxes from one 3x3 convolution, whose output can be fused (2.5, 2.6)."""

    def __init__(self, channels_in: int, channels: int, per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, per_cell, 1)
        self.box_deltas = nn.Conv2d(channels, per_cell * 4, 1)
        init_normal(self)

    def features(self, levels: list[Tensor]) -> list[Tensor]:
        """The maps that both predictions read, [B, channels, h, w]."""
        return [F.relu(self.conv(level), inplace=True) for level in levels]

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness [B, A] and box deltas [B, A, 4]."""
        objectness = per_anchor([self.objectness(f) for f in features], 1)[..., 0]
        return objectness, per_anchor([self.box_deltas(f) for f in features], 4)


class Segmentation(nn.Module):
    """Semantic and class-agnostic branch: towers per level, summed at stride 4 (2.3, 2.4)."""

    def __init__(self, channels: int, branch_channels: int, groups: int, num_classes: int) -> None:
        super().__init__()
        self.semantic = nn.ModuleList(
            [tower(channels, branch_channels, 2, groups) for _ in range(4)]
        )
        self.agnostic = nn.ModuleList(
            [tower(channels, branch_channels, 2, groups) for _ in range(5)]
        )
        self.classes = nn.Conv2d(2 * branch_channels, num_classes, 1)
        self.background = nn.Conv2d(branch_channels, 1, 1)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        """P2..P6 to class-agnostic features A_2..A_6, class logits and background logits.

        The class-agnostic sum is concatenated to the semantic one before classification.
        """
        agnostic = [branch(level) for branch, level in zip(self.agnostic, levels, strict=True)]
        semantic = [branch(level) for branch, level in zip(self.semantic, levels[:4], strict=True)]
        objects, classes = sum_at_finest(agnostic), sum_at_finest(semantic)
        return agnostic, self.classes(torch.cat([classes, objects], 1)), self.background(objects)


def sum_at_finest(levels: list[Tensor]) -> Tensor:
    """Maps [B, C, h, w], enlarged bilinearly to the first one's size and added."""
    size = levels[0].shape[-2:]
    return levels[0] + sum(enlarge(level, size) for level in levels[1:])


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of [B, C, h, w]; channels last is several times faster on a CPU."""
    return F.interpolate(
        x.contiguous(memory_format=torch.channels_last), size=size, mode="bilinear"
    )


def fuse_features(detection: list[Tensor], mask: list[Tensor]) -> list[Tensor]:
    """F' = F_det * F_mask + F_det, level by level: the paper's rows "RPN" (2.6 a)."""
    return [f * m + f for f, m in zip(detection, mask, strict=True)]


def fuse_scores(detection: Tensor, mask: Tensor) -> Tensor:
    """z' = z_det + z_mask, before the sigmoid: the paper's rows "ROI" (2.6 b)."""
    return detection + mask


class SegRPN(nn.Module):
    """Proposals helped by a class-agnostic segmentation, regions, semantics; see `build_segrpn`."""

    def __init__(
        self,
        config: SegRPNConfig,
        backbone: nn.Module,
        pyramid: nn.Module,
        anchors: AnchorGrid,
        proposal_head: ProposalHead,
        mask_proposal_head: ProposalHead,
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

    def forward(self, images: Tensor) -> SegRPNOutput:
        """Normalised images [B, 3, H, W]; H and W multiples of 32."""
        levels = self.pyramid(self.backbone(images))  # P2..P6
        agnostic, semantic_logits, background_logits = self.segmentation(levels)
        mask_features = self.mask_proposal_head.features(agnostic)
        features = self.proposal_head.features(levels)
        if self._switch("fuse_features"):
            features = fuse_features(features, mask_features)
        return SegRPNOutput(
            levels[:4],
            self.anchors(tuple(images.shape[-2:]), images.device),
            *self.proposal_head(features),
            *self.mask_proposal_head(mask_features),
            semantic_logits,
            background_logits,
        )

    def _switch(self, name: str) -> bool:
        return getattr(self.config, f"{name}_{'train' if self.training else 'test'}")

    @torch.no_grad()
    def propose(self, output: SegRPNOutput) -> list[Tensor]:
        """Proposals [n, 4] of each image in network pixels, best first (2.2, 2.6 b)."""
        config, mode = self.config, "train" if self.training else "test"
        scores = output.objectness
        if self._switch("fuse_scores"):
            scores = fuse_scores(scores, output.mask_objectness)
        candidates = getattr(config, f"candidates_{mode}")
        limit = getattr(config, f"proposals_{mode}")
        height, width = (MAP_STRIDE * side for side in output.semantic_logits.shape[-2:])
        frame = Letterbox((height, width), (height, width))
        return [
            self._propose(s.float(), d.float(), output.anchors, frame, candidates)[:limit]
            for s, d in zip(scores, output.box_deltas, strict=True)
        ]

    def _propose(
        self,
        scores: Tensor,
        deltas: Tensor,
        anchors: list[Tensor],
        frame: Letterbox,
        candidates: int,
    ) -> Tensor:
        chosen, levels, start = [], [], 0
        for number, level in enumerate(anchors):
            count = min(candidates, len(level))
            chosen.append(start + scores[start : start + len(level)].topk(count).indices)
            levels.append(torch.full_like(chosen[-1], number))
            start += len(level)
        index, level = torch.cat(chosen), torch.cat(levels)
        boxes = frame.to_image(decode_boxes(deltas[index], torch.cat(anchors)[index]))
        visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        boxes, scores, level = boxes[visible], scores[index][visible], level[visible]
        return boxes[batched_nms(boxes, scores, level, self.config.proposal_nms_iou)]

    # -- training -----------------------------------------------------------------------------

    def loss(
        self,
        output: SegRPNOutput,
        targets: list[Target],
        counts: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """The paper's eight losses, each with weight 1 (2.8).

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        Images without a semantic map train no pixels.
        """
        found = self._assign(targets, output.anchors)
        semantic = [self._semantic(target) for target in targets]
        generators = [target.generator() for target in targets]
        sums = {
            **self._proposal_losses(output, found, generators),
            **self._region_losses(output, [target for target, _ in found], generators),
            **self._pixel_losses(output, torch.stack(semantic)),
        }
        return divide(sums, self._counts(found, semantic) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: tuple[int, int]) -> dict[str, float]:
        """What `loss` divides by, for images that fill an input of (H, W) pixels.

        (mask_)proposal(_box)  sampled anchors, of all anchors at most proposal_samples an image
        region, region_box     region_samples for each image, however many there are to sample
        semantic, agnostic     labelled pixels, of every pixel_loss_stride-th row and column

        They need no network and add up over images, so those of all parts of a batch, handed to
        `loss` for each part, make the losses of the parts add up to the loss of the batch.
        """
        anchors = self.anchors(input_size, targets[0].boxes.device)
        return self._counts(self._assign(targets, anchors), [self._semantic(t) for t in targets])

    def _counts(
        self, found: list[tuple[Target, Tensor]], semantic: list[Tensor]
    ) -> dict[str, float]:
        limit = self.config.proposal_samples
        anchors = sum(sample_size(assigned, limit, POSITIVE_ANCHORS) for _, assigned in found)
        regions = self.config.region_samples * len(found)
        pixels = sum(int((classes != UNLABELLED).sum()) for classes in semantic)
        return {
            **dict.fromkeys(PROPOSAL_LOSSES, anchors),
            **dict.fromkeys(("region", "region_box"), regions),
            **dict.fromkeys(("semantic", "agnostic"), pixels),
        }

    def _assign(self, targets: list[Target], anchors: list[Tensor]) -> list[tuple[Target, Tensor]]:
        """What is sought in each image, crowds left out, and the object of each anchor [A]."""
        sought = [target[~target.crowd] for target in targets]
        every = torch.cat(anchors)
        return [(target, assign_anchors(every, target.boxes, 0.7, 0.3)) for target in sought]

    def _semantic(self, target: Target) -> Tensor:
        """Classes [h, w] of the pixels that train."""
        stride = self.config.pixel_loss_stride
        if target.semantic is None:
            size = target.masks.shape[1:]
            return target.labels.new_full(size, UNLABELLED)[::stride, ::stride]
        return target.semantic[::stride, ::stride]

    def _proposal_losses(
        self,
        output: SegRPNOutput,
        found: list[tuple[Target, Tensor]],
        generators: list[torch.Generator | None],
    ) -> dict[str, Tensor]:
        """Both proposal heads learn from the same anchors with the same labels (2.5)."""
        anchors = torch.cat(output.anchors)
        sums = [output.objectness.new_zeros(()) for _ in range(4)]
        for i, ((target, assigned), generator) in enumerate(zip(found, generators, strict=True)):
            sampled = sample(assigned, self.config.proposal_samples, POSITIVE_ANCHORS, generator)
            positive = sampled[assigned[sampled] >= 0]
            wanted = (assigned[sampled] >= 0).float()
            boxes = target.boxes[assigned[positive]]
            heads = (
                (output.objectness[i], output.box_deltas[i]),
                (output.mask_objectness[i], output.mask_box_deltas[i]),
            )
            for j, (objectness, deltas) in enumerate(heads):
                sums[2 * j] = sums[2 * j] + F.binary_cross_entropy_with_logits(
                    objectness[sampled], wanted, reduction="sum"
                )
                sums[2 * j + 1] = sums[2 * j + 1] + box_loss(
                    deltas[positive], boxes, anchors[positive], beta=1 / 9
                )
        return dict(zip(PROPOSAL_LOSSES, sums, strict=True))

    def _region_losses(
        self,
        output: SegRPNOutput,
        targets: list[Target],
        generators: list[torch.Generator | None],
    ) -> dict[str, Tensor]:
        """Class and box of sampled proposals; the objects' own boxes are proposals too."""
        regions, owners = [], []
        images = zip(self.propose(output), targets, generators, strict=True)
        for proposals, target, generator in images:
            candidates = torch.cat([proposals, target.boxes])
            assigned = assign_regions(candidates, target.boxes)
            chosen = sample(assigned, self.config.region_samples, POSITIVE_REGIONS, generator)
            regions.append(candidates[chosen])
            owners.append(assigned[chosen])
        size = tuple(MAP_STRIDE * side for side in output.semantic_logits.shape[-2:])
        logits, deltas = self.region_head(output.features, regions, size)
        background = targets[0].labels.new_tensor([self.config.num_things])
        labels = torch.cat(
            [torch.cat([t.labels, background])[o] for t, o in zip(targets, owners, strict=True)]
        )
        wanted = torch.cat([t.boxes[o[o >= 0]] for t, o in zip(targets, owners, strict=True)])
        positive = (labels < self.config.num_things).nonzero().flatten()
        box = box_loss(
            deltas[positive, labels[positive]],
            wanted,
            torch.cat(regions)[positive],
            beta=1.0,
            scale=deltas.new_tensor(BOX_WEIGHTS),
        )
        classes = F.cross_entropy(logits, labels, reduction="sum")
        return {"region": classes, "region_box": box}

    def _pixel_losses(self, output: SegRPNOutput, semantic: Tensor) -> dict[str, Tensor]:
        """Cross entropy of classes [B, h, w] and of thing against stuff at the labelled pixels."""
        size = semantic.shape[-2:]
        logits = enlarge(output.semantic_logits, size)
        background = enlarge(output.background_logits, size)[:, 0]
        labelled = semantic != UNLABELLED
        is_thing = torch.zeros(256, dtype=torch.bool, device=semantic.device)
        is_thing[list(self.config.things)] = True
        things = is_thing[semantic]
        agnostic = F.binary_cross_entropy_with_logits(
            background, (~things).float(), weight=labelled.float(), reduction="sum"
        )
        classes = F.cross_entropy(logits, semantic, ignore_index=UNLABELLED, reduction="sum")
        return {"semantic": classes, "agnostic": agnostic}

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: SegRPNOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects, classes of pixels and foreground of each image, in camera pixels."""
        regions = self.propose(output)
        size = tuple(MAP_STRIDE * side for side in output.semantic_logits.shape[-2:])
        logits, deltas = self.region_head(output.features, regions, size)
        scores = logits.softmax(1)[:, :-1]
        counts = [len(r) for r in regions]
        return [
            self._decode(output, i, frame, *parts)
            for i, (frame, *parts) in enumerate(
                zip(frames, regions, scores.split(counts), deltas.split(counts), strict=True)
            )
        ]

    def _decode(
        self,
        output: SegRPNOutput,
        index: int,
        frame: Letterbox,
        regions: Tensor,
        scores: Tensor,
        deltas: Tensor,
    ) -> Predictions:
        config = self.config
        row, labels = (scores > config.score_threshold).nonzero(as_tuple=True)
        scale = deltas.new_tensor(BOX_WEIGHTS)
        boxes = frame.to_image(decode_boxes(deltas[row, labels] / scale, regions[row]))
        shown = has_area(boxes)  # those in the padding are not
        boxes, scores, labels = boxes[shown], scores[row, labels][shown], labels[shown]
        keep = batched_nms(boxes, scores, labels, config.nms_iou)[: config.max_detections]
        logits = output.semantic_logits[index]
        semantic = frame.resize(logits, MAP_STRIDE).max(0).indices  # faster than argmax on a CPU
        confidence = frame.resize(logits.softmax(0).amax(0, keepdim=True), MAP_STRIDE)[0]
        background = frame.resize(output.background_logits[index], MAP_STRIDE)[0]
        return Predictions(
            frame.image_size,
            boxes[keep],
            scores[keep],
            labels[keep],
            semantic=semantic.to(torch.uint8),
            confidence=confidence,
            foreground=background < 0,
        )


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


def build_segrpn(config: SegRPNConfig, backbone_weights: str | None = None) -> SegRPN:
    """SegRPN with both branches on a ResNet feature pyramid P2..P6.

    backbone_weights is a ResNet file in torchvision's format; without it weights are random.
    """
    backbone = ResNet(config.backbone, config.norm, config.frozen_stages)
    if backbone_weights:
        backbone.load_imagenet(backbone_weights)
    anchors = AnchorGrid((4, 8, 16, 32, 64), config.anchor_size)
    return SegRPN(
        config,
        backbone=backbone,
        pyramid=FeaturePyramid(backbone.widths, config.channels, SubsampledLevel()),
        anchors=anchors,
        proposal_head=ProposalHead(config.channels, config.channels, anchors.per_cell),
        mask_proposal_head=ProposalHead(config.branch_channels, config.channels, anchors.per_cell),
        segmentation=Segmentation(
            config.channels, config.branch_channels, config.branch_groups, config.num_classes
        ),
        region_head=RegionHead(
            config.channels, config.region_channels, config.num_things, config.canonical_size
        ),
    )

"""The joint network: boxes, masks, the class of every pixel and a panoptic picture in one pass.

A backbone and a pyramid feed one dense stream, a map at a quarter of the input's size. Everything
that asks about pixels is a kernel over it: each class has a learned one, each object finds its own,
as in RDSNet (3.1), and the product is a mask. So instances and classes train one representation.
They also inform each other, both ways (`exchange`): the stream weighs the features in which objects
are sought, each object looks at the pixels under its mask and decides again, and masks with their
scores are evidence for the classes of pixels. Masks refine boxes (RDSNet 3.3); objects and classes
are fused into one picture (`panoptic`). A second stage trains the exchange and the refinement alone
(`exchange_losses`, `refinement_loss`). What the exchange gains is in docs/joint.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.alignment import (
    Aligned,
    align,
    covered,
    mask_losses,
    match,
    overlap_loss,
    quality_focal_loss,
)
from jointseg_core.backbone import Backbone, build_backbone
from jointseg_core.boxes import (
    AnchorGrid,
    best_of_levels,
    decode_boxes,
    detect,
    has_area,
    logit,
    of_any_class,
)
from jointseg_core.classes import UNLABELLED
from jointseg_core.correlation import (
    MASK_STRIDE,
    correlate,
    mask_windows,
    threshold_masks,
)
from jointseg_core.exchange import Exchange, Instances, Modulation, inside
from jointseg_core.joint_config import JointConfig
from jointseg_core.joint_layers import DenseStream, ObjectHead, Pyramid, enlarge
from jointseg_core.letterbox import Letterbox
from jointseg_core.panoptic import PanopticFusion
from jointseg_core.predictions import Predictions
from jointseg_core.refinement import BoundaryRefinement
from jointseg_core.segmentation import pixel_losses, pixel_maps, trained_pixels
from jointseg_core.targets import Target, divide
from jointseg_core.tensors import constants

_STRIDES = (8, 16, 32)


class JointOutput(NamedTuple):
    """What `forward` computes; the exchange between objects and pixels follows where they are few.

    Anchors are squares of anchor_size strides around the A cells of three levels.
    """

    anchors: list[Tensor]  # per level [h * w, 4]
    class_logits: Tensor  # [B, A, K] of things
    deltas: Tensor  # [B, A, 4] from anchors to boxes
    kernels: Tensor  # [B, A, d]
    pixels: Tensor  # [B, d, H/4, W/4]
    semantic_logits: Tensor  # [B, S, H/4, W/4] of all classes of pixels, of the pixels alone
    background_logits: Tensor  # [B, 1, H/4, W/4] of what is no thing

    def image(self, index: int) -> JointOutput:
        """The output for one image of the batch, without the batch dimension."""
        own = {name: self._asdict()[name][index] for name in self._fields[1:]}
        return self._replace(**own)

    def instances(self, cells: Tensor) -> Instances:
        """The objects of these cells [n] of one image, before they have looked at pixels."""
        boxes = decode_boxes(self.deltas[cells], torch.cat(self.anchors)[cells])
        return Instances(self.class_logits[cells], self.kernels[cells], boxes)


class Joint(nn.Module):
    """Backbone, pyramid, dense stream, head and exchange; see `build_joint`."""

    def __init__(self, config: JointConfig, backbone: Backbone) -> None:
        super().__init__()
        finest, *widths = backbone.widths
        channels, d, classes = config.channels, config.pixel_channels, config.num_classes
        self.config = config
        self.backbone = backbone
        self.anchors = AnchorGrid(_STRIDES, config.anchor_size, ratios=(1.0,))
        self.pyramid = Pyramid(widths, channels)
        self.stream = DenseStream(finest, channels, d)
        self.modulation = Modulation(channels, len(_STRIDES))
        self.head = ObjectHead(channels, len(_STRIDES), config.head_depth, classes, d)
        # kernels of classes over both scales of the stream; the last is that of the background
        self.classes = nn.Conv2d(d, config.num_semantic + 1, 1)
        self.coarse_classes = nn.Conv2d(channels, config.num_semantic + 1, 1, bias=False)
        self.exchange = Exchange(
            d, classes, config.num_semantic, config.hidden, config.test_margin, config.blind
        )
        refinement = BoundaryRefinement(config.gamma, config.refinement_reach)
        self.refinement = refinement.requires_grad_(False)  # trains alone, in a second stage

    def forward(self, images: Tensor) -> JointOutput:
        """Raw outputs for normalised images [B, 3, H, W]; H and W multiples of 32."""
        c2, *features = self.backbone(images)
        levels = self.pyramid(features)
        coarse, pixels = self.stream(c2, levels)
        weighed = self.modulation(levels, None if self.config.blind else coarse)
        classes, deltas, kernels = self.head(weighed)
        logits = self.classes(pixels).float()
        logits = logits + enlarge(self.coarse_classes(coarse).float(), logits)
        anchors = self.anchors(images.shape[-2:], pixels.device)
        semantic, background = logits[:, :-1], logits[:, -1:]
        return JointOutput(anchors, classes, deltas, kernels, pixels.float(), semantic, background)

    def second_look(self, output: JointOutput, found: Instances) -> Instances:
        """Objects of an image after they have seen the pixels under their masks."""
        seen: Instances = self.exchange(found, output.pixels, output.semantic_logits)
        return seen

    def informed(
        self, output: JointOutput, found: Instances, shown: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of an image's pixels with what its objects say: classes [S, h, w], background.

        shown [n, h, w] are the objects' masks, see `Exchange.shown`.
        """
        evidence = self.exchange.evidence(shown, found.class_logits.sigmoid())
        things = constants(self.config.things, evidence).long()
        classes = output.semantic_logits.index_add(0, things, evidence)
        return classes, output.background_logits - evidence.amax(0)

    def profiles(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Largest mask probability of every column [n, W] and row [n, H] of the network's input."""
        columns, rows = (shown.amax(side)[:, None] for side in (1, 2))
        columns, rows = (
            F.interpolate(p, scale_factor=MASK_STRIDE, mode="linear")[:, 0] for p in (columns, rows)
        )
        return columns, rows

    def refined(self, shown: Tensor, boxes: Tensor, frame: Letterbox) -> Tensor:
        """Boxes [n, 4] in camera pixels, refined by masks in the network's, as was trained (3.3).

        So their sides are whole pixels of the network. One that would lie beside the image stays.
        """
        found = frame.to_image(self.refinement(*self.profiles(shown), boxes))
        return torch.where(has_area(found)[:, None], found, frame.to_image(boxes))

    # -- training -----------------------------------------------------------------------------

    def loss(
        self, output: JointOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Losses with the weights of the config.

        classification, box  of all cells, and of those of an object
        second, mask         of some cells after their second look
        semantic, agnostic   of pixels: their classes, and whether each is a thing's
        informed             the same after the objects have spoken

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        Targets are in network pixels; those without a semantic map train no pixels. What is found
        in groups is not asked for.
        """
        images = [self._losses(output.image(i), target) for i, target in enumerate(targets)]
        losses = {name: [image[name] for image in images] for name in images[0]}
        return divide(losses, self._counts(targets) if counts is None else counts)

    def counts(self, targets: list[Target], input_size: Sequence[int]) -> dict[str, float]:
        """What `loss` divides by: objects, those that train masks, and labelled pixels.

        Of pixels every pixel_loss_stride-th row and column counts. They need no network; see
        `divide` for batches that are computed in parts.
        """
        return self._counts(targets)

    def _counts(self, targets: list[Target]) -> dict[str, float]:
        sought = [target.sought() for target in targets]
        objects = sum(max(1, len(target.labels)) for target in sought)
        masks = sum(int(self._large(target).sum()) for target in sought)
        trained = [trained_pixels(t, self.config.pixel_loss_stride) for t in sought]
        labelled = sum(int((pixels != UNLABELLED).sum()) for pixels in trained)
        return {
            **dict.fromkeys(("classification", "box", "second"), objects),
            "mask": masks,
            **dict.fromkeys(("semantic", "agnostic", "informed"), labelled),
        }

    def _large(self, target: Target) -> Tensor:
        """Which objects train masks, bool [N]."""
        return target.masks.flatten(1).sum(1) > self.config.min_mask_area

    def _losses(self, output: JointOutput, target: Target) -> dict[str, Tensor]:
        """Sums over one image."""
        config, logits = self.config, output.class_logits
        anchors = torch.cat(output.anchors)
        boxes = decode_boxes(output.deltas, anchors)
        aligned = align(logits.sigmoid(), boxes, anchors, config.anchor_size, target)
        owner, quality, target = aligned.owner, aligned.quality, target.sought()
        positive = (owner >= 0).nonzero().flatten()
        wanted = target.boxes[owner[positive]]
        look, cells = self._seen_in_training(output, aligned)
        return {
            "classification": quality_focal_loss(logits, owner, quality, target.labels),
            "box": overlap_loss(boxes[positive], wanted, quality[positive]),
            **self._pixel_losses(output, target),
            **self._look_losses(output, look, owner[cells], quality[cells], target),
        }

    def _seen_in_training(self, output: JointOutput, aligned: Aligned) -> tuple[Instances, Tensor]:
        """What trains the exchange: the best cells of each object, and the most certain others."""
        config = self.config
        cells = aligned.chosen(output.class_logits, config.mask_cells, config.negatives)
        found = output.instances(cells)
        # where an object's mask may be is given: no gradient reaches boxes through it
        found = found._replace(boxes=found.boxes.detach())
        return self.second_look(output, found), cells

    def _pixel_losses(self, output: JointOutput, target: Target) -> dict[str, Tensor]:
        """Of pixels alone, so that they do not wait for objects."""
        config = self.config
        logits = output.semantic_logits[None], output.background_logits[None]
        semantic = trained_pixels(target, config.pixel_loss_stride)[None]
        found = pixel_losses(*logits, semantic, config.things)
        weights = {"semantic": config.semantic_weight, "agnostic": config.agnostic_weight}
        return {name: weight * found[name] for name, weight in weights.items()}

    def _look_losses(
        self, output: JointOutput, look: Instances, owner: Tensor, quality: Tensor, target: Target
    ) -> dict[str, Tensor]:
        """Of objects after their second look, and of pixels after these have spoken.

        owner [n] and quality [n] say which object each should be, and its score.
        """
        config = self.config
        shown = self.exchange.shown(correlate(look.kernels, output.pixels), look.boxes)
        classes, background = self.informed(output, look, shown)
        semantic = trained_pixels(target, config.pixel_loss_stride)[None]
        informed = pixel_losses(classes[None], background[None], semantic, config.things)
        return {
            "second": quality_focal_loss(look.class_logits, owner, quality, target.labels),
            "mask": self._mask_loss(output, look, owner, target),
            "informed": config.informed_weight * (informed["semantic"] + informed["agnostic"]),
        }

    def _mask_loss(
        self, output: JointOutput, look: Instances, owner: Tensor, target: Target
    ) -> Tensor:
        """Sum over objects of the mean over what was found of each (RDSNet 3.2)."""
        usable = torch.cat([self._large(target), owner.new_zeros(1).bool()])[owner.clamp(min=-1)]
        owner = owner[usable]
        masks = correlate(look.kernels[usable], output.pixels)
        windows = inside(target.boxes[owner], self.config.train_margin, masks.shape[-2:])
        losses = mask_losses(masks, covered(target.masks, masks.shape[-2:])[owner], windows)
        found = torch.bincount(owner, minlength=len(target.labels))
        return (losses / found[owner]).sum()

    def exchange_losses(
        self, output: JointOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Losses `second`, `mask` and `informed` of what NMS leaves, which is what is seen in use.

        The second training stage minimises them over the exchange alone; see `loss`, whose cells
        show it more right than wrong objects, and several of each.
        """
        images = [self._exchange_losses(output.image(i), t) for i, t in enumerate(targets)]
        losses = {name: [image[name] for image in images] for name in images[0]}
        return divide(losses, self._counts(targets) if counts is None else counts)

    def _exchange_losses(self, output: JointOutput, target: Target) -> dict[str, Tensor]:
        with torch.no_grad():
            height, width = (MASK_STRIDE * side for side in output.pixels.shape[-2:])
            found, labels = self._found(output, Letterbox((height, width), (height, width)))
            scores = found.class_logits.sigmoid().gather(1, labels[:, None])[:, 0]
            owner, quality = match(found.boxes, scores, labels, target)
        look = self.second_look(output, found)
        return self._look_losses(output, look, owner, quality, target.sought())

    def refinement_loss(
        self, output: JointOutput, targets: list[Target], counts: Mapping[str, float] | None = None
    ) -> Tensor:
        """Cross entropy of the refined sides, mean over the objects that train masks (RDSNet 3.3).

        The second training stage minimises it over the refinement's parameters alone. `counts` are
        those of `loss`; the one named mask is the divisor.
        """
        counts = self._counts(targets) if counts is None else counts
        losses = [
            self._refinement_loss(output.image(i), target.sought())
            for i, target in enumerate(targets)
        ]
        return torch.stack(losses).sum() / max(counts["mask"], 1)

    def _refinement_loss(self, output: JointOutput, target: Target) -> Tensor:
        anchors = torch.cat(output.anchors)
        scores, boxes = output.class_logits.sigmoid(), decode_boxes(output.deltas, anchors)
        aligned = align(scores, boxes, anchors, self.config.anchor_size, target)
        usable = torch.cat([self._large(target), aligned.best.new_zeros(1)])[aligned.owner]
        cells = (aligned.best & usable).nonzero().flatten()
        if not len(cells):  # 0, but with gradients, which every process of a step has to have
            return (self.refinement.kernel.sum() + self.refinement.bias.sum()) * 0
        with torch.no_grad():
            look = self.second_look(output, output.instances(cells))
            shown = self.exchange.shown(correlate(look.kernels, output.pixels), look.boxes)
        wanted = target.boxes[aligned.owner[cells]]
        return self.refinement.loss(*self.profiles(shown), look.boxes, wanted) * len(cells)

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, output: JointOutput, frames: list[Letterbox]) -> list[Predictions]:
        """Objects with masks and the classes of pixels of each image, in camera pixels.

        frames say how each image lies in the network's input.
        """
        return [self._decode(output.image(i), frame) for i, frame in enumerate(frames)]

    def _decode(self, output: JointOutput, frame: Letterbox) -> Predictions:
        config = self.config
        found, labels = self._found(output, frame)
        found = self.second_look(output, found)
        scores = found.class_logits.sigmoid().gather(1, labels[:, None])[:, 0]
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > config.score_threshold]
        found = Instances(*(values[order] for values in found))
        masks = correlate(found.kernels, output.pixels)
        shown = self.exchange.shown(masks, found.boxes)
        windows = mask_windows(frame.to_image(found.boxes), config.test_margin, frame)
        crops = frame.sample(masks, MASK_STRIDE, windows)
        logits = self.informed(output, found, shown)
        return Predictions(
            frame.image_size,
            self.refined(shown, found.boxes, frame),
            scores[order],
            labels[order],
            threshold_masks(crops, windows, config.mask_threshold),
            **pixel_maps(*logits, config.things, frame)._asdict(),
            fusion=self.fusion,
        )

    def _found(self, output: JointOutput, frame: Letterbox) -> tuple[Instances, Tensor]:
        """Objects [n] that survive NMS, and their classes [n]."""
        config = self.config
        found = output.instances(self._candidates(output, config.score_threshold))
        limits = config.score_threshold, config.nms_iou, config.max_detections
        scores = found.class_logits.sigmoid()
        rows, labels = detect(frame.to_image(found.boxes), scores, *limits)
        return Instances(*(values[rows] for values in found)), labels

    @torch.no_grad()
    def proposals(
        self, output: JointOutput, frames: list[Letterbox], limit: int = 1000
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes [n, 4] in camera pixels and scores [n] of each image, n <= limit, best first.

        A cell scores as its best class does; NMS is that of `of_any_class`.
        """
        results = []
        for image, frame in ((output.image(i), frame) for i, frame in enumerate(frames)):
            found = image.instances(self._candidates(image, threshold=0))
            scores = found.class_logits.amax(1).sigmoid()
            results.append(of_any_class(frame.to_image(found.boxes), scores, limit))
        return results

    def _candidates(self, output: JointOutput, threshold: float) -> Tensor:
        """Indices of each level's best cells, without those whose best class is not above it."""
        best, sizes = output.class_logits.amax(1), [len(level) for level in output.anchors]
        return best_of_levels(best, sizes, self.config.candidates, logit(threshold))[0]

    @property
    def fusion(self) -> PanopticFusion:
        """How objects and classes become one picture."""
        config = self.config
        limits = config.panoptic_score, config.panoptic_visible, config.panoptic_stuff
        return PanopticFusion(config.things, *limits)


def build_joint(config: JointConfig) -> Joint:
    """The network that a config describes, with random weights."""
    return Joint(config, build_backbone(config.backbone, config.norm, config.frozen_stages))

"""The joint network: boxes, masks, the class of every pixel and a panoptic picture in one pass.

One backbone and pyramid carry the two streams of RDSNet and the two segmentation branches of
SegRPN. Masks refine boxes (RDSNet 3.3); objects and classes of pixels are fused into one picture
(`panoptic`). What else was tried, and lost, is in docs/joint.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointseg_core.classes import UNLABELLED
from jointseg_core.letterbox import Letterbox
from jointseg_core.panoptic import PanopticFusion
from jointseg_core.predictions import Predictions
from jointseg_core.rdsnet import PRESETS as RDSNET_PRESETS
from jointseg_core.rdsnet import RDSNet, RDSNetConfig, RDSNetOutput, build_parts
from jointseg_core.segmentation import (
    Segmentation,
    pixel_losses,
    pixel_maps,
    trained_pixels,
)
from jointseg_core.targets import Target, divide


@dataclass(frozen=True)
class JointConfig(RDSNetConfig):
    """RDSNet's numbers for objects, then those of SegRPN's branches and the panoptic fusion."""

    num_semantic: int = 19
    things: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)  # semantic class of each thing
    branch_channels: int = 128
    branch_groups: int = 32
    pixel_loss_stride: int = 1  # every n-th row and column counts in the pixel losses
    semantic_weight: float = 0.25  # of the loss of pixel classes; those of RDSNet weigh 1
    agnostic_weight: float = 0.25  # of the loss of things against stuff
    panoptic_score: float = 0.5  # less certain objects are left out of the panoptic picture
    panoptic_visible: float = 0.5  # and those that show a smaller share of their mask
    panoptic_stuff: float = 0.002  # and stuff on a smaller share of the image


class JointOutput(NamedTuple):
    """What `forward` computes: the output of RDSNet, then that of SegRPN's branches."""

    anchors: list[Tensor]  # per level [h * w * k, 4]
    class_logits: Tensor  # [B, A, K]
    box_features: list[Tensor]  # per level [B, C, h, w]
    filter_features: list[Tensor]  # per level [B, C, h, w]
    pixels: Tensor  # [B, d, H/4, W/4]
    semantic_logits: Tensor  # [B, classes, H/4, W/4]
    background_logits: Tensor  # [B, 1, H/4, W/4]

    @property
    def objects(self) -> RDSNetOutput:
        """The part that RDSNet knows."""
        return RDSNetOutput(*self[:5])

    def image(self, index: int) -> RDSNetOutput:
        """The part that RDSNet knows, for one image: its losses and decoding ask for that alone."""
        return self.objects.image(index)


class Joint(RDSNet):
    """RDSNet on a pyramid that SegRPN's segmentation branches share; see `build_joint`."""

    config: JointConfig

    # an RDSNet but for the output that its methods make and take: hence the ignored overrides

    def __init__(self, config: JointConfig, segmentation: Segmentation, **parts: Any) -> None:
        super().__init__(config, **parts)
        self.segmentation = segmentation

    def forward(self, images: Tensor) -> JointOutput:  # type: ignore[override]
        """Raw outputs for normalised images [B, 3, H, W]; H and W multiples of 32."""
        levels = self.pyramid(self.backbone(images))  # P2..P7
        _, semantic_logits, background_logits = self.segmentation(levels[:5])
        finest = self.config.pixel_level - 2
        objects = self.streams(levels[finest:], images.shape[-2:])
        return JointOutput(*objects, semantic_logits, background_logits)

    # -- training -----------------------------------------------------------------------------

    def loss(  # type: ignore[override]
        self,
        output: JointOutput,
        targets: list[Target],
        counts: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """RDSNet's losses, and SegRPN's `semantic` and `agnostic` with the weights of the config.

        Each is a sum over this batch, divided by its `counts`, by default those of this batch.
        Targets are in network pixels; those without a semantic map train no pixels.
        """
        semantic, config = self._semantic(targets), self.config
        logits = output.semantic_logits, output.background_logits
        weights = {"semantic": config.semantic_weight, "agnostic": config.agnostic_weight}
        found = pixel_losses(*logits, semantic, config.things)
        losses = {name: [weights[name] * loss] for name, loss in found.items()}
        pixels = divide(losses, _pixel_counts(semantic) if counts is None else counts)
        return super().loss(output.objects, targets, counts) | pixels

    def counts(self, targets: list[Target], input_size: Sequence[int]) -> dict[str, float]:
        """What `loss` divides by: RDSNet's counts, and labelled pixels for the other two.

        Of these every pixel_loss_stride-th row and column counts. See `RDSNet.counts`.
        """
        return super().counts(targets, input_size) | _pixel_counts(self._semantic(targets))

    def _semantic(self, targets: list[Target]) -> Tensor:
        """Classes [B, h, w] of the pixels that train."""
        return torch.stack([trained_pixels(t, self.config.pixel_loss_stride) for t in targets])

    # -- inference ----------------------------------------------------------------------------

    @torch.no_grad()
    def decode(  # type: ignore[override]
        self, output: JointOutput, frames: list[Letterbox]
    ) -> list[Predictions]:
        """Objects with masks and the classes of pixels of each image, in camera pixels."""
        found = super().decode(output.objects, frames)
        logits = zip(output.semantic_logits, output.background_logits, strict=True)
        maps = [
            pixel_maps(*image, self.config.things, frame)._asdict()
            for image, frame in zip(logits, frames, strict=True)
        ]
        return [
            replace(objects, **pixels, fusion=self.fusion)
            for objects, pixels in zip(found, maps, strict=True)
        ]

    @property
    def fusion(self) -> PanopticFusion:
        """How objects and classes become one picture."""
        config = self.config
        limits = config.panoptic_score, config.panoptic_visible, config.panoptic_stuff
        return PanopticFusion(config.things, *limits)


def _pixel_counts(semantic: Tensor) -> dict[str, float]:
    labelled = int((semantic != UNLABELLED).sum())
    return {"semantic": labelled, "agnostic": labelled}


# -- building ---------------------------------------------------------------------------------


def _joined(name: str, **branches: object) -> JointConfig:
    """The RDSNet of that name for the classes of Cityscapes, with SegRPN's branches."""
    config = RDSNET_PRESETS[name]
    objects = {field.name: getattr(config, field.name) for field in fields(config)}
    return JointConfig(**objects | {"num_classes": 8, **branches})


PRESETS = {
    "r101": _joined("r101"),
    "r50": _joined("r50"),
    "r18": _joined("r18", branch_channels=64),
    "tiny": _joined("tiny", branch_channels=32, branch_groups=8, pixel_loss_stride=2),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""


def build_joint(config: JointConfig) -> Joint:
    """RDSNet as released and SegRPN's branches on a ResNet feature pyramid P2..P7."""
    parts = build_parts(config, finest=2)
    segmentation = Segmentation(
        config.channels, config.branch_channels, config.branch_groups, config.num_semantic
    )
    return Joint(config, segmentation, **parts)

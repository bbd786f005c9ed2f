"""The numbers of the joint network, and its presets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JointConfig:
    """The numbers of a network; see PRESETS."""

    num_classes: int = 8
    num_semantic: int = 19
    things: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)  # semantic class of each thing
    backbone: str = "r50"
    norm: str = "fixed_statistics"  # of the backbone, see `build_backbone`
    frozen_stages: int = 2  # of the backbone: stem and first stage
    channels: int = 128  # of pyramid, coarse stream and head
    pixel_channels: int = 48  # of the stream at stride 4: the length of kernels
    head_depth: int = 2  # 3x3 convolutions in each of the head's two towers
    hidden: int = 64  # of an object's second look
    blind: bool = False  # as large a network without exchange: the control of docs/joint.md
    anchor_size: float = 3.0  # side of a cell's box before it is moved, in strides
    mask_cells: int = 3  # cells of an object that train its mask
    negatives: int = 16  # cells of an image without an object that train the second look
    min_mask_area: int = 20  # network pixels; smaller objects train no masks
    train_margin: float = 0.25  # masks are cropped to boxes expanded by 1.5 in training
    test_margin: float = 0.1  # and by 1.2 at inference
    pixel_loss_stride: int = 4  # every n-th row and column counts in the pixel losses
    semantic_weight: float = 1.5  # of losses; those of objects weigh 1
    agnostic_weight: float = 0.5
    informed_weight: float = 0.5
    gamma: float = 0.05  # prior of the boundary refinement in box sides; 0 = no refinement
    refinement_reach: int = 4  # its kernel sees so many pixels to either side
    candidates: int = 300  # per level, before NMS
    score_threshold: float = 0.05
    nms_iou: float = 0.6
    mask_threshold: float = 0.4  # probability above which a pixel is the object's
    max_detections: int = 100  # per image
    panoptic_score: float = 0.3  # less certain objects are left out of the panoptic picture
    panoptic_visible: float = 0.5  # and those that show a smaller share of their mask
    panoptic_stuff: float = 0.002  # and stuff on a smaller share of the image


PRESETS = {
    "r101": JointConfig(backbone="r101", channels=256, pixel_channels=64),
    "r50": JointConfig(channels=256, pixel_channels=64),
    "r18": JointConfig(backbone="r18"),
    "lite": JointConfig(backbone="lite0", channels=96),
    "tiny": JointConfig(backbone="tiny", norm="trainable", frozen_stages=0, channels=64),
}
"""Networks by name; `dataclasses.replace` changes single numbers."""

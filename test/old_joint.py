"""Weights of the joint network as it was before the exchange: what its manifests said."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from jointseg_core import CITYSCAPES, Preprocessing

COMMAND = "python -m training.train joint_tiny_synthetic --steps 1600 --lr 1e-3"
CONFIG = {
    "num_classes": 8, "num_semantic": 19, "things": [11, 12, 13, 14, 15, 16, 17, 18],
    "backbone": "tiny", "norm": "trainable", "frozen_stages": 0, "channels": 64,
    "head_depth": 2, "head_groups": 8, "filter_size": 16, "anchor_size": 2.0, "pixel_level": 2,
    "max_masks": 40, "min_mask_area": 20, "train_margin": 0.25, "test_margin": 0.1,
    "hard_ratio": 1.0, "gamma": 0.05, "refinement_reach": 4, "candidates": 1000,
    "score_threshold": 0.05, "nms_iou": 0.5, "mask_threshold": 0.4, "max_detections": 100,
    "branch_channels": 32, "branch_groups": 8, "pixel_loss_stride": 2, "semantic_weight": 1.0,
    "agnostic_weight": 1.0, "panoptic_score": 0.5, "panoptic_visible": 0.5,
    "panoptic_stuff": 0.002,
}  # fmt: skip


def old_joint(folder: Path, **training: Any) -> Path:
    """A checkpoint with one of its tensors."""
    data = save({"segmentation.background.bias": torch.zeros(1)})
    document = {
        "format": 1,
        "model": "joint",
        "config": CONFIG,
        "classes": asdict(CITYSCAPES),
        "preprocessing": asdict(Preprocessing((256, 512))),
        "training": training,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path = folder / "old_joint.safetensors"
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(document))
    return path

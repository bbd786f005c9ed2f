"""A batch in one process and in two: what test_parts.py compares. Importable by processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jointseg_core import Target, build_model, preset

SIZE = (64, 128)
LIMITS = {
    "rdsnet": {"max_masks": 3},
    "rdsnet_s": {"max_masks": 3},
    "segrpn": {"proposal_samples": 40, "region_samples": 24},
    "joint": {"mask_cells": 2, "negatives": 8},
}
"""Of each model: fewer samples than there are anchors, masks, regions and cells to choose from."""


def small(model_type: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(replace(preset(model_type, "tiny"), **LIMITS[model_type])).eval()


def scene(boxes: list, seed: int, crowd: bool = False, semantic: bool = True) -> Target:
    """Rectangles on ground that is partly labelled."""
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    classes = torch.zeros(SIZE, dtype=torch.long)
    classes[40 + seed :] = 255
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
        classes[y1:y2, x1:x2] = 13
    labels = torch.arange(len(boxes)) % 8
    crowds = torch.full((len(boxes),), crowd)
    return Target(boxes, labels, masks, classes if semantic else None, crowds, seed)


def batch() -> tuple[Tensor, list[Target]]:
    """Pictures of two objects; of none; of a crowd; of three, and no classes of pixels."""
    targets = [
        scene([[8, 8, 40, 40], [60, 10, 100, 60]], 1),
        scene([], 2),
        scene([[20, 20, 60, 50]], 3, crowd=True),
        scene([[5, 5, 30, 60], [40, 4, 70, 30], [80, 20, 120, 60]], 4, semantic=False),
    ]
    return torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(0)), targets


class TrainingStep(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, targets: list[Target], counts: dict) -> dict[str, Tensor]:
        return self.model.loss(self.model(images), targets, counts)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def one_of_two(rank: int, folder: Path) -> None:
    """The first process sees all objects, the second none; the first keeps the gradients."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    images, targets = batch()
    rows = ([0, 3], [1, 2])[rank]
    for model_type in LIMITS:
        model = small(model_type)
        step, counts = DistributedDataParallel(TrainingStep(model)), model.counts(targets, SIZE)
        for _ in range(2):  # the second notices parameters that the first left without gradient
            step.zero_grad()
            losses = step(images[rows], [targets[i] for i in rows], counts)
            sum(losses.values()).backward()
        if rank == 0:
            torch.save(gradients(model), folder / f"{model_type}.pt")
    torch.distributed.destroy_process_group()

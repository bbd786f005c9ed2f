"""Planted objects: the load after the network is an input of the benchmark, not luck.

Random weights find nothing, or a hundred things in one place. So every network computes all it
would, and then its output is overwritten at the anchors of a scripted scene (a few hundred numbers
of some millions): each object gets its class at the anchor that fits it best and, where a detector
keeps several, at those that overlap this one by DUPLICATE_IOU, which NMS has to remove. The box
predictions of one-stage detectors are scaled down to 1 %, so an object's box is its anchor. In
two-stage detectors the objects' boxes become the first proposals, and the classes of all regions
are written. Nothing else is touched: other proposals, masks and maps come from the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d, box_iou

from jointseg_core.errors import BadConfig

DUPLICATE_IOU = 0.65
"""Above the NMS threshold of every entry's detections, below that of proposals."""
NEIGHBOUR_IOU = 0.45
"""Squares of three strides, one cell apart, overlap by 0.5."""
SIDES = (28 / 512, 210 / 512)
"""Smallest and largest side of an object against the picture's height."""
OBJECT_LOGITS, DUPLICATE_LOGIT, PROPOSAL_LOGIT = (6.0, 3.0), 2.0, 20.0
QUIET_BIAS = -8.0
"""Class bias under which no random weight reaches a score threshold."""


class Scene(NamedTuple):
    """Objects of a picture of (H, W) pixels: boxes [N, 4] in its pixels, and labels [N]."""

    boxes: Tensor
    labels: Tensor
    image_size: tuple[int, int]

    def scaled(self, vertical: float, horizontal: float) -> Tensor:
        """The boxes [N, 4] in pixels of the network's input."""
        return self.boxes * self.boxes.new_tensor([horizontal, vertical, horizontal, vertical])


def street_scene(count: int, image_size: tuple[int, int], classes: int, seed: int) -> Scene:
    """Boxes of street-like sizes: their crops, 1.2 times as large, cover about 3 % each.

    No two overlap by half, no two of a class by a quarter, so NMS keeps them all. Raises
    BadConfig where a picture has no room for so many.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    boxes = torch.zeros(0, 4)
    for label in labels:
        boxes = torch.cat([boxes, _place(boxes, labels, label, image_size, generator)])
    return Scene(boxes, labels, image_size)


def crop_share(scene: Scene) -> float:
    """What share of the picture the crop of an object covers on average, 1.2 times its box."""
    areas = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(1) * 1.2**2
    return float(areas.sum()) / (scene.image_size[0] * scene.image_size[1]) / max(len(areas), 1)


def _place(
    boxes: Tensor, labels: Tensor, label: Tensor, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    for _ in range(1000):
        box = _street_box(size, generator)
        limits = torch.where(labels[: len(boxes)] == label, 0.25, 0.5)
        if (box_iou(box, boxes)[0] < limits).all():
            return box
    raise BadConfig(f"no room for more than {len(boxes)} objects in {size[0]}x{size[1]}")


def _street_box(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    height, width = size
    chance = torch.rand(4, generator=generator).tolist()
    side = height * SIDES[0] * (SIDES[1] / SIDES[0]) ** chance[0]
    shape = 0.6 * 3 ** chance[1]  # height / width from 0.6 to 1.8, as of cars and people
    w, h = side / shape**0.5, side * shape**0.5
    x, y = chance[2] * (width - w), chance[3] * (height - h)
    return torch.tensor([[x, y, x + w, y + h]])


class Planted(NamedTuple):
    """Where logits are overwritten: anchors [n], labels [n], their logits [n]; owners [n] are the
    objects that are found there."""

    anchors: Tensor
    labels: Tensor
    logits: Tensor
    owners: Tensor

    def write(self, class_logits: Tensor) -> None:
        """Into class logits [B, A, K], in place."""
        class_logits[:, self.anchors, self.labels] = self.logits.to(class_logits.dtype)


def best_anchors(boxes: Tensor, anchors: Tensor) -> Tensor:
    """For each box [N, 4] the anchor of [A, 4] that overlaps it most, none taken twice: [N]."""
    chosen: list[int] = []
    for box in boxes:  # one at a time: all pairs would need more memory than the networks
        overlaps = box_iou(box[None], anchors)[0]
        overlaps[chosen] = -1
        chosen.append(int(overlaps.argmax()))
    return torch.tensor(chosen, dtype=torch.long)


def plant_classes(
    boxes: Tensor, labels: Tensor, anchors: Tensor, device: str, overlap: float = DUPLICATE_IOU
) -> Planted:
    """Objects at their best anchors, and their duplicates, for a one-stage detector.

    Duplicates are at the anchors that overlap the best one so much and that are nobody's yet.
    """
    best = best_anchors(boxes, anchors)
    chosen, owners = [best], [torch.arange(len(best))]
    free = torch.ones(len(anchors), dtype=torch.bool).index_fill(0, best, False)
    for number, anchor in enumerate(best):
        near = box_iou(anchors[anchor][None], anchors)[0] >= overlap
        chosen.append((near & free).nonzero().flatten())
        owners.append(torch.full_like(chosen[-1], number))
        free[chosen[-1]] = False
    where, of = torch.cat(chosen), torch.cat(owners)
    logits = torch.full((len(where),), DUPLICATE_LOGIT)
    logits[: len(best)] = torch.linspace(*OBJECT_LOGITS, len(best))
    return Planted(where.to(device), labels[of].to(device), logits.to(device), of)


def plant_regions(class_logits: Tensor, deltas: Tensor, labels: Tensor, background: int) -> None:
    """The first N regions [R, K + 1] are these objects [N], the others background; in place.

    The objects' boxes are their regions: deltas [R, ...] of the first N become 0. `background` is
    that column of the logits, and labels count without it.
    """
    rows = torch.arange(len(labels), device=class_logits.device)
    columns = labels + (background == 0)
    class_logits.zero_()
    class_logits[:, background] = 10
    class_logits[rows, background] = 0
    class_logits[rows, columns] = 10
    deltas[: len(labels)] = 0


def quieten(conv: nn.Conv2d, bias: float = 0.0, weight: float = 0.01) -> None:
    """Scale what a prediction layer says, and give it a bias."""
    conv.weight.data.mul_(weight)
    conv.bias.data.fill_(bias)


@torch.no_grad()
def calibrate(network: Callable[[Tensor], object], norms: nn.Module, seed: int) -> None:
    """Give every batch norm the statistics of its input, so that activations keep their size.

    What starts as zero, as the last scale of a residual branch may, becomes one.
    """
    found = [m for m in norms.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    for norm in found:
        norm.weight.data.fill_(1)
    hooks = [norm.register_forward_pre_hook(_measure) for norm in found]
    network(torch.randn(2, 3, 128, 256, generator=torch.Generator().manual_seed(seed)))
    for hook in hooks:
        hook.remove()


def _measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    x = inputs[0]
    norm.running_mean.copy_(x.mean((0, 2, 3)))
    norm.running_var.copy_(x.var((0, 2, 3), correction=0).clamp(min=1e-3))

"""torchvision's models as contenders: as they come, and given our treatment.

Weights are random, batch norms frozen as in pretrained detectors and calibrated, the network's
input has the size of the benchmark's, and the benchmark's scene is planted. The treatment is what
makes any network faster without touching its algorithm: norms folded into convolutions,
channels_last and bf16 (autocast; boxes stay in fp32), and an allocator that keeps its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models import detection as tv
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.ops import FrozenBatchNorm2d

from benchmarks.networks.clock import StageClock
from benchmarks.networks.ours import make_scene
from benchmarks.networks.planting import (
    PROPOSAL_LOGIT,
    QUIET_BIAS,
    Planted,
    Scene,
    best_anchors,
    calibrate,
    plant_classes,
    plant_regions,
    quieten,
)
from benchmarks.networks.settings import Settings
from jointseg_core.boxes import encode_boxes
from jointseg_core.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from jointseg_core.runtime.malloc import keep_memory

DETECTORS = {
    "maskrcnn": tv.maskrcnn_resnet50_fpn,
    "fasterrcnn": tv.fasterrcnn_resnet50_fpn,
    "retinanet": tv.retinanet_resnet50_fpn,
}
SEMANTIC_CLASSES = 19


def peer(
    name: str, settings: Settings, treated: bool, clock: StageClock
) -> Callable[[np.ndarray], object]:
    """Picture to results: a dict of boxes, scores, labels (masks) or a map of classes [H, W].

    The pair returns the dict of Faster R-CNN after it ran DeepLabV3 too.
    """
    if treated:
        keep_memory()
    if name == "pair":
        return _both(
            peer("fasterrcnn", settings, treated, clock), deeplab(settings, treated, clock)
        )
    if name == "deeplab":
        return deeplab(settings, treated, clock)
    return detector(name, settings, treated, clock)


def _both(detect: Callable, segment: Callable) -> Callable[[np.ndarray], object]:
    def see(picture: np.ndarray) -> object:
        found = detect(picture)
        segment(picture)
        return found

    return see


def _treat(model: nn.Module, treated: bool) -> tuple[nn.Module, Callable]:
    """The model, and the context that its frames run in."""
    if not treated:
        return model, partial(torch.autocast, "cpu", enabled=False)
    fold_batch_norms(model)
    model = model.to(memory_format=torch.channels_last)
    kind = next(model.parameters()).device.type
    return model, partial(torch.autocast, kind, torch.bfloat16)


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every norm into the convolution that comes right before it."""
    for parent in model.modules():
        for (_, conv), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
                statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                fused = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
                conv.weight, conv.bias = fused
                setattr(parent, name, nn.Identity())


# -- detectors --------------------------------------------------------------------------------


def detector(
    name: str, settings: Settings, treated: bool, clock: StageClock
) -> Callable[[np.ndarray], dict[str, Tensor]]:
    """Stages: preprocess, net (RetinaNet with its heads), proposals, regions (all RoI heads),
    paste (decode with RetinaNet)."""
    torch.manual_seed(settings.seed)
    height, width = settings.size
    model = DETECTORS[name](
        weights=None, weights_backbone=None, min_size=height, max_size=width,
        fixed_size=(width, height),
    ).eval()  # fmt: skip
    calibrate(model.backbone, model.backbone, settings.seed)
    freeze_batch_norms(model)
    model = model.to(settings.device)
    plant(model, make_scene(settings), settings)
    model, context = _treat(model, treated)
    last = _mark_stages(model, clock)

    @torch.inference_mode()
    def see(picture: np.ndarray) -> dict[str, Tensor]:
        image = torch.from_numpy(picture).to(settings.device).permute(2, 0, 1) / 255
        with context():
            found = model([image])[0]
        found = {key: value.cpu() for key, value in found.items()}
        clock.mark(last)
        return found

    return see


def _mark_stages(model: nn.Module, clock: StageClock) -> str:
    def after(module: nn.Module, stage: str) -> None:
        module.register_forward_hook(lambda *_: clock.mark(stage))

    after(model.transform, "preprocess")
    if isinstance(model, tv.RetinaNet):
        after(model.head, "net")
        return "decode"
    after(model.backbone, "net")
    after(model.rpn, "proposals")
    after(model.roi_heads, "regions")
    return "paste"


def freeze_batch_norms(module: nn.Module) -> None:
    """Replace batch norms by frozen ones of the same statistics."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)


def plant(model: nn.Module, scene: Scene, settings: Settings) -> None:
    """Let a detector find the scene, by hooks on its heads; see `planting`."""
    stretch = (n / i for n, i in zip(settings.size, settings.image, strict=True))
    boxes, labels = scene.scaled(*stretch), scene.labels
    generator = model.anchor_generator if hasattr(model, "head") else model.rpn.anchor_generator
    generator.register_forward_pre_hook(_anchors_in_fp32)
    sizes, anchors = _maps_and_anchors(model, generator, settings)
    if isinstance(model, tv.RetinaNet):
        quieten(model.head.classification_head.cls_logits, QUIET_BIAS)
        quieten(model.head.regression_head.bbox_reg)
        # torchvision's labels count from 1, its RetinaNet's columns from 0 too
        planted = plant_classes(boxes, labels + 1, anchors)
        _plant_objects(model.head, Planted(*(tensor.to(settings.device) for tensor in planted)))
        return
    _plant_proposals(model.rpn.head, boxes, anchors, sizes, settings.device)
    _plant_regions(model.roi_heads.box_predictor, labels.to(settings.device))


def _plant_objects(head: nn.Module, planted: Planted) -> None:
    def detect(_: nn.Module, __: tuple, output: dict[str, Tensor]) -> dict[str, Tensor]:
        planted.write(output["cls_logits"])
        return {**output, "bbox_regression": output["bbox_regression"].float()}

    head.register_forward_hook(detect)


def _plant_regions(predictor: nn.Module, labels: Tensor) -> None:
    def classify(_: nn.Module, __: tuple, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        plant_regions(*output, labels, background=0)
        return output[0], output[1].float()

    predictor.register_forward_hook(classify)


def _anchors_in_fp32(_: nn.Module, inputs: tuple) -> tuple:
    """Anchors take the type of the maps, boxes that of their deltas, and bf16 cannot tell pixel
    1000 from 1003: both stay in fp32, as ours do."""
    images, maps = inputs
    return images, [m.new_zeros(1, dtype=torch.float32).expand(m.shape) for m in maps]


def _maps_and_anchors(
    model: nn.Module, generator: nn.Module, settings: Settings
) -> tuple[list[tuple[int, int]], Tensor]:
    """Sizes (h, w) of the levels, and all their anchors [A, 4] as the model makes them."""
    seen: list[tuple] = []
    hook = generator.register_forward_hook(lambda _, inputs, out: seen.append((inputs[1], out[0])))
    with torch.inference_mode():
        model([torch.zeros(3, *settings.size, device=settings.device)])
    hook.remove()
    maps, anchors = seen[0]
    return [tuple(m.shape[-2:]) for m in maps], anchors.cpu()


def _plant_proposals(
    head: nn.Module, boxes: Tensor, anchors: Tensor, sizes: list[tuple[int, int]], device: str
) -> None:
    """The first proposals are the boxes [N, 4]."""
    best = best_anchors(boxes, anchors)
    deltas = encode_boxes(boxes, anchors[best])
    per_cell, places, start = len(anchors) // sum(h * w for h, w in sizes), [], 0
    for height, width in sizes:
        end = start + height * width * per_cell
        here = ((best >= start) & (best < end)).nonzero().flatten()
        cell, kind = (best[here] - start) // per_cell, (best[here] - start) % per_cell
        place = kind, cell // width, cell % width, deltas[here]
        places.append([tensor.to(device) for tensor in place])
        start = end

    def propose(
        _: nn.Module, __: tuple, output: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        # in bf16, many a random score would round to 1 as those of the objects do
        output = tuple([level.float() for level in levels] for levels in output)
        for (kind, y, x, wanted), objectness, moves in zip(places, *output, strict=True):
            objectness[0, kind, y, x] = PROPOSAL_LOGIT
            moves[0].unflatten(0, (per_cell, 4))[kind, :, y, x] = wanted
        return output

    head.register_forward_hook(propose)


# -- semantic segmentation --------------------------------------------------------------------


def deeplab(settings: Settings, treated: bool, clock: StageClock) -> Callable[[np.ndarray], Tensor]:
    """Classes [H, W] of the picture: arg max at the network's size, then the nearest pixel.

    Stages: preprocess, net, maps.
    """
    torch.manual_seed(settings.seed)
    model = deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=SEMANTIC_CLASSES
    ).eval()
    calibrate(model, model, settings.seed)
    model, context = _treat(model.to(settings.device), treated)
    mean, std = (
        torch.tensor(values, device=settings.device).view(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )

    @torch.inference_mode()
    def see(picture: np.ndarray) -> Tensor:
        image = torch.from_numpy(picture).to(settings.device).permute(2, 0, 1)[None].float()
        if settings.image != settings.size:
            image = F.interpolate(image, settings.size, mode="bilinear", antialias=True)
        image = (image - mean) / std
        clock.mark("preprocess")
        with context():
            logits = model(image)["out"]
        clock.mark("net")
        classes = logits.argmax(1, keepdim=True).to(torch.uint8)
        if settings.image != settings.size:
            classes = F.interpolate(classes, settings.image, mode="nearest")
        classes = classes[0, 0].cpu()
        clock.mark("maps")
        return classes

    return see

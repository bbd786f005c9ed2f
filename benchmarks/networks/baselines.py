"""torchvision's models as baselines: as they come, and given our treatment.

Weights are random, batch norms frozen as in pretrained detectors and calibrated, the network's
input has the size of the benchmark's, and the benchmark's scene is planted. The treatment is what
makes any network faster without touching its algorithm: norms folded into convolutions,
channels_last and bf16 (autocast; boxes stay in fp32), and an allocator that keeps its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import detection as tv
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.segmentation import deeplabv3_resnet50

from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import make_scene
from benchmarks.networks.planting import Scene, calibrate, plant_regions
from benchmarks.networks.settings import Settings
from jointseg_core.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from jointseg_core.runtime.folding import fold_batch_norms
from jointseg_core.runtime.malloc import keep_memory

DETECTORS = {"maskrcnn": tv.MaskRCNN, "fasterrcnn": tv.FasterRCNN}
COCO_CLASSES, SEMANTIC_CLASSES = 91, 19


def baseline(
    name: str, settings: Settings, treated: bool, clock: StageClock
) -> Callable[[np.ndarray], object]:
    """Picture to results: a dict of boxes, scores, labels (masks) or a map of classes [H, W].

    The pair returns the dict of Faster R-CNN after it ran DeepLabV3 too.
    """
    if treated:
        keep_memory()
    if name == "deeplab":
        return deeplab(settings, treated, clock)
    detect = detector("fasterrcnn" if name == "pair" else name, settings, treated, clock)
    if name != "pair":
        return detect
    segment = deeplab(settings, treated, clock)

    def see(picture: np.ndarray) -> object:
        found = detect(picture)
        segment(picture)
        return found

    return see


def treat(model: nn.Module, treated: bool, device: str) -> tuple[nn.Module, Callable]:
    """The model, and the context that its frames run in."""
    kind = torch.device(device).type
    if treated:
        fold_batch_norms(model)
        model = model.to(memory_format=torch.channels_last)
    return model.to(device), partial(torch.autocast, kind, torch.bfloat16, enabled=treated)


def detector(
    name: str, settings: Settings, treated: bool, clock: StageClock
) -> Callable[[np.ndarray], dict[str, Tensor]]:
    """Stages: preprocess, net, proposals, regions (all RoI heads), paste."""
    torch.manual_seed(settings.seed)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    calibrate(backbone, backbone, settings.seed)
    height, width = settings.size
    sizes = {"min_size": height, "max_size": width, "fixed_size": (width, height)}
    model = DETECTORS[name](backbone, COCO_CLASSES, **sizes).eval()
    plant(model, make_scene(settings), settings)
    model, context = treat(model, treated, settings.device)
    _mark_stages(model, clock)

    @torch.inference_mode()
    def see(picture: np.ndarray) -> dict[str, Tensor]:
        image = torch.from_numpy(picture).to(settings.device).permute(2, 0, 1) / 255
        with context():
            found = model([image])[0]
        found = {key: value.cpu() for key, value in found.items()}
        clock.mark("paste")
        return found

    return see


def _mark_stages(model: nn.Module, clock: StageClock) -> None:
    def after(module: nn.Module, stage: str) -> None:
        module.register_forward_hook(lambda *_: clock.mark(stage))

    after(model.transform, "preprocess")
    after(model.backbone, "net")
    after(model.rpn, "proposals")
    after(model.roi_heads, "regions")


def plant(model: nn.Module, scene: Scene, settings: Settings) -> None:
    """Let a detector find the scene, by hooks on its heads; see `planting`.

    Boxes, anchors and their scores stay in fp32, as ours do: bf16 cannot tell pixel 1000 from 1003.
    """
    boxes = scene.scaled(*(n / i for n, i in zip(settings.size, settings.image, strict=True)))
    boxes, labels = boxes.to(settings.device), scene.labels.to(settings.device)
    model.rpn.anchor_generator.register_forward_pre_hook(_anchors_in_fp32)
    model.rpn.head.register_forward_hook(
        lambda _, __, output: tuple([level.float() for level in levels] for levels in output)
    )

    def propose(_: nn.Module, __: tuple, output: tuple[list[Tensor], dict]) -> tuple:
        (proposals,), losses = output
        return [torch.cat([boxes, proposals[len(boxes) :]])], losses

    def classify(_: nn.Module, __: tuple, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        plant_regions(*output, labels, background=0)
        return output[0], output[1].float()

    model.rpn.register_forward_hook(propose)
    model.roi_heads.box_predictor.register_forward_hook(classify)


def _anchors_in_fp32(_: nn.Module, inputs: tuple) -> tuple:
    """Anchors take the type of the maps, and boxes that of their deltas."""
    images, maps = inputs
    return images, [m.new_zeros(1, dtype=torch.float32).expand(m.shape) for m in maps]


def deeplab(settings: Settings, treated: bool, clock: StageClock) -> Callable[[np.ndarray], Tensor]:
    """Classes [H, W] of the picture: arg max at the network's size, then the nearest pixel.

    Stages: preprocess, net, maps.
    """
    torch.manual_seed(settings.seed)
    sizes = {"weights_backbone": None, "num_classes": SEMANTIC_CLASSES}
    model = deeplabv3_resnet50(weights=None, **sizes).eval()
    calibrate(model, model, settings.seed)
    model, context = treat(model, treated, settings.device)
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

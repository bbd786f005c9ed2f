"""Our models as contenders: random weights, planted objects, and the public `Predictor`.

All that the benchmark knows of the insides of the core is in this file and in `released`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks.clock import StageClock
from benchmarks.networks.int8 import in_int8
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
    street_scene,
)
from benchmarks.networks.settings import MAX_DETECTIONS, Settings
from jointseg_core.boxes import encode_boxes
from jointseg_core.checkpoint import Config, Manifest, Model, build_model, preset
from jointseg_core.classes import Classes
from jointseg_core.correlation import contrast, sample_masks, threshold_masks
from jointseg_core.joint import Joint
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet
from jointseg_core.refinement import BoundaryRefinement, mask_profiles
from jointseg_core.segrpn import SegRPN


def make_scene(settings: Settings) -> Scene:
    """The objects that every contender of a run finds."""
    classes = min(settings.classes, 80)  # what the peers, with COCO's, can have too
    return street_scene(settings.dets, settings.image, classes, settings.seed)


def make_picture(settings: Settings) -> np.ndarray:
    """A picture uint8 [H, W, 3] of blobs and noise, the same in every process."""
    random = np.random.default_rng(settings.seed)
    height, width = settings.image
    coarse = random.integers(0, 200, (height // 32 + 1, width // 32 + 1, 3))
    blobs = coarse.repeat(32, 0).repeat(32, 1)[:height, :width]
    return (blobs + random.integers(0, 56, blobs.shape)).astype(np.uint8)


def model_config(settings: Settings) -> Config:
    """The preset with the classes and proposals of the run."""
    config = preset(settings.model, settings.preset)
    own = (
        {"num_things": settings.classes, "proposals_test": settings.regions}
        if settings.model == "segrpn"
        else {"num_classes": settings.classes}
    )
    return replace(config, max_detections=MAX_DETECTIONS, **own)


def make_model(settings: Settings) -> Model:
    """The network with seeded weights whose activations are sane and that finds nothing."""
    torch.manual_seed(settings.seed)
    model = build_model(model_config(settings)).eval()
    calibrate(model.backbone, model.backbone, settings.seed)
    if isinstance(model, RDSNet):
        quieten(model.object_stream.class_logits, QUIET_BIAS, weight=1)
        quieten(model.object_stream.box_deltas)
    return model


def make_manifest(settings: Settings) -> Manifest:
    """What a checkpoint of that model would say."""
    config = model_config(settings)
    things = tuple(f"thing {i}" for i in range(settings.classes))
    counted = {"segrpn": "num_classes", "joint": "num_semantic"}.get(settings.model)
    pixels = range(getattr(config, counted)) if counted else ()
    classes = Classes(things, tuple(f"class {i}" for i in pixels))
    return Manifest(config, classes, Preprocessing(settings.size))


def letterbox(settings: Settings) -> Letterbox:
    """How the picture lies in the network's input."""
    return Letterbox(settings.image, settings.size)


def plant(model: Model, settings: Settings, network: nn.Module | None = None) -> None:
    """Let a model find the scene: a hook overwrites its output, see `planting`.

    network is what computes in the model's place, if anything does.
    """
    scene, frame = make_scene(settings), letterbox(settings)
    boxes = scene.scaled(*frame.scale)
    anchors = torch.cat(model.anchors(settings.size, "cpu"))
    network = network or model
    if isinstance(model, RDSNet):
        _plant_classes(network, plant_classes(boxes, scene.labels, anchors), settings.device)
    else:
        _plant_proposals(network, boxes, anchors, settings.device)
        model.region_head.register_forward_hook(
            lambda _, __, output: plant_regions(
                *output, scene.labels.to(settings.device), background=model.config.num_things
            )
        )


def _plant_classes(network: nn.Module, planted: Planted, device: str) -> None:
    planted = Planted(*(tensor.to(device) for tensor in planted))
    network.register_forward_hook(lambda _, __, output: planted.write(output.class_logits))


def _plant_proposals(network: nn.Module, boxes: Tensor, anchors: Tensor, device: str) -> None:
    best = best_anchors(boxes, anchors)
    deltas, best = (tensor.to(device) for tensor in (encode_boxes(boxes, anchors[best]), best))

    def propose(_: nn.Module, __: tuple, output: tuple) -> None:
        output.objectness[:, best] = PROPOSAL_LOGIT
        output.box_deltas[:, best] = deltas.to(output.box_deltas.dtype)

    network.register_forward_hook(propose)


def make_predictor(settings: Settings, precision: str, winograd: bool = True) -> Predictor:
    """A `Predictor` as anybody would make it, whose model then finds the scene."""
    model, manifest = make_model(settings), make_manifest(settings)
    if precision == "int8":
        predictor = in_int8(settings, model, manifest)
    else:
        predictor = Predictor(model, manifest, settings.device, precision, winograd=winograd)
    plant(predictor.model, settings, predictor._network)
    return predictor


def ours(
    settings: Settings,
    precision: str,
    clock: StageClock,
    winograd: bool = True,
    pictures: int = 1,
) -> Callable[[np.ndarray], Predictions]:
    """Picture to results. Stages: preprocess, net, then what `_mark_stages` says.

    pictures: so many copies of the picture are seen at once.
    """
    predictor = make_predictor(settings, precision, winograd)
    last = _mark_stages(predictor.model, predictor._network, clock)

    def see(picture: np.ndarray) -> Predictions:
        found = predictor([picture] * pictures)[0]
        clock.mark(last)
        return found

    return see


def both(
    settings: Settings, precision: str, clock: StageClock, winograd: bool = True
) -> Callable[[np.ndarray], Predictions]:
    """What the joint network is for, by two: RDSNet, then SegRPN. A stage for each."""
    first, second = (
        make_predictor(replace(settings, model=name, peers=()), precision, winograd)
        for name in ("rdsnet", "segrpn")
    )

    def see(picture: np.ndarray) -> Predictions:
        objects = first([picture])[0]
        clock.mark("rdsnet")
        pixels = second([picture])[0]
        clock.mark("segrpn")
        maps = {name: getattr(pixels, name) for name in ("semantic", "confidence", "foreground")}
        return replace(objects, **maps)

    return see


def _mark_stages(model: Model, network: nn.Module, clock: StageClock) -> str:
    """Mark where stages end, and return the name of the last one.

    RDSNet: decode (with NMS), masks (representations, correlation, crops, MBRM, packing).
    SegRPN: proposals, regions, maps (detections with NMS, and both maps in camera pixels).
    The joint network: RDSNet's, the last one with the maps.
    """
    network.register_forward_pre_hook(lambda *_: clock.mark("preprocess"))
    network.register_forward_hook(lambda *_: clock.mark("net"))
    if isinstance(model, SegRPN):
        model.region_head.register_forward_pre_hook(lambda *_: clock.mark("proposals"))
        model.region_head.register_forward_hook(lambda *_: clock.mark("regions"))
        return "maps"
    representations_at = model.object_stream.representations_at

    def marked(*arguments: object) -> Tensor:
        clock.mark("decode")
        return representations_at(*arguments)

    model.object_stream.representations_at = marked
    return "masks and maps" if isinstance(model, Joint) else "masks"


def mask_tail(
    representations: Tensor,
    pixels: Tensor,
    boxes: Tensor,
    frame: Letterbox,
    refinement: BoundaryRefinement,
    margin: float,
    threshold: float,
) -> tuple[Masks, Tensor]:
    """From representations to masks and refined boxes, as `RDSNet.decode` does it.

    representations [N, 2, d], pixels [d, h, w], boxes [N, 4] in camera pixels.
    """
    crops, windows = sample_masks(contrast(representations), pixels, boxes, margin, frame)
    refined = refinement(*mask_profiles(crops, windows, frame.image_size), boxes)
    return threshold_masks(crops, windows, threshold), refined

"""Our networks with random weights, and the picture and the objects that everybody is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks.planting import (
    NEIGHBOUR_IOU,
    PROPOSAL_LOGIT,
    QUIET_BIAS,
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
from jointseg_core.checkpoint import Config, Manifest, Model, build_model, load_model, preset
from jointseg_core.classes import Classes
from jointseg_core.images import read_picture
from jointseg_core.joint import Joint
from jointseg_core.letterbox import Letterbox
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet
from jointseg_core.rdsnet_s import RDSNetS, as_yolact

VARIANTS: dict[str, Callable[[Config], Config]] = {
    "": lambda config: config,
    "retinanet": lambda config: replace(config, filter_size=0),
    "unrefined": lambda config: replace(config, gamma=0.0),
    "yolact": as_yolact,
}
"""How a network's config becomes that of another row of RDSNet's tables 2 and 3."""
SEEN = 0.3
"""Score from which a trained network's objects count, as the node's do."""


def make_scene(settings: Settings) -> Scene:
    """The objects that every entry of a run finds."""
    classes = min(settings.classes, 80)  # what the baselines, with COCO's, can have too
    return street_scene(settings.dets, settings.image, classes, settings.seed)


def make_picture(settings: Settings) -> np.ndarray:
    """A picture uint8 [H, W, 3], the one that is given or blobs and noise."""
    if settings.picture:
        picture = torch.from_numpy(read_picture(Path(settings.picture))).permute(2, 0, 1)
        frame = Letterbox(tuple(picture.shape[1:]), settings.image, keep_ratio=False)
        return frame.fit(picture).permute(1, 2, 0).numpy()
    random = np.random.default_rng(settings.seed)
    height, width = settings.image
    coarse = random.integers(0, 200, (height // 32 + 1, width // 32 + 1, 3))
    blobs = coarse.repeat(32, 0).repeat(32, 1)[:height, :width]
    return (blobs + random.integers(0, 56, blobs.shape)).astype(np.uint8)


def make_model(settings: Settings) -> Model:
    """The network with seeded weights whose activations are sane and that finds nothing.

    Or a trained one, that finds what it finds.
    """
    if settings.weights:
        model, _ = load_model(settings.weights)
        model.config = replace(model.config, score_threshold=SEEN)
        return model
    torch.manual_seed(settings.seed)
    model = build_model(_config(settings)).eval()
    normed = model if isinstance(model, Joint) else model.backbone
    calibrate(normed, normed, settings.seed)
    if isinstance(model, Joint):
        quieten(model.head.class_logits, QUIET_BIAS, weight=1)
    elif isinstance(model, RDSNet | RDSNetS):
        quieten(model.object_stream.class_logits, QUIET_BIAS, weight=1)
        quieten(model.object_stream.box_deltas)
    if isinstance(model, RDSNetS):  # against a background of 0, softmax is a sigmoid
        model.object_stream.class_logits.bias.data.view(-1, settings.classes + 1)[:, -1] = 0
    return model


def make_manifest(settings: Settings) -> Manifest:
    """What a checkpoint of that model would say, or says."""
    if settings.weights:
        return load_model(settings.weights)[1]
    config = _config(settings)
    things = tuple(f"thing {i}" for i in range(settings.classes))
    counted = {"segrpn": "num_classes", "joint": "num_semantic"}.get(settings.model)
    pixels = range(getattr(config, counted)) if counted else ()
    classes = Classes(things, tuple(f"class {i}" for i in pixels))
    return Manifest(config, classes, Preprocessing(settings.size))


def _config(settings: Settings) -> Config:
    """The preset with the classes and proposals of the run."""
    own = (
        {"num_things": settings.classes, "proposals_test": settings.regions}
        if settings.model == "segrpn"
        else {"num_classes": settings.classes}
    )
    config = VARIANTS[settings.variant](preset(settings.model, settings.preset))
    return replace(config, max_detections=MAX_DETECTIONS, **own)


def letterbox(settings: Settings) -> Letterbox:
    """How the picture lies in the network's input."""
    return Letterbox(settings.image, settings.size)


def plant(model: Model, settings: Settings, network: nn.Module | None = None) -> None:
    """Let a model find the scene: a hook overwrites its output, see `planting`.

    network is what computes in the model's place, if anything does.
    """
    if settings.weights:
        return
    scene, frame = make_scene(settings), letterbox(settings)
    boxes = scene.scaled(*frame.scale)
    anchors = torch.cat(model.anchors(settings.size, "cpu"))
    network = network or model
    if isinstance(model, Joint):
        _plant_cells(network, scene.labels, boxes, anchors, settings.device)
    elif isinstance(model, RDSNet | RDSNetS):
        planted = plant_classes(boxes, scene.labels, anchors, settings.device)
        network.register_forward_hook(lambda _, __, output: planted.write(output.class_logits))
    else:
        _plant_proposals(network, boxes, anchors, settings.device)
        labels, background = scene.labels.to(settings.device), model.config.num_things
        model.region_head.register_forward_hook(
            lambda _, __, output: plant_regions(*output, labels, background)
        )


def _plant_cells(
    network: nn.Module, labels: Tensor, boxes: Tensor, anchors: Tensor, device: str
) -> None:
    """As in RDSNet; a cell has one anchor only, so that its box is written as well."""
    planted = plant_classes(boxes, labels, anchors, device, NEIGHBOUR_IOU)
    chosen = planted.anchors.cpu()
    deltas = encode_boxes(boxes[planted.owners], anchors[chosen]).to(device)

    def find(_: nn.Module, __: tuple, output: tuple) -> None:
        planted.write(output.class_logits)
        output.deltas[:, planted.anchors] = deltas.to(output.deltas.dtype)

    network.register_forward_hook(find)


def _plant_proposals(network: nn.Module, boxes: Tensor, anchors: Tensor, device: str) -> None:
    best = best_anchors(boxes, anchors)
    deltas, best = (tensor.to(device) for tensor in (encode_boxes(boxes, anchors[best]), best))

    def propose(_: nn.Module, __: tuple, output: tuple) -> None:
        output.objectness[:, best] = PROPOSAL_LOGIT
        output.box_deltas[:, best] = deltas.to(output.box_deltas.dtype)

    network.register_forward_hook(propose)

"""Our models as entries: the public `Predictor`, and marks where its stages end.

All that the benchmark knows of the insides of the core is here, in `models` and in `released`.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import make_manifest, make_model, make_picture, plant
from benchmarks.networks.settings import Settings
from jointseg_core.checkpoint import Manifest, Model
from jointseg_core.export.backends import Export, Exported
from jointseg_core.export.model import Request, write_graphs
from jointseg_core.joint import Joint
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.segrpn import SegRPN

CALIBRATION_PICTURES = 4
"""Pictures that a network in int8 is quantised on."""


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
    settings: Settings, precision: str, clock: StageClock, winograd: bool = True, pictures: int = 1
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
        make_predictor(replace(settings, model=name), precision, winograd)
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


class Hooked(nn.Module):
    """An exported network, which is no module, with the hooks of one."""

    def __init__(self, network: Callable[[Tensor], tuple]) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple:
        return self.network(inputs)


def in_int8(settings: Settings, model: Model, manifest: Manifest) -> Predictor:
    """The model of these settings, quantised in another process, whose memory does not count.

    `jointseg_core.export` would refuse random weights, rightly: in int8 they see something else.
    Nothing is found in the benchmark but what is planted, so that only the time is measured.
    """
    with tempfile.TemporaryDirectory() as work:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as process:
            export = process.submit(write_int8, settings, Path(work)).result()
        exported = Exported.load(Path(work), export)
    predictor = Predictor(model, manifest, exported=exported)
    predictor._network = Hooked(predictor._network)
    return predictor


def write_int8(settings: Settings, folder: Path) -> Export:
    """Write the graphs of the model into a folder."""
    shown = replace(settings, image=settings.size)
    pictures = [make_picture(replace(shown, seed=number)) for number in range(CALIBRATION_PICTURES)]
    request = Request(folder, "openvino", folder / "none", "int8", calibration=folder)
    model, manifest = make_model(settings), make_manifest(settings)
    export = write_graphs(request, manifest, model, folder, pictures)
    return replace(export, files={file.name: "" for file in folder.glob("*.xml")})

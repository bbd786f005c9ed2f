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
from benchmarks.networks.runs import Run
from benchmarks.networks.settings import Settings
from jointseg_core.checkpoint import Manifest, Model
from jointseg_core.export.backends import SUFFIXES, Export, Exported
from jointseg_core.export.model import Request, write_graphs
from jointseg_core.joint import Joint
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.segrpn import SegRPN

CALIBRATION_PICTURES = 4
"""Pictures that a network in int8 is quantised on."""


def make_predictor(settings: Settings, run: Run, winograd: bool = True) -> Predictor:
    """A `Predictor` as anybody would make it, whose model then finds the scene."""
    model, manifest = make_model(settings), make_manifest(settings)
    if run.backend != "torch":
        predictor = exported(settings, run, model, manifest)
    else:
        predictor = Predictor(model, manifest, settings.device, run.precision, winograd=winograd)
    plant(predictor.model, settings, predictor._network)
    return predictor


def ours(
    settings: Settings, run: Run, clock: StageClock, winograd: bool = True
) -> Callable[[np.ndarray], Predictions]:
    """Picture, or copies, to results. Stages: preprocess, net, and what `_mark_stages` says."""
    predictor = make_predictor(settings, run, winograd)
    last = _mark_stages(predictor.model, predictor._network, clock)

    def see(picture: np.ndarray) -> Predictions:
        found = predictor([picture] * run.pictures)[0]
        clock.mark(last)
        return found

    return see


def both(
    settings: Settings, run: Run, clock: StageClock, winograd: bool = True
) -> Callable[[np.ndarray], Predictions]:
    """What the joint network is for, by two: RDSNet, then SegRPN. A stage for each."""
    first, second = (
        make_predictor(replace(settings, model=name), run, winograd)
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
    The joint network: decode, second look (of objects at pixels), masks and maps.
    """
    network.register_forward_pre_hook(lambda *_: clock.mark("preprocess"))
    network.register_forward_hook(lambda *_: clock.mark("net"))
    if isinstance(model, SegRPN):
        model.region_head.register_forward_pre_hook(lambda *_: clock.mark("proposals"))
        model.region_head.register_forward_hook(lambda *_: clock.mark("regions"))
        return "maps"
    if isinstance(model, Joint):
        model.exchange.register_forward_pre_hook(lambda *_: clock.mark("decode"))
        model.exchange.register_forward_hook(lambda *_: clock.mark("second look"))
        return "masks and maps"
    representations_at = model.object_stream.representations_at

    def marked(*arguments: object) -> Tensor:
        clock.mark("decode")
        return representations_at(*arguments)

    model.object_stream.representations_at = marked
    return "masks"


class Hooked(nn.Module):
    """An exported network, which is no module, with the hooks of one."""

    def __init__(self, network: Callable[[Tensor], tuple]) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple:
        return self.network(inputs)


def exported(settings: Settings, run: Run, model: Model, manifest: Manifest) -> Predictor:
    """The model of these settings in another backend.

    It is exported in another process, whose memory does not count, and without the self-check,
    which would refuse random weights in less than fp32, rightly: they see something else then.
    Nothing is found in the benchmark but what is planted, so that only the time is measured.
    """
    with tempfile.TemporaryDirectory() as work:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as process:
            export = process.submit(write_export, settings, run, Path(work)).result()
        graphs = Exported.load(Path(work), export)
    predictor = Predictor(model, manifest, exported=graphs)
    predictor._network = Hooked(predictor._network)
    return predictor


def write_export(settings: Settings, run: Run, folder: Path) -> Export:
    """Write the graphs of the model into a folder; int8 is quantised on a few pictures."""
    int8, shown = run.precision == "int8", replace(settings, image=settings.size)
    seeds = range(CALIBRATION_PICTURES if int8 else 0)
    pictures = [make_picture(replace(shown, seed=number)) for number in seeds]
    calibration = folder if int8 else None
    request = Request(folder, run.backend, folder / "none", run.precision, 1, calibration)
    model, manifest = make_model(settings), make_manifest(settings)
    export = write_graphs(request, manifest, model, folder, pictures)
    return replace(
        export, files={file.name: "" for file in folder.glob(f"*{SUFFIXES[run.backend]}")}
    )

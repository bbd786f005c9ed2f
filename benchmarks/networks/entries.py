"""What takes part in a run, by name, and how each entry is built in its own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.networks.baselines import baseline
from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import make_picture
from benchmarks.networks.ours import both, ours
from benchmarks.networks.outsiders import outsider
from benchmarks.networks.post_processing import ENTRIES as POST_PROCESSING
from benchmarks.networks.post_processing import post_processing
from benchmarks.networks.released import Published, released
from benchmarks.networks.runs import TREATED, VARIANTS, Run, kind_of
from benchmarks.networks.settings import Settings
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import PRECISIONS, winograd_saves_time
from jointseg_core.runtime.malloc import keep_memory

PEAK_CHANNELS, PEAK_REPEATS = 256, 8


def names_of(settings: Settings) -> list[str]:
    """Entries in the order of their turns."""
    names, peaks = [], ["fp32"]
    for run in settings.runs:
        names += [f"ours-{run}", *(f"ours-{run}-x{n}" for n in settings.batches)]
    for name in settings.baselines:
        if name in ("both", *VARIANTS):
            names += [f"{name}-{run}" for run in settings.runs]
        elif name == "released":
            names.append(name)
        else:
            names += [name, name + TREATED]
            peaks.append("bf16")
    names += settings.outsiders
    if "released" in settings.baselines:
        names += list(POST_PROCESSING)
    precisions = [Run.of(f"ours-{run}").precision for run in settings.runs]
    peaks += [precision for precision in precisions if precision != "int8"]
    return names + [f"peak-{precision}" for precision in dict.fromkeys(peaks)]


def build(
    name: str, settings: Settings, clock: StageClock, winograd: bool = True
) -> Callable[[np.ndarray], object]:
    """The entry: picture uint8 [H, W, 3] to its results, see `count_objects`.

    winograd: as in `Predictor`, for those of ours.
    """
    run = Run.of(name)
    if name == "masks-ours":
        keep_memory()  # as Predictor's process does
    match kind_of(name):
        case "ours":
            return ours(settings, run, clock, winograd)
        case kind if kind in VARIANTS:
            return ours(replace(settings, variant=kind), run, clock, winograd)
        case "both":
            return both(settings, run, clock, winograd)
        case "released":
            return released(settings, clock)
        case "masks":
            return post_processing(name, settings, clock)
        case "file":
            shown = make_picture(replace(settings, image=settings.size))
            return outsider(name, settings.outsiders[name], shown, clock)
        case "peak":
            return peak(settings, run.precision, clock)
    return baseline(name.removesuffix(TREATED), settings, name.endswith(TREATED), clock)


def as_defined(name: str, device: str) -> str:
    """The entry, without savings, whose operations are those of an entry's layers; "" for itself.

    Of exports torch counts nothing, and Winograd needs fewer multiplications.
    """
    kind, run = kind_of(name), Run.of(name)
    if kind not in ("ours", "both", *VARIANTS):
        return ""
    if run.backend != "torch":
        return f"{kind}-fp32"
    return name if winograd_saves_time(torch.device(device), PRECISIONS[run.precision]) else ""


def peak(settings: Settings, precision: str, clock: StageClock) -> Callable[[np.ndarray], Tensor]:
    """The fastest that this machine computes: a 3x3 convolution, 256 to 256 channels, at P3.

    Each of the repeats is a stage, so that the best of them can be taken.
    """
    keep_memory()
    cells = [side // 8 for side in settings.size]
    x, weight = (
        torch.randn(shape, device=settings.device)
        .to(PRECISIONS[precision])
        .contiguous(memory_format=torch.channels_last)
        for shape in ((1, PEAK_CHANNELS, *cells), (PEAK_CHANNELS, PEAK_CHANNELS, 3, 3))
    )

    @torch.inference_mode()
    def see(_: np.ndarray) -> Tensor:
        for repeat in range(PEAK_REPEATS):
            y = F.conv2d(x, weight, padding=1)
            clock.mark(str(repeat))
        return y

    return see


def peak_gflop(size: tuple[int, int]) -> float:
    """GFLOP of one convolution of `peak`, 2 for each multiplication with its addition."""
    return 2 * 9 * PEAK_CHANNELS**2 * (size[0] // 8) * (size[1] // 8) / 1e9


def count_objects(result: object) -> int | None:
    """How many objects an entry found; None for one that looks for none."""
    match result:
        case Predictions():
            return len(result)
        case Published():
            return len(result.objects)
        case {"boxes": boxes}:
            return len(boxes)

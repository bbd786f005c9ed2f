"""Who takes part in a run, by name, and how each is built in its own process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.ours import both, ours
from benchmarks.networks.peers import peer
from benchmarks.networks.released import Published, released
from benchmarks.networks.settings import Settings
from benchmarks.networks.tail import TAILS, tail
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.predictor import PRECISIONS, saves_time
from jointseg_core.runtime.malloc import keep_memory

TREATED = "-treated"
PEAK_CHANNELS, PEAK_REPEATS = 256, 8


def names_of(settings: Settings) -> list[str]:
    """Contenders in the order of their turns."""
    names = []
    for precision in settings.precisions:
        names += [f"ours-{precision}", *(f"ours-{precision}-x{n}" for n in settings.batches)]
    for name in settings.peers:
        if name == "both":
            names += [f"both-{precision}" for precision in settings.precisions]
        else:
            names += [name] if name == "released" else [name, name + TREATED]
    if "released" in settings.peers:
        names += list(TAILS)
    return names + [f"peak-{precision}" for precision in peak_precisions(settings)]


def peak_precisions(settings: Settings) -> list[str]:
    """Number formats that some contender computes in, and torch too."""
    own = [precision for precision in settings.precisions if precision != "int8"]
    fastest = ["bf16"] if any(name not in ("released", "both") for name in settings.peers) else []
    return list(dict.fromkeys(["fp32", *fastest, *own]))


def precision_of(name: str) -> str:
    """What a contender computes in; for tails, fp32."""
    if name.startswith(("ours-", "both-", "peak-")):
        return name.split("-")[1]
    return "bf16" if name.endswith(TREATED) else "fp32"


def pictures_of(name: str) -> int:
    """How many pictures the contender sees at once."""
    return int(name.rpartition("-x")[2]) if "-x" in name else 1


def build(
    name: str, settings: Settings, clock: StageClock, winograd: bool = True
) -> Callable[[np.ndarray], object]:
    """The contender: picture uint8 [H, W, 3] to its results. `describe` says what they are.

    winograd: as in `Predictor`, for those of ours.
    """
    kind, precision = name.partition("-")[0], precision_of(name)
    if kind == "ours":
        return ours(settings, precision, clock, winograd, pictures_of(name))
    if kind == "both":
        return both(settings, precision, clock, winograd)
    if kind == "released":
        return released(settings, clock)
    if kind == "tail":
        if name == "tail-ours":
            keep_memory()  # as Predictor's process does
        return tail(settings, TAILS[name], clock)
    if kind == "peak":
        return peak(settings, precision, clock)
    return peer(name.removesuffix(TREATED), settings, name.endswith(TREATED), clock)


def may_save(name: str, device: str) -> bool:
    """Whether the contender may need fewer multiplications than its layers are defined by."""
    dtype = PRECISIONS.get(precision_of(name))
    ours = name.startswith(("ours-", "both-")) and dtype is not None
    return ours and saves_time(torch.device(device), dtype)


def peak(settings: Settings, precision: str, clock: StageClock) -> Callable[[np.ndarray], Tensor]:
    """The fastest that this machine computes: a 3x3 convolution, 256 to 256 channels, at P3.

    Each of the repeats is a stage, so that the best of them can be taken.
    """
    keep_memory()
    dtype = PRECISIONS[precision]
    cells = [side // 8 for side in settings.size]
    x, weight = (
        torch.randn(shape, device=settings.device)
        .to(dtype)
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


def describe(result: object) -> dict[str, float]:
    """How many objects a contender found, and of ours what share of the picture their crops
    cover: those of masks, or boxes 1.2 times as large."""
    match result:
        case Predictions(masks=Masks() as masks):
            return {"objects": len(result), "crop_share": _share(masks.areas, result.image_size)}
        case Predictions(boxes=boxes):
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) * 1.2**2
            return {"objects": len(result), "crop_share": _share(areas, result.image_size)}
        case Published():
            return {"objects": len(result.objects)}
        case {"boxes": boxes}:
            return {"objects": len(boxes)}
    return {}


def _share(areas: Tensor, size: tuple[int, int]) -> float:
    return float(areas.sum()) / (size[0] * size[1]) / max(len(areas), 1)

"""Camera images in, `Predictions` out: a model made ready once and used for every frame."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from jointseg_core.checkpoint import Manifest, Model, check_limits, load_model
from jointseg_core.classes import Classes
from jointseg_core.cuda.graph import Replayer
from jointseg_core.errors import BadCheckpoint, BadConfig
from jointseg_core.export.backends import CHECKPOINT, Exported, is_export, open_export
from jointseg_core.export.choice import fastest_export
from jointseg_core.export.graphs import Output
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.runtime.bf16 import bf16_saves_time
from jointseg_core.runtime.folding import fold_batch_norms
from jointseg_core.runtime.malloc import keep_memory, return_memory
from jointseg_core.runtime.winograd import WinogradConv2d, use_winograd

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_LIMITS = ("score_threshold", "nms_iou", "mask_threshold", "max_detections")


@dataclass(frozen=True)
class _Timing:
    """Milliseconds that the last batch took."""

    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0


class Predictor:
    """Runs a model on images of any size; safe to use from several threads.

    model      is changed for good: norms folded, cast, moved; `exported` takes its backbone
    device     "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N"
    precision  "fp32", "fp16", "bf16", or "auto": bf16 on a CPU that is faster in it, else fp32
    exported   what computes in the place of the model's layers, in a precision of its own
    reason     why that backend runs, for logs; empty where it was asked for
    winograd   whether wide 3x3 convolutions may save multiplications, see `winograd.py`; they do
               on CPUs, but not in bf16 on one with AMX
    """

    def __init__(
        self,
        model: Model,
        manifest: Manifest,
        device: str = "auto",
        precision: str = "fp32",
        weights: Path = Path(),
        exported: Exported | None = None,
        winograd: bool = True,
        reason: str = "",
    ) -> None:
        self.device = choose_device(exported.export.device if exported else device)
        self.precision = (
            exported.export.precision if exported else choose_precision(precision, self.device)
        )
        self.backend = exported.export.form if exported else "torch"
        self.reason = reason
        self.weights = weights
        self.manifest = manifest
        self.timing = _Timing()
        self._lock = threading.Lock()
        self._dtype = torch.float32 if exported else PRECISIONS[self.precision]
        winograd = winograd and not exported and winograd_saves_time(self.device, self._dtype)
        self.model = prepared(model, self.device, self._dtype, winograd)
        self._network: Callable[[Tensor], Any] = self.model
        self._replayer: Replayer | None = None
        if exported:
            self._network = exported.network(self.model)
        else:
            given = manifest.preprocessing, self.device, self._dtype
            self._replayer = Replayer.where_possible(self.model, *given)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        device: str = "auto",
        precision: str = "fp32",
        sha256: str = "",
        model_type: str = "",
        backend: str = "auto",
        input_size: str = "",
    ) -> Predictor:
        """The model of a checkpoint, see `load_model`, or of an export, see `open_export`.

        backend is "auto", which is torch or an export beside the checkpoint, see
        `export.choice`; "torch", which runs the checkpoint in an export's folder as well; or
        "onnx", "aoti" or "openvino", for an export to it. input_size is as in `Manifest.at_size`;
        exports have one size. Raises BadCheckpoint also when the file holds another model type
        than the one asked for.
        """
        exported, reason = None, ""
        if backend not in ("auto", "torch"):
            exported = open_export(path, backend, device, precision)
        file = Path(path) / CHECKPOINT if is_export(path) else path
        model, manifest = load_model(file, sha256)
        own, manifest = manifest, manifest.at_size(input_size)
        if exported and manifest is not own:
            size = "x".join(map(str, own.preprocessing.input_size))
            raise BadConfig(f"{path}: the export has an input of {size}, asked for {input_size}")
        if model_type and manifest.model_type != model_type:
            raise BadCheckpoint(
                f"{Path(path).resolve()}: holds a {manifest.model_type} model, wanted {model_type}"
            )
        if backend == "auto" and manifest is own:
            exported, reason = _fastest(path, device, precision, sha256)
        weights = Path(path).resolve()
        return cls(model, manifest, device, precision, weights, exported, reason=reason)

    @property
    def model_type(self) -> str:
        """As `Manifest.model_type`."""
        return self.manifest.model_type

    @property
    def classes(self) -> Classes:
        """Names of things and pixel classes."""
        return self.manifest.classes

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels; of a wide image, where it varies."""
        return self.manifest.preprocessing.input_size

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        return self.manifest.sha256

    def configure(self, **changes: float) -> None:
        """Change `score_threshold`, `nms_iou`, `mask_threshold` or `max_detections`.

        The next batch uses them; SegRPN, which makes no masks, ignores their threshold. Raises
        BadConfig for another name, and for a value that makes no sense: thresholds are within 0 and
        1, detections 1 to 1000. Then nothing changes.
        """
        if unknown := sorted(set(changes) - set(_LIMITS)):
            raise BadConfig(f"{unknown[0]} cannot be changed; want one of {', '.join(_LIMITS)}")
        check_limits(changes)
        config: Any = self.model.config
        known = {name: value for name, value in changes.items() if hasattr(config, name)}
        self.model.config = replace(config, **known)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Predictions]:
        """Predictions for uint8 RGB images [H, W, 3], in camera pixels and on the CPU.

        Images may differ in size; they are one batch. Raises BadImage, a ValueError, for anything
        else.
        """
        return self._predict(images)[0]

    def with_proposals(
        self, images: Sequence[np.ndarray], limit: int = 1000
    ) -> tuple[list[Predictions], list[tuple[Tensor, Tensor]]]:
        """What a call returns, and of the same pass the class-agnostic proposals of each image.

        Proposals are at most `limit` boxes [P, 4] in camera pixels and their scores [P], best
        first, on the CPU.
        """
        return self._predict(images, limit)

    def _predict(
        self, images: Sequence[np.ndarray], limit: int = 0
    ) -> tuple[list[Predictions], list[tuple[Tensor, Tensor]]]:
        if not len(images):
            return [], []
        with self._lock, torch.inference_mode():
            start = time.perf_counter()
            frames = self.manifest.preprocessing.frames(images)
            output, predictions, between = self._replay(images, frames) or self._run(images)
            steps = np.diff([start, *between, time.perf_counter()]) * 1e3
            self.timing = _Timing(*steps.tolist())
            proposals = self.model.proposals(output, frames, limit) if limit else []
        return predictions, [(boxes.cpu(), scores.cpu()) for boxes, scores in proposals]

    def raw(self, images: Sequence[np.ndarray]) -> Output:
        """The tensors of the network's output for these images, before they are decoded."""
        with self._lock, torch.inference_mode():
            batch = self.manifest.preprocessing.batch
            output: Output = self._network(batch(images, self.device, self._dtype)[0])
            return output

    def _run(self, images: Sequence[np.ndarray]) -> tuple[Any, list[Predictions], list[float]]:
        """The network's output, predictions, and when pictures were fitted and the net was done."""
        inputs, frames = self.manifest.preprocessing.batch(images, self.device, self._dtype)
        fitted = self._now()
        output = self._network(inputs)
        inferred = self._now()
        predictions = [p.to("cpu") for p in self.model.decode(output, frames)]
        return output, predictions, [fitted, inferred]

    def _replay(
        self, images: Sequence[np.ndarray], frames: list[Letterbox]
    ) -> tuple[Any, list[Predictions], list[float]] | None:
        """The same by a CUDA graph; None where there is none, or none could be captured.

        A dispatch mode, such as FlopCounterMode, would see no operation of a replay.
        """
        if self._replayer is None or _get_current_dispatch_mode() is not None:
            return None
        try:
            return self._replayer(images, frames)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"no CUDA graph, frames take the slower way: {reason}", stacklevel=4)
            self._replayer = None
            return None

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run every batch size once, so that the first frame is as fast as the others."""
        black = np.zeros((*self.input_size, 3), np.uint8)
        for count in batch_sizes:
            self([black] * count)


def _fastest(
    path: str | Path, device: str, precision: str, sha256: str
) -> tuple[Exported | None, str]:
    """What `fastest_export` says, where an export may take the place of torch at all."""
    chosen = choose_device(device)
    computed = choose_precision(precision, chosen)
    if chosen.type != "cpu":
        return None, "torch has the GPU"
    if sha256:
        return None, "a SHA-256 was asked for, which no export has"
    allowed = precisions_of(chosen) if precision == "auto" else [computed]
    return fastest_export(path, allowed, computed)


def prepared(
    model: Model, device: torch.device, dtype: torch.dtype, winograd: bool = False
) -> Model:
    """The model as it runs fastest: norms folded in fp32, then cast, channels last, on the device.

    Layers compute in dtype; what decides where something is stays in fp32 (see the models' decode).
    """
    fold_batch_norms(model)
    if winograd:
        use_winograd(model, dtype, besides=model.backbone.stages[-1])
    model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm | WinogradConv2d):
            module.to(dtype)
    if device.type == "cpu":
        return_memory()  # of the weights as they were
        keep_memory()
    return model


def winograd_saves_time(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `use_winograd` does. Where AMX multiplies bf16, multiplications cost too little."""
    amx = dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and not amx


def precisions_of(device: torch.device) -> list[str]:
    """The number formats that the device computes in, slowest first."""
    if device.type == "cpu":
        half = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return ["fp32", "bf16"] if half else ["fp32"]
    half = torch.cuda.is_bf16_supported(including_emulation=False)
    return ["fp32", "fp16", "bf16"] if half else ["fp32", "fp16"]


def choose_precision(name: str, device: torch.device) -> str:
    """The number format of that name. Raises BadConfig for one that the device has no units for.

    "auto" is bf16 where that saves a CPU time: the shipped weights of RDSNet and SegRPN lose no
    accuracy by it (docs/results/seed_spread.json against seed_spread_bf16.json).
    """
    if name == "auto":
        return "bf16" if device.type == "cpu" and bf16_saves_time() else "fp32"
    if name == "int8":
        raise BadConfig("precision 'int8': torch has none here; run an export by its backend")
    if name not in PRECISIONS:
        raise BadConfig(f"precision {name!r}; want auto or one of {', '.join(PRECISIONS)}")
    if name not in (known := precisions_of(device)):
        raise BadConfig(f"precision {name!r}: {device} computes in {' and '.join(known)} only")
    return name


def choose_device(name: str) -> torch.device:
    """The device of that name. Raises BadConfig where this machine has no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadConfig(f"device {name!r}; want auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadConfig(
            f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return device

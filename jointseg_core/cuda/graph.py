"""From pictures to results in one captured CUDA graph: three launches and one wait for each batch.

Without a graph the host launches some hundred kernels for a frame and waits for the device at every
list whose length it has to know; a small network finishes sooner than that. So the whole way from
uint8 pictures to the bytes of the results is captured once for every combination of picture sizes
(PyTorch notes, "CUDA Graphs"), with shapes that do not depend on what the pictures show, and then
replayed.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointseg_core.boxes import logit
from jointseg_core.checkpoint import Config, Model
from jointseg_core.cuda import joint as joint_fixed
from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda import segrpn as segrpn_fixed
from jointseg_core.cuda.fixed_shapes import FixedFrame, Limits
from jointseg_core.joint import Joint
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet
from jointseg_core.segrpn import SegRPN

_DECODERS: Mapping[type, Callable[..., list[FixedFrame]]] = {
    RDSNet: rdsnet_fixed.decode_fixed,
    SegRPN: segrpn_fixed.decode_fixed,
    Joint: joint_fixed.decode_fixed,
}
"""Models that decode with fixed shapes."""
_MOST_GRAPHS = 8  # combinations of picture sizes that are kept; the one unused for longest goes
_WARM_UPS = 3  # runs before the capture, in which libraries choose kernels and caches are filled


class _CapturedGraph:
    """All that happens to batches of pictures of these sizes, between two copies.

    On a CPU nothing is captured: every batch is computed anew.

    frames  how the pictures of a batch, in this order, lie in the network's input
    dtype   of the network's input
    pool    the memory of another graph: they share it, since results are read before the next batch
    """

    def __init__(
        self,
        model: Model,
        preprocessing: Preprocessing,
        frames: list[Letterbox],
        device: torch.device,
        dtype: torch.dtype,
        pool: Any = None,
    ) -> None:
        cuda = device.type == "cuda"
        self.model, self.preprocessing = model, preprocessing
        self.frames, self.dtype = frames, dtype
        self.staged = [
            torch.empty(*frame.image_size, 3, dtype=torch.uint8, pin_memory=cuda)
            for frame in frames
        ]
        self.pictures = [torch.zeros_like(staged, device=device) for staged in self.staged]
        self.capacity = model.config.max_detections
        self._config: Config | None = None
        self._numbers = torch.zeros(len(Limits._fields), device=device)
        self.adopt(model.config)
        self._graph = self._captured(device, pool) if cuda else None
        if not cuda:
            self._compute()
        self._host = torch.empty(len(self._data), dtype=torch.uint8, pin_memory=cuda)

    def adopt(self, config: Config) -> None:
        """Use the thresholds of a config from the next batch on."""
        if config is not self._config:
            mask = logit(getattr(config, "mask_threshold", 0.5))
            values = config.score_threshold, config.nms_iou, config.max_detections, mask
            self._numbers.copy_(torch.tensor(values))
            self._config = config

    def _compute(self) -> None:
        """What is captured: nothing in it depends on what the pictures show, or waits."""
        inputs = self.preprocessing.inputs(self.pictures, self.frames, self.dtype)
        self.output = self.model(inputs)
        decode, limits = _DECODERS[type(self.model)], Limits(*self._numbers.unbind())
        self._found = decode(self.model, self.output, self.frames, limits, self.capacity)
        self._data = _to_bytes([field for one in self._found for field in one])

    @property
    def pool(self) -> Any:
        """Where the graph's memory comes from: a handle of torch's, None on a CPU."""
        return None if self._graph is None else self._graph.pool()

    def _captured(self, device: torch.device, pool: Any) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._compute()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads may use the device meanwhile
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            self._compute()
        return graph

    def stage(self, images: Sequence[np.ndarray]) -> None:
        """Start to bring uint8 RGB pictures [H, W, 3] of the frames' sizes to the device."""
        for staged, picture, image in zip(self.staged, self.pictures, images, strict=True):
            np.copyto(staged.numpy(), image)
            picture.copy_(staged, non_blocking=True)

    def run(self) -> None:
        """Compute, and bring the results to the host: the one wait of a batch."""
        if self._graph is None:
            self._compute()
            self._host.copy_(self._data)
            return
        self._graph.replay()
        self._host.copy_(self._data, non_blocking=True)
        torch.cuda.current_stream().synchronize()

    def results(self) -> list[Predictions | None]:
        """Of each picture; None where they did not fit."""
        like = [field for one in self._found for field in one]
        fields = iter(_from_bytes(self._host, like))
        found = [FixedFrame(*(next(fields) for _ in one)) for one in self._found]
        results = [one.to_predictions(frame) for one, frame in zip(found, self.frames, strict=True)]
        fusion = getattr(self.model, "fusion", None)
        return [one if one is None else replace(one, fusion=fusion) for one in results]


class Replayer:
    """Runs a prepared model (see `prepared`) by captured graphs; not for several threads at once.

    redone  pictures so far whose results did not fit, so that their batch was decoded again
    """

    def __init__(
        self,
        model: Model,
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._how = model, preprocessing
        self._where = device, dtype
        self._device = device if device.type == "cuda" else -1  # -1 leaves the current one alone
        self._graphs: OrderedDict[tuple[tuple[int, int], ...], _CapturedGraph] = OrderedDict()
        self.redone = 0

    @classmethod
    def where_possible(
        cls, model: Model, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
    ) -> Replayer | None:
        """One where there is a GPU, and a decoding of this model to capture; else None."""
        if device.type != "cuda" or type(model) not in _DECODERS:
            return None
        return cls(model, preprocessing, device, dtype)

    def __call__(
        self, images: Sequence[np.ndarray], frames: list[Letterbox]
    ) -> tuple[Any, list[Predictions], list[float]]:
        """The network's output, results on the CPU, and the times before and after the device.

        The output holds until the next batch. Raises RuntimeError where nothing can be captured.
        """
        model, _ = self._how
        with torch.cuda.device(self._device):
            graph = self._captured(frames)
            graph.adopt(model.config)
            graph.stage(images)
            staged = time.perf_counter()
            graph.run()
        done = time.perf_counter()
        results = graph.results()
        found = [result for result in results if result is not None]
        if missing := len(results) - len(found):
            self.redone += missing
            found = [p.to("cpu") for p in model.decode(graph.output, frames)]
        return graph.output, found, [staged, done]

    def _captured(self, frames: list[Letterbox]) -> _CapturedGraph:
        model, _ = self._how
        key = tuple(frame.image_size for frame in frames)
        known = self._graphs.pop(key, None)
        if known is None or known.capacity < model.config.max_detections:
            known = None  # before its successor needs the memory
            while len(self._graphs) >= _MOST_GRAPHS:
                self._graphs.popitem(last=False)
            pool = next((other.pool for other in self._graphs.values()), None)
            known = _CapturedGraph(*self._how, frames, *self._where, pool)
        self._graphs[key] = known
        return known


def _to_bytes(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors behind each other, uint8 [n]: one copy brings them to the host."""
    return torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])


def _from_bytes(data: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of `_to_bytes` on the CPU, copied; `like` has their shapes and types."""
    sizes = [tensor.numel() * tensor.element_size() for tensor in like]
    return [
        piece.clone().view(tensor.dtype).view(tensor.shape)
        for piece, tensor in zip(torch.split(data, sizes), like, strict=True)
    ]

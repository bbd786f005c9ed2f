"""From pictures to results in one recorded CUDA graph: three launches and one wait for each batch.

Without a graph the host launches some hundred kernels for a frame and waits for the device at every
list whose length it has to know; a small network finishes sooner than that. So the whole way from
uint8 pictures to the bytes of the results is recorded once for every combination of picture sizes
(PyTorch notes, "CUDA Graphs"), with shapes that do not depend on what is seen.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from jointseg_core.boxes import logit
from jointseg_core.checkpoint import Config, Model
from jointseg_core.cuda import joint as joint_fixed
from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda import segrpn as segrpn_fixed
from jointseg_core.cuda.fixed_shapes import Limits, from_bytes, to_bytes
from jointseg_core.joint import Joint
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet
from jointseg_core.segrpn import SegRPN

DECODERS = {
    RDSNet: rdsnet_fixed.decode_fixed,
    SegRPN: segrpn_fixed.decode_fixed,
    Joint: joint_fixed.decode_fixed,
}
"""Models that decode with fixed shapes."""
RECORDINGS = 8
"""Combinations of picture sizes that are kept; the one unused for longest makes room."""
WARM_UPS = 3
"""Runs before the recording, in which libraries choose kernels and caches are filled."""


class CapturedGraph:
    """All that happens to batches of pictures of these sizes, between two copies.

    On a CPU nothing is recorded: every batch is computed anew.

    pool  of another recording: they share memory, since results are read before the next batch
    """

    def __init__(
        self,
        model: Model,
        preprocessing: Preprocessing,
        frames: list[Letterbox],
        device: torch.device,
        dtype: torch.dtype,
        pool: tuple[int, int] | None = None,
    ) -> None:
        cuda = device.type == "cuda"
        self.model, self.preprocessing = model, preprocessing
        self.frames, self.dtype = frames, dtype
        self.staged = [
            torch.empty(*frame.image_size, 3, dtype=torch.uint8, pin_memory=cuda)
            for frame in frames
        ]
        self.pictures = [torch.zeros_like(staged, device=device) for staged in self.staged]
        self.capacity, self._config = model.config.max_detections, None
        self._numbers = torch.zeros(len(Limits._fields), device=device)
        self.adopt(model.config)
        self._graph = self._recorded(device, pool) if cuda else None
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
        """What is recorded: nothing in it depends on what the pictures show, or waits."""
        inputs = self.preprocessing.inputs(self.pictures, self.frames, self.dtype)
        self.output = self.model(inputs)
        decode, limits = DECODERS[type(self.model)], Limits(*self._numbers.unbind())
        self._found = decode(self.model, self.output, self.frames, limits, self.capacity)
        self._data = to_bytes([field for one in self._found for field in one])

    @property
    def pool(self) -> tuple[int, int] | None:
        """Where the memory of the recording comes from."""
        return self._graph and self._graph.pool()

    def _recorded(self, device: torch.device, pool: tuple[int, int] | None) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._compute()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads may use the device meanwhile
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            self._compute()
        return graph

    def stage(self, images: Sequence[np.ndarray]) -> None:
        """Bring pictures to the device."""
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
        fields = iter(from_bytes(self._host, like))
        found = [type(one)(*(next(fields) for _ in one)) for one in self._found]
        results = [one.to_predictions(frame) for one, frame in zip(found, self.frames, strict=True)]
        fusion = getattr(self.model, "fusion", None)
        return [one if one is None else replace(one, fusion=fusion) for one in results]


class Replayer:
    """Runs a prepared model (see `prepared`) by recordings; not safe to use from several threads.

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
        self._graphs: OrderedDict[tuple, CapturedGraph] = OrderedDict()
        self.redone = 0

    def __call__(
        self, images: Sequence[np.ndarray], frames: list[Letterbox]
    ) -> tuple[object, list[Predictions], list[float]]:
        """The network's output, results on the CPU, and the times before and after the device.

        The output holds until the next batch. Raises RuntimeError where nothing can be recorded.
        """
        model, _ = self._how
        with torch.cuda.device(self._device):
            recording = self._captured(frames)
            recording.adopt(model.config)
            recording.stage(images)
            staged = time.perf_counter()
            recording.run()
        done = time.perf_counter()
        results = recording.results()
        if missing := sum(result is None for result in results):
            self.redone += missing
            results = [p.to("cpu") for p in model.decode(recording.output, frames)]
        return recording.output, results, [staged, done]

    def _captured(self, frames: list[Letterbox]) -> CapturedGraph:
        model, _ = self._how
        key = tuple(frame.image_size for frame in frames)
        known = self._graphs.pop(key, None)
        if known is None or known.capacity < model.config.max_detections:
            known = None  # before its successor needs the memory
            while len(self._graphs) >= RECORDINGS:
                self._graphs.popitem(last=False)
            pool = next((other.pool for other in self._graphs.values()), None)
            known = CapturedGraph(*self._how, frames, *self._where, pool)
        self._graphs[key] = known
        return known


def replayer_for(
    model: nn.Module, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
) -> Replayer | None:
    """One where there is a GPU to record on, and a decoding of this model that can be recorded."""
    if device.type != "cuda" or type(model) not in DECODERS:
        return None
    return Replayer(model, preprocessing, device, dtype)

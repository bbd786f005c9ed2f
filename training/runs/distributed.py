"""The processes that torchrun starts, one a device; without torchrun a single one.

torchrun --nproc-per-node=8 -m training.train rdsnet_r50_coco_1x --data /data/coco
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from jointseg_core.errors import BadConfig, ResourceError
from jointseg_core.predictor import choose_device

PATIENCE = timedelta(hours=2)
"""How long the others wait for the first process, which alone validates and writes."""


@dataclass(frozen=True)
class Ranks:
    """This process among all; rank 0 is the one that writes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def highest(self, value: float) -> float:
        """The largest of the processes' values."""
        return self._reduce([value], dist.ReduceOp.MAX)[0]

    def gather(self, names: Sequence[str]) -> list[str]:
        """The names of all processes."""
        if self.world == 1:
            return list(names)
        found: list[Sequence[str]] = [()] * self.world
        dist.all_gather_object(found, list(names))
        return [name for part in found for name in part]

    def wait(self) -> None:
        """Until all processes are here; an error after PATIENCE."""
        self.highest(0.0)

    def _reduce(self, values: Sequence[float], operation: dist.ReduceOp) -> list[float]:
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, operation)
        return tensor.tolist()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process's place; `device` as for `choose_device`, under torchrun one GPU a process.

    Raises BadConfig for a device that this machine lacks.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if world > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    try:
        chosen = choose_device(device)
    except BadConfig as error:
        raise BadConfig(f"--device: {error}") from error
    if world == 1:
        yield Ranks(chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with _told_of_peers(world):
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
        try:
            yield Ranks(chosen, dist.get_rank(), world)
        finally:
            dist.destroy_process_group()


@contextmanager
def _told_of_peers(world: int) -> Iterator[None]:
    """ResourceError in the place of what the library raises when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        of_peers = isinstance(error, dist.DistError) or re.search("gloo|nccl", str(error), re.I)
        if isinstance(error, ResourceError) or not of_peers:
            raise
        rank = os.environ.get("RANK", "0")
        raise ResourceError(
            f"process {rank} of {world} gets no answer from another one, which died or was "
            "stopped; its own output says why; --resume goes on from the last checkpoint"
        ) from error

"""The node's own program in processes that are forked with everything imported: a second a start.

A process can be given weak spots: what hangs there hangs in the C library, where no signal and no
exception of Python gets in.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from jointseg_core.predictor import Predictor
from jointseg_ros import perception_node

HANGING_WIDTH, FULL_WIDTH, LOST_WIDTH = 130, 132, 134
"""Frames of these widths hang, find no memory, and lose the device."""


def hang() -> None:
    """Never return, and let other threads run."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def with_weak_spots(call: Callable) -> Callable:
    """Predictor.__call__ that meets what can happen on a device, by the width of the picture."""

    def weak(self: Predictor, images: list[Any]) -> Any:
        widths = [image.shape[1] for image in images]
        if HANGING_WIDTH in widths:
            hang()
        if FULL_WIDTH in widths:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if LOST_WIDTH in widths:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return call(self, images)

    return weak


def _run(words: list[str], environment: dict[str, str], log: str, hangs_loading: bool) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stderr = sys.stdout = os.fdopen(output, "w", buffering=1)
    Predictor.__call__ = with_weak_spots(Predictor.__call__)
    if hangs_loading:
        Predictor.from_file = classmethod(lambda *_, **__: hang())
    code = perception_node.main([sys.argv[0], "--ros-args", *words])
    gc.collect()
    os._exit(code)


def _server() -> ForkServerContext:
    """The process to fork from. Python 3.11 does not hand it the path for what it preloads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stressed_node"])
    here = Path(__file__).parent
    path = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        forkserver.ensure_running()
    return context


class Process:
    """A node called `stressed` with its program's own way to start and to end."""

    def __init__(self, folder: Path, weights: Path, hangs_loading: bool, **parameters: Any):
        self.log = folder / "node.log"
        given = {"model.type": "rdsnet", "model.weights": weights} | parameters
        words = ["-r", "__node:=stressed"]
        for name, value in given.items():
            words += ["-p", f"{name.replace('__', '.')}:={value}"]
        environment = {name: value for name, value in os.environ.items() if name.startswith("ROS")}
        context = _server()
        arguments = (words, environment, str(self.log), hangs_loading)
        self._process = context.Process(target=_run, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self, seconds: float) -> int:
        """The exit code, negative after a signal; AssertionError when it does not end in time."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still there after {seconds} s: {self.said()}"
        return self._process.exitcode

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.join()


@contextlib.contextmanager
def stressed(
    folder: Path, weights: Path, hangs_loading: bool = False, **parameters: Any
) -> Iterator[Process]:
    process = Process(folder, weights, hangs_loading, **parameters)
    try:
        yield process
    finally:
        process.kill()

"""Jobs done ahead by forked processes: results in order, an error that names what killed a worker.

A worker is forked, so that it shares what is in memory, and hands its results over in anonymous
files, so that neither the size of /dev/shm nor that of a pipe matters. It dies with its parent; if
it dies before, that is an error at once, which says at what it was; and so is, after a while, that
it stands still.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import mmap
import os
import pickle
import signal
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np
import torch

from jointseg_core.errors import BadDataset, BadInput, ResourceError, SegError

T = TypeVar("T")
AHEAD = 2  # results that each worker may have finished or begun before they are asked for
IDLE = -1
PATIENCE_S = 300.0
"""Seconds that a worker may be at the same item."""
ALIGNMENT = 64
_FEWER = "use fewer --workers, smaller pictures or smaller batches"

At = Callable[[int], None]
"""What a job calls to tell which item it is at."""


def in_order(
    job: Callable[[Any, At], T], tasks: Iterable[Any], workers: int, name: Callable[[int], str]
) -> Iterator[T]:
    """job(task, at) of each task, in order, computed ahead by `workers` processes (0: by this one).

    The tasks may be endless; arrays and tensors in results are not copied. What a job raises is
    raised here. With the `name` of the item that it was at: BadInput for a worker that died, and
    ResourceError for one that was killed, is out of memory or stands still.
    """
    if not workers:
        yield from (job(task, lambda item: None) for task in tasks)
        return
    team = [Worker(job) for _ in range(workers)]
    tasks, busy = iter(tasks), deque[Worker]()

    def stop() -> None:
        for worker in team:
            worker.stop()

    atexit.register(stop)  # before multiprocessing waits for its processes
    try:
        for turn in range(AHEAD * workers):
            _next_task(tasks, team[turn % workers], busy)
        while busy:
            worker = busy.popleft()
            result = worker.result(name)
            _next_task(tasks, worker, busy)
            yield result
    finally:
        stop()
        atexit.unregister(stop)


def _next_task(tasks: Iterator[Any], worker: Worker, busy: deque[Worker]) -> None:
    for task in tasks:
        worker.give(task)
        busy.append(worker)
        return


class Worker:
    """One forked process, which does a job on each task that it is given."""

    def __init__(self, job: Callable[[Any, At], Any]) -> None:
        self._at = np.frombuffer(mmap.mmap(-1, 8), np.int64)  # shared with the process
        self._at[0] = IDLE
        self._socket, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = get_context("fork").Process(target=self._work, args=(job, there))
        self._process.daemon = True
        self._process.start()
        there.close()

    def give(self, task: Any) -> None:
        """Queue a task."""
        with suppress(OSError):  # it is dead, which `result` tells
            self._socket.send(pickle.dumps(task))

    def result(self, name: Callable[[int], str]) -> Any:
        """The result of the oldest task whose result has not been taken."""
        files: list[int] = []
        with suppress(ConnectionError):
            files = self._answer(name)
        if not files:
            raise self._death(name)
        result = _received(files[0])
        if isinstance(result, MemoryError):
            at = f" while it read {name(result.args[0])}" if result.args[0] != IDLE else ""
            raise ResourceError(f"a loading worker ran out of memory{at}; {_FEWER}")
        if isinstance(result, BaseException):
            raise result
        return result

    def _answer(self, name: Callable[[int], str]) -> list[int]:
        """The files of the next result, as long as the worker moves.

        It is looked at ten times, so that a computer that slept does not count as one of them.
        """
        self._socket.settimeout(PATIENCE_S / 10)
        seen, looks = int(self._at[0]), 0
        while looks < 10:
            try:
                return socket.recv_fds(self._socket, 16, 1)[1]
            except TimeoutError:
                looks = looks + 1 if self._at[0] == seen else 0
                seen = int(self._at[0])
        at = "between two pictures" if seen == IDLE else f"at {name(seen)}"
        raise ResourceError(
            f"a loading worker has stood still {at} for {PATIENCE_S:g} s; it was stopped, or the "
            "disk does not answer: look at that, and go on with --resume"
        )

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._socket.close()

    def _death(self, name: Callable[[int], str]) -> SegError:
        self._process.join(1)
        code, item = self._process.exitcode, int(self._at[0])
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        at = "between two pictures" if item == IDLE else f"while it read {name(item)}"
        told = f"a loading worker died ({how}) {at};"
        if code == -signal.SIGKILL:
            return ResourceError(f"{told} memory may have run out: {_FEWER}")
        return BadDataset(f"{told} `python -m jointseg_eval.check_data ROOT` reads every picture.")

    def _work(self, job: Callable[[Any, At], Any], there: socket.socket) -> None:
        """The process: until nobody is left to give tasks."""
        self._socket.close()
        gc.freeze()  # a collection would write to, and so copy, the pages that are shared
        torch.set_num_threads(1)
        for ignored in (signal.SIGINT, signal.SIGTERM):  # the parent decides what these mean
            signal.signal(ignored, signal.SIG_IGN)
        with suppress(ConnectionError):
            while task := there.recv(1 << 16):
                try:
                    _send(there, job(pickle.loads(task), self._tell))
                except ConnectionError:
                    raise
                except Exception as error:
                    _send(there, _sendable(error, int(self._at[0])))
                self._tell(IDLE)

    def _tell(self, item: int) -> None:
        self._at[0] = item


def _sendable(error: Exception, item: int) -> Exception:
    """The error, with its traceback unless it is a sentence for the user; of memory, the item."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOMEM, errno.ENOSPC)
        if full or isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):
            return MemoryError(item)
        cause = cause.__cause__
    return error if isinstance(error, BadInput) else RuntimeError(traceback.format_exc())


class _Pickler(pickle.Pickler):
    """Tensors as the arrays that they are."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _send(there: socket.socket, result: Any) -> None:
    """Hand an object over; its arrays and tensors are written once and never pickled."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = io.BytesIO()
    _Pickler(pickled, 5, buffer_callback=buffers.append).dump(result)
    parts = [pickled.getbuffer(), *(buffer.raw() for buffer in buffers)]
    lengths = np.array([len(parts), *(len(part) for part in parts)], np.int64)
    file = os.memfd_create("result")
    try:
        with os.fdopen(file, "wb", closefd=False) as out:
            out.write(lengths.tobytes())
            for part, start in zip(parts, _starts(lengths), strict=True):
                out.seek(start)
                out.write(part)
        socket.send_fds(there, [b"result"], [file])
    finally:
        os.close(file)


def _received(file: int) -> Any:
    """The object that `_send` put into a file."""
    try:
        content = memoryview(mmap.mmap(file, 0))
    finally:
        os.close(file)
    (count,) = np.frombuffer(content, np.int64, 1)
    lengths = np.frombuffer(content, np.int64, count + 1)
    pairs = zip(_starts(lengths), lengths[1:], strict=True)
    parts = [content[start : start + length] for start, length in pairs]
    return pickle.loads(parts[0], buffers=parts[1:])


def _starts(lengths: np.ndarray) -> list[int]:
    """Where the parts begin behind their count and lengths [1 + P], for any type of array."""
    sizes = -(-np.concatenate([[lengths.nbytes], lengths[1:]]) // ALIGNMENT) * ALIGNMENT
    return np.cumsum(sizes)[:-1].tolist()

"""O. Peers that stop without dying or die without a word, and disks that are full and empty again.

The limits of time are shortened; everything else is as it runs.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from bag_timelines import made_timeline

from faults.contract import Case
from jointseg_core import CITYSCAPES, Preprocessing, build_model, load_model, preset, save_model
from jointseg_core.errors import BadDataset, ResourceError, SegError
from jointseg_core.files import completed
from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.report import write_bag_report
from jointseg_eval.datasets import workers
from jointseg_eval.datasets.workers import At, in_order
from jointseg_eval.evaluate_bag import _write_frames
from jointseg_eval.recordings.bags import BagWriter
from training.runs import distributed
from training.runs.run_folder import RunFolder, as_json, replace_file

Deed = Callable[[], object]


def name(item: int) -> str:
    return f"picture {item}"


# Loading workers: at picture 3 something happens


def loaded(title: str, deed: Deed, error: type[SegError] | None, *words: str, **more: Any) -> Case:
    """Ten pictures are loaded by two processes."""

    def job(item: int, at: At) -> np.ndarray:
        at(item)
        if item == 3:
            deed()
        return np.zeros(9)

    def run() -> None:
        workers.PATIENCE_S = 0.6
        assert len([*in_order(job, range(10), 2, name)]) == 10

    limits = {"seconds": 20, "megabytes": 200} | more
    return Case("peers", title, lambda folder: (), run, error, words=words, **limits)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def killed(number: int) -> Deed:
    return lambda: os.kill(os.getpid(), number)


def starved() -> None:
    bytearray(1 << 60)


def starved_in_torch() -> None:
    torch.zeros(1 << 55)


def starved_below() -> None:
    try:
        starved()
    except MemoryError as error:
        raise RuntimeError("picture 3 cannot be prepared") from error


def full() -> None:
    raise OSError(28, "No space left on device")


def slow() -> None:
    time.sleep(0.3)


def slow_on_the_way() -> None:
    """Stopped for less than the limit, as a computer that sleeps."""
    pid = os.getpid()
    if os.fork() == 0:
        time.sleep(0.4)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)
    stopped()
    os.wait()


AT = "picture 3"
LOADING = [
    loaded("a worker that is stopped", stopped, ResourceError, AT, "stood still", often=True),
    loaded("a worker that never ends", lambda: time.sleep(60), ResourceError, AT, "stood still"),
    loaded("a worker that is slow", slow, None),
    loaded("a worker that is stopped and goes on", slow_on_the_way, None),
    loaded("a worker that is killed", killed(signal.SIGKILL), ResourceError, AT, "--workers"),
    loaded("a worker that crashes", killed(signal.SIGSEGV), BadDataset, AT, "SIGSEGV"),
    loaded("a worker that exits", lambda: os._exit(0), BadDataset, AT, "exit code 0"),
    loaded("a worker out of memory", starved, ResourceError, AT, "--workers", often=True),
    loaded("a worker out of torch's memory", starved_in_torch, ResourceError, AT, "--workers"),
    loaded("a worker out of memory below", starved_below, ResourceError, AT, "--workers"),
    loaded("a worker without room", full, ResourceError, AT, "memory"),
]


# Ranks: the other one of two does something at the second sum


def ranked(title: str, deed: Deed, *words: str, **more: Any) -> Case:
    def run(folder: Path) -> None:
        distributed.PATIENCE = distributed.timedelta(seconds=3)
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        os.environ |= place
        other = os.fork()
        os.environ["RANK"] = "0" if other else "1"
        try:
            with distributed.joined("cpu") as ranks:
                ranks.wait()
                if not other:
                    deed()
                    os._exit(0)
                ranks.sum([1.0])
        finally:
            if not other:
                os._exit(1)
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)

    limits = {"seconds": 40, "megabytes": 200} | more
    said = ("process 0 of 2", "--resume", *words)
    return Case("peers", title, lambda folder: (folder,), run, ResourceError, words=said, **limits)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _left() -> None:
    dist.destroy_process_group()
    os._exit(0)


RANKS = [
    ranked("a rank that is killed", killed(signal.SIGKILL), often=True),
    ranked("a rank that ends", lambda: os._exit(0)),
    ranked("a rank that takes its leave", _left),
    ranked("a rank that is stopped", stopped),
    ranked("a rank that sums nothing", lambda: time.sleep(30)),
]


# Full disks: no file may be larger than some bytes; then it may


@contextmanager
def room(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def filled(title: str, write: Callable[[Path, int], object], read: Deed, **more: Any) -> Case:
    """A file is written, cannot be written anew, and then can: no half of one is left."""

    def run(folder: Path) -> None:
        write(folder, 1)
        before = {path.name for path in folder.rglob("*")}
        for most in (0, 10, 1000, 60_000):
            try:
                with room(most):
                    write(folder, 2)
            except (OSError, SegError):
                pass
            else:
                raise AssertionError(f"{most} bytes are enough")
            assert {path.name for path in folder.rglob("*")} == before
            assert read(folder) == 1
        write(folder, 3)
        assert read(folder) == 3

    return Case("peers", title, lambda folder: (folder,), run, seconds=40, megabytes=300, **more)


def checkpoints(keep: int) -> dict[str, Callable]:
    def write(folder: Path, step: int) -> None:
        RunFolder(folder / "run", keep).save({"w": torch.zeros(50_000), "step": step})

    return {"write": write, "read": lambda folder: RunFolder(folder / "run").newest()["step"]}


def _weights(folder: Path, step: int) -> None:
    torch.manual_seed(0)
    model = build_model(preset("rdsnet", "tiny"))
    path = folder / "a.safetensors"
    save_model(model, path, CITYSCAPES, Preprocessing((64, 128)), {"step": step})


def _steps_of(folder: Path) -> int:
    return load_model(folder / "a.safetensors")[1].training["step"]


def _plain(folder: Path, step: int) -> None:
    with completed(folder / "a.bin") as file:
        file.write(bytes([step]) * 99_999)


def _recording(folder: Path, step: int) -> None:
    with BagWriter(folder / "a.mcap") as bag:
        data = np.random.default_rng(step).bytes(99_999)
        bag.write_raw("/a", "std_msgs/msg/String", data, step, "string data")


def _time_of(folder: Path) -> int:
    from jointseg_eval.recordings.bags import BagReader

    with BagReader(folder / "a.mcap") as bag:
        return next(bag.records()).time


def _large(folder: Path, step: int) -> None:
    with completed(folder / "new" / "a.bin") as file:
        for _ in range(40):
            file.write(bytes([step]) * 99_999)


def _json(folder: Path, step: int) -> None:
    replace_file(folder / "a.json", as_json([step] * 40_000))


def _table(folder: Path, step: int) -> None:
    _write_frames(folder / "a.csv", made_timeline(1999 + step))


def _page(folder: Path, step: int) -> None:
    run = Run("a", made_timeline(300))
    write_bag_report(folder / "a.html", [run], {"title": f"number {step}"}, [], [], [])


TITLE = re.compile(r"number (\d)")
DISKS = [
    filled("no room for a checkpoint", **checkpoints(2), often=True),
    filled("no room for the only checkpoint", **checkpoints(1)),
    filled("no room for weights", _weights, _steps_of),
    filled("no room for a file", _plain, lambda folder: (folder / "a.bin").read_bytes()[0]),
    filled("no room for a description", _json, lambda f: json.loads((f / "a.json").read_text())[0]),
    filled("no room for a table", _table, lambda f: (f / "a.csv").read_text().count("\n") - 2000),
    filled("no room for a page", _page, lambda f: int(TITLE.search((f / "a.html").read_text())[1])),
    filled("no room for a large file", _large, lambda f: (f / "new" / "a.bin").read_bytes()[0]),
    filled("no room for a recording", _recording, _time_of),
]


def _manifest_alone_fails(folder: Path) -> None:
    """There was room for a checkpoint, and none for its manifest: the one before it counts."""
    run = RunFolder(folder / "run", keep=1)
    run.save({"w": torch.zeros(9), "step": 1})
    beside = run.checkpoints / "step_00000002.json.part"
    beside.mkdir()
    try:
        run.save({"w": torch.zeros(9), "step": 2})
    except OSError:
        beside.rmdir()
    else:
        raise AssertionError("it was written")
    assert run.newest()["step"] == 1
    run.save({"w": torch.zeros(9), "step": 2})
    run.save({"w": torch.zeros(9), "step": 3})
    assert run.newest()["step"] == 3
    assert len([*run.checkpoints.iterdir()]) == 2


CASES = [
    *LOADING,
    *RANKS,
    *DISKS,
    Case("peers", "no room for a manifest", lambda folder: (folder,), _manifest_alone_fails),
]

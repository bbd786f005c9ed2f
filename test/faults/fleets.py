"""I. Fleets of recordings: workers and drivers that die, damaged parts, however many work on it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from deadly import Deadly

from faults.contract import Case
from jointseg_core import shipped_weights
from jointseg_core.errors import BadInput
from jointseg_eval.bag_evaluation.processes import in_processes, one_by_one
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.window_result import WindowResult
from jointseg_eval.bag_evaluation.windows import survey, windows
from jointseg_eval.input_validation import held
from jointseg_eval.recordings.bags import BagReader, BagWriter
from training.scenes.driving_bag import write_driving_bag

RUN = "jointseg_eval.evaluate_bag"
WEIGHTS = shipped_weights("rdsnet")
WINDOW = 200_000_000


def drive(folder: Path) -> Path:
    """Four annotated frames."""
    write_driving_bag(folder / "drive.mcap", 1000, 1, 4, (64, 128))
    return folder / "drive.mcap"


def evaluated(
    name: str, made: Callable[[Path], list], code: int, *words: str, often: bool = False
) -> Case:
    """The command, in this process alone."""

    def words_of(folder: Path) -> list:
        more = ["--weights", WEIGHTS, "--workers", "0", "--out", folder / "out"]
        return [*made(folder), *more]

    limits = {"seconds": 90, "megabytes": 900, "often": often}
    return Case("fleets", name, words_of, RUN, None, code, words, **limits)


def cut(folder: Path) -> list:
    path = drive(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return [path]


def beside_garbage(folder: Path) -> list:
    (folder / "broken.mcap").write_bytes(b"no recording")
    return [drive(folder), folder / "broken.mcap"]


def damaged_parts(folder: Path) -> list:
    """What an earlier run left is damaged; it is done again."""
    path = drive(folder)
    words = [str(path), "--weights", str(WEIGHTS), "--workers", "0", "--out", str(folder / "out")]
    subprocess.run([sys.executable, "-m", RUN, *words], check=True, cwd=ROOT, capture_output=True)
    for part in (folder / "out/parts").glob("*.npz"):
        part.write_bytes(part.read_bytes()[:100])
    return [path]


ROOT = Path(__file__).resolve().parents[2]


def half_of_the_frames(folder: Path) -> list:
    """Half of the pictures have no size."""
    path, number = folder / "half.mcap", 0
    with BagReader(drive(folder)) as bag, BagWriter(path) as out:
        for message in bag.messages():
            if message.type == "sensor_msgs/msg/Image" and "truth" not in message.topic:
                number += 1
                if number % 2:
                    message.content.height = 0
            out.write(message.topic, message.content, message.time)
    return [path]


def twice(folder: Path) -> list:
    """One recording under its name, by a link, a hard link and from its folder."""
    path = drive(folder)
    (folder / "link.mcap").symlink_to(path)
    (folder / "hard.mcap").hardlink_to(path)
    (folder / "bag").mkdir()
    (folder / "bag" / "a.mcap").symlink_to(path)
    return [path, path, folder / "link.mcap", folder / "hard.mcap", folder / "bag"]


def _at_once(folder: Path) -> None:
    """Of two that write into one folder, the second is refused, and the first goes on."""
    with held(folder / "out", "--out"):
        with pytest.raises(BadInput, match="another process is writing"), held(folder / "out", ""):
            raise AssertionError
        assert (folder / "out").is_dir()
    assert not (folder / "out").exists()  # nothing was written
    with held(folder / "out", "--out"):
        (folder / "out" / "a").touch()
    assert (folder / "out" / "a").exists()


def _equal(one: WindowResult, other: WindowResult) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name], equal_nan=name != "losses"), name


def _killed_worker(folder: Path) -> None:
    """A worker that dies once at a dark picture: the window is done again, and counted once."""
    recording = survey(drive(folder))
    jobs = windows(recording, WINDOW)
    alone = dict(one_by_one(jobs, Settings(WEIGHTS, truth="none")))
    deadly = Deadly(WEIGHTS, truth="none", once=folder / "died")
    (folder / "died").touch()
    found = dict(in_processes(jobs, deadly, 1))
    assert sorted(found) == sorted(alone)
    assert all(len(found[k]["frames.time"]) == len(alone[k]["frames.time"]) for k in alone)


def _killed_driver(folder: Path) -> None:
    """The command killed by -9 and started again writes what it writes undisturbed."""
    path = drive(folder)
    results = []
    for name in ("whole", "killed"):
        out = folder / name
        words = [str(path), "--weights", str(WEIGHTS), "--workers", "0", "--window", "0.1"]
        command = [sys.executable, "-m", RUN, *words, "--out", str(out)]
        if name == "killed":
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
            while process.poll() is None and not [*out.glob("parts/*.npz")]:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        results.append((out / "metrics.json").read_bytes())
    assert results[0] == results[1]


def _workers(folder: Path, numbers: tuple[int, ...]) -> None:
    """As many processes as there may be write the same metrics, byte by byte."""
    path, results = drive(folder), set()
    for workers in numbers:
        out = folder / f"out{workers}"
        words = [str(path), "--weights", str(WEIGHTS), "--window", "0.1", "--out", str(out)]
        command = [sys.executable, "-m", RUN, *words, "--workers", str(workers)]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        results.add((out / "metrics.json").read_bytes())
        shutil.rmtree(out)
    assert len(results) == 1


def _itself(folder: Path) -> tuple[Path]:
    return (folder,)


SLOW = {"seconds": 200, "megabytes": 900}
CASES = [
    evaluated("a sound recording", lambda folder: [drive(folder)], 0, often=True),
    evaluated("a recording given five times", twice, 0, "counts once", "4 frames", often=True),
    Case("fleets", "two into one folder at once", _itself, _at_once, often=True),
    evaluated("a recording without its end", cut, 4, "lost:"),
    evaluated("a recording beside garbage", beside_garbage, 4, "broken.mcap"),
    evaluated("every second frame without a picture", half_of_the_frames, 4, "lost:"),
    evaluated("parts of an earlier run, damaged", damaged_parts, 0),
    evaluated("no recording there", lambda folder: [folder / "none.mcap"], 3, "no recording"),
    evaluated("a window of no time", lambda folder: ["a.mcap", "--window", "0"], 2, "--window"),
    evaluated("a topic that is not there", lambda f: [drive(f), "--topic", "/x"], 3, "/x"),
    evaluated("a truth that is no JSON", lambda f: [drive(f), "--truth", drive(f)], 3, "JSON"),
    Case("fleets", "a worker that died once", _itself, _killed_worker, **SLOW),
    Case("fleets", "a driver killed and started again", _itself, _killed_driver, **SLOW),
    Case("fleets", "no workers and two", _itself, partial(_workers, numbers=(0, 2)), **SLOW),
]

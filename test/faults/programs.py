"""J. Reports, the command line, the network and the packages: names that want to be code, programs
without disk, and machines that lack something.
"""

from __future__ import annotations

import csv
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from bag_timelines import example, made_timeline
from PIL import Image
from recordings import recorded, texts

from faults.contract import Case
from jointseg_core import Predictor, load_model, shipped_weights
from jointseg_core.errors import BadCheckpoint, BadConfig, SegError
from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.report import write_bag_report
from jointseg_eval.evaluate_bag import _write_frames

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jointseg_core", "jointseg_ros", "jointseg_eval", "training", "demo", "benchmarks")
PROGRAMS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for package in (*PACKAGES, "tools")
    for file in (ROOT / package).rglob("*.py")
    if '\nif __name__ == "__main__":\n    ' in file.read_text()
)
"""Every module that runs."""
NAMES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'&\u202e</title>")


def program(
    name: str, run: str, made: Callable[[Path], list], code: int, *words: str, **limits: Any
) -> Case:
    limits = {"seconds": 40, "megabytes": 900} | limits
    return Case("programs", name, made, run, None, code, words, **limits)


def words(*given: str) -> Callable[[Path], list]:
    return lambda folder: list(given)


def pictures(folder: Path) -> list:
    (folder / "in").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(folder / "in" / f"{name}.png")
    return [folder / "in", "--weights", shipped_weights("rdsnet"), "--out", folder / "out"]


NO_TIMES = [
    ("--rate", "0"), ("--rate", "nan"), ("--timeout", "nan"), ("--timeout", "-1"),
    ("--lead", "inf"), ("--linger", "nan"), ("--subscribers", "-3"),
    ("--settle", "inf"), ("--settle", "nan"),
]  # fmt: skip
"""Options of the player and the recorder with what would wait for ever."""

NO_AMOUNTS = [
    ("--workers", "-1"), ("--save-every", "0"), ("--keep", "0"), ("--log-every", "-5"),
    ("--minutes", "nan"), ("--minutes", "-1"), ("--lr", "nan"), ("--seed", "-1"), ("--batch", "0"),
]  # fmt: skip
"""Options of a training that would wait, divide by nothing, or end at once."""


# Every program alike


def usage(name: str) -> Case:
    often = PROGRAMS.index(name) % 5 == 0
    return program(f"{name} with an unknown word", name, words("--nonsense"), 2, often=often)


def help_of(name: str) -> Case:
    often = PROGRAMS.index(name) % 5 == 0
    return program(f"{name} --help", name, words("--help"), 0, "usage: ", often=often)


def _with_debug(folder: Path) -> None:
    """--debug shows where an error was, and nothing else does."""
    for more, shown in (([], False), (["--debug"], True)):
        command = [sys.executable, "-m", "jointseg_eval.salvage", "none.mcap", "out.mcap", *more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 3 and ("Traceback" in done.stderr) == shown, done.stderr
        assert "no recording at" in done.stderr


def _output_closed(folder: Path) -> None:
    """Who reads the output goes away: the program ends without a word."""
    recorded(folder / "one.mcap", texts(range(100)))
    command = [sys.executable, "-m", "jointseg_eval.salvage", str(folder / "one.mcap")]
    process = subprocess.Popen(
        [*command, str(folder / "out.mcap")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 128 + signal.SIGPIPE


def _stopped(folder: Path, number: int) -> None:
    """A signal ends it with its code, in a sentence, and nothing is left."""
    given = ["--format", "coco", "--frames", "5000", "--size", "64x128", "--workers", "1"]
    command = [sys.executable, "-m", "training.synthesize", str(folder / "set"), *given]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    while not [*folder.rglob("*.jpg"), *folder.rglob("*.png")]:
        assert process.poll() is None
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == 128 + number, said
    assert "interrupted" in said and "Traceback" not in said, said
    assert not [*folder.glob("set*")]


# Disk


def _full_disk(folder: Path) -> None:
    """No file may be larger than 10 kB: exit code 5, one sentence, nothing left behind."""
    recorded(folder / "one.mcap", texts(range(2000)), "")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    command = [sys.executable, "-m", "jointseg_eval.salvage", str(folder / "one.mcap")]
    done = subprocess.run(
        [*command, str(folder / "out.mcap")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=limit,
    )
    assert done.returncode == 5 and "Traceback" not in done.stderr, done.stderr
    assert [path.name for path in folder.iterdir()] == ["one.mcap"]


# Names that want to be code


def _report(folder: Path) -> None:
    """Names of topics, classes and files are text in the page."""
    timeline = made_timeline(20, bags=NAMES, things=NAMES)
    facts = {"title": NAMES[0], "weights": NAMES[1], "command": NAMES[2]}
    shown = [example(classes=NAMES)]
    run = Run(NAMES[0], timeline)
    write_bag_report(folder / "r.html", [run], facts, [], shown, [NAMES[0]])
    page = (folder / "r.html").read_text()
    assert NAMES[0] not in page and "<img src=x" not in page and "</title>'" not in page


def _cells(folder: Path) -> None:
    """A cell that a table would compute is told to be text."""
    names = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "drive")
    timeline = made_timeline(14, bags=names, things=("=car", "bus"))
    _write_frames(folder / "frames.csv", timeline)
    with (folder / "frames.csv").open(newline="") as file:
        rows = [*csv.reader(file)]
    cells = {row[0] for row in rows} | set(rows[0])
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")], cells
    assert "drive" in cells and len(rows) == 15


# Network, packages


def _no_network(folder: Path) -> None:
    """With sockets closed, weights load and pictures are seen: nothing asks for the network."""

    def closed(*_: object, **__: object) -> None:
        raise AssertionError("something wanted a socket")

    socket.socket = socket.create_connection = socket.getaddrinfo = closed
    for model in ("rdsnet", "segrpn", "joint"):
        predictor = Predictor.from_file(shipped_weights(model), "cpu")
        assert len(predictor([np.zeros((64, 96, 3), np.uint8)])) == 1
    load_model(folder / "resnet50.safetensors")


def _core_alone(folder: Path) -> None:
    """The core imports where nothing optional is installed."""
    absent = "rosbags mcap cv2 rclpy rich pycocotools av onnx onnxruntime openvino"
    code = (
        "import sys\n"
        f"for name in {absent.split()!r}: sys.modules[name] = None\n"
        "import jointseg_core, jointseg_core.export, jointseg_core.errors\n"
        "jointseg_core.load_model(jointseg_core.shipped_weights('rdsnet'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def lacking(package: str, backend: str) -> Case:
    def run() -> None:
        backends = import_module("jointseg_core.export.backends")
        backends.find_spec = lambda name: None
        Predictor.from_file(shipped_weights("rdsnet"), "cpu", backend=backend)

    return Case(
        "programs", f"no {package}", lambda _: (), run, BadConfig, words=(package, "not installed")
    )


def function(
    name: str, run: Callable, error: type[SegError] | None = None, *said: str, often: bool = False
) -> Case:
    return Case(
        "programs",
        name,
        lambda folder: (folder,),
        run,
        error,
        words=said,
        often=often,
        seconds=90,
        megabytes=900,
    )


def _as_pickle(folder: Path) -> None:
    """No pickle is loaded but by torch, and there as weights alone; no YAML but safely."""
    unsafe = []
    for package in ("jointseg_core", "jointseg_ros", "jointseg_eval", "training", "demo", "launch"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            loads = text.count("torch.load(")
            if loads != text.count("weights_only=True"):
                unsafe.append(f"{file.name}: torch.load")
            if "yaml.load(" in text or "allow_pickle=True" in text or "weights_only=False" in text:
                unsafe.append(file.name)
            if "pickle.load" in text and file.name not in ("workers.py", "store.py"):
                unsafe.append(f"{file.name}: pickle")  # those two read what this process wrote
    assert not unsafe, unsafe


def _bounds(folder: Path) -> None:
    """Every package is named with a bound of its version, where pip installs and setup.py asks."""
    loose = []
    for file in (ROOT / "tools").glob("requirements-*.txt"):
        lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
        loose += [f"{file.name}: {line}" for line in lines if line and not set(line) & set("=<>")]
    assert not loose, loose


CASES = [
    *map(usage, PROGRAMS),
    *map(help_of, PROGRAMS),
    program("predict into a folder that is a file", "jointseg_eval.predict", lambda f: (
        (f / "out").write_text("x"), pictures(f))[1], 3, "--out", often=True),
    program("predict with weights that are not there", "jointseg_eval.predict", lambda f: [
        *pictures(f)[:1], "--weights", f / "none.safetensors", "--out", f / "out"], 3,
        "looked for", "none.safetensors"),
    program("predict on a device that is not there", "jointseg_eval.predict", lambda f: [
        *pictures(f), "--device", "cuda:9"], 2, "cuda:9", often=True),
    program("predict by a backend that nobody knows", "jointseg_eval.predict", lambda f: [
        *pictures(f), "--backend", "magic"], 2, "magic"),
    *(
        program(f"player {option} {value}", "jointseg_ros.player",
                words("a", option, value), 2, option)
        for option, value in NO_TIMES if option != "--settle"
    ),
    *(
        program(f"recorder {option} {value}", "jointseg_ros.recorder",
                words("a", "--topics", "/a", option, value), 2, option)
        for option, value in NO_TIMES if option in ("--timeout", "--settle")
    ),
    *(
        program(f"train {option} {value}", "training.train",
                words("rdsnet_tiny_synthetic", option, value, "--out", "run"), 2, option)
        for option, value in NO_AMOUNTS
    ),
    function("--debug", _with_debug),
    function("an output that nobody reads", _output_closed),
    function("SIGTERM", lambda folder: _stopped(folder, signal.SIGTERM)),
    function("SIGINT", lambda folder: _stopped(folder, signal.SIGINT)),
    function("a full disk", _full_disk, often=True),
    function("a report of names that are scripts", _report, often=True),
    function("a table of names that are formulas", _cells, often=True),
    function("no network", _no_network, BadCheckpoint, "resnet50.safetensors", often=True),
    function("no optional package", _core_alone),
    lacking("onnxruntime", "onnx"),
    lacking("openvino", "openvino"),
    function("files that could run something", _as_pickle, often=True),
    function("packages without a bound", _bounds, often=True),
]  # fmt: skip

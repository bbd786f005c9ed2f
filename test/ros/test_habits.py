"""The rows of docs/habits.md do what they say, where `ros2` is installed; their names exist."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from sensor_msgs.msg import Image

from jointseg_core import shipped_weights
from jointseg_eval.__main__ import PROGRAMS
from jointseg_eval.recordings.bags import BagWriter
from jointseg_eval.recordings.messages import header_message, image_message
from jointseg_ros.launching import perception, replay
from jointseg_ros.parameters import Settings, parameter_name

PAGE = Path(__file__).parents[2] / "docs" / "habits.md"
PATIENCE = 300  # seconds, on a busy machine; programs load torch
TRIES = 3  # `ros2` gives up after half a second where it has not found the node yet


class Row(NamedTuple):
    """What to type, and a part of what appears."""

    command: str
    seen: str


WHILE_IT_RUNS, BY_THEMSELVES = (
    [Row(*row) for row in re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", section, re.M)]
    for section in PAGE.read_text().split("\n## ")[1:]
)


def test_there_are_twenty_habits() -> None:
    assert len(WHILE_IT_RUNS) + len(BY_THEMSELVES) >= 20


def test_programs_arguments_and_parameters_are_called_so() -> None:
    arguments = {one.name for one in (*perception.ARGUMENTS, *replay.ARGUMENTS)}
    parameters = {parameter_name(name) for name in Settings.__dataclass_fields__}
    for command, _ in WHILE_IT_RUNS + BY_THEMSELVES:
        if program := re.match(r"ros2 run jointseg_ros (\w+)", command):
            assert program[1] in PROGRAMS, command
        if command.startswith("ros2 launch"):
            assert set(re.findall(r" (\w+):=", command)) <= arguments, command
        if parameter := re.match(r"ros2 param (?:set|describe) /joint (\S+)", command):
            assert parameter[1] in parameters, command


class Typed:
    """A command in a shell; on leaving it is ended as by Ctrl-C."""

    def __init__(self, command: str, folder: Path) -> None:
        self._out = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 (closed on leaving)
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=os.environ | {"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Typed:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
                break
        self._out.close()

    def said(self) -> str:
        """What has appeared so far."""
        return Path(self._out.name).read_text()

    def says(self, text: str) -> bool:
        """Whether this appears before it ends or PATIENCE does."""
        deadline, ended = time.monotonic() + PATIENCE, False
        while not ended and time.monotonic() < deadline:
            ended = self._process.poll() is not None
            if text in self.said():
                return True
            time.sleep(0.1)
        return False


def failures(rows: list[Row], folder: Path) -> dict[str, str]:
    """Of each row that does not show what it should, typed up to three times: what it says."""
    said = {row.command: said_instead(row, folder) for row in rows}
    return {command: text for command, text in said.items() if text is not None}


def said_instead(row: Row, folder: Path) -> str | None:
    for _ in range(TRIES):
        with Typed(row.command, folder) as process:
            if process.says(row.seen):
                return None
            text = process.said()[-2000:]
    return text


@contextmanager
def camera() -> Iterator[None]:
    """Images on /camera/image_raw, ten a second."""
    rclpy.init()
    node, done = rclpy.create_node("camera"), threading.Event()
    publisher = node.create_publisher(Image, "/camera/image_raw", 5)

    def publish() -> None:
        image = Image(height=48, width=96, encoding="rgb8", step=288, data=bytes(48 * 288))
        while not done.wait(0.1):
            image.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(image)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        node.destroy_node()
        rclpy.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with other weights and a recording, in which nobody has typed anything yet."""
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not installed: the wheels of ROS 2 do not have it")
    home = tmp_path_factory.mktemp("home")
    for suffix in (".safetensors", ".json"):
        source = Path(shipped_weights("joint")).with_suffix(suffix)
        shutil.copy(source, home / f"new{suffix}")
    with BagWriter(home / "drive.mcap") as bag:
        for k in range(10):
            image = image_message(
                np.zeros((48, 96, 3), np.uint8), header_message(10**9 + k * 10**8, "camera")
            )
            bag.write("/camera/image_raw", image, 10**9 + k * 10**8)
    return home


@pytest.fixture
def domain(ros_domain: int) -> Iterator[int]:
    """A ROS domain, without the daemon that `ros2` leaves in it."""
    yield ros_domain
    subprocess.run(["ros2", "daemon", "stop"], timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_is_typed_while_the_node_runs(place: Path, domain: int) -> None:
    first, *rows = WHILE_IT_RUNS
    with camera(), Typed(first.command, place) as node:
        assert node.says(first.seen) and node.says("joint from"), node.said()
        assert failures(rows, place) == {}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_is_typed_by_itself(place: Path, domain: int) -> None:
    assert failures(BY_THEMSELVES, place) == {}

"""Replays a recording to perception nodes over DDS: player, nodes and recorder as processes.

This file imports no ROS; it starts `python -m jointseg_ros...` in the environment it runs in.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from demo.models import CAMERA, DETECTIONS_3D, MODELS, result_topic
from jointseg_core.errors import SegError

ROOT = Path(__file__).resolve().parents[1]
LARGE_IMAGES = ROOT / "launch/config/fastdds_large_images.xml"
LARGE_BYTES = 512 << 10
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
START_SECONDS = 180.0
"""A node may take so long to load its model on a busy machine."""
QUIET_SECONDS = 4.0
"""After the last frame, no result for so long means that no more will come."""
SCORE_THRESHOLD = 0.05
FAILED_START = "configure failed"
LINGER_SECONDS = 60.0
"""The clock goes on so long after the last frame, at most."""


class ReplayError(SegError):
    """A process of the replay failed; one sentence, followed by the last lines it printed."""


@dataclass(frozen=True)
class Replay:
    """What came of playing a recording once.

    recording  the .mcap file with what the nodes published
    published  for each image its stamp (ns) and the steady time (ns) it was handed over
    arrived    for each topic the stamps and the steady times at which messages arrived
    """

    recording: Path
    published: dict[int, int] = field(default_factory=dict)
    arrived: dict[str, dict[int, int]] = field(default_factory=dict)

    def latency_by_stamp(self, model: str) -> dict[int, float]:
        """From the publication of a frame to the arrival of the last of its results, ms."""
        topics = [self.arrived.get(result_topic(model, name), {}) for name in MODELS[model].results]
        return {
            stamp: (max(arrived[stamp] for arrived in topics) - moment) / 1e6
            for stamp, moment in self.published.items()
            if all(stamp in arrived for arrived in topics)
        }

    def latencies_ms(self, model: str) -> list[float]:
        """The same of each frame that was processed, by frame."""
        return list(self.latency_by_stamp(model).values())


def replay(
    bag: Path,
    models: Sequence[str],
    folder: Path,
    image_topic: str,
    image_bytes: int,
    weights: Mapping[str, Path] | None = None,
    progress: Callable[[int], None] = lambda frames: None,
    depth_topic: str = "",
) -> Replay:
    """Play `bag` once to the nodes of these models, all at the same time; files go to `folder`.

    image_bytes: the size of what is sent at once, which decides about shared memory; weights: other
    than the shipped ones; progress: told the number of frames played; depth_topic: of the images,
    by which objects with masks get a place in space. ReplayError when a process fails.
    """
    name = "_".join(models)
    recording = folder / f"{name}.mcap"
    logs = {part: folder / f"{name}_{part}.jsonl" for part in ("player", "recorder")}
    journal = Journal(logs["player"], logs["recorder"], Replay(recording))
    environment = _environment(image_bytes) | {"ROS_LOG_DIR": str(folder / "ros_log")}
    with ExitStack() as stack:
        processes = Processes(folder, environment)
        stack.callback(processes.stop)
        for model in models:
            given = (weights or {}).get(model)
            processes.start(model, _node(model, image_topic, given, depth_topic))
        processes.start("recorder", _recorder(recording, models, logs["recorder"], depth_topic))
        _wait_until_ready(processes, journal)
        topics = [image_topic, *([depth_topic] if depth_topic else [])]
        processes.start("player", _player(bag, topics, len(models), logs["player"]))
        _follow(processes, journal, models, progress)
    journal.read()  # what came in while the processes ended
    if not recording.is_file():
        raise ReplayError(f"the recorder wrote nothing; {processes.last_words('recorder')}")
    return journal.replay


class Processes:
    """Processes with their output in files; they are stopped last one first, whatever happens."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a group of its own, so that it can be stopped with its children."""
        with self._output(name).open("wb") as output:
            self._running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """ReplayError if a process has ended, or says that it could not start.

        A node that cannot load its model stays there, so that one can ask it why.
        """
        for name, process in self._running.items():
            if FAILED_START in self._output(name).read_text(errors="replace"):
                raise ReplayError(f"{name} could not start; {self.last_words(name)}")
            if (code := process.poll()) is not None:
                raise ReplayError(f"{name} ended with code {code}; {self.last_words(name)}")

    def last_words(self, name: str, lines: int = 6) -> str:
        """The last lines that a process printed."""
        text = self._output(name).read_text(errors="replace").strip() or "(nothing)"
        return "it printed last:\n  " + "\n  ".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End every process: player, recorder, nodes; each gets time to finish its files.

        An impatient second Ctrl-C waits until that is done.
        """
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process in reversed(self._running.values()):
                _end(process)
        finally:
            signal.signal(signal.SIGINT, previous)

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.log"


class Lines:
    """The JSON lines that another process is adding to a file, as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> Iterator[dict]:
        """The complete lines since the last call; none while there is no file."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                yield json.loads(line)


class Journal:
    """What player and recorder wrote down so far.

    ready     the recorder listens to all topics of the nodes
    finished  the player has published the last frame
    """

    def __init__(self, player: Path, recorder: Path, replay: Replay) -> None:
        self.replay = replay
        self.ready = self.finished = False
        self._player, self._recorder = Lines(player), Lines(recorder)

    def read(self) -> bool:
        """Read on; true if something has arrived at the recorder since the last time."""
        for line in self._player.new():
            self.finished |= line.get("event") == "finished"
            if "published_ns" in line:
                self.replay.published[line["stamp_ns"]] = line["published_ns"]
        news = list(self._recorder.new())
        for line in news:
            self.ready |= line.get("event") == "ready"
            if line.get("stamp_ns") is not None:
                arrived = self.replay.arrived.setdefault(line["topic"], {})
                arrived[line["stamp_ns"]] = line["arrived_ns"]
        return bool(news)


def _wait_until_ready(processes: Processes, journal: Journal) -> None:
    """Return when the recorder listens to all topics of the nodes."""
    end = time.monotonic() + START_SECONDS + 10
    while not journal.ready:
        journal.read()
        processes.check()
        if time.monotonic() > end:
            raise ReplayError(f"the recorder is not ready; {processes.last_words('recorder')}")
        time.sleep(0.05)


def _follow(
    processes: Processes,
    journal: Journal,
    models: Sequence[str],
    progress: Callable[[int], None],
) -> None:
    """Return when everything has been played and no results come any more."""
    last_news = time.monotonic()
    while True:
        if journal.read() or not journal.finished:
            last_news = time.monotonic()
        progress(len(journal.replay.published))
        quiet = time.monotonic() - last_news > QUIET_SECONDS
        if journal.finished and (quiet or _complete(models, journal.replay)):
            return
        processes.check()
        time.sleep(0.02)


def _complete(models: Sequence[str], result: Replay) -> bool:
    return all(len(result.latencies_ms(model)) == len(result.published) for model in models)


def _node(model: str, image_topic: str, weights: Path | None, depth_topic: str) -> list[str]:
    parameters = {
        "model.type": model,
        "score_threshold": SCORE_THRESHOLD,
        "use_sim_time": "true",
        "tracking.enabled": "true",
        f"cameras.{CAMERA}.image_topic": image_topic,
    }
    if depth_topic and MODELS[model].makes_masks:
        parameters[f"cameras.{CAMERA}.depth_topic"] = depth_topic
    if weights is not None:
        parameters["model.weights"] = str(weights.absolute())
    given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return [
        *(sys.executable, "-m", "jointseg_ros.perception_node"),
        *("--ros-args", "-r", f"__node:={model}", *given),
    ]


def _recorder(out: Path, models: Sequence[str], log: Path, depth_topic: str) -> list[str]:
    topics = [result_topic(model, name) for model in models for name in MODELS[model].topics]
    if depth_topic:
        topics += [result_topic(m, DETECTIONS_3D) for m in models if MODELS[m].makes_masks]
    topics += [f"/{model}/stats" for model in models]
    return [
        *(sys.executable, "-m", "jointseg_ros.recorder", str(out), "--log", str(log)),
        *("--timeout", str(START_SECONDS), "--topics", *topics),
        *("--ros-args", "-p", "use_sim_time:=true"),
    ]


def _player(bag: Path, images: Sequence[str], subscribers: int, log: Path) -> list[str]:
    topics = [*images, images[0].rsplit("/", 1)[0] + "/camera_info"]
    return [
        *(sys.executable, "-m", "jointseg_ros.player", str(bag), "--log", str(log)),
        *("--timeout", str(START_SECONDS), "--subscribers", str(subscribers)),
        *("--linger", str(LINGER_SECONDS), "--topics", *topics),
    ]


def _environment(image_bytes: int) -> dict[str, str]:
    """Ours, closed to other machines and, unless a domain is given, to other programs."""
    environment = dict(os.environ)
    path = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    environment.setdefault("ROS_DOMAIN_ID", str(_free_domain()))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if image_bytes > LARGE_BYTES and not _has_own_transports(environment):
        environment |= dict.fromkeys(PROFILE_VARIABLES, str(LARGE_IMAGES))
    return environment


def _has_own_transports(environment: Mapping[str, str]) -> bool:
    """Whether a profile, the kind of transports or another RMW is chosen: that is left alone."""
    own = any(environment.get(name) for name in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"))
    return own or "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "fastrtps")


def _free_domain() -> int:
    """A domain that no DDS participant of this machine uses, seen by its first unicast port."""
    domains = random.SystemRandom().sample(range(1, 102), 101)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain))
                return domain
            except OSError:
                continue
    return domains[0]


def _end(process: subprocess.Popen) -> None:
    """Interrupt, then terminate, then kill the process with its children."""
    for number, patience in ((signal.SIGINT, 15), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that outlived it

"""What the node notices while it works: ages, rates, stage times, bad frames. No messages."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from jointseg_ros.levels import Rhythm

STAGES = ("queue", "preprocess", "inference", "postprocess", "publish")


class Window:
    """The values of the last ten seconds, at most a thousand."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque(maxlen=1000)

    def add(self, now: float, value: float) -> None:
        """Note a value at this steady time in seconds."""
        self._values.append((now, value))

    def values(self, now: float) -> list[float]:
        """Those not older than the window, oldest first."""
        return [value for at, value in self._values if now - at <= self._seconds]

    def quantile(self, now: float, q: float) -> float | None:
        """None without values."""
        values = self.values(now)
        return float(np.quantile(values, q)) if values else None


@dataclass
class Input:
    """What arrived from one camera."""

    rhythm: Rhythm = field(default_factory=Rhythm)
    ages_ms: Window = field(default_factory=Window)  # at arrival, below 0 for stamps to come
    last_stamp: int | None = None
    backwards: int = 0  # stamps older than the one before
    last_backwards: float = -1e9
    encoding: str = ""
    hint: str = ""  # what was strange about the last good frame
    size: str = ""
    last_bad: float = -1e9
    bad_text: str = ""
    last_good: float = -1e9
    late: int = 0  # results published after the deadline
    last_late: float = -1e9
    late_text: str = ""


@dataclass
class DepthFacts:
    """What came of the depth of one camera; read by the diagnostics."""

    used: int = 0  # pictures with depth
    lifted: int = 0  # objects that got a place
    without_depth: int = 0  # objects that got none
    problems: Counter[str] = field(default_factory=Counter)  # pictures without depth, by reason
    text: str = ""  # of the last of them
    last: float = -1e9  # when that was, steady seconds
    backwards: int = 0  # stamps older than the one before

    def note(self, reason: str, text: str) -> None:
        """A picture gets no depth."""
        self.problems[reason] += 1
        self.text, self.last = text, time.monotonic()


@dataclass
class Budget:
    """How long batches have been taking longer than they may."""

    over_since: float | None = None
    last: float = -1e9
    took_ms: float = 0.0

    def add(self, now: float, took_ms: float, limit_ms: float) -> None:
        """Note a batch that ended now."""
        self.last, self.took_ms = now, took_ms
        if took_ms <= limit_ms:
            self.over_since = None
        elif self.over_since is None:
            self.over_since = now

    def over_for_ms(self) -> float | None:
        """From the first to the last batch over the limit; None when the last was in it."""
        return None if self.over_since is None else (self.last - self.over_since) * 1e3


class Monitor:
    """Facts from the executor's and the worker's thread, read by the diagnostics."""

    def __init__(self, cameras: tuple[str, ...]) -> None:
        self.lock = threading.Lock()
        self.inputs = {camera: Input() for camera in cameras}
        self.depth: dict[str, DepthFacts] = {}  # of the cameras that have it
        self.stages = {stage: Window() for stage in STAGES}
        self.total_ms = Window()
        self.latency_ms = Window()  # publication minus header.stamp
        self.differences_ms = Window()  # between the stamps of several cameras' frames
        self.budget = Budget()
        self.busy_since: float | None = None  # the batch at hand, steady seconds
        self.failure = ""  # of the last batch, empty when it went well
        self.last_failure = -1e9
        self.out_of_memory = 0  # batches that the device had no room for
        self.over_limit = 0  # batches that took longer than they may

    def watch(self, now: float | None) -> None:
        """Subscriptions begin at this steady time; None: there are none any more."""
        with self.lock:
            for camera in self.inputs.values():
                camera.rhythm.watch(now)
                camera.last_stamp = None

    def arrived(self, camera: str, stamp: int, age_ms: float | None) -> None:
        """A frame came in; stamp in nanoseconds, its age None where the clock does not run yet."""
        now = time.monotonic()
        with self.lock:
            facts = self.inputs[camera]
            if facts.last_stamp is not None and stamp < facts.last_stamp:
                facts.backwards += 1
                facts.last_backwards = now
            facts.last_stamp = stamp
            facts.rhythm.note(now)
            if age_ms is not None:
                facts.ages_ms.add(now, age_ms)

    def good(self, camera: str, encoding: str, height: int, width: int, hint: str = "") -> None:
        """A frame was decoded; hint: what is strange about it."""
        with self.lock:
            facts = self.inputs[camera]
            facts.encoding, facts.size = encoding, f"{width}x{height}"
            facts.hint = hint
            facts.last_good = time.monotonic()

    def bad(self, camera: str, encoding: str, text: str) -> None:
        """A frame could not be decoded."""
        with self.lock:
            facts = self.inputs[camera]
            facts.encoding, facts.bad_text = ascii(encoding[:40])[1:-1], text
            facts.last_bad = time.monotonic()

    def differ(self, ms: float) -> None:
        """The stamps of frames that belong together differ so much."""
        self.differences_ms.add(time.monotonic(), ms)

    def begin(self) -> None:
        """A batch starts."""
        with self.lock:
            self.busy_since = time.monotonic()

    def end(self) -> None:
        """The batch is over, however it went."""
        with self.lock:
            self.busy_since = None

    def failed(self, text: str) -> None:
        """The model did not get through a frame."""
        with self.lock:
            self.failure, self.last_failure = text, time.monotonic()

    def no_memory(self) -> None:
        """The device had no room for a batch."""
        with self.lock:
            self.out_of_memory += 1

    def published(self, camera: str, latency_ms: float, deadline_ms: float) -> None:
        """Results went out so long after the frame's stamp; a deadline of 0 is none."""
        if not deadline_ms or latency_ms <= deadline_ms:
            return
        with self.lock:
            facts = self.inputs[camera]
            facts.late, facts.last_late = facts.late + 1, time.monotonic()
            facts.late_text = f"results {latency_ms:.0f} ms after the stamp, {deadline_ms:.0f} ms"

    def finished(
        self, stages: dict[str, float], total_ms: float, latency_ms: float, limit_ms: float
    ) -> None:
        """A batch was published: milliseconds by stage and in all, and the limit."""
        now = time.monotonic()
        with self.lock:
            for stage, took in stages.items():
                self.stages[stage].add(now, took)
            self.total_ms.add(now, total_ms)
            self.latency_ms.add(now, latency_ms)
            self.budget.add(now, total_ms, limit_ms)
            self.over_limit += total_ms > limit_ms
            self.failure = ""

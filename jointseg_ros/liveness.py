"""Whether the node still gets on with its work, or nothing but a new process can help."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jointseg_ros.parameters import Settings, parameter_name

STUCK = 5.0
"""Seconds without a sign of the thread that spins the node until it does not count as alive."""
PAUSE = 2.0
"""Seconds without a question whether all is well that mean that the whole process stood still."""
PATIENCE = 2
"""How many times what a batch took is the least that one is given."""
RECOVERED = 60.0
"""Seconds that the device has to work after an error until another one is the first again."""


class Liveness:
    """Signs of life, in steady seconds; written by the thread that spins the node, read by any.

    loading_since  when the model began to load that is loading now
    lost           why the device cannot be used any more; empty while it can
    """

    def __init__(self) -> None:
        self.loading_since: float | None = None
        self.lost = ""
        self._blocked = False
        self._load_ms = 0.0  # that the last load took
        self._spun = self._asked = time.monotonic()  # the last sign of life, and question for one
        self._resumed = self._spun  # since when the process runs without a pause
        self._recovered_at = -1e9

    def spun(self) -> None:
        """The thread that spins the node came by."""
        self._spun = time.monotonic()

    @contextmanager
    def loading(self, blocking: bool = False) -> Iterator[None]:
        """Around what loads a model; blocking: the thread that spins the node does nothing else."""
        self.loading_since, self._blocked = time.monotonic(), blocking
        try:
            yield
        finally:
            self._load_ms = 1e3 * (time.monotonic() - self.loading_since)
            if blocking:
                self.spun()
            self.loading_since, self._blocked = None, False

    def too_short(self, settings: Settings, batch_ms: float) -> str:
        """Which timeout would end a healthy process, in a sentence; batch_ms: that a batch took."""
        for name, what, took, least in (
            ("watchdog_timeout_ms", "a batch", batch_ms, PATIENCE * batch_ms),
            ("watchdog_loading_timeout_ms", "loading the model", self._load_ms, self._load_ms),
        ):
            if 0 < (limit := getattr(settings, name)) < least:
                return (
                    f"{parameter_name(name)} is {limit:g}, but {what} took {took:.0f} ms here; "
                    f"give at least {math.ceil(least)}, or 0 for never"
                )
        return ""

    def recovered(self) -> None:
        """The device works again."""
        self._recovered_at = time.monotonic()

    def just_recovered(self) -> bool:
        """Whether the device has failed so recently that a new error is the same one."""
        return time.monotonic() - self._recovered_at < RECOVERED

    def moving(self, now: float) -> bool:
        """Whether the thread that spins the node came by, or is at work on a model."""
        return now - max(self._spun, self._resumed) < STUCK or self._blocked

    def hopeless(self, now: float, busy_since: float | None, settings: Settings) -> str:
        """Why nothing but a new process can help, at this steady time; empty while all is well.

        busy_since: when the batch began that is running now.
        """
        if now - self._asked > PAUSE:  # several threads ask, four times a second and more
            self._resumed = now
        self._asked = now
        limit = settings.watchdog_timeout_ms
        hanging = {
            "a batch has been running": (busy_since, limit),
            "a model has been loading": (self.loading_since, settings.watchdog_loading_timeout_ms),
            "the node has stood still": (
                None if self._blocked else self._spun,
                limit and max(limit, 1e3 * STUCK),
            ),
        }
        for what, (since, limit_ms) in hanging.items():
            took = 0.0 if since is None else now - max(since, self._resumed)
            if limit_ms and took > limit_ms / 1e3:
                return f"{what} for {took:.1f} s, limit {limit_ms / 1e3:g} s"
        return self.lost

"""Ends the process where nothing else can: a batch that hangs, a stop that takes too long."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Protocol

import rclpy

EXIT_RESOURCE = 5
"""What the process ends with when only a new one can go on."""
LOOKS = 0.1
"""Seconds between two looks."""
GRACE = 2.4
"""Seconds from the request to stop until the process ends, whatever it is doing."""


class Watched(Protocol):
    """What the watchdog asks of the node."""

    def hopeless(self, now: float) -> str:
        """Why nothing but a new process can help, at this steady time; empty while all is well."""

    def give_up(self, reason: str) -> None:
        """Say that the process ends, and why."""


class Watchdog:
    """Looks after the process from a thread of its own, once rclpy is initialised.

    A thread that hangs in a library cannot be ended, only its process can. What hangs with Python's
    own lock in its hand stops this thread as well: only silence on ~/live tells of that.

    node  whom to ask; may be set later
    code  what the process should end with
    """

    def __init__(self) -> None:
        self.node: Watched | None = None
        self.code = 0
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while rclpy.ok():
            time.sleep(LOOKS)
            if self.node is not None and (reason := self.node.hopeless(time.monotonic())):
                self._give_up(self.node, reason)
                break
        time.sleep(GRACE)
        os._exit(self.code)

    def _give_up(self, node: Watched, reason: str) -> None:
        """Tell why, then stop as if somebody had asked for it."""
        self.code = EXIT_RESOURCE
        try:
            node.give_up(reason)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

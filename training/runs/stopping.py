"""Notes SIGTERM and SIGINT, so that a loop can stop after its step and exit as a shell expects."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Notes the first SIGTERM or SIGINT while it is entered; a second one acts as usual.

    number   of the signal that came, 0 if none did
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a command that a signal stopped; 0 if none came."""
        return 128 + self.number if self.number else 0

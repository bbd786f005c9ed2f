"""How bad things are: levels that do not flicker, and the state of a topic by its rhythm.

A topic is in one of five states, as in Autoware's topic state monitor: OK, NOT_RECEIVED, SLOW,
TOO_SLOW and TIMEOUT.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from jointseg_core.errors import SegError

OK, WARN, ERROR = 0, 1, 2
CLEARS_AFTER = 3.0
"""Seconds without the problem until a level goes down."""
INTERVALS = 5
"""The rate of a topic is judged by so many of its last intervals."""


def described(error: Exception) -> str:
    """An error in one line: our own in their words, others with their type, also without text."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    return text if text and isinstance(error, SegError) else f"{kind}: {text}" if text else kind


class Level(NamedTuple):
    """How bad it is, why in one sentence, and of a topic its state."""

    level: int
    text: str
    state: str = "OK"


def worst(levels: Iterable[Level]) -> Level:
    """The highest, and of several the first; OK where there is none."""
    return max(levels, key=lambda level: level.level, default=Level(OK, ""))


class Hysteresis:
    """Levels rise at once and fall after some seconds without the problem: they do not flicker."""

    def __init__(self, clears_after: float = CLEARS_AFTER) -> None:
        self._clears_after = clears_after
        self._held: dict[str, tuple[float, Level]] = {}  # when it was last so, and what

    def __call__(self, name: str, now: float, found: Level) -> Level:
        """What to report under this name at this steady time."""
        at, held = self._held.get(name, (now, found))
        if found.level >= held.level or now - at >= self._clears_after:
            self._held[name] = (now, found)
            return found
        return held._replace(text=f"{held.text} (over since {now - at:.0f} s)")


class Limits(NamedTuple):
    """When a topic is slow, too slow, or silent; a rate of 0 is not judged."""

    warn_hz: float
    error_hz: float
    timeout_ms: float


class Rhythm:
    """When messages came on a topic, in steady seconds; written by one thread, read by any."""

    def __init__(self) -> None:
        self.watched_since: float | None = None
        self.count = 0
        self._last: tuple[float, ...] = ()  # replaced, never changed

    def watch(self, now: float | None) -> None:
        """Judge it from now on, as if nothing had come before; None: not at all."""
        self.watched_since, self._last = now, ()

    def note(self, now: float) -> None:
        """A message came."""
        self.count += 1
        self._last = (*self._last[-INTERVALS:], now)

    @property
    def last(self) -> float | None:
        """When the last message came since it is watched."""
        times = self._last
        return times[-1] if times else None

    def rate(self, now: float) -> float:
        """Messages a second over the last intervals; the one that is not over counts as well."""
        times = self._last
        if not times:
            return 0.0
        begun = len(times) / max(now - times[0], 1e-3)
        ended = (len(times) - 1) / max(times[-1] - times[0], 1e-3)
        return min(begun, ended) if len(times) > 1 else begun


def topic_level(rhythm: Rhythm, now: float, limits: Limits, topic: str, source: str = "") -> Level:
    """The state of a topic; `source` says who should send, as in "0 publishers"."""
    if rhythm.watched_since is None:
        return Level(OK, f"{topic} is not watched")
    comma = f", {source}" if source else ""
    silence_ms = 1e3 * (now - (rhythm.last or rhythm.watched_since))
    if silence_ms > limits.timeout_ms:
        text = f"no message for {silence_ms / 1e3:.1f} s on {topic}{comma}"
        return Level(ERROR, text, "TIMEOUT" if rhythm.last else "NOT_RECEIVED")
    if rhythm.last is None:
        return Level(OK, f"waiting for the first message on {topic}{comma}", "NOT_RECEIVED")
    rate = rhythm.rate(now)
    for level, state, limit in (
        (ERROR, "TOO_SLOW", limits.error_hz),
        (WARN, "SLOW", limits.warn_hz),
    ):
        if rate < limit:
            return Level(level, f"{rate:.1f} Hz on {topic}, limit {limit:g} Hz{comma}", state)
    return Level(OK, "in time")


def stamps_level(apart_ms: float | None, limit_ms: float) -> Level:
    """Whether frames of several cameras belong together; a limit of 0 is none."""
    if apart_ms is None or not 0 < limit_ms < apart_ms:
        return Level(OK, "in time")
    return Level(WARN, f"stamps of the cameras differ by {apart_ms:.0f} ms, limit {limit_ms:g} ms")

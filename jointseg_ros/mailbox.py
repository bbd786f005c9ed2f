"""One slot per camera between executor and worker: the newest frame, or the newest set, wins.

Every frame is accounted for.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from std_msgs.msg import Header

from jointseg_core.messages import stamp_ns
from jointseg_core.video import CameraDecoder
from jointseg_ros.parameters import Settings
from jointseg_ros.region import EVERYTHING, Region


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera message on its way."""

    camera: str
    message: Any  # of a type that the transports send
    arrived: float  # seconds on the steady clock
    decoder: CameraDecoder = field(default_factory=CameraDecoder)  # which has seen those before
    region: Region = EVERYTHING

    @property
    def header(self) -> Header:
        """The message's, or one of what it says without a header."""
        if hasattr(self.message, "header"):
            return self.message.header
        return Header(stamp=self.message.timestamp, frame_id=self.message.frame_id)

    @property
    def stamp(self) -> int:
        """Nanoseconds, as the camera set it."""
        return stamp_ns(self.header)


@dataclass(frozen=True)
class Counts:
    """What became of a camera's frames: received = processed + dropped + pending, at any moment."""

    received: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    pending: int = 0


class Slot:
    """What waits of one camera, oldest first, and the count of all."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.arrived = -math.inf  # the newest frame, steady seconds
        self.in_work: set[Frame] = set()
        self.received = 0
        self.processed = 0
        self.dropped: Counter[str] = Counter()
        self.due = 0.0  # when the rate limit accepts the next frame, steady seconds

    def admits(self, now: float, max_rate_hz: float) -> bool:
        """Whether the rate limit lets a frame in; a tenth of a period early is in time."""
        if max_rate_hz <= 0:
            return True
        period = 1 / max_rate_hz
        if now < self.due - period / 10:
            return False
        self.due = max(self.due, now - period / 10) + period
        return True

    def counts(self) -> Counts:
        """A copy of the counters."""
        pending = len(self.in_work) + len(self.frames)
        return Counts(self.received, self.processed, dict(self.dropped), pending)

    def drop_first(self, count: int, reason: str) -> None:
        """Give up the oldest frames that wait."""
        if count > 0:
            self.dropped[reason] += count
            self.frames = self.frames[count:]


class Mailbox:
    """Frames wait here: of each camera the newest, or the few that a set is sought among.

    A set is a frame of each camera that is not silent, with stamps that differ by no more than
    `batch.max_stamp_difference_ms`. Safe to use from any thread.

    differ: is told by how many ms the stamps of a batch differ, and those of the closest frames
    when one is dropped because no set was found.
    """

    def __init__(
        self, cameras: tuple[str, ...], differ: Callable[[float], None] = lambda ms: None
    ) -> None:
        self._differ = differ
        self._slots = {camera: Slot() for camera in cameras}
        self._changed = threading.Condition()
        self._open = True

    def put(self, frame: Frame, max_rate_hz: float = 0.0, keep: int = 1) -> None:
        """Keep the frame, in place of the oldest where more than `keep` would wait."""
        with self._changed:
            slot = self._slots[frame.camera]
            slot.received += 1
            if not slot.admits(frame.arrived, max_rate_hz):
                slot.dropped["rate"] += 1
                return
            slot.frames.append(frame)
            slot.arrived = frame.arrived
            if len(slot.frames) > keep > 1:
                self._differ(min(map(_difference_ms, self._sets(math.inf)), default=0.0))
            slot.drop_first(len(slot.frames) - keep, "overwritten" if keep == 1 else "unmatched")
            self._changed.notify_all()

    def take(self, settings: Callable[[], Settings]) -> list[Frame] | None:
        """Wait for a batch, which may be empty; None once the mailbox is closed.

        The first frame (of the anchor camera, where one is named) starts it, the other cameras have
        `batch.max_wait_ms` to join. Of more frames than fit, those that wait longest go first.
        With `batch.sync` approximate, the newest set is a batch as soon as there is one.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._triggered(settings()))
            now = settings()
            self._changed.wait_for(
                lambda: not self._open or self._complete(now), now.batch_max_wait_ms / 1e3
            )
            return self._batch(now) if self._open else None

    def _triggered(self, settings: Settings) -> bool:
        if settings.synchronised:
            return bool(self._set(settings))
        anchor = settings.batch_anchor_camera
        waiting = self._waiting()
        return any(frame.camera == anchor for frame in waiting) if anchor else bool(waiting)

    def _complete(self, settings: Settings) -> bool:
        waiting = len(self._waiting())
        return settings.synchronised or waiting >= min(settings.batch_size, len(self._slots))

    def _waiting(self) -> list[Frame]:
        return [slot.frames[-1] for slot in self._slots.values() if slot.frames]

    def _set(self, settings: Settings) -> list[Frame]:
        """The newest set; empty when there is none."""
        limit_ms = settings.batch_max_stamp_difference_ms
        silent = settings.diagnostics_input_timeout_ms / 1e3
        return next((s for s in self._sets(silent) if _difference_ms(s) <= limit_ms), [])

    def _sets(self, silent: float) -> Iterator[list[Frame]]:
        """What could be a set, newest first: to each frame of the camera that lags the nearest.

        Cameras without a frame for `silent` seconds before the newest one are not waited for.
        """
        newest = max(slot.arrived for slot in self._slots.values())
        slots = [slot for slot in self._slots.values() if newest - slot.arrived <= silent]
        if not slots or not all(slot.frames for slot in slots):  # no slots: nothing ever came
            return
        lagging = min(slots, key=lambda slot: slot.frames[-1].stamp)
        for frame in reversed(lagging.frames):
            yield [min(s.frames, key=lambda f: abs(f.stamp - frame.stamp)) for s in slots]

    def _batch(self, settings: Settings) -> list[Frame]:
        anchor = settings.batch_anchor_camera
        waiting = sorted(self._waiting(), key=lambda f: (f.camera != anchor, f.arrived))
        batch = self._set(settings) if settings.synchronised else waiting[: settings.batch_size]
        for frame in batch:
            slot = self._slots[frame.camera]
            slot.drop_first(slot.frames.index(frame), "unmatched")
            slot.frames.remove(frame)
            slot.in_work.add(frame)
        if len(batch) > 1:
            self._differ(_difference_ms(batch))
        return self._in_order(self._without_stragglers(batch, settings))

    def _without_stragglers(self, batch: list[Frame], settings: Settings) -> list[Frame]:
        limit = settings.batch_max_stamp_difference_ms * 1e6
        newest = max((frame.stamp for frame in batch), default=0)
        late = [frame for frame in batch if limit and newest - frame.stamp > limit]
        for frame in late:
            self._finish(frame, "stamp_difference")
        return [frame for frame in batch if frame not in late]

    def _in_order(self, batch: list[Frame]) -> list[Frame]:
        order = list(self._slots)
        return sorted(batch, key=lambda frame: order.index(frame.camera))

    def processed(self, frame: Frame) -> None:
        """The frame's results are out."""
        with self._changed:
            self._finish(frame, None)

    def drop(self, frame: Frame, reason: str) -> None:
        """The frame that was taken gave no results; no effect when its fate is known already."""
        with self._changed:
            self._finish(frame, reason)

    def _finish(self, frame: Frame, reason: str | None) -> None:
        slot = self._slots[frame.camera]
        if frame not in slot.in_work:
            return
        slot.in_work.remove(frame)
        if reason is None:
            slot.processed += 1
        else:
            slot.dropped[reason] += 1

    def clear(self, reason: str) -> None:
        """Drop what waits."""
        with self._changed:
            for slot in self._slots.values():
                slot.drop_first(len(slot.frames), reason)

    def close(self) -> None:
        """Send the worker home; frames that wait stay pending until `clear`."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def reopen(self) -> None:
        """Let a worker wait for frames again."""
        with self._changed:
            self._open = True

    def counts(self) -> dict[str, Counts]:
        """The counters of every camera, all of one moment."""
        with self._changed:
            return {camera: slot.counts() for camera, slot in self._slots.items()}


def _difference_ms(frames: list[Frame]) -> float:
    stamps = [frame.stamp for frame in frames]
    return (max(stamps) - min(stamps)) / 1e6

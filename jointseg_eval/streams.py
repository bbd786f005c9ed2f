"""The pictures of a camera or of an address, read by a thread of their own while one works."""

from __future__ import annotations

import queue
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

from jointseg_core.errors import BadInput
from jointseg_eval.frames import Frame, Frames, upright
from jointseg_eval.recordings.topics import FRAME_ID, START_NS

ANSWER_S = 5.0
"""So long nothing may come."""
PICTURE_S = 20.0
"""So long the first picture may take of what did answer: a video is begun with a key frame."""
DAMAGED = "damaged, or from before the first key frame, and left out"
UNREAD = "not looked at, as the one before was still worked on"
_POLL_S = 0.1
_PROBE = {"analyzeduration": "2000000"}  # options of FFmpeg
_RTSP = {"rtsp_flags": "prefer_tcp", **_PROBE}

T = TypeVar("T")
Stop = Callable[[], bool]


def is_stream(text: str) -> bool:
    """Whether it names a camera (its number, or /dev/video0) or has a scheme, as rtsp://."""
    if "://" in text or text.startswith("/dev/"):
        return True
    return text.isdecimal() and not Path(text).exists()


def without_password(text: str) -> str:
    """The same text without users and passwords in addresses, of either place."""
    text = re.sub(r"://[^/\s]*@", "://", text)
    return re.sub(r"([?&](?:pass\w*|pwd|token|auth|key)=)[^&\s'\"]*", r"\1...", text, flags=re.I)


def title(text: str) -> str:
    """What to call a stream."""
    return f"camera {text}" if text.isdecimal() else without_password(text)


def open_stream(text: str, stop: Stop = lambda: False) -> Frames:
    """The pictures of a camera or an address, each with the time at which it came.

    Of what has no end those are left out that came while one was worked on (`hints` counts them);
    a file at an address is read whole, with its own times. They end with the stream, when `stop`
    says so, or when nothing came for ANSWER_S, which is then in `lost`. BadInput where nothing
    answers in ANSWER_S, what answers is no video, or no picture of it came in PICTURE_S.
    """
    source = _Source(text)
    frames = Frames("stream", source.rate_hz(stop), iter(()), hints=source.hints)
    frames.frames = source.frames(stop, frames.lost)
    return frames


class _Taken(NamedTuple):
    """A picture of PyAV, and its time in ns."""

    stamp: int
    frame: Any


class _Source:
    """A stream, and the thread that reads it and leaves here what comes."""

    def __init__(self, text: str) -> None:
        self.hints: Counter[str] = Counter()
        self._text = text
        self._rates: queue.Queue[float | Exception] = queue.Queue()
        self._items: queue.Queue[_Taken | Exception | None] = queue.Queue(1)  # None: the end
        self._done = Event()
        Thread(target=self._read, daemon=True).start()

    def rate_hz(self, stop: Stop) -> float:
        """Pictures a second; waits until the stream is open."""
        rate = _waited(self._rates, ANSWER_S, stop)
        if isinstance(rate, Exception):
            raise BadInput(self._problem(rate)) from rate
        return rate or 0.0

    def frames(self, stop: Stop, lost: list[str]) -> Iterator[Frame]:
        """The pictures until something ends them."""
        number, limit = 0, PICTURE_S
        try:
            while isinstance(item := _waited(self._items, limit, stop), _Taken):
                number, limit = number + 1, ANSWER_S
                yield Frame(item.stamp, item.stamp, FRAME_ID, upright(item.frame))
        finally:
            self._done.set()
        if isinstance(item, Exception) and not number:
            raise BadInput(self._problem(item)) from item
        if isinstance(item, Exception):
            lost.append(f"{title(self._text)}: ended after {number} pictures ({_words(item)}).")

    def _problem(self, error: Exception) -> str:
        self._done.set()
        words = _words(error)
        if self._text.isdecimal():
            there = "`ls /dev/video*` shows which there are"
            return f"camera {self._text} cannot be read: {words}; {there}."
        advice = "check the address, and what sends there"
        return f"{title(self._text)} cannot be read: {words}; {advice}."

    def _read(self) -> None:
        """What the thread does."""
        end: Exception | None = None
        try:
            self._read_all()
        except Exception as error:  # of FFmpeg, of the system, of what is no video
            end = error
            self._rates.put(error)  # which nobody asks for any more where it was open
        self._put(end, is_live=False)

    def _read_all(self) -> None:
        import av

        address, form, options = _place(self._text)
        limits = (ANSWER_S + 1, PICTURE_S + 1)  # of who waits for this thread are a second shorter
        with av.open(address, format=form, options=options, timeout=limits) as container:
            if not container.streams.video:
                raise ValueError("there is no video in it")
            stream = container.streams.video[0]
            is_live = container.duration is None and container.size <= 0
            self._rates.put(float(stream.average_rate or 0))
            for frame in self._decoded(container.demux(stream)):
                stamp = time.time_ns()
                if not is_live and frame.time is not None:
                    stamp = START_NS + round(frame.time * 1e9)
                self._put(_Taken(stamp, frame), is_live)
                if self._done.is_set():
                    return

    def _decoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The pictures of a video; what is damaged, or came before a key frame, is counted."""
        import av

        for packet in packets:
            try:
                yield from packet.decode()
            except av.InvalidDataError:
                self.hints[DAMAGED] += 1

    def _put(self, item: _Taken | Exception | None, is_live: bool) -> None:
        """Hand over; where it is live, in the place of one that still waits."""
        while not self._done.is_set():
            try:
                return self._items.put(item, timeout=0 if is_live else _POLL_S)
            except queue.Full:
                if is_live:
                    self._drop()

    def _drop(self) -> None:
        try:
            self._items.get_nowait()
            self.hints[UNREAD] += 1
        except queue.Empty:  # it was taken meanwhile
            return


def _waited(items: queue.Queue[T], limit_s: float, stop: Stop) -> T | TimeoutError | None:
    """The next item; the error, not raised, where none comes; None where one stops."""
    end = time.monotonic() + limit_s
    while not stop():
        try:
            return items.get(timeout=_POLL_S)
        except queue.Empty:
            if time.monotonic() > end:
                return TimeoutError(f"nothing came within {limit_s:g} s")
    return None


def _place(text: str) -> tuple[str, str | None, dict[str, str]]:
    """What FFmpeg opens, by which of its formats, with which options."""
    if not (text.isdecimal() or text.startswith("/dev/")):
        return text, None, _RTSP if text.startswith("rtsp") else _PROBE
    if not sys.platform.startswith("linux"):
        raise OSError("cameras are read on Linux alone")
    return f"/dev/video{text}" if text.isdecimal() else text, "v4l2", {}


def _words(error: Exception) -> str:
    """What is wrong, without the address, which FFmpeg repeats."""
    if type(error).__name__ == "ExitError":  # FFmpeg's own limit
        return "nothing came any more"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

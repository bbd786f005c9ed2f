"""What every file of a recording gives: channels, records, and sentences about what was lost."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import lz4.frame
import zstandard

from jointseg_core.errors import in_words

# No chunk or message may expand to more: what the largest picture takes that is accepted.
# Recorders cut chunks at about 1 MB, or after one message.
MAX_BYTES = 5 << 26


class Damaged(Exception):
    """A piece of a file that cannot be read; the text says why, to be put into a sentence."""


@dataclass(frozen=True)
class Loss:
    """What could not be read of one file.

    start, end: when (ns) the lost messages were received, at the earliest and at the latest;
    messages: how many they are. None: not known.
    """

    file: str
    what: str
    start: int | None = None
    end: int | None = None
    messages: int | None = None

    def __str__(self) -> str:
        when = ""
        if self.start is not None and self.end is not None:
            when = f", received from {self.start / 1e9:.3f} s to {self.end / 1e9:.3f} s"
        known = {None: "an unknown number of messages", 0: "no message", 1: "1 message"}
        lost = known.get(self.messages, f"{self.messages} messages")
        return f"{self.file}: {self.what}; {lost} lost{when}."


Lost = Callable[[Loss], None]
"""Whom a file tells what it cannot give; may raise, where nothing may be lost."""
Topics = Collection[str] | None
"""Names of topics; None for all."""


@dataclass(frozen=True)
class Channel:
    """A topic with the type of its messages, as a file describes it.

    definition: the text of the type and of those within, in the language `format` (ros2msg or
    ros2idl; both empty if the file has none); encoding: of the messages, cdr in ROS 2; metadata:
    further names and values, such as the QoS that was offered.
    """

    topic: str
    type: str
    definition: str
    format: str = "ros2msg"
    encoding: str = "cdr"
    metadata: tuple[tuple[str, str], ...] = ()


class Record(NamedTuple):
    """One message as it was recorded: received at `time`, sent at `sent` (ns), still serialised."""

    channel: Channel
    time: int
    sent: int
    data: memoryview


def expanded(
    compression: str, data: bytes | memoryview, size: int | None = None
) -> bytes | memoryview:
    """`data` decompressed to exactly `size` bytes; never expands more than that. Else Damaged.

    size: None, if it is what the zstd frame says itself.
    """
    try:
        if size is None:
            size = max(zstandard.frame_content_size(data), 0)
        if size > MAX_BYTES:
            raise Damaged(f"claims to hold {size} bytes, more than the {MAX_BYTES} allowed")
        raw = _expand(compression, data, size)
    except (zstandard.ZstdError, RuntimeError, MemoryError) as error:
        raise Damaged(f"does not decompress ({one_line(error)})") from error
    if len(raw) != size:
        raise Damaged(f"does not expand to the {size} bytes that it claims")
    return raw


def one_line(error: Exception) -> str:
    """What an error says, without line breaks and without the point at its end."""
    return in_words(error).rstrip(".")


def _expand(compression: str, data: bytes | memoryview, size: int) -> bytes | memoryview:
    if compression == "":
        return data
    if compression == "lz4":
        return lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    if compression != "zstd":
        raise Damaged(f"is compressed by {compression!r}, not by zstd or lz4")
    if zstandard.frame_content_size(data) == size:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    return reader.read(size + 1)

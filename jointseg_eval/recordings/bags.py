"""Bags without ROS: the only reader and writer of recordings.

Reads rosbag2 directories, split or not, with or without metadata.yaml, single .mcap and .db3 files,
and the .bag files of ROS 1; writes .mcap with checksums, compressed chunks and the text of every
message type, so that ROS tools and viewers read what we write.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from jointseg_core.errors import BadBag
from jointseg_core.files import completed
from jointseg_eval.recordings.files import BagFile, open_files
from jointseg_eval.recordings.records import (
    Channel,
    Damaged,
    Loss,
    Record,
    Topics,
    expanded,
    one_line,
)
from jointseg_eval.recordings.serialization import reader_of
from jointseg_eval.recordings.types import contradicts, message_types, new, present

__all__ = ["BadBag", "BagReader", "BagWriter", "Message", "Topic", "merge", "message_types", "new"]

ZSTD = b"\x28\xb5\x2f\xfd"
"""What packed messages begin with, and none of ROS: where metadata.yaml is lost, this tells."""
END_OF_TIME = 1 << 64  # ns; no storage has later times


@dataclass(frozen=True)
class Topic:
    """What a bag says it holds of one topic."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class Message:
    """One recorded message: its topic and type, when it was received (ns), what it says."""

    topic: str
    type: str
    time: int
    content: Any


class BagReader:
    """A recording opened for reading; use it in a `with` statement.

    A damaged recording is read as far as it can be; with strict=True damage is a BadBag.

    topics       what it holds, by name, as far as its files say so themselves
    start, stop  times (ns) of the first message, and just after the last, so that a window of time
                 costs no more than what is in it; None if the recording is damaged or empty
    losses       what could not be read so far, each a sentence as text
    skipped      messages that could not be decoded so far, by topic
    """

    def __init__(self, path: Path | str, strict: bool = False) -> None:
        self.path = Path(path)
        self.strict = strict
        self.topics: dict[str, Topic] = {}
        self.start: int | None = None
        self.stop: int | None = None
        self._files: list[BagFile] = []
        self._messages_packed = False
        self._stack = ExitStack()
        self._lose_nothing_yet()

    def __enter__(self) -> BagReader:
        try:
            self._files, self._messages_packed = open_files(self.path, self._stack, self._lost)
        except BadBag as error:
            self._stack.close()
            raise _unreadable(self.path, error) from error
        self._describe()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_proven(self) -> bool:
        """Whether all that was read so far was compared with a checksum that its file has."""
        return all(file.is_proven for file in self._files)

    def beside(self) -> BagReader:
        """Another reader of the same open files, with losses of its own, which are no errors.

        As long as this one is open. What both want of a file at about the same time is read once.
        """
        other = copy(self)
        other.strict = False
        other._lose_nothing_yet()
        return other

    def defects(self) -> list[str]:
        """A sentence about each loss so far, and about each topic with skipped messages."""
        skipped = (
            f"{topic}: {count} messages could not be decoded{self._reasons.get(topic, '')}"
            for topic, count in self.skipped.items()
        )
        return [*map(str, self.losses), *skipped]

    def messages(
        self, topics: Topics = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """The decoded messages of these topics (of all, if None) in the order of their reception.

        start, stop: only those received in [start, stop), in nanoseconds. One that cannot be
        decoded is counted in `skipped`.
        """
        for channel, time, _, data in self.records(topics, start, stop):
            channel, content = present(channel), None
            if contradicts(channel):
                self._reasons[channel.topic] = f": the file's {channel.type} is not the known one"
            elif (read := reader_of(channel)) is not None:
                # Damaged messages raise whatever the parser stumbled over.
                with suppress(Exception):
                    content = read(data)
            if content is None:
                self.skipped[channel.topic] += 1
            else:
                yield Message(channel.topic, channel.type, time, content)

    def records(
        self, topics: Topics = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[Record]:
        """The same messages as they were recorded, serialised."""
        window = 0 if start is None else start, END_OF_TIME if stop is None else stop
        try:
            for file in self._files:
                for record in file.records(topics, *window, self._lost):
                    packed = self._messages_packed or record.data[:4] == ZSTD
                    yield self._unpacked(record) if packed else record
        except BadBag as error:
            raise _unreadable(self.path, error) from error

    def _lose_nothing_yet(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self.losses: list[Loss] = []
        self._known_losses: set[Loss] = set()

    def _lost(self, loss: Loss) -> None:
        if self.strict:
            raise BadBag(str(loss).rstrip("."))
        if loss not in self._known_losses:
            self._known_losses.add(loss)
            self.losses.append(loss)

    def _describe(self) -> None:
        for channel, count in (item for file in self._files for item in file.channels.items()):
            if known := self.topics.get(channel.topic):
                count += known.count
            self.topics[channel.topic] = Topic(channel.topic, present(channel).type, count)
        if not self.losses:
            spans = [(file.start, file.stop) for file in self._files if file.start is not None]
            self.start = min((start for start, _ in spans), default=None)
            self.stop = max((stop for _, stop in spans), default=None)

    def _unpacked(self, record: Record) -> Record:
        """The record without its own compression; without data, if it is damaged."""
        try:
            return record._replace(data=memoryview(expanded("zstd", record.data)))
        except Damaged as error:
            what = f"a message on {record.channel.topic} {error}"
            self._lost(Loss(self.path.name, what, record.time, record.time, 1))
            return record._replace(data=memoryview(b""))


class BagWriter:
    """Writes an .mcap file; use it in a `with` statement.

    The file appears under its name when it is complete; after an exception nothing is left.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._schemas: dict[tuple[str, str, str], int] = {}
        self._channels: dict[Channel, int] = {}
        self._counts: Counter[Channel] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> BagWriter:
        file = self._stack.enter_context(completed(self.path))
        self._writer = McapWriter(
            file, compression=CompressionType.ZSTD, enable_crcs=True, enable_data_crcs=True
        )
        self._writer.start(profile="ros2", library="jointseg")
        self._stack.push(self._finish)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, topic: str, message: Any, time: int) -> None:
        """Add one message (made with `new`), received at `time` in nanoseconds."""
        kind = message.__msgtype__
        text = message_types().generate_msgdef(kind, ros_version=2)[0]
        self.write_raw(topic, kind, message_types().serialize_cdr(message, kind), time, text)

    def write_raw(
        self, topic: str, type_name: str, data: bytes | memoryview, time: int, definition: str
    ) -> None:
        """Add one serialised message; `definition` is the text of its type and of those within."""
        self.write_record(Record(Channel(topic, type_name, definition), time, time, data))

    def write_record(self, record: Record) -> None:
        """Add one message as a reader's `records` gives it."""
        channel, time, sent, data = record
        if channel not in self._channels:
            self._channels[channel] = self._register(channel)
        self._counts[channel] += 1
        number = self._channels[channel]
        self._writer.add_message(number, time, bytes(data), sent, self._counts[channel])

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._writer.finish()

    def _register(self, channel: Channel) -> int:
        schema = channel.type, channel.format, channel.definition
        if schema not in self._schemas:
            text = channel.definition.encode()
            self._schemas[schema] = self._writer.register_schema(channel.type, channel.format, text)
        return self._writer.register_channel(
            channel.topic, channel.encoding, self._schemas[schema], dict(channel.metadata)
        )


def merge(parts: Sequence[Path], out: Path, start: int) -> None:
    """Write the messages of some recordings into one .mcap file, in the order of time.

    Messages from before `start` (ns), such as latched ones, get that time. BadBag for a damaged
    part.
    """
    with ExitStack() as stack, BagWriter(out) as bag:
        readers = [stack.enter_context(BagReader(part, strict=True)) for part in parts]
        records = heapq.merge(*(r.records() for r in readers), key=lambda record: record.time)
        for channel, time, _, data in records:
            bag.write_raw(channel.topic, channel.type, data, max(time, start), channel.definition)


def _unreadable(path: Path, error: BadBag) -> BadBag:
    """The error, with the path in it."""
    if str(path) in str(error):
        return error
    advice = "check the file, or salvage it with 'python -m jointseg_eval.salvage'."
    return BadBag(f"{path.absolute()} cannot be read as a recording ({one_line(error)}); {advice}")

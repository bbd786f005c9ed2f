"""Bags without ROS: the only reader and writer of recordings.

Reads rosbag2 directories, split or not, with or without metadata.yaml, and single .mcap and .db3
files; writes .mcap with checksums, compressed chunks and the text of every message type, so that
ROS tools and viewers read what we write.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.files import BagFile, layout, open_files
from jointseg_eval.recordings.records import Channel, Damaged, Loss, Record, one_line, unpacked
from jointseg_eval.recordings.types import how_to_add, message_types, new, types_of

__all__ = ["BadBag", "BagReader", "BagWriter", "Loss", "Message", "Topic", "merge", "new"]
__all__ += ["message_types"]


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
    skipped      messages that could not be decoded so far, by topic
    losses       what could not be read so far, each a sentence as text
    start, stop  times (ns) of the first message, and just after the last; None if the recording is
                 damaged or empty
    indexed      whether a time window costs no more than what is in it
    """

    def __init__(self, path: Path | str, strict: bool = False) -> None:
        self.path = Path(path)
        self.strict = strict
        self.topics: dict[str, Topic] = {}
        self.skipped: Counter[str] = Counter()
        self.losses: list[Loss] = []
        self.start: int | None = None
        self.stop: int | None = None
        self.indexed = True
        self._known_losses: set[Loss] = set()
        self._files: list[BagFile] = []
        self._messages_packed = False
        self._stack = ExitStack()

    def __enter__(self) -> BagReader:
        try:
            found = layout(self.path, self._lost)
            self._messages_packed = found.messages_packed
            self._files = open_files(found, self._stack, self._lost)
        except BadBag as error:
            self._stack.close()
            raise self._with_path(error) from error
        self._describe()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def beside(self) -> BagReader:
        """Another reader of the same open files, with losses of its own, which are no errors.

        As long as this one is open. What both want of a file at about the same time is read once.
        """
        other = BagReader(self.path)
        other._messages_packed = self._messages_packed
        other._files = [file.beside(other._lost) for file in self._files]
        other.topics, other.indexed = self.topics, self.indexed
        other.start, other.stop = self.start, self.stop
        return other

    @property
    def unknown(self) -> dict[str, str]:
        """The types whose messages are skipped, since nobody defines them, and what to do."""
        channels = (channel for file in self._files for channel in file.channels)
        return {c.type: how_to_add(c) for c in channels if types_of(c) is None}

    def messages(
        self,
        topics: Collection[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Message]:
        """The decoded messages of these topics (of all, if None) in the order of their reception.

        start, stop: only those received in [start, stop), in nanoseconds. One that cannot be
        decoded is counted in `skipped`.
        """
        for channel, time, _, data in self.records(topics, start, stop):
            content = None
            if (types := types_of(channel)) is not None:
                # Damaged messages raise whatever the parser stumbled over.
                with suppress(Exception):
                    content = types.deserialize_cdr(data, channel.type)
            if content is None:
                self.skipped[channel.topic] += 1
            else:
                yield Message(channel.topic, channel.type, time, content)

    def records(
        self,
        topics: Collection[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Record]:
        """The same messages as they were recorded, serialised."""
        for file in self._files:
            try:
                for record in file.records(topics, start, stop):
                    yield self._unpacked(record) if self._messages_packed else record
            except BadBag as error:
                raise self._with_path(error) from error

    def _unpacked(self, record: Record) -> Record:
        """The record without its own compression; without data, if it is damaged."""
        try:
            return record._replace(data=memoryview(unpacked(record.data)))
        except Damaged as error:
            what = f"a message on {record.channel.topic} {error}"
            self._lost(Loss(self.path.name, what, record.time, record.time, 1))
            return record._replace(data=memoryview(b""))

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
            self.topics[channel.topic] = Topic(channel.topic, channel.type, count)
        self.indexed = not self.losses
        if self.indexed:
            spans = [(file.start, file.stop) for file in self._files if file.start is not None]
            self.start = min((start for start, _ in spans), default=None)
            self.stop = max((stop for _, stop in spans), default=None)

    def _with_path(self, error: BadBag) -> BadBag:
        return error if str(self.path) in str(error) else _unreadable(self.path, error)


class BagWriter:
    """Writes an .mcap file; use it in a `with` statement.

    The file appears under its name when it is complete; after an exception nothing is left.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._unfinished = self.path.with_name(self.path.name + ".part")
        self._schemas: dict[tuple[str, str, str], int] = {}
        self._channels: dict[Channel, int] = {}
        self._counts: Counter[Channel] = Counter()

    def __enter__(self) -> BagWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._unfinished.open("wb")
        self._writer = McapWriter(
            self._file, compression=CompressionType.ZSTD, enable_crcs=True, enable_data_crcs=True
        )
        self._writer.start(profile="ros2", library="jointseg")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._writer.finish()
                self._file.flush()
                os.fsync(self._file.fileno())
                os.replace(self._unfinished, self.path)
        finally:
            with suppress(OSError):  # what a full disk did not take
                self._file.close()
            self._unfinished.unlink(missing_ok=True)

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
        channel = record.channel
        if channel not in self._channels:
            self._channels[channel] = self._register(channel)
        self._counts[channel] += 1
        self._writer.add_message(
            self._channels[channel],
            record.time,
            bytes(record.data),
            record.sent,
            self._counts[channel],
        )

    def _register(self, channel: Channel) -> int:
        schema = channel.type, channel.format, channel.definition
        if schema not in self._schemas:
            self._schemas[schema] = self._writer.register_schema(
                channel.type, channel.format, channel.definition.encode()
            )
        return self._writer.register_channel(
            channel.topic, channel.encoding, self._schemas[schema], dict(channel.metadata)
        )


def merge(parts: Sequence[Path], out: Path, start: int) -> None:
    """Write the messages of some .mcap files into one, in the order of time.

    Messages from before `start` (ns), such as latched ones, get that time. BadBag for a damaged
    part.
    """
    with ExitStack() as stack, BagWriter(out) as bag:
        sources = []
        for path in parts:
            reader = make_reader(stack.enter_context(path.open("rb")), validate_crcs=True)
            sources.append(reader.iter_messages())
        try:
            for schema, channel, message in heapq.merge(*sources, key=lambda m: m[2].log_time):
                time = max(message.log_time, start)
                bag.write_raw(channel.topic, schema.name, message.data, time, schema.data.decode())
        except McapError as error:
            raise _unreadable(parts[0].parent, error) from error


def _unreadable(path: Path, error: Exception) -> BadBag:
    message = f"{path.absolute()} cannot be read as a recording ({one_line(error)})"
    return BadBag(
        f"{message}; check the file, or salvage it with 'python -m jointseg_eval.salvage'."
    )

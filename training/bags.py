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
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = "a rosbag2 directory, a .mcap file or a .db3 file"


class BadBag(ValueError):
    """A recording that cannot be read; one sentence with the path, the reason and the next step."""


@dataclass(frozen=True)
class Topic:
    """What a bag holds of one topic."""

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


@cache
def message_types() -> Typestore:
    """The messages of ROS 2 Jazzy, vision_msgs and this package."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folders = {
        "vision_msgs": ROOT / "tools/interfaces/vision_msgs/msg",
        "jointseg_ros": ROOT / "msg",
    }
    for package, folder in folders.items():
        for path in sorted(folder.glob("*.msg")):
            store.register(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    return store


def new(type_name: str, **values: Any) -> Any:
    """A message such as new("std_msgs/msg/Header", stamp=..., frame_id=...), all fields given."""
    return message_types().types[type_name](**values)


class BagReader:
    """A recording opened for reading; use it in a `with` statement.

    topics   what it holds, by name
    skipped  messages that could not be decoded so far, by topic
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self.skipped: Counter[str] = Counter()
        self._readers: list[Reader] = []
        self._stack = ExitStack()

    def __enter__(self) -> BagReader:
        try:
            for part in _parts(self.path):
                self._readers.append(self._stack.enter_context(Reader(part)))
        except BadBag:
            self._stack.close()
            raise
        except Exception as error:  # the readers leak the errors of sqlite, yaml and struct
            self._stack.close()
            raise _unreadable(self.path, error) from error
        self._readers.sort(key=lambda reader: reader.start_time)
        self._count_topics()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """The decoded messages of these topics (of all, if None) in the order of their reception.

        One that cannot be decoded is counted in `skipped`. BadBag if the file itself is damaged.
        """
        stores: dict[str, Typestore] = {}
        for connection, time, data in self._raw(topics):
            kind = connection.msgtype
            store = stores.setdefault(kind, _types_of(connection))
            try:
                content = store.deserialize_cdr(data, kind)
            except Exception:  # damaged messages raise whatever the parser stumbled over
                self.skipped[connection.topic] += 1
                continue
            yield Message(connection.topic, kind, time, content)

    def _raw(self, topics: Collection[str] | None) -> Iterator[tuple[Connection, int, bytes]]:
        for reader in self._readers:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            try:
                if wanted:
                    yield from reader.messages(wanted)
            except Exception as error:
                raise _unreadable(self.path, error) from error

    def _count_topics(self) -> None:
        for connection in (c for reader in self._readers for c in reader.connections):
            count = connection.msgcount
            if known := self.topics.get(connection.topic):
                count += known.count
            self.topics[connection.topic] = Topic(connection.topic, connection.msgtype, count)


class BagWriter:
    """Writes an .mcap file; use it in a `with` statement.

    The file appears under its name when it is complete; after an exception nothing is left.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._unfinished = self.path.with_name(self.path.name + ".part")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._counts: Counter[str] = Counter()

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
        if kind is None:
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            os.replace(self._unfinished, self.path)
        else:
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
        if type_name not in self._schemas:
            schema = self._writer.register_schema(type_name, "ros2msg", definition.encode())
            self._schemas[type_name] = schema
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic, "cdr", self._schemas[type_name]
            )
        self._counts[topic] += 1
        self._writer.add_message(
            self._channels[topic], time, bytes(data), time, self._counts[topic]
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


def _parts(path: Path) -> list[Path]:
    """What has to be opened: the path itself, or the files of a directory without metadata."""
    if not path.exists():
        raise BadBag(f"no recording at {path.absolute()}; give {ACCEPTED}.")
    if path.is_file() and path.suffix not in (".mcap", ".db3"):
        raise BadBag(f"{path.absolute()} is no recording that can be read; give {ACCEPTED}.")
    if path.is_file() or (path / "metadata.yaml").is_file():
        return [path]
    files = sorted([*path.glob("*.mcap"), *path.glob("*.db3")])
    if not files:
        found = f"neither metadata.yaml nor .mcap nor .db3 files in {path.absolute()}"
        raise BadBag(f"{found}; give {ACCEPTED}.")
    return files


def _types_of(connection: Connection) -> Typestore:
    """The types to decode a topic with: as the bag itself defines them, else as we know them."""
    readers = {
        MessageDefinitionFormat.MSG: get_types_from_msg,
        MessageDefinitionFormat.IDL: lambda text, _: get_types_from_idl(text),
    }
    known = message_types()
    if parse := readers.get(connection.msgdef.format):
        try:
            own = get_typestore(Stores.EMPTY)
            types = parse(connection.msgdef.data, connection.msgtype)
            own.register({name: t for name, t in types.items() if name not in own.fielddefs})
            return own
        except Exception:  # a definition that cannot be parsed is worth no more than none
            return known
    return known


def _unreadable(path: Path, error: Exception) -> BadBag:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    message = f"{path.absolute()} cannot be read as a recording ({reason})"
    return BadBag(f"{message}; check the file, or repair it with 'mcap recover' or reindexing.")

"""The records of an .mcap file; every length is checked before it is believed.

Source: the MCAP format specification, https://mcap.dev/spec.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import Schema

from jointseg_eval.recordings.records import MAX_CHUNK_BYTES, Channel, Damaged, expanded, one_line

MAGIC = b"\x89MCAP0\r\n"
HEAD = struct.Struct("<BQ")  # opcode, length of the body
CHUNK = struct.Struct("<QQQII")  # first and last time, size, CRC, length of the compression's name
MESSAGE = struct.Struct("<HIQQ")  # channel, number, log time, publish time
MESSAGE_INDEX = struct.Struct("<HI")  # channel, bytes of the entries, 16 each


class Place(NamedTuple):
    """Where messages lie: the body of a chunk, or a run of messages outside of chunks.

    start, end: time (ns) of the first and the last; channels: theirs, empty if not known.
    """

    start: int
    end: int
    offset: int
    length: int
    chunk: bool
    channels: frozenset[int] = frozenset()


class Source:
    """A file that is read at given offsets; what is not there, or cannot be read, is Damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size
        self.last: tuple[Place, memoryview] | None = None  # what `contents` gave

    def close(self) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""
        if not 0 <= offset <= offset + length <= self.size:
            raise Damaged("reaches beyond the end of the file")
        if length > MAX_CHUNK_BYTES + (1 << 20):
            raise Damaged(f"takes {length} bytes, more than the {MAX_CHUNK_BYTES} allowed")
        try:
            data = os.pread(self._file.fileno(), length, offset)
        except (OSError, MemoryError) as error:
            raise Damaged(f"cannot be read ({one_line(error)})") from error
        if len(data) != length:
            raise Damaged("reaches beyond the end of the file")
        return data

    def head(self, offset: int) -> tuple[int, int]:
        """Opcode and length of the record at this offset; it lies within the file."""
        opcode, length = HEAD.unpack(self.read(offset, HEAD.size))
        if opcode == 0:
            raise Damaged("is no record")
        if offset + HEAD.size + length > self.size:
            raise Damaged("reaches beyond the end of the file")
        return opcode, length


class Descriptions:
    """The channels that a file describes, by their number; the first description counts."""

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self._schemas: dict[int, Schema] = {0: Schema(id=0, name="", encoding="", data=b"")}

    def add(self, opcode: int, body: bytes | memoryview) -> None:
        """Take note of a schema or a channel; a channel whose schema is lost counts for nothing."""
        if opcode == Opcode.SCHEMA:
            schema = parsed(Schema, body)
            self._schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            found = parsed(ChannelRecord, body)
            if (schema := self._schemas.get(found.schema_id)) is not None:
                self.channels.setdefault(found.id, _channel(found, schema))


def parsed(kind: Any, body: bytes | memoryview) -> Any:
    """One of mcap.records from the body of a record."""
    try:
        return kind.read(ReadDataStream(BytesIO(body)))
    except (McapError, struct.error, ValueError) as error:
        raise Damaged(f"holds a damaged {kind.__name__.lower()} record") from error


def records(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Opcode, begin and end of the body of each record; Damaged where the lengths do not fit."""
    at = 0
    while at < len(data):
        if at + HEAD.size > len(data):
            raise Damaged("ends within a record")
        opcode, length = HEAD.unpack_from(data, at)
        begin, at = at + HEAD.size, at + HEAD.size + length
        if opcode == 0 or at > len(data):
            raise Damaged("ends within a record")
        yield opcode, begin, at


def contents(source: Source, place: Place) -> memoryview:
    """The records at a place, expanded and compared with their checksum. Damaged if they differ.

    The last ones are kept, for readers of several topics side by side.
    """
    if source.last is None or source.last[0] != place:
        source.last = None  # two of them may be too many
        source.last = place, _expanded(source, place)
    return source.last[1]


def counted(source: Source, place: Place) -> Counter[int] | None:
    """How many messages of each channel a chunk holds, as the index behind it says, if it has."""
    counts: Counter[int] = Counter()
    at = place.offset + place.length
    try:
        while source.head(at)[0] == Opcode.MESSAGE_INDEX:
            channel, length = MESSAGE_INDEX.unpack(source.read(at + HEAD.size, MESSAGE_INDEX.size))
            counts[channel] += length // 16
            at += HEAD.size + source.head(at)[1]
    except Damaged:
        pass
    return counts or None


def _expanded(source: Source, place: Place) -> memoryview:
    if not place.chunk:
        return memoryview(source.read(place.offset, place.length))
    _, _, size, crc, letters = CHUNK.unpack(source.read(place.offset, CHUNK.size))
    at = place.offset + CHUNK.size
    if letters > 16:
        raise Damaged("has a damaged header")
    name = source.read(at, letters + 8)
    packed, at = int.from_bytes(name[letters:], "little"), at + letters + 8
    if at + packed > place.offset + place.length:
        raise Damaged("has a damaged header")
    data = expanded(name[:letters].decode("latin-1"), source.read(at, packed), size)
    if crc and zlib.crc32(data) != crc:
        raise Damaged("has a wrong checksum")
    return memoryview(data)


def _channel(found: ChannelRecord, schema: Schema) -> Channel:
    return Channel(
        found.topic,
        schema.name,
        schema.data.decode(errors="replace"),
        schema.encoding,
        found.message_encoding,
        tuple(found.metadata.items()),
    )

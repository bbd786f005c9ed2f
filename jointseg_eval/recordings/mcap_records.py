"""The records of an .mcap file; every length is checked before it is believed.

The library `mcap` trusts sizes and expands a chunk before it looks at them, and makes an object of
every message; so chunks are expanded here, and only the small records are left to it.
Source: the MCAP format specification, https://mcap.dev/spec.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError

from jointseg_eval.recordings.records import MAX_BYTES, Damaged, expanded, one_line

MAGIC = b"\x89MCAP0\r\n"
HEAD = struct.Struct("<BQ")  # opcode, length of the body
CHUNK = struct.Struct("<QQQII")  # first and last time, size, CRC, length of the compression's name
MESSAGE = struct.Struct("<HIQQ")  # channel, number, log time, publish time
MESSAGE_INDEX = struct.Struct("<HI")  # channel, bytes of the entries, 16 each


@dataclass(slots=True)
class Place:
    """Where messages lie: the body of a chunk, or a run of messages outside of chunks.

    start, end: time (ns) of the first and the last; counts: how many there are of each channel,
    empty if not known.
    """

    start: int
    end: int
    offset: int
    length: int
    is_chunk: bool
    counts: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        if self.is_chunk:
            return f"the chunk at byte {self.offset - HEAD.size}"
        return f"the run of messages at byte {self.offset}"


class Source:
    """A file that is read at given offsets; what is not there, or cannot be read, is Damaged.

    is_proven  whether all contents so far were compared with a checksum
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self.is_proven = True
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        self._last: tuple[int, memoryview] | None = None  # offset and contents of a place

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""
        if not 0 <= offset <= offset + length <= self.size:
            raise Damaged("reaches beyond the end of the file")
        if length > MAX_BYTES + (1 << 20):
            raise Damaged(f"takes {length} bytes, more than the {MAX_BYTES} allowed")
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

    def contents(self, place: Place) -> memoryview:
        """The records at a place, expanded and compared with their checksum, or Damaged.

        The last ones are kept, for readers of several topics side by side.
        """
        if self._last is None or self._last[0] != place.offset:
            self.forget()  # two of them may be too many
            body = memoryview(self.read(place.offset, place.length))
            self._last = place.offset, _expanded(body) if place.is_chunk else body
            self.is_proven &= place.is_chunk and CHUNK.unpack_from(body)[3] != 0
        return self._last[1]

    def forget(self) -> None:
        """Give back the memory of the last contents."""
        self._last = None


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


def parsed(kind: Any, body: bytes | memoryview) -> Any:
    """One of mcap.records from the body of a record."""
    try:
        return kind.read(ReadDataStream(BytesIO(body)))
    except (McapError, struct.error, ValueError) as error:
        raise Damaged(f"holds a damaged {kind.__name__.lower()} record") from error


def _expanded(chunk: memoryview) -> memoryview:
    """The records in a chunk."""
    if len(chunk) < CHUNK.size:
        raise Damaged("is too short for a chunk")
    _, _, size, crc, letters = CHUNK.unpack_from(chunk)
    name, rest = chunk[CHUNK.size :][:letters], chunk[CHUNK.size + letters :]
    packed = int.from_bytes(rest[:8], "little")
    if letters > 16 or packed > len(rest) - 8:
        raise Damaged("has a damaged header")
    data = expanded(str(name, "latin-1"), rest[8 : 8 + packed], size)
    if crc and zlib.crc32(data) != crc:
        raise Damaged("has a wrong checksum")
    return memoryview(data)

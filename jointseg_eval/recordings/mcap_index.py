"""Where the messages of an .mcap file lie: as its index says, or found by going through it."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mcap.opcode import Opcode
from mcap.records import ChunkIndex, Statistics

from jointseg_eval.recordings.mcap_records import (
    CHUNK,
    HEAD,
    MAGIC,
    MESSAGE,
    Descriptions,
    Place,
    Source,
    contents,
    counted,
    parsed,
    records,
)
from jointseg_eval.recordings.records import MAX_CHUNK_BYTES, Channel, Damaged, Loss

FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, summary, its offsets, CRC, magic
RUN_BYTES = 1 << 22
SHORT = "stops before its index, as when a recorder is killed or a copy is cut off"


@dataclass
class Index:
    """The channels of a file, how many messages each holds, and where they lie."""

    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    places: list[Place] = field(default_factory=list)


def summary(source: Source) -> Index | None:
    """The index at the end of a file; None if there is none or not of every message.

    Damaged if there is one that is not to be trusted.
    """
    end = source.size - FOOTER.size
    if end < len(MAGIC):
        return None
    opcode, length, start, _, crc, magic = FOOTER.unpack(source.read(end, FOOTER.size))
    if (opcode, length, magic) != (Opcode.FOOTER, 20, MAGIC) or start == 0:
        return None
    if not len(MAGIC) <= start <= end:
        raise Damaged("the footer points to no summary")
    if end - start > MAX_CHUNK_BYTES:
        return None
    data = source.read(start, source.size - len(MAGIC) - 4 - start)
    if crc and zlib.crc32(data) != crc:
        raise Damaged("its checksum is wrong")
    index = _of_summary(memoryview(data)[: end - start])
    if index is not None and not crc:
        _compare(source, index)
    return index


def survey(source: Source, lost: Callable[[Loss], None]) -> Index:
    """The index of a file without one, from the heads of all its records.

    A chunk is expanded only where the index behind it is missing or names unknown channels.
    """
    return _Survey(source, lost).run()


def _of_summary(data: memoryview) -> Index | None:
    index, found, statistics = Index(), Descriptions(), None
    for opcode, begin, end in records(data):
        body = data[begin:end]
        found.add(opcode, body)
        if opcode == Opcode.STATISTICS:
            statistics = parsed(Statistics, body)
        elif opcode == Opcode.CHUNK_INDEX:
            index.places.append(_place(parsed(ChunkIndex, body)))
    if statistics is None or statistics.chunk_count != len(index.places):
        return None
    index.channels, index.counts = found.channels, Counter(statistics.channel_message_counts)
    whole = index.counts.total() == statistics.message_count and index.counts.keys() <= set(
        index.channels
    )
    return index if whole and (index.places or not statistics.message_count) else None


def _place(found: ChunkIndex) -> Place:
    return Place(
        found.message_start_time,
        found.message_end_time,
        found.chunk_start_offset + HEAD.size,
        found.chunk_length - HEAD.size,
        True,
        frozenset(found.message_index_offsets),
    )


def _compare(source: Source, index: Index) -> None:
    """Damaged if an index without a checksum says otherwise than the chunks' own heads."""
    for place in index.places:
        head = source.head(place.offset - HEAD.size)
        if head != (Opcode.CHUNK, place.length):
            raise Damaged("it points to no chunk")
        times = struct.unpack("<QQ", source.read(place.offset, 16))
        if times != (place.start, place.end):
            raise Damaged("it tells other times than the chunks")


class _Survey:
    """One pass over the heads of a file's records."""

    def __init__(self, source: Source, lost: Callable[[Loss], None]) -> None:
        self._source, self._lost = source, lost
        self._found, self._index = Descriptions(), Index()
        self._index.channels = self._found.channels

    def run(self) -> Index:
        at, whole = len(MAGIC), False
        while True:
            try:
                head = self._source.head(at)
            except Damaged:
                behind = Loss(self._source.path.name, "its index is damaged", messages=0)
                self._lost(behind if whole else self._end(at))
                return self._index
            whole = whole or head == (Opcode.DATA_END, 4)
            self._visit(head[0], at + HEAD.size, head[1])
            at += HEAD.size + head[1]
            if head == (Opcode.FOOTER, 20) and at + len(MAGIC) == self._source.size:
                break
        if self._source.read(at, len(MAGIC)) != MAGIC:
            self._lost(Loss(self._source.path.name, "its last bytes are damaged", messages=0))
        return self._index

    def _visit(self, opcode: int, offset: int, length: int) -> None:
        try:
            if opcode == Opcode.CHUNK:
                self._chunk(offset, length)
            elif opcode == Opcode.MESSAGE:
                self._message(offset, length)
            elif opcode == Opcode.MESSAGE_INDEX:
                self._message_index(offset - HEAD.size)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._found.add(opcode, self._source.read(offset, length))
        except Damaged as error:
            what = f"the record at byte {offset - HEAD.size} {error}"
            self._lost(Loss(self._source.path.name, what))

    def _chunk(self, offset: int, length: int) -> None:
        if length < CHUNK.size:
            raise Damaged("is too short for a chunk")
        start, end = struct.unpack("<QQ", self._source.read(offset, 16))
        place = Place(start, end, offset, length, True)
        counts = counted(self._source, place)
        if counts is None or not counts.keys() <= self._found.channels.keys():
            counts = self._inside(place) or counts or Counter()
        self._index.counts.update(counts)
        self._index.places.append(place._replace(channels=frozenset(counts)))

    def _inside(self, place: Place) -> Counter[int] | None:
        """What a chunk itself tells; its damage is reported where its messages are read."""
        counts: Counter[int] = Counter()
        try:
            data = contents(self._source, place)
            for opcode, begin, end in records(data):
                if opcode == Opcode.MESSAGE:
                    counts[int.from_bytes(data[begin : begin + 2], "little")] += 1
                else:
                    self._found.add(opcode, data[begin:end])
        except Damaged:
            return None
        return counts

    def _message(self, offset: int, length: int) -> None:
        """A message outside of chunks; it joins the run right before it."""
        if length < MESSAGE.size:
            raise Damaged("is too short for a message")
        channel, _, time, _ = MESSAGE.unpack(self._source.read(offset, MESSAGE.size))
        self._index.counts[channel] += 1
        places, begin = self._index.places, offset - HEAD.size
        start, end, channels = time, time, frozenset([channel])
        if places and not places[-1].chunk and places[-1].length < RUN_BYTES:
            last = places[-1]
            if last.offset + last.length == begin:
                places.pop()
                begin, channels = last.offset, channels | last.channels
                start, end = min(start, last.start), max(end, last.end)
        places.append(Place(start, end, begin, offset + length - begin, False, channels))

    def _message_index(self, at: int) -> None:
        """Only a chunk is followed by an index; what looks like a message before it was one."""
        last = self._index.places[-1] if self._index.places else None
        if last is not None and not last.chunk and last.offset + last.length == at:
            self._index.places.pop()
            what = f"a chunk from byte {last.offset} on has a damaged head"
            self._lost(Loss(self._source.path.name, what))

    def _end(self, at: int) -> Loss:
        """What is missing when no whole record follows at this offset."""
        name, rest = self._source.path.name, self._source.size - at
        if rest == 0:
            return Loss(name, SHORT)
        what = f"from byte {at} on, its last {rest} bytes hold no whole record"
        if rest < HEAD.size + 16 or self._source.read(at, 1)[0] != Opcode.CHUNK:
            return Loss(name, what)
        start, end = struct.unpack("<QQ", self._source.read(at + HEAD.size, 16))
        return Loss(name, f"it is cut off within the chunk at byte {at}", start, end)

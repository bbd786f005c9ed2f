"""Where the messages of an .mcap file lie: as its index says, or found by going through it."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import ChunkIndex, Schema, Statistics
from rosbags.typesys.msg import normalize_msgtype

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.mcap_records import (
    HEAD,
    MAGIC,
    MESSAGE,
    MESSAGE_INDEX,
    Place,
    Source,
    parsed,
    records,
)
from jointseg_eval.recordings.records import Channel, Damaged, Loss

FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, summary, its offsets, CRC, magic
TIMES = struct.Struct("<QQ")  # what a chunk begins with
RUN_BYTES = 1 << 22
SHORT = "stops before its index, as when a recorder is killed or a copy is cut off"


class Index:
    """The channels of a file, how many messages each holds, and where they lie.

    losses: what of it is damaged; then its times cannot be relied on.
    """

    def __init__(self, *losses: Loss) -> None:
        self.losses = [*losses]
        self.channels: dict[int, Channel] = {}
        self.counts: Counter[int] = Counter()
        self.places: list[Place] = []
        self._schemas = {0: Schema(id=0, name="", encoding="", data=b"")}

    def describe(self, opcode: int, body: bytes | memoryview) -> None:
        """Take note of a schema or a channel; a channel whose schema is lost counts for nothing.

        The first description of a number counts.
        """
        if opcode == Opcode.SCHEMA:
            schema = parsed(Schema, body)
            self._schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            found = parsed(ChannelRecord, body)
            if (schema := self._schemas.get(found.schema_id)) is not None:
                text = schema.data.decode(errors="replace")
                metadata = tuple(found.metadata.items())
                name = schema.name
                if found.message_encoding == "ros1":
                    name = normalize_msgtype(name)  # as ROS 2 calls it
                kind = name, text, schema.encoding, found.message_encoding, metadata
                self.channels.setdefault(found.id, Channel(found.topic, *kind))


def index_of(source: Source) -> Index:
    """What the index at the end of a file says, if it can be trusted; else what the file holds.

    BadBag if it is no .mcap file.
    """
    if source.size < len(MAGIC) or source.read(0, len(MAGIC)) != MAGIC:
        raise BadBag("it does not begin as an .mcap file does" if source.size else "it is empty")
    try:
        return _summary(source) or _survey(source, Index())
    except Damaged as error:
        what = f"its index is damaged ({error}), so that the file was read from its start"
        return _survey(source, Index(Loss(source.name, what, messages=0)))


def _summary(source: Source) -> Index | None:
    """The index at the end of a file; None if there is none or not of every message."""
    end = source.size - FOOTER.size
    if end < len(MAGIC):
        return None
    opcode, length, start, _, crc, magic = FOOTER.unpack(source.read(end, FOOTER.size))
    if (opcode, length, magic) != (Opcode.FOOTER, 20, MAGIC) or start == 0:
        return None
    if not len(MAGIC) <= start <= end:
        raise Damaged("the footer points to no summary")
    data = memoryview(source.read(start, source.size - len(MAGIC) - 4 - start))
    if crc and zlib.crc32(data) != crc:
        raise Damaged("its checksum is wrong")
    index = _of_summary(data[: end - start])
    if index is not None and not crc:
        _compare(source, index)
    return index


def _of_summary(data: memoryview) -> Index | None:
    index, statistics = Index(), None
    for opcode, begin, end in records(data):
        body = data[begin:end]
        index.describe(opcode, body)
        if opcode == Opcode.STATISTICS:
            statistics = parsed(Statistics, body)
        elif opcode == Opcode.CHUNK_INDEX:
            index.places.append(_indexed(parsed(ChunkIndex, body)))
    if statistics is None or statistics.chunk_count != len(index.places):
        return None
    index.counts = Counter(statistics.channel_message_counts)
    whole = index.counts.total() == statistics.message_count
    whole = whole and index.counts.keys() <= index.channels.keys()
    return index if whole and (index.places or not statistics.message_count) else None


def _indexed(chunk: ChunkIndex) -> Place:
    """A chunk as the index names it; how far its own indexes reach tells its messages."""
    begin, length = chunk.chunk_start_offset, chunk.chunk_length
    begins = sorted((at, channel) for channel, at in chunk.message_index_offsets.items())
    ends = [*(at for at, _ in begins[1:]), begin + length + chunk.message_index_length]
    empty = HEAD.size + MESSAGE_INDEX.size
    counts = {c: max(end - at - empty, 0) // 16 for (at, c), end in zip(begins, ends, strict=True)}
    times = chunk.message_start_time, chunk.message_end_time
    return Place(*times, begin + HEAD.size, length - HEAD.size, True, Counter(counts))


def _compare(source: Source, index: Index) -> None:
    """Damaged if an index without a checksum says otherwise than the chunks' own heads."""
    for place in index.places:
        if source.head(place.offset - HEAD.size) != (Opcode.CHUNK, place.length):
            raise Damaged("it points to no chunk")
        if TIMES.unpack(source.read(place.offset, TIMES.size)) != (place.start, place.end):
            raise Damaged("it tells other times than the chunks")


def _survey(source: Source, index: Index) -> Index:
    """The index filled from the heads of all records of the file.

    A chunk is expanded only where the index behind it is missing or names unknown channels.
    """
    index.losses += _go_through(source, index)
    for place in index.places:
        if not place.counts or not place.counts.keys() <= index.channels.keys():
            _look_inside(source, place, index)
        index.counts.update(place.counts)
    source.forget()
    return index


def _go_through(source: Source, index: Index) -> Iterator[Loss]:
    at, is_end, is_whole = len(MAGIC), False, False
    while not is_end:
        try:
            opcode, length = source.head(at)
        except Damaged:
            behind = Loss(source.name, "its index is damaged", messages=0)
            yield behind if is_whole else _cut_off(source, at)
            return
        try:
            _visit(source, index, opcode, at + HEAD.size, length)
        except Damaged as error:
            yield Loss(source.name, f"the record at byte {at} {error}")
        at += HEAD.size + length
        is_whole = is_whole or (opcode, length) == (Opcode.DATA_END, 4)
        is_end = (opcode, length, at) == (Opcode.FOOTER, 20, source.size - len(MAGIC))
    if source.read(at, len(MAGIC)) != MAGIC:
        yield Loss(source.name, "its last bytes are damaged", messages=0)


def _visit(source: Source, index: Index, opcode: int, offset: int, length: int) -> None:
    """Take note of one record, given the place of its body."""
    if opcode == Opcode.CHUNK:
        times = TIMES.unpack(source.read(offset, TIMES.size))
        index.places.append(Place(*times, offset, length, True))
    elif opcode == Opcode.MESSAGE_INDEX and index.places:
        channel, size = MESSAGE_INDEX.unpack(source.read(offset, MESSAGE_INDEX.size))
        index.places[-1].counts[channel] += size // 16
    elif opcode == Opcode.MESSAGE:
        _add_message(source, index.places, offset, length)
    elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
        index.describe(opcode, source.read(offset, length))


def _add_message(source: Source, places: list[Place], offset: int, length: int) -> None:
    """A message outside of chunks; it joins the run right before it."""
    if length < MESSAGE.size:
        raise Damaged("is too short for a message")
    channel, _, time, _ = MESSAGE.unpack(source.read(offset, MESSAGE.size))
    begin, run = offset - HEAD.size, places[-1] if places else None
    if not run or run.is_chunk or run.length >= RUN_BYTES or run.offset + run.length != begin:
        run = Place(time, time, begin, 0, False)
        places.append(run)
    run.start, run.end = min(time, run.start), max(time, run.end)
    run.length = offset + length - run.offset
    run.counts[channel] += 1


def _look_inside(source: Source, place: Place, index: Index) -> None:
    """What a chunk itself tells; its damage is reported where its messages are read."""
    counts: Counter[int] = Counter()
    try:
        data = source.contents(place)
        for opcode, begin, end in records(data):
            if opcode == Opcode.MESSAGE:
                counts[int.from_bytes(data[begin : begin + 2], "little")] += 1
            else:
                index.describe(opcode, data[begin:end])
    except Damaged:
        return
    place.counts = counts


def _cut_off(source: Source, at: int) -> Loss:
    """What is missing when no whole record follows at this offset."""
    rest, body = source.size - at, at + HEAD.size
    if rest == 0:
        return Loss(source.name, SHORT)
    if body + TIMES.size <= source.size and source.read(at, 1)[0] == Opcode.CHUNK:
        times = TIMES.unpack(source.read(body, TIMES.size))
        return Loss(source.name, f"it is cut off within the chunk at byte {at}", *times)
    return Loss(source.name, f"from byte {at} on, its last {rest} bytes hold no whole record")

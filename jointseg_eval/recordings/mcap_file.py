"""One .mcap file of a recording, read chunk by chunk; a damaged chunk costs that chunk only."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from copy import copy
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
from mcap.opcode import Opcode

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.mcap_index import Index, summary, survey
from jointseg_eval.recordings.mcap_records import (
    MAGIC,
    MESSAGE,
    Place,
    Source,
    contents,
    counted,
    records,
)
from jointseg_eval.recordings.records import MAX_CHUNK_BYTES, Channel, Damaged, Loss, Record

# The next message of an expanded chunk: its time, the chunk's number and size, the further ones.
Waiting = tuple[int, int, Record, int, Iterator[Record]]


class McapFile:
    """An .mcap file opened for reading; what is lost is told to `lost`, as reading goes on.

    channels     what it holds, with the number of messages that it says it holds
    damaged      whether its own index, and so its times, cannot be relied on
    start, stop  times (ns) of the first message, and just after the last; None without messages

    BadBag if nothing can be read.
    """

    def __init__(self, path: Path, lost: Callable[[Loss], None]) -> None:
        self.path = path
        self.damaged = False
        self._lost = lost
        self._source = Source(path)
        try:
            self._index = self._open()
        except BaseException:
            self._source.close()
            raise
        # A chunk without messages says 0 to 0.
        places = [place for place in self._index.places if place.channels or place.end]
        self.start = min((p.start for p in places), default=None)
        self.stop = max((p.end + 1 for p in places), default=None)
        self.channels: Counter[Channel] = Counter()
        for number, channel in self._index.channels.items():
            self.channels[channel] += self._index.counts[number]

    def close(self) -> None:
        self._source.close()

    def beside(self, lost: Callable[[Loss], None]) -> McapFile:
        """The same open file for another reader, which is told what that one loses."""
        other = copy(self)
        other._lost = lost
        return other

    def records(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[Record]:
        """The messages received in [start, stop), in the order of their times.

        Chunks whose times overlap are held together, up to `MAX_CHUNK_BYTES` of messages.
        """
        wanted = {n for n, c in self._index.channels.items() if topics is None or c.topic in topics}
        window = 0 if start is None else start, 1 << 64 if stop is None else stop
        concerned = (p for p in self._index.places if self._concerns(p, wanted, *window))
        places = deque(sorted(concerned))
        queue: list[Waiting] = []
        try:
            while queue or places:
                while places and _is_due(places[0], queue):
                    _enqueue(queue, -len(places), *self._load(places.popleft(), wanted, *window))
                if queue:
                    _, number, record, size, rest = heappop(queue)
                    _enqueue(queue, number, size, rest)
                    yield record
        finally:
            self._source.last = None  # the files that follow need the memory

    def _open(self) -> Index:
        size = self._source.size
        if size < len(MAGIC) or self._source.read(0, len(MAGIC)) != MAGIC:
            raise BadBag("it is empty" if size == 0 else "it does not begin as an .mcap file does")
        try:
            index = summary(self._source)
        except Damaged as error:
            what = f"its index is damaged ({error}), so that the file was read from its start"
            self._report(Loss(self.path.name, what, messages=0))
            index = None
        if index is None:
            index = survey(self._source, self._report)
            self._source.last = None
        if self.damaged and not index.places:
            raise BadBag("it is damaged and holds no whole chunk")
        return index

    def _report(self, loss: Loss) -> None:
        self.damaged = True
        self._lost(loss)

    def _concerns(self, place: Place, wanted: set[int], first: int, end: int) -> bool:
        if self.damaged:
            return True
        known = not place.channels or not wanted.isdisjoint(place.channels)
        return known and place.start < end and place.end >= first

    def _load(
        self, place: Place, wanted: set[int], first: int, end: int
    ) -> tuple[int, Iterator[Record]]:
        """The size of a chunk and its wanted messages, in the order of their times."""
        times, begins, ends = array("Q"), array("Q"), array("Q")
        strange, read, data = 0, 0, memoryview(b"")
        try:
            data = contents(self._source, place)
            for opcode, begin, stop in records(data):
                if opcode != Opcode.MESSAGE:
                    continue
                if stop - begin < MESSAGE.size:
                    raise Damaged("holds a message that is too short")
                channel, _, time, _ = MESSAGE.unpack_from(data, begin)
                read += 1
                strange += channel not in self._index.channels
                if channel in wanted and first <= time < end:
                    times.append(time), begins.append(begin), ends.append(stop)
        except Damaged as error:
            self._lose(place, str(error), read)
        if strange:
            what = f"the topics of messages in the chunk at byte {place.offset - 9} are not known"
            self._lost(Loss(self.path.name, what, place.start, place.end, strange))
        order = np.argsort(np.frombuffer(times, np.uint64), kind="stable") if times else ()
        return len(data), (self._record(data[begins[k] : ends[k]]) for k in order)

    def _record(self, body: memoryview) -> Record:
        channel, _, time, sent = MESSAGE.unpack_from(body)
        # A copy, so that whoever keeps a message does not keep its chunk.
        data = memoryview(bytes(body[MESSAGE.size :]))
        return Record(self._index.channels[channel], time, sent, data)

    def _lose(self, place: Place, reason: str, read: int) -> None:
        counts = counted(self._source, place) if place.chunk else None
        missing = None if counts is None else max(counts.total() - read, 0)
        what = f"the {'chunk' if place.chunk else 'run'} at byte {place.offset - 9} {reason}"
        self._lost(Loss(self.path.name, what, place.start, place.end, missing))


def _enqueue(queue: list[Waiting], number: int, size: int, rest: Iterator[Record]) -> None:
    if (record := next(rest, None)) is not None:
        heappush(queue, (record.time, number, record, size, rest))


def _is_due(place: Place, queue: list[Waiting]) -> bool:
    """Whether a place may hold a message that is earlier than all that wait."""
    held = sum(size for *_, size, _ in queue)
    return not queue or (held <= MAX_CHUNK_BYTES and place.start <= queue[0][0])

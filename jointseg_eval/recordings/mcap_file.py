"""One .mcap file of a recording, read chunk by chunk; a damaged chunk costs that chunk only."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
from mcap.opcode import Opcode

from jointseg_core.errors import BadBag
from jointseg_core.files import open_file
from jointseg_eval.recordings.mcap_index import index_of
from jointseg_eval.recordings.mcap_records import MESSAGE, Place, Source, records
from jointseg_eval.recordings.records import Channel, Damaged, Loss, Lost, Record, Topics

HELD_BYTES = 1 << 27
# The next message of an expanded chunk: its time, the chunk's number and size, the further ones.
Waiting = tuple[int, int, int, Record, Iterator[Record]]


class McapFile:
    """An .mcap file, open as long as `stack` is; what opening it loses is told to `lost`.

    channels     what it holds, with the number of messages that it says it holds
    start, stop  times (ns) of the first message, and just after the last; None without messages

    BadBag if nothing can be read.
    """

    def __init__(self, path: Path, stack: ExitStack, lost: Lost) -> None:
        self._source = Source(stack.enter_context(open_file(path)), path.name)
        self._index = index_of(self._source)
        for loss in self._index.losses:
            lost(loss)
        if self._index.losses and not self._index.places:
            raise BadBag("it is damaged and holds no whole chunk")
        # A chunk without messages says 0 to 0.
        places = [place for place in self._index.places if place.counts or place.end]
        self.start = min((p.start for p in places), default=None)
        self.stop = max((p.end + 1 for p in places), default=None)
        self.channels: Counter[Channel] = Counter()
        for number, channel in self._index.channels.items():
            self.channels[channel] += self._index.counts[number]

    @property
    def is_proven(self) -> bool:
        """Whether all that was read so far was compared with a checksum."""
        return self._source.is_proven

    def records(self, topics: Topics, start: int, stop: int, lost: Lost) -> Iterator[Record]:
        """The messages received in [start, stop), in the order of their times.

        Chunks whose times overlap are held together, up to `HELD_BYTES`; a larger one alone.
        """
        channels = self._index.channels
        wanted = {n for n, c in channels.items() if topics is None or c.topic in topics}
        places = [p for p in self._index.places if self._concerns(p, wanted, start, stop)]
        waiting: list[Waiting] = []  # a heap
        try:
            for number, place in enumerate(sorted(places, key=lambda p: (p.start, p.offset))):
                while waiting and (waiting[0][0] < place.start or _is_full(waiting)):
                    yield _taken(waiting)
                _add(waiting, number, *self._load(place, wanted, start, stop, lost))
            while waiting:
                yield _taken(waiting)
        finally:
            self._source.forget()  # the files that follow need the memory

    def _concerns(self, place: Place, wanted: set[int], start: int, stop: int) -> bool:
        if self._index.losses:
            return True
        known = not place.counts or not wanted.isdisjoint(place.counts)
        return known and place.start < stop and place.end >= start

    def _load(
        self, place: Place, wanted: set[int], start: int, stop: int, lost: Lost
    ) -> tuple[int, Iterator[Record]]:
        """The size of a chunk and its wanted messages, in the order of their times."""
        times, begins, ends = array("Q"), array("Q"), array("Q")
        strange, read, data = 0, 0, memoryview(b"")
        try:
            data = self._source.contents(place)
            for opcode, begin, end in records(data):
                if opcode != Opcode.MESSAGE:
                    continue
                if end - begin < MESSAGE.size:
                    raise Damaged("holds a message that is too short")
                channel, _, time, _ = MESSAGE.unpack_from(data, begin)
                read += 1
                strange += channel not in self._index.channels
                if channel in wanted and start <= time < stop:
                    times.append(time), begins.append(begin), ends.append(end)
        except Damaged as error:
            missing = max(place.counts.total() - read, 0) if place.counts else None
            lost(Loss(self._source.name, f"{place} {error}", place.start, place.end, missing))
        if strange:
            what = f"the topics of messages in {place} are not known"
            lost(Loss(self._source.name, what, place.start, place.end, strange))
        order = np.argsort(np.frombuffer(times, np.uint64), kind="stable") if times else ()
        return len(data), (self._record(data[begins[k] : ends[k]]) for k in order)

    def _record(self, body: memoryview) -> Record:
        channel, _, time, sent = MESSAGE.unpack_from(body)
        # A copy, so that whoever keeps a message does not keep its chunk.
        data = memoryview(bytes(body[MESSAGE.size :]))
        return Record(self._index.channels[channel], time, sent, data)


def _add(waiting: list[Waiting], number: int, size: int, rest: Iterator[Record]) -> None:
    if (record := next(rest, None)) is not None:
        heappush(waiting, (record.time, number, size, record, rest))


def _taken(waiting: list[Waiting]) -> Record:
    """The earliest message; the next one of its chunk takes its place."""
    _, number, size, record, rest = heappop(waiting)
    _add(waiting, number, size, rest)
    return record


def _is_full(waiting: list[Waiting]) -> bool:
    return sum(size for _, _, size, _, _ in waiting) > HELD_BYTES

"""One .db3 file of a recording; where the database is damaged, its rows are read one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.records import MAX_CHUNK_BYTES, Channel, Loss, Record, one_line

MAX_GAP = 1 << 14  # rows at a damaged place that are looked for one by one
MAX_PLACES = 1 << 8
ERRORS = (apsw.Error, UnicodeDecodeError)
TABLES = "SELECT count(*) FROM sqlite_master WHERE type='table' AND name IN ('topics', 'messages')"
TOPIC = ["name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"]
ROWS = "SELECT timestamp, id, topic_id FROM messages"


class Row(NamedTuple):
    """A row of the table of messages without its data."""

    time: int
    id: int
    topic: int


class SqliteFile:
    """A .db3 file opened for reading; what is lost is told to `lost`, as reading goes on.

    channels     what it holds, with the number of messages that can be found
    damaged      whether rows had to be, or have to be, looked for one by one
    start, stop  times (ns) of the first message, and just after the last; None without messages

    BadBag if nothing can be read.
    """

    def __init__(self, path: Path, lost: Callable[[Loss], None]) -> None:
        self.path = path
        self.damaged = False
        self._lost = lost
        self._database = _connect(path)
        try:
            self._by_id = self._open()
            self.channels = self._count()
        except ERRORS as error:
            self._database.close()
            raise BadBag(one_line(error)) from error
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def beside(self, lost: Callable[[Loss], None]) -> SqliteFile:
        """The same open file for another reader, which is told what that one loses."""
        other = copy(self)
        other._lost = lost
        return other

    def records(
        self, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[Record]:
        """The messages received in [start, stop), in the order of their times."""
        wanted = [n for n, c in self._by_id.items() if topics is None or c.topic in topics]
        for row in self._rows(wanted, start, stop):
            if (data := self._data(row)) is not None:
                yield Record(self._by_id[row.topic], row.time, row.time, memoryview(data))
            else:
                what = f"row {row.id} of the database cannot be read"
                self._lost(Loss(self.path.name, what, row.time, row.time, 1))

    def _open(self) -> dict[int, Channel]:
        # Else a database that is shorter than its header says is refused as a whole.
        self._database.execute("PRAGMA writable_schema=ON")
        self._database.execute("PRAGMA trusted_schema=OFF")
        self._database.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_CHUNK_BYTES)
        if self._database.execute(TABLES).fetchone()[0] != 2:
            raise BadBag("it is a database without the tables of a recording")
        definitions, found = (
            self._definitions(),
            self._database.execute("PRAGMA table_info(topics)"),
        )
        names = [row[1] for row in found if row[1] in TOPIC]
        columns = ", ".join(f"CAST({name} AS BLOB)" for name in names)
        topics = {}
        for number, *values in self._database.execute(f"SELECT id, {columns} FROM topics"):
            texts = [(value or b"").decode(errors="replace") for value in values]
            topics[number] = _channel(dict(zip(names, texts, strict=True)), definitions)
        return topics

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Text and language of each type; older recordings have none."""
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        with suppress(*ERRORS):
            return {str(kind): (str(t), str(f)) for kind, t, f in self._database.execute(query)}
        return {}

    def _count(self) -> Counter[Channel]:
        query = "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages GROUP BY 1"
        counts: Counter[int] = Counter()
        try:
            groups = self._database.execute(query).fetchall()
            counts.update({topic: count for topic, count, *_ in groups})
            times = [time for _, _, *both in groups for time in both]
        except ERRORS as error:
            self._report(error)
            times = []
            for row in self._walk():
                counts[row.topic] += 1
                times.append(row.time)
            if not times:
                raise
        times = [time for time in times if _is_time(time)]
        self.start, self.stop = min(times, default=None), max((t + 1 for t in times), default=None)
        channels: Counter[Channel] = Counter()
        for number, channel in self._by_id.items():
            channels[channel] += counts[number]
        return channels

    def _report(self, error: Exception) -> None:
        if not self.damaged:
            what = f"the database is damaged ({one_line(error)}); its rows were read one by one"
            self._lost(Loss(self.path.name, what))
        self.damaged = True

    def _rows(self, topics: list[int], start: int | None, stop: int | None) -> Iterator[Row]:
        last: Row | None = None
        given: set[int] = set()  # at the time of the last row
        if not self.damaged:
            try:
                for row in self._ordered(topics, start, stop):
                    if last is None or row.time > last.time:
                        given = set()
                    given.add(row.id)
                    last = row
                    yield row
                return
            except ERRORS as error:
                self._report(error)
        for row in sorted(self._walk()):
            inside = (start is None or start <= row.time) and (stop is None or row.time < stop)
            new = last is None or row.time > last.time
            new = new or (row.time == last.time and row.id not in given)
            if inside and new and row.topic in topics:
                yield row

    def _ordered(self, topics: list[int], start: int | None, stop: int | None) -> Iterator[Row]:
        """The rows by the index of times, as long as it holds."""
        where = f"topic_id IN ({','.join('?' * len(topics))})"
        values = list(topics)
        for bound, test in ((start, "timestamp >= ?"), (stop, "timestamp < ?")):
            if bound is not None:
                where += f" AND {test}"
                values.append(min(max(bound, 0), (1 << 63) - 1))
        for row in self._database.execute(f"{ROWS} WHERE {where} ORDER BY timestamp", values):
            if _is_time(row[0]):
                yield Row(*row)

    def _data(self, row: Row) -> bytes | None:
        try:
            found = self._one("SELECT data FROM messages WHERE id = ?", row.id)
        except ERRORS:
            return None
        return found[0] if found and isinstance(found[0], bytes) else None

    def _walk(self) -> Iterator[Row]:
        """Every row that can be read, by growing id, going on behind what is damaged."""
        at = 0
        for _ in range(MAX_PLACES):
            try:
                query = f"{ROWS} NOT INDEXED WHERE id > ? ORDER BY id"
                for row in self._database.execute(query, (at,)):
                    if row[1] <= at:
                        raise apsw.CorruptError("rows are not in their order")
                    at = row[1]
                    if all(map(_is_time, row)):
                        yield Row(*row)
                return
            except ERRORS:
                end, more = self._behind(at)
            for number in range(at + 1, min(end, at + MAX_GAP)):
                with suppress(*ERRORS):
                    row = self._one(f"{ROWS} WHERE id = ?", number)
                    if row and row[1] == number and all(map(_is_time, row)):
                        yield Row(*row)
            if not more:
                return
            at = end - 1

    def _behind(self, at: int) -> tuple[int, bool]:
        """The first id behind a damaged place at which reading goes on, and whether it does."""
        step = 1
        while at + step < 1 << 62:
            try:
                query = "SELECT id FROM messages NOT INDEXED WHERE id > ? ORDER BY id LIMIT 1"
                found = self._one(query, at + step)
                return (found[0], True) if found else (at + step + 1, False)
            except ERRORS:
                step *= 2
        return at + (1 << 12), False

    def _one(self, query: str, number: int) -> Any:
        return self._database.execute(query, (number,)).fetchone()


class _WholePages(apsw.VFS):
    """Files without the part of a page at their end, which would be read as if zeros followed."""

    name = "whole_pages"

    def __init__(self) -> None:
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _WholePagesFile("", name, flags)


class _WholePagesFile(apsw.VFSFile):
    def xFileSize(self) -> int:
        size = super().xFileSize()
        return size - size % _page_size(super().xRead(20, 0))


def _connect(path: Path) -> apsw.Connection:
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or not head.startswith(b"SQLite format 3\0"):
        raise BadBag("it does not begin as a .db3 file does" if head else "it is empty")
    cut = path.stat().st_size % _page_size(head) != 0
    if cut and _WholePages.name not in apsw.vfs_names():
        _kept.append(_WholePages())
    return apsw.Connection(
        f"file:{quote(str(path.absolute()))}?immutable=1",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        vfs=_WholePages.name if cut else None,
    )


_kept: list[apsw.VFS] = []  # registered as long as it lives


def _page_size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big")
    return 65536 if size == 1 else max(size, 512)


def _channel(topic: dict[str, str], definitions: dict[str, tuple[str, str]]) -> Channel:
    text, language = definitions.get(topic["type"], ("", ""))
    known = {
        "offered_qos_profiles": topic.get("offered_qos_profiles"),
        "topic_type_hash": topic.get("type_description_hash"),
    }
    metadata = tuple((name, value) for name, value in known.items() if value)
    return Channel(
        topic["name"], topic["type"], text, language, topic["serialization_format"], metadata
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int) and value >= 0

"""One .db3 file of a recording; where the database is damaged, its rows are read one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw

from jointseg_core.errors import BadBag
from jointseg_core.files import open_file
from jointseg_eval.recordings.records import (
    MAX_BYTES,
    Channel,
    Loss,
    Lost,
    Record,
    Topics,
    one_line,
)

CLOSE_FAILURES = 1 << 10  # after so many in a row, a damaged place is searched half as closely
MAX_FAILURES = 1 << 14
MAX_INTEGER = (1 << 63) - 1
_WAL_HEAD, _FRAME = 32, 4096  # bytes; what is settled has a head alone, or one of zeros
ERRORS = (apsw.Error, UnicodeDecodeError)
TABLES = "SELECT count(*) FROM sqlite_master WHERE type='table' AND name IN ('topics', 'messages')"
TOPIC = ["name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"]
COUNTS = "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages GROUP BY 1"
ROWS = "SELECT timestamp, id, topic_id FROM messages"


class Row(NamedTuple):
    """A row of the table of messages without its data."""

    time: int
    id: int
    topic: int


class SqliteFile:
    """A .db3 file, open as long as `stack` is; what opening it loses is told to `lost`.

    channels     what it holds, with the number of messages that can be found
    start, stop  times (ns) of the first message, and just after the last; None without messages

    BadBag if nothing can be read.
    """

    is_proven = False  # a database has no checksums

    def __init__(self, path: Path, stack: ExitStack, lost: Lost) -> None:
        self._name = path.name
        self._damage: Loss | None = None  # then rows are looked for one by one
        self._database = _connect(path)
        for loss in _left_beside(path):
            lost(loss)
        stack.callback(self._database.close)
        try:
            self._topics = self._describe()
            counts, times = self._count(lost)
        except ERRORS as error:
            raise BadBag(one_line(error)) from error
        times = [time for time in times if _is_time(time)]
        self.start, self.stop = min(times, default=None), max((t + 1 for t in times), default=None)
        self.channels: Counter[Channel] = Counter()
        for number, channel in self._topics.items():
            self.channels[channel] += counts[number]

    def records(self, topics: Topics, start: int, stop: int, lost: Lost) -> Iterator[Record]:
        """The messages received in [start, stop), in the order of their times."""
        wanted = [n for n, c in self._topics.items() if topics is None or c.topic in topics]
        for row in self._rows(wanted, start, stop, lost):
            if (data := self._data(row)) is not None:
                yield Record(self._topics[row.topic], row.time, row.time, memoryview(data))
            else:
                what = f"row {row.id} of the database cannot be read"
                lost(Loss(self._name, what, row.time, row.time, 1))

    def _describe(self) -> dict[int, Channel]:
        """The topics by their numbers."""
        # Else a database that is shorter than its header says is refused as a whole.
        self._database.execute("PRAGMA writable_schema=ON")
        self._database.execute("PRAGMA trusted_schema=OFF")
        self._database.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        if self._database.execute(TABLES).fetchone()[0] != 2:
            raise BadBag("it is a database without the tables of a recording")
        definitions, found = self._definitions(), {}
        columns = [row[1] for row in self._database.execute("PRAGMA table_info(topics)")]
        names = [name for name in TOPIC if name in columns]
        texts = ", ".join(f"CAST({name} AS BLOB)" for name in names)
        for number, *values in self._database.execute(f"SELECT id, {texts} FROM topics"):
            known = [(value or b"").decode(errors="replace") for value in values]
            topic = dict.fromkeys(TOPIC, "") | dict(zip(names, known, strict=True))
            found[number] = _channel(topic, *definitions.get(topic["type"], ("", "")))
        return found

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Text and language of each type; older recordings have none."""
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        with suppress(*ERRORS):
            return {str(kind): (str(t), str(f)) for kind, t, f in self._database.execute(query)}
        return {}

    def _count(self, lost: Lost) -> tuple[Counter[int], list[Any]]:
        """How many messages each topic has; their times, or the first and the last of each."""
        try:
            found = self._database.execute(COUNTS).fetchall()
            counts = Counter({topic: count for topic, count, *_ in found})
            return counts, [time for _, _, *both in found for time in both]
        except ERRORS as error:
            self._report(error, lost)
            rows = [*self._walk()]
            if not rows:
                raise
            return Counter(row.topic for row in rows), [row.time for row in rows]

    def _report(self, error: Exception, lost: Lost) -> None:
        what = f"the database is damaged ({one_line(error)}); its rows were read one by one"
        self._damage = self._damage or Loss(self._name, what)
        lost(self._damage)

    def _rows(self, topics: list[int], start: int, stop: int, lost: Lost) -> Iterator[Row]:
        """The rows by the index of times; from where that fails on, by the table alone."""
        last = Row(-1, 0, 0)
        bounds = [min(max(time, -1), MAX_INTEGER) for time in (start, stop - 1)]
        if self._damage is None:
            try:
                where = f"topic_id IN ({','.join('?' * len(topics))}) AND timestamp BETWEEN ? AND ?"
                query = f"{ROWS} WHERE {where} ORDER BY timestamp, id"
                for row in self._database.execute(query, (*topics, *bounds)):
                    if _is_time(row[0]):
                        last = Row(*row)
                        yield last
                return
            except ERRORS as error:
                self._report(error, lost)
        else:
            lost(self._damage)
        for row in sorted(self._walk()):
            if row > last and row.topic in topics and bounds[0] <= row.time <= bounds[1]:
                yield row

    def _data(self, row: Row) -> bytes | None:
        try:
            query = "SELECT data FROM messages WHERE id = ?"
            found = self._database.execute(query, (row.id,)).fetchone()
        except ERRORS:
            return None
        return found[0] if found and isinstance(found[0], bytes) else None

    def _walk(self) -> Iterator[Row]:
        """Every row that can be read; of what cannot, both halves are tried, the first one first.

        So the end of a damaged place is found by steps that double; in a long one not to the row.
        """
        query = f"{ROWS} NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"
        spans, failures = [(1, MAX_INTEGER)], 0
        while spans and failures < MAX_FAILURES:
            first, last = spans.pop()
            try:
                for row in self._database.execute(query, (first, last)):
                    if row[1] < first:
                        raise apsw.CorruptError("rows are not in their order")
                    first, failures = row[1] + 1, 0
                    if all(map(_is_time, row)):
                        yield Row(*row)
            except ERRORS:
                failures += 1
                if last - first >= 1 << failures // CLOSE_FAILURES:
                    middle = (first + last) // 2
                    spans += [(middle + 1, last), (first, middle)]


class _WholePages(apsw.VFS):
    """Files without the part of a page at their end, which would be read as if zeros followed."""

    name = "whole_pages"

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _WholePagesFile("", name, flags)


class _WholePagesFile(apsw.VFSFile):
    def xFileSize(self) -> int:
        size = super().xFileSize()
        return size - size % _page_size(super().xRead(20, 0))


@cache  # registered once, and as long as it lives
def _whole_pages() -> apsw.VFS:
    return _WholePages(_WholePages.name, "")


def _connect(path: Path) -> apsw.Connection:
    with open_file(path) as file:
        head = file.read(20)
    if len(head) < 20 or not head.startswith(b"SQLite format 3\0"):
        raise BadBag("it does not begin as a .db3 file does" if head else "it is empty")
    is_cut = path.stat().st_size % _page_size(head) != 0
    name = f"file:{quote(str(path.absolute()))}?immutable=1"
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(name, flags, vfs=_whole_pages().name if is_cut else None)


def _left_beside(path: Path) -> Iterator[Loss]:
    """What a recorder that was killed had not put into the database, which alone is read."""
    for beside in (path.with_name(path.name + end) for end in ("-wal", "-journal")):
        with suppress(OSError), open_file(beside) as file:
            if any(file.read(_FRAME)[_WAL_HEAD:]):
                what = f"{beside.name} was not read, which holds what was recorded last"
                advice = "let sqlite3 open a copy of both, which merges them"
                yield Loss(path.name, f"{what}; {advice}")


def _page_size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big")
    return 65536 if size == 1 else max(size, 512)


def _channel(topic: dict[str, str], text: str, language: str) -> Channel:
    qos, digest = topic["offered_qos_profiles"], topic["type_description_hash"]
    metadata = {"offered_qos_profiles": qos, "topic_type_hash": digest}
    known = tuple((name, value) for name, value in metadata.items() if value)
    encoding = topic["serialization_format"]
    return Channel(topic["name"], topic["type"], text, language, encoding, known)


def _is_time(value: object) -> bool:
    return isinstance(value, int) and value >= 0

"""M. Damage that nothing in a recording shows, or that would be read as if it were sound."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
from recordings import PLAIN, STRING, ZSTD, chunks, flipped, recorded, split, texts, theirs
from rosbags.rosbag2 import StoragePlugin

from faults.bags import TIMES, salvaged, without_index
from faults.contract import Case
from jointseg_eval.recordings.bags import BagReader, BagWriter, message_types, new
from jointseg_eval.recordings.messages import header_message, image_message

UNPROVEN, SURE = "no checksums that would tell", "nothing was lost"
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
Made = Callable[[Path], Path]


def seen(name: str, made: Made, code: int, *words: str, often: bool = False) -> Case:
    return replace(salvaged(name, made, code, *words, often=often), group="damage")


# What has no checksum


def bare(compression: object, spoil: bool) -> Made:
    """A file without checksums; of which a letter of a message is another one."""

    def make(folder: Path) -> Path:
        path = recorded(folder / "one.mcap", texts(TIMES), compression, enable_crcs=False)
        if spoil:
            path.write_bytes(flipped(path.read_bytes(), chunks(path)[3][1] - 40, 1))
        return path

    return make


def outside_chunks(folder: Path) -> Path:
    return without_index(folder)[0]


def database(folder: Path) -> Path:
    """Its journals are for the cases to add."""
    return theirs(folder / "bag", texts(TIMES), SQLITE)


def mixed(folder: Path) -> Path:
    """One part with checksums, one without."""
    (folder / "bag").mkdir()
    recorded(folder / "bag/a.mcap", texts(range(100, 130)))
    recorded(folder / "bag/b.mcap", texts(range(200, 230)), enable_crcs=False)
    return folder / "bag"


# What lies beside a database


def beside(end: str, content: bytes) -> Made:
    def make(folder: Path) -> Path:
        bag = database(folder)
        (file,) = bag.glob("*.db3")
        file.with_name(file.name + end).write_bytes(content)
        return bag

    return make


def killed_while_writing(folder: Path) -> Path:
    """Ten messages lie in the log of a recorder that is gone; the database has 60."""
    bag = database(folder)
    (file,) = bag.glob("*.db3")
    if os.fork() == 0:
        log = apsw.Connection(str(file))
        log.execute("PRAGMA journal_mode=WAL")
        query = "INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, ?, data"
        for time in range(900, 910):
            log.execute(f"{query} FROM messages LIMIT 1", (time,))
        os._exit(0)  # nothing is closed
    os.wait()
    return bag


# One file under several names


def twice(again: Callable[[Path], object], names: tuple[str, ...] = ()) -> Made:
    """Two files of 20 messages, and what makes one of them be there again."""

    def make(folder: Path) -> Path:
        bag = split(folder / "bag", [texts(range(k, k + 20)) for k in (100, 200)], MCAP)
        first, description = min(bag.glob("*.mcap")), bag / "metadata.yaml"
        again(first)
        if names:
            listed = (
                f"relative_file_paths: [{', '.join(n.format(first.name, first) for n in names)}]"
            )
            description.write_text(f"rosbag2_bagfile_information: {{{listed}}}")
        return bag

    return make


def _without_description(first: Path) -> None:
    (first.parent / "metadata.yaml").unlink()


def _linked(first: Path) -> None:
    _without_description(first)
    first.with_name("z.mcap").symlink_to(first)


def _hard_linked(first: Path) -> None:
    _without_description(first)
    first.with_name("z.mcap").hardlink_to(first)


# Types that contradict what is known of them


def swapped(kind: str, one: str, other: str) -> Callable[[Path], tuple]:
    """A picture and a text in a file, in which the fields of a type have changed places."""

    def make(folder: Path) -> tuple[Path, str]:
        store, path = message_types(), folder / "one.mcap"
        picture = image_message(np.zeros((4, 6, 3), np.uint8), header_message(5, "front"))
        image = picture.__msgtype__
        text = store.generate_msgdef(image, ros_version=2)[0]
        start = text.index(f"MSG: {kind}") if kind else 0
        changed = text[start:].replace(one, "\0", 1).replace(other, one, 1).replace("\0", other)
        assert changed != text[start:]
        with BagWriter(path) as bag:
            bag.write("/text", new(STRING, data="x"), 1)
            data = store.serialize_cdr(picture, image)
            bag.write_raw("/cam", image, data, 2, text[:start] + changed)
        return path, "is not the known one"

    return make


def _refused(path: Path, said: str) -> None:
    with BagReader(path) as bag:
        found = [message.topic for message in bag.messages()]
        assert found == ["/text"] and bag.skipped == {"/cam": 1}, (found, bag.skipped)
        assert any(said in defect for defect in bag.defects()), bag.defects()


def another_version(folder: Path) -> tuple[Path]:
    """A type with a field more than is known: another version of it, read as the file says."""
    store, path = message_types(), folder / "one.mcap"
    text = "string data\nuint8 level\n"
    with BagWriter(path) as bag:
        data = bytes(store.serialize_cdr(new(STRING, data="abc"), STRING)) + b"\7"
        bag.write_raw("/text", STRING, data, 1, text)
    return (path,)


def _read_as_defined(path: Path) -> None:
    with BagReader(path) as bag:
        (message,) = bag.messages()
        assert message.content.level == 7 and not bag.defects()


def contradiction(name: str, kind: str, one: str, other: str, often: bool = False) -> Case:
    made = swapped(kind, one, other)
    return Case("damage", name, made, _refused, megabytes=60, often=often)


TIME = "builtin_interfaces/Time stamp"
WAL = struct.pack(">II", 0x377F0682, 3007000) + bytes(24)
CASES = [
    seen("checksums", lambda f: recorded(f / "one.mcap", texts(TIMES)), 0, SURE),
    seen("no checksums, sound", bare(PLAIN, False), 0, UNPROVEN, "recovered: 60"),
    seen("no checksums, a letter changed", bare(PLAIN, True), 0, UNPROVEN, often=True),
    seen("no checksums, compressed", bare(ZSTD, False), 0, UNPROVEN),
    seen("messages outside of chunks", outside_chunks, 4, "recovered: 60"),
    seen("a part without checksums", mixed, 0, UNPROVEN, "recovered: 60"),
    seen("a database has no checksums", database, 0, UNPROVEN, "recovered: 60"),
    seen("a log beside a database", killed_while_writing, 4, "-wal was not read", often=True),
    seen("a log of no byte", beside("-wal", b""), 0, "recovered: 60"),
    seen("a log with a head alone", beside("-wal", WAL), 0, "recovered: 60"),
    seen("a log of noise", beside("-wal", os.urandom(9000)), 4, "-wal was not read"),
    seen("a journal beside a database", beside("-journal", b"\xd9" * 900), 4, "-journal was not"),
    seen("a settled journal", beside("-journal", bytes(900)), 0, "recovered: 60"),
    seen("a file listed twice", twice(id, ("{0}", "{0}")), 0, "recovered: 20", often=True),
    seen("a file listed in two folders", twice(id, ("{0}", "b/{0}")), 0, "recovered: 20"),
    seen("a file listed thrice", twice(id, ("{0}", "./{0}", "{0}")), 0, "recovered: 20"),
    seen("a file listed by its whole path", twice(id, ("{0}", "{1}")), 0, "recovered: 20"),
    seen("a file listed the long way", twice(id, ("{0}", "../bag/{0}")), 0, "recovered: 20"),
    seen("a file listed a hundred times", twice(id, ("{0}",) * 100), 0, "recovered: 20"),
    seen("a link beside its file", twice(_linked), 0, "recovered: 40"),
    seen("a hard link beside its file", twice(_hard_linked), 0, "recovered: 40"),
    contradiction("width and height swapped", "", "uint32 height", "uint32 width", often=True),
    contradiction("step and width swapped", "", "uint32 step", "uint32 width"),
    contradiction("data before step", "", "uint8[] data", "uint32 step"),
    contradiction("a header turned round", "std_msgs/Header", TIME, "string frame_id"),
    contradiction("a time turned round", "builtin_interfaces/Time", "int32 sec", "uint32 nanosec"),
    Case("damage", "another version of a type", another_version, _read_as_defined, megabytes=60),
]

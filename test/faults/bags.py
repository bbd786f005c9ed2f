"""B. Recordings: cut, corrupt, bombs, strange clocks, missing parts; salvage and the reader."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from recordings import LZ4, PLAIN, STRING, ZSTD, chunks, flipped, recorded, split, texts, theirs
from rosbags.rosbag2 import StoragePlugin

from faults.contract import Case
from faults.tree import deep_yaml
from jointseg_core.errors import BadBag
from jointseg_eval.recordings.bags import BagReader, BagWriter, message_types, new
from jointseg_eval.recordings.messages import header_message, image_message
from jointseg_eval.recordings.topics import image_topic

TIMES = range(100, 160)
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
Damage = Callable[[bytes, Path], bytes]


# Files that are cut or corrupt, through `python -m jointseg_eval.salvage BAG OUT`


def salvaged(
    name: str, made: Callable[[Path], Path], code: int, *words: str, often: bool = False, **limits
) -> Case:
    return Case(
        "bags",
        name,
        lambda folder: (made(folder), folder / "out.mcap"),
        "jointseg_eval.salvage",
        code=code,
        words=words,
        often=often,
        **{"megabytes": 60} | limits,
    )


def damaged(damage: Damage, compression: Any = ZSTD) -> Callable[[Path], Path]:
    """A sound recording of 60 texts, and then its bytes changed."""

    def make(folder: Path) -> Path:
        path = recorded(folder / "one.mcap", texts(TIMES), compression)
        path.write_bytes(damage(path.read_bytes(), path))
        return path

    return make


def cut(share: float) -> Damage:
    return lambda data, _: data[: int(len(data) * share)]


def chunk_flipped(data: bytes, path: Path) -> bytes:
    return flipped(data, chunks(path)[3][1] - 40)


def in_chunk_header(offset: int, kind: str, value: int) -> Damage:
    """Another number in the header of the third chunk; `offset` from the begin of its body."""

    def change(data: bytes, path: Path) -> bytes:
        at = chunks(path)[2][0] + 9 + offset
        return data[:at] + struct.pack(kind, value) + data[at + struct.calcsize(kind) :]

    return change


def record_length(data: bytes, path: Path) -> bytes:
    at = chunks(path)[2][0] + 1
    return data[:at] + struct.pack("<Q", (1 << 63) - 1) + data[at + 8 :]


def scattered(seed: int) -> Damage:
    """Twenty bytes changed anywhere behind the magic."""

    def change(data: bytes, _: Path) -> bytes:
        rng = np.random.default_rng(seed)
        for at in rng.integers(8, len(data), 20):
            data = flipped(data, int(at), int(rng.integers(1, 256)))
        return data

    return change


def raw(data: bytes, name: str = "one.mcap") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def database(damage: Damage) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        bag = theirs(folder / "bag", texts(TIMES), SQLITE)
        (file,) = bag.glob("*.db3")
        file.write_bytes(damage(file.read_bytes(), file))
        return bag

    return make


def three_files(spoil: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A recording in three files, of which something becomes of the second."""

    def make(folder: Path) -> Path:
        parts = [texts(range(k, k + 20)) for k in (100, 200, 300)]
        bag = split(folder / "bag", parts, MCAP)
        spoil(sorted(bag.glob("*.mcap"))[1])
        return bag

    return make


def described(text: str) -> Callable[[Path], Path]:
    """A folder with a sound file and this metadata.yaml."""

    def make(folder: Path) -> Path:
        bag = folder / "bag"
        bag.mkdir()
        recorded(bag / "one.mcap", texts(TIMES))
        (bag / "metadata.yaml").write_text(text)
        return bag

    return make


def without_metadata(folder: Path) -> Path:
    bag = described("")(folder)
    (bag / "metadata.yaml").unlink()
    return bag


def empty_folder(folder: Path) -> Path:
    (folder / "bag").mkdir()
    return folder / "bag"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "one.mcap")
    return folder / "one.mcap"


def circle(folder: Path) -> Path:
    (folder / "one.mcap").symlink_to(folder / "one.mcap")
    return folder / "one.mcap"


FILES = [
    salvaged("sound", damaged(cut(1)), 0, "recovered: 60 messages", "nothing was lost"),
    salvaged("cut at half", damaged(cut(0.5)), 4, "recovered:", "lost:", often=True),
    salvaged("cut at nine tenths, lz4", damaged(cut(0.9), LZ4), 4, "lost:"),
    salvaged("cut at three tenths, not compressed", damaged(cut(0.3), PLAIN), 4, "lost:"),
    salvaged("without footer", damaged(lambda d, _: d[:-40]), 4, "recovered: 60", often=True),
    salvaged("cut behind the magic", damaged(lambda d, _: d[:8]), 3, "one.mcap"),
    salvaged("empty file", raw(b""), 3, "it is empty"),
    salvaged("garbage", raw(bytes(range(256)) * 40), 3, "does not begin as an .mcap"),
    salvaged("zeros behind the magic", raw(b"\x89MCAP0\r\n" + bytes(5000)), 3, "one.mcap"),
    salvaged("the second half zeros", damaged(lambda d, _: d[:2000].ljust(len(d), b"\0")), 4),
    salvaged("a byte of a chunk", damaged(chunk_flipped), 4, "recovered: 54", often=True),
    salvaged("a byte of a chunk, lz4", damaged(chunk_flipped, LZ4), 4, "lost:"),
    *(
        salvaged(f"20 bytes anywhere, {k}", damaged(scattered(k)), (3, 4), "one.mcap")
        for k in range(6)
    ),
    salvaged("a chunk of 10 GB", damaged(in_chunk_header(16, "<Q", 10 << 30)), 4, often=True),
    salvaged("a chunk of 10 GB, lz4", damaged(in_chunk_header(16, "<Q", 10 << 30), LZ4), 4),
    salvaged("a chunk of -1 bytes", damaged(in_chunk_header(16, "<Q", (1 << 64) - 1)), 4),
    salvaged("a compression of 4 GB", damaged(in_chunk_header(28, "<I", (1 << 32) - 1)), 4),
    salvaged("a record of 2^63 bytes", damaged(record_length), 0, "recovered: 60"),
    salvaged("not there", lambda folder: folder / "none.mcap", 3, "no recording at"),
    salvaged("an empty folder", empty_folder, 3, "neither metadata.yaml nor"),
    salvaged("another kind of file", raw(b"text", "notes.txt"), 3, "notes.txt"),
    salvaged("a pipe without a writer", pipe, 3, "one.mcap", often=True),
    salvaged("a link to itself", circle, 3, "no recording at"),
    salvaged("a database that is none", raw(b"SQLite" * 99, "one.db3"), 3, "one.db3"),
    salvaged("a database cut at half", database(cut(0.8)), 4, "lost:"),
    salvaged("an empty database", raw(b"", "one.db3"), 3, "it is empty"),
    salvaged("the second of three is gone", three_files(Path.unlink), 4, "recovered: 40", "20"),
    salvaged(
        "the second of three is garbage",
        three_files(lambda path: path.write_bytes(b"garbage")),
        4,
        "recovered: 40",
        often=True,
    ),
    salvaged("no metadata", without_metadata, 0, "recovered: 60"),
    salvaged("metadata of tabs", described("\t\tx:\n\t- 1"), 4, "recovered: 60"),
    salvaged("metadata of another program", described("a: [1, 2]"), 4, "recovered: 60"),
    salvaged(
        "metadata that wants to run a program",
        described("!!python/object/apply:os.system ['touch marker']"),
        4,
        "recovered: 60",
        often=True,
    ),
    salvaged("metadata nested 5000 deep", described(deep_yaml(5000)), 4, "recovered: 60"),
    salvaged(
        "metadata of anchors that multiply",
        described(
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(
                f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n"
                for m, n in zip("abcdefghij", "bcdefghijk", strict=True)
            )
            + "rosbag2_bagfile_information: *k\n"
        ),
        4,
        "recovered: 60",
    ),
]


# Messages that make no sense, through the reader


def one_message(data: bytes, kind: str = STRING, definition: str = "") -> Callable[[Path], tuple]:
    """A message with this data between two good ones."""

    def make(folder: Path) -> tuple[Path]:
        store, path = message_types(), folder / "one.mcap"
        good = store.serialize_cdr(new(STRING, data="good"), STRING)
        text = definition or store.generate_msgdef(kind, ros_version=2)[0]
        with BagWriter(path) as bag:
            bag.write("/good", new(STRING, data="before"), 1)
            bag.write_raw("/bad", kind, data, 2, text)
            bag.write("/good", new(STRING, data="after"), 3)
        assert good
        return (path,)

    return make


def _skipped(path: Path) -> None:
    """The bad message is counted, the good ones are read."""
    with BagReader(path) as bag:
        found = [m.content.data for m in bag.messages(["/good", "/bad"])]
        assert found == ["before", "after"], found
        assert bag.skipped == {"/bad": 1}, bag.skipped


def _accepted(path: Path) -> None:
    with BagReader(path) as bag:
        assert len([*bag.messages()]) == 3 and not bag.skipped


def cdr(name: str, data: bytes, run: Callable = _skipped, often: bool = False, **more) -> Case:
    made = one_message(data, **more)
    return Case("bags", f"a message {name}", made, run, megabytes=40, often=often)


IMAGE = "sensor_msgs/msg/Image"
LITTLE, BIG = b"\0\1\0\0", b"\0\0\0\0"
HEADER = struct.pack("<iII", 1, 2, 1) + b"\0" + bytes(3)  # stamp, frame_id ""
MESSAGES = [
    cdr("without a byte", b"", often=True),
    cdr("of its header alone", LITTLE),
    cdr("of half a length", LITTLE + b"\1\0"),
    cdr("with a text of 4 GB", LITTLE + struct.pack("<I", 0xFFFFFFFF) + b"x\0", often=True),
    cdr("with a text longer than the message", LITTLE + struct.pack("<I", 50) + b"short\0"),
    cdr("with a text that is no UTF-8", LITTLE + struct.pack("<I", 4) + b"\xff\xfe\xfd\0"),
    cdr("in the order of other machines", BIG + struct.pack(">I", 5) + b"good\0", _accepted),
    cdr(
        "with three bytes of padding",
        LITTLE + struct.pack("<I", 5) + b"good\0" + bytes(3),
        _accepted,
    ),
    cdr("with 40 bytes too many", LITTLE + struct.pack("<I", 5) + b"good\0" + bytes(40)),
    cdr(
        "with an array of 4 GB",
        LITTLE + HEADER + struct.pack("<II", 2, 2) + struct.pack("<I", 0xFFFFFFF0),
        kind=IMAGE,
        often=True,
    ),
    cdr("of a type that holds itself", LITTLE, kind="a/msg/B", definition="a/B inner\n"),
    cdr(
        "of a type with 4 billion texts",
        LITTLE + bytes(40),
        kind="a/msg/B",
        definition="string[4294967295] names\n",
        often=True,
    ),
    cdr("of a type that is no definition", LITTLE, kind="a/msg/B", definition="\0\xff{][;;"),
    cdr("of a type with a name that climbs", LITTLE, kind="../../etc/passwd", definition="x y z"),
]


# Times and topics


def pictures_at(*times: int, topics: tuple[str, ...] = ("/cam",)):
    """A recording of tiny pictures received at these times (ns)."""

    def make(folder: Path) -> tuple[Path]:
        with BagWriter(folder / "one.mcap") as bag:
            bag.write("/words", new(STRING, data="x"), times[0] if times else 1)
            for number, time in enumerate(times):
                for topic in topics:
                    header = header_message(min(time, 1 << 60), "front")
                    picture = np.full((64, 96, 3), number, np.uint8)
                    bag.write(topic, image_message(picture, header), time)
        return (folder / "one.mcap",)

    return make


def _in_order(path: Path) -> None:
    """All are read, in the order of their reception."""
    with BagReader(path) as bag:
        times = [m.time for m in bag.messages(["/cam"])]
    assert times == sorted(times) and len(times) == 4, times


def _topic(path: Path) -> None:
    with BagReader(path) as bag:
        image_topic(bag)


S = 1_000_000_000
YEAR_2262 = 9_223_372_036 * S
CLOCKS = [
    ("times of zero", (0, 0, 0, 0), False),
    ("times that jump back by an hour", (7200 * S, 7201 * S, 3600 * S, 3601 * S), True),
    ("the same time four times", (S, S, S, S), False),
    ("times out of order by 5 s", (10 * S, 15 * S, 11 * S, 16 * S), False),
    ("one message in the year 2262", (S, 2 * S, YEAR_2262, 3 * S), False),
]


def read_strictly(path: Path) -> None:
    with BagReader(path, strict=True) as bag:
        [*bag.records()]


def strict(name: str, damage: Damage) -> Case:
    def made(folder: Path) -> tuple[Path]:
        return (damaged(damage)(folder),)

    return Case("bags", f"strictly: {name}", made, read_strictly, BadBag, words=("one.mcap",))


def without_index(folder: Path) -> tuple[Path]:
    """A file of a recorder that writes neither chunks nor a summary."""
    path = folder / "one.mcap"
    with path.open("wb") as file:
        bag = McapWriter(file, use_chunking=False, compression=CompressionType.NONE)
        bag.start("ros2", "another recorder")
        text = message_types().generate_msgdef(STRING, ros_version=2)[0].encode()
        channel = bag.register_channel("/t", "cdr", bag.register_schema(STRING, "ros2msg", text))
        for time, data in texts(TIMES):
            bag.add_message(channel, time, data, time, 1)
        file.flush()
    return (path,)


def _sixty(path: Path) -> None:
    with BagReader(path) as bag:
        assert len([*bag.messages()]) == 60


CASES = [
    *FILES,
    *MESSAGES,
    *(
        Case("bags", name, pictures_at(*times), _in_order, often=often)
        for name, times, often in CLOCKS
    ),
    Case("bags", "a recorder that was killed, without chunks", without_index, _sixty),
    strict("cut at half", cut(0.5)),
    strict("a byte of a chunk", chunk_flipped),
    Case("bags", "no images at all", pictures_at(topics=()), _topic, BadBag, words=("/words",)),
    Case(
        "bags",
        "two cameras and no choice",
        pictures_at(1, topics=("/left", "/right")),
        _topic,
        BadBag,
        words=("--topic", "/left", "/right"),
        often=True,
    ),
    Case(
        "bags",
        "topics in other letters",
        pictures_at(1, topics=("/łódź", "/\u202ecam")),
        _topic,
        BadBag,
        words=("/łódź",),
    ),
]

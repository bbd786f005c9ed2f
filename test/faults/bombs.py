"""L. Small files that want much: memory, or time before anything is checked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recordings import ZSTD, chunks, recorded, texts
from zstandard import ZstdCompressor

from faults.bags import TIMES, described, one_message
from faults.contract import Case
from jointseg_eval.recordings.bags import BagReader

TEXT = len(texts(range(100, 101))[0][1])


def bombs(count: int, size: int) -> Callable[[Path], tuple[Path]]:
    """Chunks that expand to a message of `size` zeros each, all of them of the same times."""

    def make(folder: Path) -> tuple[Path]:
        path = recorded(folder / "one.mcap", texts(TIMES), ZSTD)
        sound = path.read_bytes()[: chunks(path)[0][1]]
        head = struct.pack("<BQHIQQ", 5, size + 22, 1, 1, 100, 100)
        packing = ZstdCompressor().compressobj(size=size + len(head))
        block = bytes(1 << 20)
        packed = packing.compress(head) + b"".join(
            packing.compress(block[: size - at]) for at in range(0, size, len(block))
        )
        packed += packing.flush()
        body = struct.pack("<QQQII", 100, 100, size + len(head), 0, 4) + b"zstd"
        body += struct.pack("<Q", len(packed)) + packed
        one = struct.pack("<BQ", 6, len(body)) + body
        path.write_bytes(sound + one * count)
        return (path,)

    return make


def read_sizes(path: Path, largest: int) -> None:
    with BagReader(path) as bag:
        assert max(len(record.data) for record in bag.records()) == largest


def bomb(name: str, count: int, size: int, largest: int, **limits: Any) -> Case:
    return Case(
        "bombs",
        name,
        lambda folder: (*bombs(count, size)(folder), largest),
        read_sizes,
        **{"megabytes": 60} | limits,
    )


BOMBS = [
    bomb("six chunks that expand to 1 GiB each", 6, 1 << 30, TEXT, often=True),
    bomb("a thousand chunks of 1 GiB", 1000, 1 << 30, TEXT),
    bomb("three chunks of 300 MB", 3, 300 << 20, 300 << 20, seconds=60, megabytes=1500),
    bomb("twelve chunks of 64 MB", 12, 64 << 20, 64 << 20, seconds=60, megabytes=500),
]


# Definitions of types, which a parser in Python reads


def defined_by(text: str, kind: str = "a/msg/B") -> Callable[[Path], tuple[Path]]:
    """A message of this type between two good ones."""
    return one_message(b"\0\1\0\0" + bytes(40), kind, text)


def readable(path: Path) -> None:
    with BagReader(path) as bag:
        assert [m.content.data for m in bag.messages(["/good", "/bad"])] == ["before", "after"]
        assert bag.skipped == {"/bad": 1}


LINE = "=" * 80
DEFINITIONS = {
    "5,000 types": "\n".join(f"{LINE}\nMSG: a/T{n}\nint8 x" for n in range(5_000)),
    "500 types of 100 fields": "\n".join(
        f"{LINE}\nMSG: a/T{n}\n" + "\n".join(f"int8 x{k}" for k in range(100)) for n in range(500)
    ),
    "50,000 fields": "\n".join(f"int8 x{n}" for n in range(50_000)),
    "50,000 constants": "\n".join(f"int8 X{n}=1" for n in range(50_000)),
    "50,000 empty lines and a bracket": "\n" * 50_000 + "int8[",
    "a name of 500 kB": "int8 " + "x" * 500_000,
    "a chain of 3,000 types": "a/T0 t\n"
    + "\n".join(f"{LINE}\nMSG: a/T{n}\na/T{n + 1} t" for n in range(3_000)),
    "a default of 500 kB": 'string x "' + "x" * 500_000 + '"',
    "500,000 brackets": "int8" + "[" * 500_000,
    "500 kB of slashes": "/" * 500_000 + " x",
}
SCHEMAS = [
    Case(
        "bombs",
        f"a type of {name}",
        defined_by(text),
        readable,
        seconds=10,
        megabytes=100,
        often=number % 3 == 0,
    )
    for number, (name, text) in enumerate(DEFINITIONS.items())
]


# Descriptions of recordings, which another one reads

METADATA = {
    "500,000 numbers": f"a: [{'1,' * 500_000}]",
    "500,000 lists": "[" * 500_000,
    "500,000 lines": "- x\n" * 500_000,
    "500,000 maps": f"a: [{'{},' * 500_000}]",
    "500,000 keys": "? a " * 500_000,
    "5 MB": "a" * 5_000_000,
}
DESCRIPTIONS = [
    Case(
        "bombs",
        f"metadata of {name}",
        lambda folder, text=text: (described(text)(folder), folder / "out.mcap"),
        "jointseg_eval.salvage",
        code=4,
        words=("recovered: 60", "allowed"),
        seconds=5,
        megabytes=60,
        often=number % 3 == 0,
    )
    for number, (name, text) in enumerate(METADATA.items())
]


CASES = [*BOMBS, *SCHEMAS, *DESCRIPTIONS]

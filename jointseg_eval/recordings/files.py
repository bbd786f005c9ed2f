"""The files of a recording, found and opened; one that cannot be read costs only itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import zstandard
from ruamel.yaml import YAML

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.mcap_file import McapFile
from jointseg_eval.recordings.records import Damaged, Loss, one_line
from jointseg_eval.recordings.sqlite_file import SqliteFile

ACCEPTED = "a rosbag2 directory, a .mcap file or a .db3 file"
KINDS = {".mcap": McapFile, ".db3": SqliteFile}
BagFile = McapFile | SqliteFile


@dataclass(frozen=True)
class Part:
    """A file that belongs to a recording; what metadata.yaml says of its messages, if it does."""

    path: Path
    start: int | None = None
    end: int | None = None
    messages: int | None = None


@dataclass(frozen=True)
class Layout:
    """The files of a recording, and what is compressed beyond the storage's own ways."""

    parts: tuple[Part, ...]
    files_packed: bool = False
    messages_packed: bool = False


def layout(path: Path, lost: Callable[[Loss], None]) -> Layout:
    """What has to be opened: the path itself, or the files of a directory."""
    if not path.exists():
        raise BadBag(f"no recording at {path.absolute()}; give {ACCEPTED}.")
    if path.is_file():
        if path.suffix not in KINDS:
            raise BadBag(f"{path.absolute()} is no recording that can be read; give {ACCEPTED}.")
        return Layout((Part(path),))
    if (path / "metadata.yaml").exists():
        try:
            return _described(path)
        except Exception as error:  # whatever the parser or the wrong types in it raise
            what = f"it cannot be used ({one_line(error)}); the files beside it were read instead"
            lost(Loss("metadata.yaml", what, messages=0))
    files = sorted(file for kind in KINDS for file in path.glob(f"*{kind}"))
    if not files:
        found = f"neither metadata.yaml nor .mcap nor .db3 files in {path.absolute()}"
        raise BadBag(f"{found}; give {ACCEPTED}.")
    return Layout(tuple(Part(file) for file in files))


def open_files(found: Layout, stack: ExitStack, lost: Callable[[Loss], None]) -> list[BagFile]:
    """The files in the order of time. BadBag, with the reason only, if none can be read."""
    opened: list[tuple[int, BagFile]] = []
    reasons = []
    for part in found.parts:
        try:
            file = _open(part, found.files_packed, stack, lost)
        except BadBag as error:
            reasons.append(str(error))
            if len(found.parts) > 1:
                what = f"it cannot be read ({error})"
                lost(Loss(part.path.name, what, part.start, part.end, part.messages))
            continue
        start = file.start if part.start is None else part.start
        opened.append((0 if start is None else start, file))
    if not opened:
        raise BadBag(reasons[0])
    return [file for _, file in sorted(opened, key=lambda pair: pair[0])]


def _described(path: Path) -> Layout:
    """The layout in metadata.yaml; of the paths in it only the names count."""
    text = (path / "metadata.yaml").read_text()
    information = YAML(typ="safe").load(text)["rosbag2_bagfile_information"]
    names = [PurePath(name).name for name in information["relative_file_paths"]]
    if not any((path / name).is_file() for name in names):
        raise ValueError("none of the files that it names is there")
    about = {PurePath(entry["path"]).name: entry for entry in information.get("files") or ()}
    mode = (information.get("compression_mode") or "").lower()
    if mode in ("file", "message") and information.get("compression_format") != "zstd":
        raise ValueError(f"the compression is {information.get('compression_format')!r}, not zstd")
    parts = tuple(_part(path / name, about.get(name)) for name in names)
    return Layout(parts, mode == "file", mode == "message")


def _part(path: Path, about: dict[str, Any] | None) -> Part:
    if about is None:
        return Part(path)
    start, count = about["starting_time"]["nanoseconds_since_epoch"], about["message_count"]
    return Part(path, int(start), int(start + about["duration"]["nanoseconds"]), int(count))


def _open(part: Part, packed: bool, stack: ExitStack, lost: Callable[[Loss], None]) -> BagFile:
    try:
        path = _unpacked(part.path, stack, lost) if packed else part.path
        if path.suffix not in KINDS:
            raise BadBag("it is neither .mcap nor .db3")
        file = KINDS[path.suffix](path, lost)
    except BadBag:
        raise
    except Exception as error:  # the operating system's, and what no reader foresaw
        raise BadBag(one_line(error)) from error
    stack.callback(file.close)
    return file


def _unpacked(path: Path, stack: ExitStack, lost: Callable[[Loss], None]) -> Path:
    """A file that was compressed as a whole, expanded in a temporary place as far as it can be."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    out, room = folder / path.stem, shutil.disk_usage(folder).free // 2
    try:
        with path.open("rb") as file, out.open("wb") as expanded:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while block := reader.read(1 << 20):
                if (room := room - len(block)) < 0:
                    raise Damaged("expands to more than half of the free disk")
                expanded.write(block)
    except (zstandard.ZstdError, Damaged) as error:
        lost(Loss(path.name, f"it does not expand as a whole ({one_line(error)})"))
    return out

"""The files of a recording, found and opened; one that cannot be read costs only itself."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import zstandard
from ruamel.yaml import YAML

from jointseg_core.errors import BadBag
from jointseg_core.files import open_file
from jointseg_eval.recordings.mcap_file import McapFile
from jointseg_eval.recordings.records import Damaged, Loss, Lost, one_line
from jointseg_eval.recordings.ros1_file import Ros1File
from jointseg_eval.recordings.sqlite_file import SqliteFile

ACCEPTED = "a rosbag2 directory, a .mcap or .db3 file, or a .bag of ROS 1"
KINDS = {".mcap": McapFile, ".db3": SqliteFile, ".bag": Ros1File}
PACKED = (".zstd", ".zst")  # behind them, of files that were compressed as a whole
MAX_DESCRIPTION, MAX_MARKS = 1 << 22, 40_000  # bytes and marks of metadata.yaml: some 3,500 files
BagFile = McapFile | SqliteFile | Ros1File


class Part(NamedTuple):
    """A file that belongs to a recording; what metadata.yaml says of its messages, if it does."""

    path: Path
    start: int | None = None
    end: int | None = None
    messages: int | None = None


class Layout(NamedTuple):
    """The files of a recording; packed: "file" or "message" if each of those is compressed."""

    parts: list[Part]
    packed: str = ""


def storage(path: Path) -> str | None:
    """Which of KINDS a file is by its name, in letters of any case; None for another file."""
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return next((kind for kind in KINDS if name.endswith(kind)), None)


def open_files(path: Path, stack: ExitStack, lost: Lost) -> tuple[list[BagFile], bool]:
    """The files in the order of time, and whether each of their messages is compressed.

    They are open as long as `stack` is. BadBag, with the reason only, if none can be read.
    """
    listed, packed = _layout(path, lost)
    parts = [*{_identity(part.path): part for part in listed}.values()]
    opened: list[tuple[int, BagFile]] = []
    reasons = []
    for part in parts:
        try:
            file = _open(part.path, packed == "file", stack, lost)
        except BadBag as error:
            reasons.append(str(error))
            if len(parts) > 1:
                what = f"it cannot be read ({error})"
                lost(Loss(part.path.name, what, part.start, part.end, part.messages))
        else:
            opened.append((part.start or file.start or 0, file))
    if not opened:
        raise BadBag(reasons[0])
    return [file for _, file in sorted(opened, key=lambda pair: pair[0])], packed == "message"


def _identity(path: Path) -> tuple[int, int] | Path:
    """The same of a file under two names; one that is not there is itself."""
    try:
        found = path.stat()
    except OSError:
        return path
    return found.st_dev, found.st_ino


def _layout(path: Path, lost: Lost) -> Layout:
    """What has to be opened: the path itself, or the files of a directory."""
    if not path.exists():
        raise BadBag(f"no recording at {path.absolute()}; give {ACCEPTED}.")
    if not path.is_dir():
        if storage(path) is None:
            raise BadBag(f"{path.absolute()} is no recording that can be read; give {ACCEPTED}.")
        return Layout([Part(path)])
    if (path / "metadata.yaml").exists():
        try:
            return _described(path)
        except Exception as error:  # whatever the parser or the wrong types in it raise
            what = f"it cannot be used ({one_line(error)}); the files beside it were read instead"
            lost(Loss("metadata.yaml", what, messages=0))
    files = sorted(file for file in path.iterdir() if storage(file))
    if not files:
        found = f"neither metadata.yaml nor .mcap nor .db3 files in {path.absolute()}"
        raise BadBag(f"{found}; give {ACCEPTED}.")
    return Layout([Part(file) for file in files])


def _described(path: Path) -> Layout:
    """The layout in metadata.yaml; of the paths in it only the names count."""
    with open_file(path / "metadata.yaml", MAX_DESCRIPTION) as file:
        text = file.read().decode()
    if (marks := sum(map(text.count, "\n,-?[]{}"))) > MAX_MARKS:  # which take the parser a minute
        raise ValueError(f"it has {marks} lines and list marks, more than the {MAX_MARKS} allowed")
    information = YAML(typ="safe").load(text)["rosbag2_bagfile_information"]
    names = [PurePath(name).name for name in information["relative_file_paths"]]
    if not any((path / name).is_file() for name in names):
        raise ValueError("none of the files that it names is there")
    packed = (information.get("compression_mode") or "").lower()
    if packed in ("file", "message") and information.get("compression_format") != "zstd":
        raise ValueError(f"the compression is {information.get('compression_format')!r}, not zstd")
    about = {PurePath(entry["path"]).name: entry for entry in information.get("files") or ()}
    return Layout([_part(path / name, about.get(name)) for name in names], packed)


def _part(path: Path, about: dict[str, Any] | None) -> Part:
    if about is None:
        return Part(path)
    start, count = about["starting_time"]["nanoseconds_since_epoch"], about["message_count"]
    return Part(path, int(start), int(start + about["duration"]["nanoseconds"]), int(count))


def _open(path: Path, packed: bool, stack: ExitStack, lost: Lost) -> BagFile:
    try:
        kind = storage(path)
        if packed or path.suffix.lower() in PACKED:
            path = _unpacked(path, stack, lost)
        if kind is None:
            raise BadBag(f"it is none of {', '.join(KINDS)}")
        return KINDS[kind](path, stack, lost)
    except BadBag:
        raise
    except Exception as error:  # the operating system's, and what no reader foresaw
        raise BadBag(one_line(error)) from error


def _unpacked(path: Path, stack: ExitStack, lost: Lost) -> Path:
    """A file that was compressed as a whole, expanded in a temporary place as far as it can be."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    out, room = folder / path.stem, shutil.disk_usage(folder).free // 2
    try:
        with open_file(path) as file, out.open("wb") as expanded:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while block := reader.read(1 << 20):
                if (room := room - len(block)) < 0:
                    raise Damaged("expands to more than half of the free disk")
                expanded.write(block)
    except (zstandard.ZstdError, Damaged) as error:
        lost(Loss(path.name, f"it does not expand as a whole ({one_line(error)})"))
    return out

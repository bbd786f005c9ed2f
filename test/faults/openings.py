"""K. What is opened as a file and is none: pipes, devices, folders, links that lead nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.checkpoints import weights
from faults.contract import Case
from jointseg_core import load_model
from jointseg_core.checkpoint import build_model, preset
from jointseg_core.errors import BadBag, BadCheckpoint, BadConfig, BadDataset, BadInput, SegError
from jointseg_core.export.backends import Export
from jointseg_core.images import read_picture
from jointseg_eval.datasets.coco_file import read_coco
from jointseg_eval.datasets.pictures import picture_size
from jointseg_eval.frames import open_frames
from jointseg_eval.recordings.bags import BagReader
from training.pretrained.files import read_source
from training.runs.command import stored


def _folder(path: Path) -> None:
    path.mkdir()


def _link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe without a writer": os.mkfifo,
    "a device without end": _link("/dev/zero"),
    "a device without content": _link("/dev/null"),
    "a folder": _folder,
    "a link to itself": lambda path: path.symlink_to(path),
}


READERS: dict[str, tuple[str, Callable[[Path], object], type[SegError]]] = {
    "weights": ("a.safetensors", lambda f: load_model(f / "a.safetensors"), BadCheckpoint),
    "a manifest": ("a.json", lambda f: load_model(f / "a.safetensors"), BadCheckpoint),
    "a backbone": (
        "a.pth",
        lambda f: build_model(preset("rdsnet", "r18"), f / "a.pth"),
        BadCheckpoint,
    ),
    "weights of others": ("a.pth", lambda f: read_source(f / "a.pth"), BadCheckpoint),
    "an export": ("export.json", Export.read, BadCheckpoint),
    "a picture": ("a.png", lambda f: read_picture(f / "a.png"), BadInput),
    "a picture of a data set": ("a.png", lambda f: picture_size(f / "a.png"), BadInput),
    "annotations": ("a.json", lambda f: read_coco(f / "a.json", print), BadDataset),
    "a recording": ("a.mcap", lambda f: _read(f / "a.mcap"), BadBag),
    "a part of a recording": ("a.mcap", lambda f: _read(f), BadBag),
    "a database": ("a.db3", lambda f: _read(f), BadBag),
    "a recording's description": ("metadata.yaml", lambda f: _read(f), BadBag),
    "a video": ("a.mp4", lambda f: list(open_frames(f / "a.mp4")), BadInput),
    "a run's configuration": ("config.json", lambda f: stored(f / "config.json"), BadConfig),
}


def _read(path: Path) -> None:
    with BagReader(path) as bag:
        list(bag.messages())


def _case(kind: str, reader: str, often: bool) -> Case:
    name, read, error = READERS[reader]

    def made(folder: Path) -> tuple[Path]:
        if reader == "a manifest":
            weights(folder).with_suffix(".json").unlink()
        KINDS[kind](folder / name)
        return (folder,)

    limits: dict[str, Any] = {"seconds": 5, "megabytes": 90, "often": often}
    return Case("openings", f"{reader} is {kind}", made, read, error, **limits)


CASES = [
    _case(kind, reader, often=(number + row) % 5 == 0)
    for row, reader in enumerate(READERS)
    for number, kind in enumerate(KINDS)
]

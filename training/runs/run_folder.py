"""What a run leaves on disk, so that it can be killed at any moment and go on exactly.

    RUN/config.json                    the recipe and the options, as --field value would give them
    RUN/environment.json               versions, machine and command line of every start
    RUN/attributions.json              real pictures that it learned from, with their licences
    RUN/metrics.jsonl                  one JSON object a line: training, validation, events
    RUN/checkpoints/step_00000500.pt   everything a run needs to go on, and a .json manifest each
    RUN/best.safetensors               averaged weights of the best validation, and its manifest
    RUN/weights.safetensors            the result, and its manifest
    RUN/batches/                       the first batches, as the network is given them
    RUN/pictures/                      the same validation pictures as training goes on
    RUN/report.html, curves.png        how it went, at the end

A file is written beside its place, forced to disk and moved there; its manifest follows. So a
checkpoint is whole if its manifest fits it, and otherwise the one before it is taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from jointseg_core.errors import BadCheckpoint, in_words
from jointseg_core.files import completed, open_file
from jointseg_core.pickles import load_pickle

FORMAT = 1
CONFIG = "config.json"


class RunFolder:
    """The files of one run; `keep` is how many of the newest checkpoints stay."""

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self.keep = path, keep
        self.checkpoints, self.pictures = path / "checkpoints", path / "pictures"
        self.batches, self.report = path / "batches", path / "report.html"
        self.curves = path / "curves.png"
        self.config, self.environment = path / CONFIG, path / "environment.json"
        self.attributions = path / "attributions.json"
        self.weights = path / "weights.safetensors"

    @property
    def used(self) -> bool:
        """Whether a run has begun here."""
        return self.config.exists()

    # -- checkpoints --------------------------------------------------------------------------

    def save(self, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint of `state["step"]` and remove those beyond the newest `keep`.

        The state holds tensors, numbers, strings, lists and dicts, as `torch.load` takes them
        with weights_only.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        data = buffer.getbuffer()
        path = self.checkpoints / f"step_{state['step']:08}.pt"
        manifest = {
            "format": FORMAT,
            "step": state["step"],
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        replace_file(path, data)
        replace_file(path.with_suffix(".json"), as_json(manifest))
        self._prune(path)
        return path

    def newest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that its manifest fits; None if nothing was saved.

        Every damaged one that is newer is named on stderr. BadCheckpoint when all are damaged, and
        for one of a newer version, which an older one would replace.
        """
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _verified(path)
            except BadCheckpoint:
                raise
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                print(f"warning: {path} is damaged: {in_words(error)}", file=sys.stderr)
        if paths:
            raise BadCheckpoint(
                f"no usable checkpoint: looked in {self.checkpoints}, found {len(paths)}, all of "
                "them damaged; delete the folder or name another with --out"
            )
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step_*.pt"))

    def _prune(self, written: Path) -> None:
        """Remove what is beyond the newest, and later ones that a run which went back has left."""
        paths = self._paths()
        until = paths.index(written) + 1
        for path in (*paths[: max(0, until - self.keep)], *paths[until:]):
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink()
        for part in self.checkpoints.glob("*.part"):
            part.unlink()

    def save_batch(self, step: int, sheet: np.ndarray) -> None:
        """Write what a step was given, uint8 RGB [H, W, 3]."""
        self.batches.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(self.batches / f"step_{step:08}.jpg", quality=90)

    # -- records ------------------------------------------------------------------------------

    def record(self, kind: str, step: int, **values: Any) -> None:
        """Append a line to metrics.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"kind": kind, "step": step, **values})
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl."""
        try:
            lines = (self.path / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [record for line in lines if (record := _parsed(line)) is not None]

    def starts(self) -> list[dict[str, Any]]:
        """The environments of the starts so far."""
        try:
            return json.loads(self.environment.read_text())["starts"]
        except (OSError, ValueError, KeyError):
            return []

    def forget_after(self, step: int, validated: int) -> None:
        """Drop the records of steps, and of validations, that a resumed run will do again."""
        last = {"validation": validated}
        kept = [r for r in self.records() if r["step"] <= last.get(r["kind"], step)]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        replace_file(self.path / "metrics.jsonl", lines.encode())


def _verified(path: Path) -> dict[str, Any]:
    """The checkpoint, if it is the one that its manifest describes."""
    with open_file(path.with_suffix(".json"), 1 << 16) as file:
        manifest = json.loads(file.read())
    if (found := manifest["format"]) != FORMAT:
        if isinstance(found, int) and found > FORMAT:
            raise BadCheckpoint(
                f"{path}: written by a newer version of this package, in format {found}; this one "
                f"reads {FORMAT}: go on with that version, or name another folder with --out"
            )
        raise ValueError(f"format {found}, this version reads {FORMAT}")
    with open_file(path) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise ValueError("SHA-256 is not that of its manifest")
    return load_pickle(io.BytesIO(data))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:  # the last line of a process that was killed
        return None


def as_json(document: Mapping[str, Any]) -> bytes:
    """A JSON file's content."""
    return (json.dumps(document, indent=2) + "\n").encode()


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file in one step, on disk when this returns: a reader sees the old or the new."""
    with completed(path) as file:
        file.write(data)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Checks of what people bring: defects of data sets, folders to write."""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointseg_core.errors import BadDataset, BadInput


@dataclass(frozen=True)
class Defect:
    """Something wrong with one part of a data set.

    where   the file, and what of it
    what    what was found there
    usable  whether the data set can be trained on and evaluated in spite of it
    """

    where: str
    what: str
    usable: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def parse_json(content: bytes) -> Any:
    """The document; a number of thousands of digits, on which Python gives up, is infinite."""
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:
        return json.loads(content, parse_int=lambda d: int(d) if len(d) < 1000 else math.inf)


def refuse(defect: Defect) -> None:
    """What to do about a defect unless all are wanted: raise BadDataset, or go on if one can."""
    if not defect.usable:
        advice = "`python -m jointseg_eval.check_data ROOT` names every defect."
        raise BadDataset(f"{str(defect).rstrip('.')}; {advice}")


def check_folder(folder: Path, option: str) -> None:
    """Raises BadInput for a folder that cannot be written, before the work and not after."""
    path = folder.absolute()
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise BadInput(
            f"{option}: {folder} cannot be a folder, nothing can be written to {there};"
            " name another one."
        )


@contextmanager
def held(folder: Path, option: str) -> Iterator[None]:
    """A folder to write, which is made, and which no other process holds as long as the block runs.

    Raises BadInput as `check_folder` does, and while another process holds it.
    """
    check_folder(folder, option)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BadInput(
            f"{option}: another process is writing into {folder}; wait for it, or name another one."
        ) from error
    except OSError:
        pass  # a file system that has no locks
    try:
        yield
    finally:
        if made:
            with suppress(OSError):  # something was written
                folder.rmdir()
        os.close(descriptor)


def working_folder(near: Path) -> tempfile.TemporaryDirectory:
    """A folder beside `near`, on the same file system, that is gone at the end."""
    near.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".{near.name}.", dir=near.parent)

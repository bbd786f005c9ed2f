"""Checks of what people bring: defects of data sets, folders to write."""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
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
    kind    what it has in common with others, "objects have no outline"; empty: nothing
    total   of how many, "12 of 99 objects have no outline"; 0: not known
    """

    where: str
    what: str
    usable: bool = False
    kind: str = ""
    total: int = 0

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


def summed(defects: Iterable[Defect]) -> list[tuple[bool, str]]:
    """Whether each can be used, and a sentence; one for all of a kind, in order of their first."""
    kinds: dict[tuple[str, bool, str], list[Defect]] = {}
    for number, defect in enumerate(defects):
        key = defect.kind or f"#{number}", defect.usable, defect.kind and _part_of(defect)
        kinds.setdefault(key, []).append(defect)
    return [(some[0].usable, _sentence(some)) for some in kinds.values()]


def _part_of(defect: Defect) -> str:
    """The file: of two splits each has its own counts."""
    return defect.where.partition(", ")[0] if defect.total else ""


def _sentence(some: list[Defect]) -> str:
    first = some[0]
    if len(some) == 1:
        return str(first)
    total = f" of {first.total}" if first.total else ""
    return f"{len(some)}{total} {first.kind}; the first: {first}"


class Noted:
    """What to tell of defects where one is to go on: those that can be used are counted.

    Call it with a defect. Raises BadDataset for what cannot be used, as `refuse`.
    """

    def __init__(self) -> None:
        self._defects: list[Defect] = []

    def __call__(self, defect: Defect) -> None:
        refuse(defect)
        self._defects.append(defect)

    def lines(self) -> list[str]:
        """A sentence for each kind."""
        return [text for _, text in summed(self._defects)]


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

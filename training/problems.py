"""What is wrong with an input, said once and in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class BadInput(ValueError):
    """Data, weights or options that cannot be used.

    One sentence: what was looked for, where, what was found, what to do.
    """


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


def refuse(defect: Defect) -> None:
    """What to do about a defect unless all are wanted: raise BadInput, or go on if one can."""
    if not defect.usable:
        raise BadInput(
            f"{str(defect).rstrip('.')}; `python -m training.check_data ROOT` names every defect."
        )


def check_folder(folder: Path, option: str) -> None:
    """Raises BadInput for a folder that cannot be written, before the work and not after."""
    path = folder.absolute()
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise BadInput(
            f"{option}: {folder} cannot be a folder, nothing can be written to {there};"
            " name another one."
        )


def exit_code(main: Callable[[], int | None]) -> int:
    """The exit code of a command: what `main` returns, 3 with one sentence for bad input."""
    try:
        return main() or 0
    except BadInput as problem:
        print(problem, file=sys.stderr)
        return 3

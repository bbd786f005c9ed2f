"""Files that have their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def completed(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, called `path` and on disk once the block is done; its folder is made.

    After an exception nothing is left, and what was there before under that name stays.
    """
    unfinished = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = unfinished.open("wb")
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):  # what a full disk did not take
            file.close()
        unfinished.unlink(missing_ok=True)

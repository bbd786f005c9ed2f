"""Files that are files: opened without waiting, and named only when they are complete."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def open_file(path: str | Path, most: int | None = None) -> IO[bytes]:
    """A regular file to read, of `most` bytes at most. Raises OSError for anything else, at once.

    A FIFO would be waited for, a device be read until memory ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {_kind(found.st_mode)}, no file", str(path))
        if most is not None and found.st_size > most:
            text = f"it has {found.st_size} bytes, more than the {most} allowed"
            raise OSError(errno.EFBIG, text, str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "something else")


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
    except OSError as error:
        error.filename = error.filename or str(path)  # which a full disk does not say
        raise
    finally:
        with suppress(OSError):  # what a full disk did not take
            file.close()
        unfinished.unlink(missing_ok=True)

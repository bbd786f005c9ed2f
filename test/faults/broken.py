"""Cases that break the contract on purpose, to see that the judge notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from faults.contract import Case
from jointseg_core.errors import BadBag, BadImage


def nothing(folder: Path) -> tuple:
    return ()


def _grow() -> None:
    assert bytearray(os.urandom(1 << 20)) * 300


def _untyped() -> None:
    raise KeyError("width")


def _other_kind() -> None:
    raise BadBag("no recording")


def _long_story() -> None:
    raise BadImage("step", "one line\nand another")


def _python() -> None:
    raise BadImage("step", "cannot be read ([Errno 21] Is a directory: 'a')")


def _litter() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def _broken(name: str, run: object, **how: object) -> Case:
    return Case("broken", name, nothing, run, **{"seconds": 3} | how)


BROKEN = [
    _broken("dies", os.abort),
    _broken("exits", lambda: os._exit(7)),
    _broken("hangs", lambda: time.sleep(60), seconds=0.2),
    _broken("burns", lambda: [None for _ in iter(int, 1)], seconds=0.2),
    _broken("grows", _grow),
    _broken("raises nothing", lambda: None, error=BadImage),
    _broken("raises something untyped", _untyped),
    _broken("raises another kind", _other_kind, error=BadImage),
    _broken("tells a long story", _long_story, error=BadImage),
    _broken("says something else", _other_kind, error=BadBag, words=("metadata",)),
    _broken("speaks Python", _python, error=BadImage),
    _broken("leaves a process", _litter),
    _broken("ends with 2", "jointseg_eval.salvage", code=3),
]

"""What a fault case is, and how the contract judges what became of it.

(a) nothing dies by a signal or hangs; (b) errors are typed, in one sentence, and programs end with
the exit code that belongs to them; (e) nothing half-written is left; (f) memory stays bounded. That
a good item follows a bad one (c, g) and that nothing stale is published (d) is for the cases to
assert.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointseg_core.errors import SegError

_FOREIGN = re.compile(
    r"set_int_max|PYTHONIOENCODING|\[Errno|\w+Error\(|has no attribute|required positional|"
    r"\d positional arg|unexpected keyword|not subscriptable|not iterable|can't decode|"
    r"can't encode|nobody foresaw"
)
"""Texts of Python and its libraries, which tell a user nothing."""
Made = Callable[[Path], Sequence[Any]]


@dataclass(frozen=True)
class Case:
    """One fault.

    made       writes into an empty folder what is wrong; gives the arguments of `run`
    run        a program's module, which gets them as its words, or a function that is called
    error      what the function has to raise; None: nothing
    code       what the program has to end with; several where chance decides
    words      all of them are in the message, or in what the program prints
    seconds    limit of the wall clock, and of CPU time
    megabytes  that memory may grow by
    often      whether it belongs to the short form, which `make test` runs
    """

    group: str
    name: str
    made: Made
    run: str | Callable[..., object]
    error: type[SegError] | None = None
    code: int | tuple[int, ...] = 0
    words: tuple[str, ...] = ()
    seconds: float = 20
    megabytes: float = 150
    often: bool = False

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    status     of its process, as waitpid gives it; None: it was killed at its limit of time
    raised     the classes of what the function raised, most special first
    text       of the error, or what the program printed
    left       whether processes were left behind
    """

    status: int | None
    raised: tuple[str, ...] = ()
    text: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    left: bool = False


def verdict(case: Case, found: Outcome) -> str:
    """Empty where the contract is met, else a sentence about the first promise that is broken."""
    if found.status in (None, -signal.SIGXCPU):
        return f"hangs: killed after {case.seconds:g} s"
    if found.status < 0:
        return f"dies of {signal.Signals(-found.status).name}"
    wrong = _program(case, found) if isinstance(case.run, str) else _function(case, found)
    if wrong:
        return wrong
    if foreign := _FOREIGN.search(found.text):
        return f"speaks Python ({foreign[0]}): {found.text[-600:]}"
    if missing := [word for word in case.words if word not in found.text]:
        return f"does not say {missing[0]!r}: {found.text[-600:]}"
    if found.megabytes > case.megabytes:
        return f"memory grew by {found.megabytes:.0f} MB, allowed are {case.megabytes:g}"
    return "leaves processes behind" if found.left else ""


def _program(case: Case, found: Outcome) -> str:
    if "Traceback" in found.text:
        return f"shows a traceback: {found.text[-1500:]}"
    if found.status not in (case.code if isinstance(case.code, tuple) else (case.code,)):
        return f"ends with {found.status}, expected {case.code}: {found.text[-600:]}"
    return ""


def _function(case: Case, found: Outcome) -> str:
    if found.status:
        return f"ends the process with {found.status}: {found.text[-600:]}"
    if case.error is None:
        return f"raises {found.raised[0]}: {found.text[-1500:]}" if found.raised else ""
    if not found.raised:
        return f"raises nothing, expected {case.error.__name__}"
    if case.error.__name__ not in found.raised:
        return f"raises {found.raised[0]}, expected {case.error.__name__}: {found.text[-1500:]}"
    return f"has several lines: {found.text[:600]!r}" if "\n" in found.text.strip() else ""

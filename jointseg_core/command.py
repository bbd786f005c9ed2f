"""How every program of this package ends.

Exit codes: 0 done, 1 tried and failed, 2 usage, 3 bad input, 4 done with parts left out, 5 memory,
disk, rights or devices do not suffice, 130 and 143 after SIGINT and SIGTERM. What went wrong is one
sentence on the error output; the option --debug, which every program takes, adds the traceback.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jointseg_core.errors import BadInput, ResourceError, SegError

_STOPPED = {128 + number: number for number in (signal.SIGINT, signal.SIGTERM)}
_DEBUG = "--debug"
_OF_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""System's errors that no space and no rights would mend."""


def end_by_signals(package: str) -> None:
    """Let SIGINT and SIGTERM end a program of this package, run by `python -m`, while it imports.

    For the package's own `__init__`, which Python runs first; nothing where that is imported only.
    """
    if sys.argv[:1] != ["-m"]:  # what Python puts there until it has found the module
        return
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if f"{module}.".startswith(f"{package}."):
        for number in _STOPPED.values():
            signal.signal(number, lambda number, _: os._exit(128 + number))


def run_program(main: Callable[[], int | None], interrupted: str = "") -> NoReturn:
    """Be the program `main`: end the process with its exit code.

    SIGINT and SIGTERM unwind it, so that what is unfinished is cleared away; `interrupted` says
    what is left then.
    """
    debug = _DEBUG in sys.argv
    sys.argv[:] = [word for word in sys.argv if word != _DEBUG]
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    for number in _STOPPED.values():
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        code = exit_code(main, debug)
    except SystemExit as end:
        if end.code in _STOPPED:
            _say(f"{_name()}: interrupted{interrupted and f'; {interrupted}'}.")
        raise
    sys.exit(code)


def exit_code(main: Callable[[], int | None], debug: bool = False) -> int:
    """What `main` returns; for what it raises, one sentence on the error output and its code."""
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(_sentence(error))
        return _code_of(error)


def _code_of(error: Exception) -> int:
    """The exit code that an error calls for."""
    if isinstance(error, SegError):
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _OF_NAMES:
        return BadInput.exit_code
    return ResourceError.exit_code if _is_of_resources(error) else SegError.exit_code


def _sentence(error: Exception) -> str:
    """What to tell about an error."""
    if isinstance(error, SegError):
        return str(error)
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, OSError):
        where, said = str(error.filename or "")[:300], error.strerror or text
        of_name = error.errno in _OF_NAMES
        advice = "give another name" if of_name else "check the space and the rights there"
        return f"{_name()}: {where and f'{where}: '}{said}; {advice}."
    if _is_of_resources(error):
        return f"{_name()}: out of memory ({text}); take smaller pictures or batches."
    return f"{_name()}: nobody foresaw {type(error).__name__}: {text}; {_DEBUG} shows where it was."


def _is_of_resources(error: Exception) -> bool:
    """Of memory in torch as well, which is not imported for that."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return (
        isinstance(error, OSError | MemoryError)
        or "OutOfMemoryError" in names
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _name() -> str:
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def _say(text: str) -> None:
    print(text, file=sys.stderr)

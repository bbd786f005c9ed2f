"""What is wrong with an input, said once and in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable


class BadInput(ValueError):
    """Data, weights or options that cannot be used.

    One sentence: what was looked for, where, what was found, what to do.
    """


def exit_code(main: Callable[[], int | None]) -> int:
    """The exit code of a command: what `main` returns, 3 with one sentence for bad input."""
    try:
        return main() or 0
    except BadInput as problem:
        print(problem, file=sys.stderr)
        return 3

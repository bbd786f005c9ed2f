"""The errors that people can mend, by what is wrong, with the exit codes of programs.

Each says one sentence: what was looked for, where, what was found, what to do.
"""

from __future__ import annotations

import re


class SegError(Exception):
    """What was asked for was tried and failed; the parent of every error of this package."""

    exit_code = 1


class BadConfig(SegError, ValueError):
    """Options, parameters or settings that mean nothing, or that do not go together."""

    exit_code = 2


class BadInput(SegError, ValueError):
    """Something that was given to work on cannot be used; the kinds below say what it is."""

    exit_code = 3


class BadImage(BadInput):
    """A message or file without a usable picture.

    reason  its counter: step, data_size, zero_size, too_large, encoding, frame_id, no_key_frame,
            undecodable or roi
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


class BadBag(BadInput):
    """A recording that cannot be read."""


class BadDataset(BadInput):
    """Pictures or annotations that cannot be trained on or evaluated."""


class BadCheckpoint(BadInput):
    """Weights that cannot be used; the message names the file, what is wrong and what to do."""


class ResourceError(SegError, RuntimeError):
    """Memory, disk, rights or a device do not suffice."""

    exit_code = 5


_LONGEST = 200
_KIND = "something in it is of another kind than expected"
_OF_PYTHON = re.compile("object|argument|NoneType|indices|operand|supported|iterable|unhashable")


def in_words(error: Exception) -> str:
    """What is wrong with a document, in words of this package, for what its reader raised."""
    text = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
    names = ", ".join(re.findall("'[^']*'", text))
    match error:
        case OSError():
            return error.strerror or text
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeError():
            return "it is no text in UTF-8"
        case KeyError():
            return f"{error.args[0]}" if " " in text else f"{text} is missing, or not known"
        case TypeError() if names and "unexpected keyword argument" in text:
            return f"it says {names}, which is not known"
        case TypeError() if names and "required" in text:
            return f"it lacks {names}"
        case TypeError() | AttributeError() if _OF_PYTHON.search(text):
            return _KIND
        case ValueError() if "int_max_str_digits" in text:
            return "a number in it has thousands of digits"
        case ValueError() if (line := getattr(error, "lineno", None)) is not None:
            return f"it is no JSON from line {line}, column {getattr(error, 'colno', 1)} on"
    return text

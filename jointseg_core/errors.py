"""The errors that people can mend, by what is wrong, with the exit codes of programs.

Each says one sentence: what was looked for, where, what was found, what to do.
"""

from __future__ import annotations


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

    reason  its counter: step, data_size, zero_size, too_large, encoding, frame_id, no_key_frame or
            undecodable
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

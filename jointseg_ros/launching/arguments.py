"""The arguments of a launch: a table of them, and values from words such as `model:=rdsnet`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jointseg_core.errors import BadConfig
from jointseg_ros.paths import expanded

YES_OR_NO = ("true", "false")
PATHS = ("params_file", "bag", "out")
"""Arguments that are paths; a node understands those of weights itself."""
_NEAR = 0.7
"""How alike two names are of which one may be meant for the other, of 1."""


class Argument(NamedTuple):
    """One argument; with choices it is one of them."""

    name: str
    default: str
    choices: tuple[str, ...]
    description: str


def values(arguments: Sequence[Argument], words: Iterable[str]) -> dict[str, str]:
    """What each argument is, given words `name:=value`; BadConfig with the reason."""
    known = {argument.name: argument for argument in arguments}
    given = {name: argument.default for name, argument in known.items()}
    for word in words:
        name, assigned, value = word.partition(":=")
        if not assigned:
            raise BadConfig(f"{word!r} is no argument; write name:=value")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, _NEAR) or known
            raise BadConfig(f"no argument is called {name}; there is {', '.join(near)}")
        choices = known[name].choices
        if choices and value not in choices:
            raise BadConfig(f"{word} is not one of {', '.join(filter(None, choices))}")
        given[name] = value
    return meant(given)


def meant(given: Mapping[str, str]) -> dict[str, str]:
    """The arguments, with paths as they are meant: no shell replaces the `~` of `bag:=~/a.mcap`."""
    return {name: expanded(value) if name in PATHS else value for name, value in given.items()}


def misspelt(arguments: Sequence[Argument], given: Iterable[str]) -> Iterator[str]:
    """A sentence for each name that no argument has, and that is like one.

    A launch file that includes others has more arguments than theirs, so nothing is wrong for sure.
    """
    known = {argument.name for argument in arguments}
    for name in sorted(set(given) - known):
        for near in difflib.get_close_matches(name, known, 1, _NEAR):
            yield f"no argument is called {name}; did you mean {near}?"


def table(arguments: Sequence[Argument]) -> str:
    """The arguments for people, as `ros2 launch --show-args` has them."""
    lines = []
    for name, default, choices, description in arguments:
        lines += [f"    '{name}':", f"        {description}"]
        lines += [f"        one of {', '.join(filter(None, choices))}"] if choices else []
        lines += [f"        (default: '{default}')", ""]
    return "\n".join(lines)


def positive_seconds(name: str, value: str) -> float:
    """A number of seconds, 0 or more; BadConfig for what is none."""
    if not value.replace(".", "", 1).isdigit():
        raise BadConfig(f"{name}:={value} is not a number of seconds")
    return float(value)

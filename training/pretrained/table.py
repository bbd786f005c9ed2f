"""What became of every weight: the table that loading them gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

LOADED, REINITIALISED, MISSING, UNEXPECTED = "loaded", "re-initialised", "missing", "unexpected"


class Entry(NamedTuple):
    """What became of one tensor, or of those of its rows that share a fate."""

    name: str
    state: str
    values: int
    why: str = ""


@dataclass(frozen=True)
class Row:
    """What became of the tensors of one module.

    module   of the model; of the file where the state is `unexpected`
    state    loaded: values of the file; re-initialised: the file has it, but not in a form that
             fits; missing: the file has nothing for it; unexpected: the model has no place for it
    entries  how many tensors; a class head with new classes is counted under both states
    values   how many numbers
    """

    module: str
    state: str
    entries: int
    values: int
    why: str = ""


@dataclass(frozen=True)
class Table:
    """How a file's weights fitted a model; its text is meant for people.

    notes  what differs between the file's network and the model although the weights fit
    """

    path: str
    kind: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def entries(self, state: str) -> int:
        """How many tensors are in a state."""
        return sum(row.entries for row in self.rows if row.state == state)

    def values(self, state: str) -> int:
        """How many numbers are in a state."""
        return sum(row.values for row in self.rows if row.state == state)

    def __str__(self) -> str:
        width = max((len(row.module) for row in self.rows), default=0)
        lines = [f"{self.path}: {self.kind}"]
        for row in self.rows:
            counts = f"{row.state:14}{row.entries:>6} tensors {row.values:>12,} values"
            lines.append(f"  {row.module:{width}}  {counts}  {row.why}".rstrip())
        lines += [f"  note: {note}" for note in self.notes]
        totals = [
            f"{state} {self.entries(state)} ({self.values(state):,} values)"
            for state in (LOADED, REINITIALISED, MISSING, UNEXPECTED)
        ]
        return "\n".join([*lines, "  " + ", ".join(totals)])


def module_rows(entries: Iterable[Entry]) -> tuple[Row, ...]:
    """One row for each module and state, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((_module(entry.name), entry.state), []).append(entry)
    return tuple(
        Row(module, state, len(group), sum(entry.values for entry in group), group[0].why)
        for (module, state), group in groups.items()
    )


def _module(name: str) -> str:
    """The module of a tensor, at most two levels deep: `pyramid.lateral` of its third weight."""
    parts = name.split(".")
    return ".".join(parts[: min(2, max(1, len(parts) - 1))])

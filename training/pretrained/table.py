"""What became of every weight: the table that loading them gives."""

from __future__ import annotations

from dataclasses import dataclass

LOADED, REINITIALISED, MISSING, UNEXPECTED = "loaded", "re-initialised", "missing", "unexpected"


@dataclass
class Row:
    """What became of the tensors of one module.

    module   of the model; of the file where the state is `unexpected`
    state    loaded: values of the file; re-initialised: the file has it, but not in a form that
             fits; missing: the file has nothing for it; unexpected: the model has no place for it
    why      of the first of them
    entries  how many tensors; a class head with new classes is counted under both states
    values   how many numbers
    """

    module: str
    state: str
    why: str = ""
    entries: int = 0
    values: int = 0


class Table:
    """How a file's weights fitted a model; its text is meant for people.

    rows   in the order in which their modules were first added
    notes  what differs between the file's network and the model although the weights fit
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path, self.kind = path, kind
        self.notes: tuple[str, ...] = ()
        self._rows: dict[tuple[str, str], Row] = {}

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def add(self, name: str, state: str, values: int, why: str = "") -> None:
        """What became of one tensor, or of those of its rows that share a fate."""
        parts = name.split(".")  # a module is at most two levels deep: pyramid.lateral
        module = ".".join(parts[: min(2, max(1, len(parts) - 1))])
        row = self._rows.setdefault((module, state), Row(module, state, why))
        row.entries += 1
        row.values += values

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

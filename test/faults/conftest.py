"""The server that forks for the cases, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.cases import GROUPS
from faults.contract import Case, Outcome
from faults.server import Server

_ROWS: list[tuple[Case, str, Outcome]] = []


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Everything is imported once."""
    server = Server(tmp_path_factory.mktemp("faults") / "server.log")
    yield server
    server.close()


@pytest.fixture
def noted() -> list[tuple[Case, str, Outcome]]:
    """The rows of the table so far."""
    return _ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Group, case, verdict, seconds, megabytes."""
    if not _ROWS:
        return
    say = terminalreporter.write_line
    width = max(len(case.name) for case, _, _ in _ROWS)
    for group, title in GROUPS.items():
        rows = [row for row in _ROWS if row[0].group == group]
        good = sum(not wrong for _, wrong, _ in rows)
        if rows:
            say(f"{title}: {good} of {len(rows)} as promised")
        for case, wrong, found in rows:
            cost = f"{found.seconds:6.2f} s {max(0, found.megabytes):5.0f} MB"
            say(f"  {case.name:{width}}  {cost}  {wrong.splitlines()[0][:120] if wrong else 'ok'}")

"""The judge of the fault suite notices every broken promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.broken import BROKEN, nothing
from faults.contract import Case, verdict
from faults.server import Server

SAYS = {
    "dies": "dies of SIGABRT",
    "exits": "ends the process with 7",
    "hangs": "hangs: killed",
    "burns": "hangs: killed",
    "grows": "memory grew by 3",
    "raises nothing": "raises nothing",
    "raises something untyped": "raises KeyError",
    "raises another kind": "raises BadBag, expected BadImage",
    "tells a long story": "several lines",
    "says something else": "does not say 'metadata'",
    "speaks Python": "speaks Python ([Errno)",
    "leaves a process": "leaves processes",
    "ends with 2": "ends with 2, expected 3",
}


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_promise_is_noticed(case: Case, server: Server, tmp_path: Path) -> None:
    assert SAYS[case.name] in verdict(case, server.outcome(case, tmp_path))


def test_a_traceback_is_noticed(server: Server, tmp_path: Path) -> None:
    from dataclasses import replace

    case = next(case for case in BROKEN if case.name == "ends with 2")
    found = server.outcome(case, tmp_path)
    assert verdict(replace(case, code=2), found) == ""
    shown = replace(found, text=f"Traceback (most recent call last):\n{found.text}")
    assert "shows a traceback" in verdict(replace(case, code=2), shown)
    assert nothing(tmp_path) == ()

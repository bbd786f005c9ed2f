"""The judge of the fault suite notices every broken promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.broken import BROKEN, nothing
from faults.cases import CASES, GROUPS
from faults.contract import Case, verdict
from faults.kinds import KINDS, of_kind
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


ALL_HERE = {case.group for case in CASES} == set(GROUPS)  # and so are all packages


@pytest.mark.skipif(not ALL_HERE, reason="some cases need packages that are not here")
def test_every_kind_has_ten_siblings_and_the_page_says_how_many() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    for kind in KINDS:
        count = len(of_kind(kind, CASES))
        assert count > 10, kind
        assert f"| {kind} | {count} |" in page
    for group, title in GROUPS.items():
        assert f"| {title} | {sum(case.group == group for case in CASES)} |" in page
    assert f"| together | {len(CASES)} |" in page

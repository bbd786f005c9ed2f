"""Every fault case; those that are not marked `often` wait for `make faults`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from faults.cases import CASES, GROUPS
from faults.contract import Case, Outcome, verdict
from faults.server import Server


def _parameter(case: Case) -> object:
    marks = [] if case.often else [pytest.mark.rare]
    return pytest.param(case, id=f"{case.group}-{case.name.replace(' ', '-')}", marks=marks)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("case", [*map(_parameter, CASES)])
def test_the_contract_holds(
    case: Case, server: Server, tmp_path: Path, noted: list[tuple[Case, str, Outcome]]
) -> None:
    found = server.outcome(case, tmp_path)
    wrong = verdict(case, found)
    noted.append((case, wrong, found))
    assert not wrong, wrong


def test_every_group_has_cases_with_names_of_their_own() -> None:
    counts = Counter(map(str, CASES))
    assert [name for name, count in counts.items() if count > 1] == []
    if {case.group for case in CASES} == set(GROUPS):  # all packages are here
        assert len(CASES) >= 120
        assert {case.group for case in CASES if case.often} == set(GROUPS)

"""What numbers come from."""

from pathlib import Path

import pytest

from jointseg_eval import provenance


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("core/model.py", True),
        ("core/new.py", True),
        ("train.py", True),
        ("core/notes.md", False),
        ("docs/example.py", False),
    ],
)
def test_kept_results_go_with_the_code_that_made_them(
    changed: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name in ("core/model.py", "core/notes.md", "docs/example.py", "train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    digest = provenance.code_digest.__wrapped__
    before = digest("core", "train.py")
    (tmp_path / changed).write_text("x = 2\n")
    assert (digest("core", "train.py") != before) == counts

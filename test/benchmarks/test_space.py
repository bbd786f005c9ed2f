"""The benchmark of depth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from benchmarks.ros.space import main


def test_every_part_has_its_time_and_the_file_says_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "depth.json"
    main(["--image", "270x480", "--objects", "5", "--pictures", "2", "--json", f"{file}"])
    assert "480 x 270, 5 objects" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["command"] == "python -m benchmarks.ros.space"
    times = found["cpu_ms"]
    assert times["every frame"] == pytest.approx(times["lift"] + times["detections_3d"])
    assert min(times.values()) > 0 and len(times) == 5

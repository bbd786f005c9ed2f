"""Bytes of any kind at the readers of images, masks, recordings, annotations and weights."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
pytest.importorskip("sensor_msgs", reason="no ROS 2")
pytest.importorskip("rosbags", reason="the packages of training are not installed")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.targets import TARGETS

EXAMPLES = {"bag": 500, "annotations": 700, "checkpoint": 20}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_errors_of_ours_comes_out(name: str) -> None:
    @settings(
        max_examples=EXAMPLES.get(name, 1200),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.binary(max_size=120))
    def feed(data: bytes) -> None:
        TARGETS[name](data)

    feed()

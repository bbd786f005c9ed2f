"""The benchmark of the node: nothing gets lost in the books, and nonsense is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

import rclpy
from conftest import free_domain

from benchmarks.machine import Usage
from benchmarks.ros.__main__ import main
from benchmarks.ros.cameras import Cameras, pictures
from benchmarks.ros.session import BenchmarkError, Session, Setup
from benchmarks.ros.trial import fate, next_rate, quantiles
from jointseg_core.command import exit_code

SHARED_MEMORY = Path("/dev/shm")


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.ros", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def ports(domain: int) -> list[str]:
    """The shared-memory ports of a ROS domain: there while somebody is, or did not end well."""
    first = 7400 + 250 * domain
    names = {f"fastrtps_port{port}" for port in range(first, first + 250)}
    return [path.name for path in SHARED_MEMORY.glob("fastrtps_port*") if path.name in names]


@pytest.fixture
def untouched_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A domain of its own: participants of earlier tests live until Python collects them.

    They open the ports of whoever comes to their domain, and a port is there while one has it open.
    """
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_frame_is_accounted_for_and_nothing_is_left_behind(
    rdsnet_weights: Path, tmp_path: Path, untouched_domain: int
) -> None:
    file, before = tmp_path / "new" / "results.json", ports(untouched_domain)
    done = benchmark(
        *("--model", "rdsnet", "--weights", str(rdsnet_weights)),
        *("--device", "cpu", "--image", "360x640"),
        *("--cameras", "2", "--rates", "8", "--seconds", "1.5", "--search-seconds", "0"),
        *("--transport", "raw", "--json", str(file)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["command"].endswith(str(file)) and report["model"] == "rdsnet"
    assert [case["processes"] for case in report["cases"]] == ["one", "two"]
    for case in report["cases"]:
        (trial,) = case["fixed_rates"]
        assert 2 <= trial["published"] <= 24 and trial["results"] > 0
        assert trial["published"] == trial["received"] + trial["lost_on_the_way"]
        assert trial["received"] == trial["processed"] + sum(trial["dropped"].values())
        assert trial["results"] <= trial["processed"]
        assert 0 < trial["latency_ms"]["p50"] <= trial["latency_ms"]["p99"]
        assert trial["stages_ms"]["inference"]["p50"] > 0
        assert all(used > 0 for used in trial["load"]["cpu_seconds"].values())
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["processes", "one", "two"]
    assert set(ports(untouched_domain)) <= set(before)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--image", "1080"], "1080 is not HEIGHTxWIDTH"),
        (["--image", "0x640"], "0x640 is not HEIGHTxWIDTH"),
        (["--cameras", "0"], "0 is not a number from 1 to 16"),
        (["--rates", "-5"], "-5 is not a number"),
        (["--seconds", "nan"], "nan is not a number"),
        (["--weights", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (["--device", "tpu"], "device 'tpu'"),
        (["--precision", "int3"], "precision 'int3'"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = exit_code(lambda: main(arguments))
    said = capsys.readouterr().err
    assert code == (3 if "--weights" in arguments else 2)
    assert sentence in said and len(said.splitlines()) == 1


def test_a_node_without_a_model_says_why(ros_domain: int, tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    setup = Setup("one", "raw", 1, (90, 160), "rdsnet", missing, "cpu", "fp32")
    with pytest.raises(BenchmarkError, match=missing.name), Session(setup):
        pass


def test_frames_end_as_lost_dropped_or_processed() -> None:
    counts = {"received": 9, "processed": 6, "pending": 0, "dropped overwritten": 3, "dropped x": 0}
    found = fate(10, counts, 5)
    assert (found["lost_on_the_way"], found["dropped"]) == (1, {"overwritten": 3})
    assert found["loss"] == 0.5


@pytest.mark.parametrize("limit", [0.9, 3.0, 10.0, 33.3, 250.0])
def test_the_search_finds_the_limit_within_eight_percent(limit: float) -> None:
    good, bad, rate = None, None, 10.0
    for _ in range(20):
        if rate is None:
            break
        good, bad = (rate, bad) if rate <= limit else (good, rate)
        rate = next_rate(good, bad)
    assert rate is None
    assert (good is None and limit < 1.25) or limit / 1.08 <= good <= limit


def test_quantiles_of_nothing_are_nothing() -> None:
    assert quantiles([]) is None
    assert quantiles(range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_own_work_is_not_taken_for_that_of_others() -> None:
    usage = Usage({"me": os.getpid()})
    sum(number * number for number in range(3_000_000))
    found = usage.so_far()
    assert found["cpu_seconds"]["me"] > 0
    assert found["cores_used_by_others"] <= (os.cpu_count() or 1)


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_cameras_note_every_frame_and_keep_their_rate(ros_domain: int, transport: str) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    cameras = Cameras(context, ("left", "right"), transport, (90, 160))
    took = cameras.run(20, 0.5)
    assert took >= 0.5 and 2 <= len(cameras.published) <= 20
    stamps = {
        camera: [s for c, s in cameras.published if c == camera] for camera, _ in cameras.published
    }
    assert stamps["left"] == stamps["right"] == sorted(stamps["left"])
    assert list(cameras.published.values()) == sorted(cameras.published.values())
    cameras.destroy_node()
    rclpy.shutdown(context=context)


def test_pictures_differ_and_have_the_size() -> None:
    shown = list(pictures((54, 96)))
    assert {picture.shape for picture in shown} == {(54, 96, 3)}
    assert len({picture.tobytes() for picture in shown}) == len(shown)

"""The soak run judges what it measures, and a short one with the real node passes."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from sensor_msgs.msg import Image

from benchmarks.soak.faults import KINDS, SPOILERS, events
from benchmarks.soak.requests import REQUESTS
from benchmarks.soak.samples import Record, Sample, percentiles, quantile
from benchmarks.soak.verdict import findings, of_frames, slope_mb_h, student
from jointseg_core.errors import BadImage
from jointseg_core.images import message_to_rgb

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


def record(
    growth_mb_h: float = 0.0, threads: int = 20, late: float = 1.0, busy: float = 1.0
) -> Record:
    """An hour, in the second half of which things may be worse."""
    found = Record()
    for second in range(3600):
        wave = 0.5 if second // 30 % 2 else -0.5
        mb = 500 + growth_mb_h * second / HOUR + wave
        later = second >= 2000
        found.samples.append(Sample(second, mb, mb, threads if later else 20, 19))
        for tenth in range(10):
            ms = 20.0 + (tenth == 9)
            at, stamp = second + tenth / 10, len(found.sent)
            found.sent.append((stamp, at, ""))
            found.arrived.append((stamp, at + 1e-3 * ms * (late if later else 1)))
            found.control.append((at, ms * (busy if later else 1)))
    return found


def judged(one: Record, seconds: float = HOUR) -> dict[str, bool | None]:
    return {found.name: found.passed for found in findings(one, seconds)}


def test_a_run_without_a_trend_passes() -> None:
    assert judged(record()) == dict.fromkeys(("memory", "threads", "descriptors", "latency"), True)


@pytest.mark.parametrize(("growth", "passed"), [(3.0, True), (10.0, False), (-10.0, True)])
def test_an_hour_is_judged_by_the_slope_of_its_memory(growth: float, passed: bool) -> None:
    assert judged(record(growth_mb_h=growth))["memory"] is passed


@pytest.mark.parametrize(("growth", "passed"), [(20.0, True), (800.0, False)])
def test_ten_minutes_are_judged_by_the_growth_of_memory(growth: float, passed: bool) -> None:
    one = record(growth_mb_h=growth)
    one.samples = one.samples[:600]
    assert judged(one, 600.0)["memory"] is passed


def test_one_thread_more_fails() -> None:
    assert judged(record(threads=21))["threads"] is False


def test_latency_is_compared_only_while_the_control_loop_is_steady() -> None:
    assert judged(record(late=1.3))["latency"] is False
    assert judged(record(late=1.3, busy=1.3))["latency"] is None


def test_results_are_matched_with_what_was_sent() -> None:
    one = Record(
        sent=[(1, 0.0, ""), (2, 0.1, "bad"), (3, 0.2, "size"), (4, 0.3, "bad"), (5, 0.4, "")],
        arrived=[(1, 0.05), (3, 0.26), (3, 0.27), (4, 0.35), (9, 0.5)],
    )
    assert one.counts() == {
        "frames": 5,
        "events": {"none": 2, "bad": 2, "size": 1},
        "answered": 2,
        "unasked": 3,  # the second for 3, one for the bad 4, one for the unknown 9
        "recovered": 1,
        "bad_before_good": 2,
    }
    assert one.latencies()[0] == (0.05, pytest.approx(50))


@pytest.mark.parametrize(
    ("changed", "code", "said", "failed"),
    [
        ({}, 0, "", set()),
        ({"unasked": 1}, None, "Traceback", {"stop", "log", "results"}),
        ({"recovered": 8}, 0, "", {"recovery"}),
        ({"node": {"received": 100, "processed": 90, "dropped": 9}}, 0, "", {"counters"}),
        ({"requests": {"asked": 9, "answered": 8, "as expected": 8}}, 0, "", {"requests"}),
        ({"requests": {"asked": 9, "answered": 9, "as expected": 8}}, 0, "", {"requests"}),
    ],
)
def test_frames_and_the_end_of_the_node_are_judged(changed, code, said, failed) -> None:
    counts = {"frames": 100, "events": {"bad": 10}, "answered": 90, "unasked": 0}
    counts |= {"recovered": 10, "bad_before_good": 10}
    counts |= {"requests": {"asked": 9, "answered": 9, "as expected": 9}}
    counts |= {"node": {"received": 100, "processed": 90, "dropped": 10}} | changed
    found = of_frames(counts, code, said)
    assert {one.name for one in found if one.passed is False} == failed


def test_the_interval_of_a_slope_is_that_of_least_squares() -> None:
    scipy = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    samples = record(growth_mb_h=7.0).samples[::180]
    slope, low, high = slope_mb_h(samples)
    fit = scipy.linregress([s.seconds / HOUR for s in samples], [s.anon_mb for s in samples])
    assert slope == pytest.approx(fit.slope)
    half = fit.stderr * scipy.t.ppf(0.975, len(samples) - 2)
    assert (low, high) == pytest.approx((slope - half, slope + half), rel=1e-3)
    for free in (4, 10, 18, 100):
        assert student(free) == pytest.approx(scipy.t.ppf(0.975, free), rel=0.01)


def test_quantiles_and_percentiles_are_values_that_occurred() -> None:
    values = [float(v) for v in range(1, 101)]
    assert [quantile(values, q) for q in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    [row] = percentiles([(at / 100, v) for at, v in enumerate(values)])
    assert (row["count"], row["p50"], row["p99"]) == (100, 50, 99)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_what_spoils_a_message_makes_it_a_bad_one(spoil) -> None:
    message = Image(height=8, width=16, encoding="rgb8", step=48, data=bytes(8 * 48))
    message_to_rgb(message)
    spoil(message)
    with pytest.raises(BadImage):
        message_to_rgb(message)


def test_faults_have_their_share_and_every_kind_comes() -> None:
    some = list(islice(events(0.05, seed=1), 5000))
    kinds = [event.fault for event in some]
    assert 0.04 < 1 - kinds.count("") / len(kinds) < 0.06
    assert set(kinds) == {"", *KINDS}
    assert {event.asks for event in some} == {"", *REQUESTS}
    assert len({event.scale for event in some}) > 40  # no size comes twice
    assert {event.spoil for event in some} == {None, *SPOILERS}
    assert some == list(islice(events(0.05, seed=1), 5000))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_short_run_with_the_real_node_passes(rdsnet_weights: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.33", "--rate", "5"]
    command += ["--image", "64x128", "--faults", "0.2"]
    command += ["--model", "rdsnet", "--weights", str(rdsnet_weights)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "soak.json").read_text())
    assert {found["name"] for found in document["findings"]} >= {"memory", "threads", "counters"}
    assert document["counts"]["answered"] > 0 and document["counts"]["events"]["bad"] > 0
    assert document["counts"]["requests"]["answered"] > 0
    assert any(name.startswith("dropped bad_image") for name in document["counts"]["node"])
    chart = [sys.executable, "-m", "benchmarks.soak.chart", str(tmp_path / "soak.json")]
    assert subprocess.run(chart, cwd=ROOT, timeout=100).returncode == 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000

"""The five states of a topic; levels rise at once and come down after a while."""

from __future__ import annotations

import pytest

from jointseg_ros.levels import (
    ERROR,
    OK,
    WARN,
    Hysteresis,
    Level,
    Limits,
    Rhythm,
    topic_level,
    worst,
)

LIMITS = Limits(warn_hz=8.0, error_hz=4.0, timeout_ms=1000.0)


def rhythm(*times: float, since: float = 0.0) -> Rhythm:
    found = Rhythm()
    found.watch(since)
    for time in times:
        found.note(time)
    return found


def steady(rate_hz: float, until: float = 5.0, count: int = 20) -> Rhythm:
    return rhythm(*(until - index / rate_hz for index in reversed(range(count))))


@pytest.mark.parametrize(
    ("messages", "now", "level", "state"),
    [
        (steady(10.0), 5.05, OK, "OK"),
        (steady(6.0), 5.05, WARN, "SLOW"),
        (steady(3.0), 5.05, ERROR, "TOO_SLOW"),
        (steady(10.0), 6.01, ERROR, "TIMEOUT"),
        (rhythm(), 0.9, OK, "NOT_RECEIVED"),
        (rhythm(), 1.1, ERROR, "NOT_RECEIVED"),
    ],
)
def test_a_topic_is_in_one_of_five_states(
    messages: Rhythm, now: float, level: int, state: str
) -> None:
    found = topic_level(messages, now, LIMITS, "/image")
    assert (found.level, found.state) == (level, state)
    assert state == "OK" or "/image" in found.text


def test_a_topic_that_is_not_watched_is_not_judged() -> None:
    assert topic_level(Rhythm(), 100.0, LIMITS, "/image").level == OK


def test_limits_of_zero_judge_no_rate() -> None:
    limits = LIMITS._replace(warn_hz=0.0, error_hz=0.0)
    assert topic_level(steady(1.5), 5.05, limits, "/image").state == "OK"


def test_a_camera_that_falls_from_30_to_3_hz_is_slow_and_soon_too_slow() -> None:
    messages = steady(30.0)
    messages.note(5.3)
    assert topic_level(messages, 5.4, LIMITS, "/image").level == OK
    messages.note(5.6)
    assert topic_level(messages, 5.9, LIMITS, "/image").state == "SLOW"
    messages.note(5.9)
    messages.note(6.2)
    messages.note(6.5)
    assert topic_level(messages, 6.6, LIMITS, "/image").state == "TOO_SLOW"


def test_the_gap_that_is_not_over_counts() -> None:
    messages = steady(10.0)
    assert messages.rate(5.05) == pytest.approx(10.0)
    assert messages.rate(5.5) == pytest.approx(6.0)


def test_jitter_of_a_quarter_of_the_period_is_in_time() -> None:
    jitter = (0.0, 0.025, -0.02, 0.01, -0.025)
    messages = Rhythm()
    messages.watch(0.0)
    for index in range(50):
        now = index / 10 + jitter[index % 5]
        messages.note(now)
        assert topic_level(messages, now + 0.05, LIMITS, "/image").level == OK


def test_watching_anew_forgets_what_came() -> None:
    messages = steady(10.0)
    messages.watch(100.0)
    assert topic_level(messages, 100.5, LIMITS, "/image").state == "NOT_RECEIVED"
    assert messages.count == 20


def test_a_level_rises_at_once_and_falls_after_three_seconds() -> None:
    settle = Hysteresis(clears_after=3.0)
    fine, bad, worse = Level(OK, "fine"), Level(WARN, "bad", "SLOW"), Level(ERROR, "worse")
    assert settle("x", 0.0, fine) == fine
    assert settle("x", 1.0, worse) == worse
    assert settle("x", 2.0, bad).level == ERROR and "worse" in settle("x", 2.0, bad).text
    assert settle("x", 3.9, fine).level == ERROR
    assert settle("x", 4.0, fine) == fine
    assert settle("x", 5.0, bad) == bad and settle("x", 6.0, fine).state == "SLOW"
    assert settle("other", 4.0, bad) == bad


def test_the_worst_is_the_highest_and_the_first_of_several() -> None:
    first, second = Level(WARN, "first"), Level(WARN, "second")
    assert worst([Level(OK, "fine"), first, second]) is first
    assert worst([]).level == OK

"""Intervals are what closed forms say, and nothing is claimed that they do not carry."""

import math

import numpy as np
import pytest

from jointseg_eval.metrics import Difference
from training.ablations.statistics import (
    MAX_SEEDS,
    T_975,
    mean_over_seeds,
    over_images_and_seeds,
    over_seeds,
    verdict,
)


def test_quantiles_of_student_for_one_two_and_four_degrees_are_the_closed_forms():
    alpha = 4 * 0.975 * 0.025
    half = math.acos(math.sqrt(alpha)) / 3
    wanted = {
        1: math.tan(0.475 * math.pi),
        2: 2 * 0.475 * math.sqrt(2 / alpha),
        4: 2 * math.sqrt(math.cos(half) / math.sqrt(alpha) - 1),
    }
    for freedom, quantile in wanted.items():
        assert T_975[freedom - 1] == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize("freedom", range(1, MAX_SEEDS))
def test_quantiles_of_student_have_three_right_decimals(freedom: int):
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(log_scale) / math.sqrt(freedom * math.pi)

    def share_below(value: float) -> float:
        x = np.linspace(0, value, 20001)
        return 0.5 + scale * np.trapezoid((1 + x**2 / freedom) ** (-(freedom + 1) / 2), x)

    quantile = T_975[freedom - 1]
    assert share_below(quantile - 0.0005) < 0.975 < share_below(quantile + 0.0005)


def test_interval_of_pairs_is_that_of_their_differences():
    found = over_seeds([10, 20, 30], [11, 22, 33])
    half = 4.303 * 1 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half))


def test_what_seeds_have_in_common_cancels():
    assert over_seeds([10, 50, 90], [11, 51, 91]) == Difference(1, 1, 1)


def test_one_seed_has_no_interval_and_claims_nothing():
    found = mean_over_seeds([3.0])
    assert found.mean == 3 and math.isnan(found.low) and math.isnan(found.high)
    assert verdict(found).startswith("not claimable")


def test_with_one_seed_the_interval_is_that_of_the_pictures():
    draws = np.random.default_rng(1).normal(5, 2, (1, 4000))
    found = over_images_and_seeds([1], [6], np.zeros_like(draws), draws)
    assert found.mean == 5
    assert [found.low, found.high] == pytest.approx(np.percentile(draws, [2.5, 97.5]))


def test_seeds_that_differ_more_than_draws_of_them_show_widen_the_interval_to_students():
    shift = np.array([[1.0], [3.0]]).repeat(4000, 1)  # of two seeds; draws never leave 1 to 3
    found = over_images_and_seeds([0, 0], [1, 3], np.zeros_like(shift), shift)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - 12.706, 2 + 12.706))
    assert not found.is_clear


def test_draws_are_paired():
    noise = np.random.default_rng(1).normal(0, 30, (2, 500))
    found = over_images_and_seeds([0, 0], [1, 1], noise, noise + 1)
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_unknown_resamples_are_left_out():
    draws = np.array([[1.0, np.nan, 1.0, 1.0]])
    assert over_images_and_seeds([0], [1], np.zeros_like(draws), draws) == Difference(1, 1, 1)
    nothing = over_images_and_seeds([0], [1], draws, draws * np.nan)
    assert math.isnan(nothing.low)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(1, 0.5, 1.5), "higher"),
        (Difference(-1, -1.5, -0.5), "lower"),
        (Difference(1, -0.1, 2.1), "not claimable: the interval contains zero"),
        (Difference(0, 0, 0), "not claimable: the interval contains zero"),
    ],
)
def test_only_intervals_without_zero_are_claimed(difference: Difference, words: str):
    assert verdict(difference) == words

"""Intervals are what closed forms say, and nothing is claimed that they do not carry."""

import math

import numpy as np
import pytest

from jointseg_eval.metrics import Difference
from training.ablations.objects import is_reported, size_of
from training.ablations.statistics import (
    MAX_SEEDS,
    T_975,
    Tested,
    holm,
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
    assert over_seeds([10, 50, 90], [11, 51, 91]) == Tested(1, 1, 1, 0)


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
    assert over_images_and_seeds([0], [1], np.zeros_like(draws), draws) == Tested(1, 1, 1, 0)
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


def test_how_likely_a_difference_is_follows_student():
    values = np.array([1.0, 2, 3, 4])
    shifted = values - values.mean() + T_975[2] * values.std(ddof=1) / 2
    assert mean_over_seeds(shifted).p == pytest.approx(0.05, abs=1e-4)
    one_degree = mean_over_seeds([0.0, 2.0])  # t = 1, where Student's t is Cauchy's
    assert one_degree.p == pytest.approx(0.5, abs=1e-6)
    assert mean_over_seeds([-1.0, 1.0]).p == pytest.approx(1)
    assert math.isnan(mean_over_seeds([1.0]).p)


def test_resampled_pictures_count_as_normal():
    drawn = np.random.default_rng(1).normal(1.96, 1, (1, 20000))
    found = over_images_and_seeds([0.0], [1.96], np.zeros((1, 20000)), drawn)
    assert found.p == pytest.approx(0.05, abs=0.005)


def test_many_are_tested_together():
    assert holm([0.01, 0.04, math.nan, 0.03])[:2] == pytest.approx([0.03, 0.06])
    assert holm([0.01, 0.04, math.nan, 0.03])[3] == pytest.approx(0.06)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    clear = Difference(1, 0.1, 1.9)
    assert verdict(clear, 0.04) == "higher"
    assert verdict(clear, 0.06).startswith("not claimable")


def test_a_size_class_with_few_objects_is_not_reported():
    sizes = {"small": 200, "medium": 199, "large": 0}
    columns = "box_ap", "box_ap_small", "box_ap_medium", "box_ap_large"
    assert [is_reported(column, sizes) for column in columns] == [True, True, False, False]
    assert [size_of(area) for area in (1023, 1024, 9215, 9216)] == [
        "small",
        "medium",
        "medium",
        "large",
    ]

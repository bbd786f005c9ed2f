"""Pairs that are worth most together."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from jointseg_objects.assignment import assign


def best(worth: np.ndarray) -> float:
    """The greatest worth of all ways to pair, tried one by one."""
    padded = np.zeros((max(worth.shape),) * 2)
    padded[: len(worth), : worth.shape[1]] = worth.clip(0)
    rows = range(len(padded))
    return max(padded[rows, order].sum() for order in permutations(rows))


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2), (4, 4), (6, 6)])
def test_no_other_way_to_pair_is_worth_more(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape)
    for density in (0.2, 0.5, 1.0):
        worth = rng.random(shape) * (rng.random(shape) < density) - 0.1
        rows, columns = assign(worth)
        assert len(set(rows)) == len(rows) and len(set(columns)) == len(columns)
        assert (worth[rows, columns] > 0).all() and (np.diff(rows) > 0).all()
        assert worth[rows, columns].sum() == pytest.approx(best(worth))


def test_large_tables_are_paired_as_scipy_pairs_them() -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    rng = np.random.default_rng(3)
    for shape in ((60, 80), (80, 60), (50, 50)):
        worth = rng.random(shape)
        rows, columns = optimize.linear_sum_assignment(worth, maximize=True)
        mine = assign(worth)
        assert worth[mine].sum() == pytest.approx(worth[rows, columns].sum())


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_is_paired_with_nothing(shape: tuple[int, int]) -> None:
    assert [len(one) for one in assign(np.zeros(shape))] == [0, 0]


def test_a_greedy_choice_is_not_taken() -> None:
    rows, columns = assign(np.array([[0.9, 0.8], [0.8, 0.1]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])

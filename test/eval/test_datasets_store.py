"""Annotations that are shared by all workers, and masks as bits."""

import os
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jointseg_eval.datasets.masks import pack, pixel_counts, tight_boxes, unpack
from jointseg_eval.datasets.store import FlatStore
from jointseg_eval.datasets.workers import in_order

RECORDS = st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=20)


@settings(max_examples=50, deadline=None)
@given(st.lists(RECORDS, max_size=10))
def test_a_store_gives_back_what_was_put_in(records):
    store = FlatStore(iter(records))
    assert list(store) == records == [store[i] for i in range(len(store))]


def test_a_store_has_no_records_beyond_its_ends():
    store = FlatStore("ab")
    for index in (-1, 2):
        with pytest.raises(IndexError):
            store[index]


def own_kilobytes() -> int:
    """Memory of this process alone, not shared with another."""
    with open("/proc/self/smaps_rollup") as lines:
        fields = dict(line.split(":") for line in list(lines)[1:])
    return sum(int(fields[f"Private_{kind}"].split()[0]) for kind in ("Clean", "Dirty"))


def growth(records) -> int:
    """Bytes that a forked worker comes to own by reading all records."""

    def read_all(task, at):
        before = own_kilobytes()
        total = sum(sum(records[index][1:]) for index in range(len(records)))
        return (own_kilobytes() - before) * 1024, total

    return next(in_order(read_all, [0], 1, str))[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's smaps")
def test_a_worker_that_reads_all_annotations_does_not_copy_them():
    records = [[f"{i:06d}.jpg", *map(float, range(i, i + 20))] for i in range(40_000)]
    store = FlatStore(records)
    assert growth(records) > 20e6  # lists, in comparison
    assert growth(store) < 1e6 < store.nbytes / 4


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_masks_survive_as_bits(count, height, width, seed):
    shares = np.random.default_rng(seed).random((count, 1, 1)) ** 3
    bits = np.random.default_rng(seed).random((count, height, width)) < shares
    masks = torch.from_numpy(bits)
    assert torch.equal(unpack(*pack(masks), (height, width)), masks)
    assert torch.equal(pixel_counts(masks), masks.flatten(1).sum(1))


def test_boxes_are_tight():
    masks = torch.zeros(3, 6, 9, dtype=torch.bool)
    masks[0, 2:4, 3:8] = True
    masks[1, 5, 0] = masks[1, 0, 8] = True
    assert tight_boxes(masks).tolist() == [[3, 2, 8, 4], [0, 0, 9, 6], [0, 0, 0, 0]]
    assert tight_boxes(masks[:0]).shape == (0, 4)


def test_results_come_in_order_and_their_arrays_are_writable():
    def job(task, at):
        return task, np.full(task % 7, task, np.float32), np.full(3, task)

    for workers in (0, 1, 3):
        results = list(in_order(job, range(20), workers, str))
        assert [task for task, _, _ in results] == list(range(20))
        for task, short, long in results:
            long += 1
            assert short.tolist() == [task] * (task % 7) and long.tolist() == [task + 1] * 3


def test_what_a_job_raises_is_raised_with_where():
    def job(task, at):
        return 1 // (3 - task)

    for workers, error in ((0, ZeroDivisionError), (2, RuntimeError)):
        results = in_order(job, range(9), workers, str)
        assert list(islice(results, 3)) == [0, 0, 1]
        with pytest.raises(error, match=r"division .*by zero"):
            next(results)

"""Assignment and sampling, worked out by hand."""

import pytest
import torch

from jointseg_core.targets import (
    IGNORED,
    NEGATIVE,
    Target,
    assign_anchors,
    divide,
    random_subset,
    sample,
    sample_size,
)

BOX = torch.tensor([[0.0, 0, 10, 10]])


def test_anchors_are_positive_ignored_or_negative_by_overlap():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 3]])
    assert assign_anchors(anchors, BOX, 0.5, 0.4).tolist() == [0, 0, IGNORED, NEGATIVE]


def test_every_object_gets_its_best_anchor():
    anchors = torch.tensor([[0.0, 0, 10, 2], [50, 50, 60, 60]])
    assert assign_anchors(anchors, BOX, 0.5, 0.4).tolist() == [0, NEGATIVE]


def test_an_object_that_no_anchor_touches_claims_none():
    anchors = torch.tensor([[50.0, 50, 60, 60]])
    assert assign_anchors(anchors, BOX, 0.5, 0.4).tolist() == [NEGATIVE]


def test_without_objects_everything_is_background():
    assert assign_anchors(BOX, torch.zeros(0, 4), 0.5, 0.4).tolist() == [NEGATIVE]


def test_a_sample_holds_at_most_its_share_of_positives():
    assigned = torch.tensor([0] * 50 + [NEGATIVE] * 50 + [IGNORED] * 50)
    chosen = sample(assigned, 40, 0.25, torch.Generator().manual_seed(0))
    assert len(chosen) == 40
    assert (assigned[chosen] >= 0).sum() == 10
    assert (assigned[chosen] == IGNORED).sum() == 0


@pytest.mark.parametrize(("positives", "negatives"), [(50, 50), (3, 50), (50, 3), (2, 1), (0, 0)])
def test_the_size_of_a_sample_is_known_before_it_is_drawn(positives, negatives):
    assigned = torch.tensor([0] * positives + [NEGATIVE] * negatives + [IGNORED] * 50)
    assert sample_size(assigned, 40, 0.5) == len(sample(assigned, 40, 0.5))


def test_a_random_subset_is_reproducible_and_without_repetition():
    first, second = (
        random_subset(torch.arange(100), 10, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert first.tolist() == second.tolist()
    assert len(set(first.tolist())) == 10


def test_a_target_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"boxes is \[1, 5\], expected \[1, 4\]"):
        Target(torch.zeros(1, 5), torch.zeros(1).long(), torch.zeros(1, 4, 4).bool())
    with pytest.raises(ValueError, match="semantic"):
        Target(BOX, torch.zeros(1).long(), torch.zeros(1, 4, 4).bool(), torch.zeros(4, 5).long())


def test_a_seeded_target_draws_the_same_wherever_it_goes():
    one = Target(BOX, torch.zeros(1).long(), torch.ones(1, 4, 4).bool(), seed=5)
    draws = [torch.randperm(100, generator=t.generator()).tolist() for t in (one, one.to("cpu"))]
    assert draws[0] == draws[1] != list(range(100))
    assert one[~one.crowd].seed == 5
    assert Target(BOX, one.labels, one.masks).generator() is None


def test_losses_are_summed_and_divided_by_their_counts_or_by_one_where_nothing_counts():
    losses = {"box": [torch.tensor(2.0), torch.tensor(4.0)], "mask": [torch.tensor(0.0)]}
    divided = divide(losses, {"box": 4, "mask": 0, "unused": 3})
    assert {name: value.item() for name, value in divided.items()} == {"box": 1.5, "mask": 0}

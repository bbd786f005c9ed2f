"""A batch spread over steps and processes learns what it would have learned in one piece."""

from dataclasses import replace

import pytest
import torch
from parts import LIMITS, SIZE, batch, gradients, one_of_two, small


@pytest.mark.parametrize("model_type", LIMITS)
@pytest.mark.parametrize("parts", [((0, 1), (2, 3)), ((3,), (1,), (2, 0))])
def test_the_losses_of_the_parts_add_up_to_those_of_the_batch(model_type, parts):
    network = small(model_type)
    images, targets = batch()
    whole = network.loss(network(images), targets)
    pieces = [(images[list(p)], [targets[i] for i in p]) for p in parts]
    counted = [network.counts(t, SIZE) for _, t in pieces]
    counts = {name: sum(c[name] for c in counted) for name in counted[0]}
    assert counts == network.counts(targets, SIZE)
    losses = [network.loss(network(i), t, counts) for i, t in pieces]
    assert set(whole) == set(counts)
    for name, value in whole.items():
        assert sum(loss[name] for loss in losses).item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("model_type", LIMITS)
def test_a_seeded_picture_draws_the_same_samples_again(model_type):
    network = small(model_type)
    images, targets = batch()
    output = network(images)
    first, second = (network.loss(output, targets) for _ in range(2))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
    other = network.loss(output, [replace(t, seed=t.seed + 10) for t in targets])
    drawn = any(other[name].item() != first[name].item() for name in first)
    assert drawn == (model_type != "joint")  # which takes the best instead


@pytest.mark.parametrize("model_type", ["rdsnet", "joint"])
def test_the_refinement_of_the_parts_learns_what_that_of_the_batch_does(model_type):
    network = small(model_type)
    network.requires_grad_(False).refinement.requires_grad_(True)
    images, targets = batch()
    counts = network.counts(targets, SIZE)
    losses = {
        rows: network.refinement_loss(
            network(images[list(rows)]), [targets[i] for i in rows], counts
        )
        for rows in ((0, 1), (2,), (3,))
    }
    whole = network.refinement_loss(network(images), targets)
    assert sum(losses.values()).item() == pytest.approx(whole.item(), rel=1e-5)
    losses[2,].backward()  # a crowd alone
    assert all(not p.grad.any() for p in network.refinement.parameters())


@pytest.mark.slow
def test_two_processes_make_the_gradients_of_one_though_one_sees_no_object(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    images, targets = batch()
    for model_type in LIMITS:
        network = small(model_type)
        sum(network.loss(network(images), targets).values()).backward()
        wanted, found = gradients(network), torch.load(tmp_path / f"{model_type}.pt")
        for name in wanted:  # the two processes average what one adds
            torch.testing.assert_close(found[name] * 2, wanted[name], rtol=1e-4, atol=1e-6)

"""Mask based boundary refinement: closed forms of section 3.3."""

import pytest
import torch

from jointseg_core.refinement import BoundaryRefinement, mask_profiles


def rectangle(count=1, size=(40, 60), box=(20, 10, 40, 30)):
    """Profiles of a hard rectangular mask."""
    columns, rows = torch.zeros(count, size[1]), torch.zeros(count, size[0])
    columns[:, box[0] : box[2]] = 1
    rows[:, box[1] : box[3]] = 1
    return columns, rows


def test_profiles_are_the_largest_probabilities_of_columns_and_rows():
    crops = [torch.tensor([[0.25, 0.5], [0.75, 0.125]]).logit(), torch.zeros(0, 3)]
    columns, rows = mask_profiles(crops, torch.tensor([[1, 0, 3, 2], [0, 1, 3, 1]]), (2, 4))
    torch.testing.assert_close(columns, torch.tensor([[0, 0.75, 0.5, 0], [0] * 4]))
    torch.testing.assert_close(rows, torch.tensor([[0.5, 0.75], [0] * 2]))


def test_there_are_ten_parameters():
    assert sum(p.numel() for p in BoundaryRefinement().parameters()) == 10


@pytest.mark.parametrize("shift", [0, 1, 2, -2, -5])
def test_shifted_sides_return_to_the_mask(shift):
    refinement = BoundaryRefinement(gamma=0.1)
    with torch.no_grad():  # answers to the first pixel of a mask and to nothing else
        refinement.kernel.zero_()[3:5] = torch.tensor([-20.0, 20.0])
        refinement.bias.fill_(-10)
    box = torch.tensor([[20.0, 10, 40, 30]])
    assert torch.equal(refinement(*rectangle(), box + shift), box)


def test_an_empty_mask_leaves_the_sides_at_the_nearest_pixels():
    silent = torch.zeros(1, 60), torch.zeros(1, 40)
    refined = BoundaryRefinement()(*silent, torch.tensor([[20.3, 9.6, 40.2, 29.9]]))
    assert refined.tolist() == [[20, 10, 40, 30]]


def test_gamma_zero_is_off():
    box = torch.tensor([[20.3, 9.6, 40.2, 29.9]])
    assert torch.equal(BoundaryRefinement(gamma=0)(*rectangle(), box), box)


def test_the_posteriors_are_distributions():
    profile, sigma = torch.rand(3, 60), torch.tensor([0.2, 2, 4])
    ends = torch.tensor([[5.0, 9], [30, 40], [50, 59]])
    log = BoundaryRefinement().log_posteriors(profile, ends, sigma)
    torch.testing.assert_close(log.logsumexp(2), torch.zeros(3, 2))


def test_sides_move_no_further_than_the_prior_reaches():
    box, gamma = torch.tensor([[20.0, 10, 40, 30]]), 0.1  # so that sigma is 2 pixels
    near, far = (rectangle(box=(20 - d, 10, 40, 30)) for d in (6, 7))  # 3.294 sigma are 6.6
    refinement = BoundaryRefinement(gamma)
    with torch.no_grad():  # answers to the first pixel of a mask and to nothing else
        refinement.kernel.zero_()[3:5] = torch.tensor([-99.0, 99.0])
        refinement.bias.fill_(-50)
    assert refinement(*near, box)[0, 0] == 14
    assert refinement(*far, box)[0, 0] == 20


def test_posteriors_by_hand():
    refinement = BoundaryRefinement(half_size=1)
    with torch.no_grad():
        refinement.kernel.copy_(torch.tensor([-1.0, 0, 1]))
        refinement.bias.zero_()
    profile = torch.tensor([[0.0, 1.0, 1.0]])
    prior = torch.exp(-torch.tensor([1.0, 0, 1]) / 2)
    log = refinement.log_posteriors(profile, torch.tensor([[1.0, 1.0]]), torch.tensor([1.0]))
    slope = torch.tensor([1.0, 1.0, -1.0])  # right minus left neighbour; the last side mirrors it
    for found, evidence in zip(log[0].exp(), (slope.sigmoid(), (-slope).sigmoid()), strict=True):
        torch.testing.assert_close(found, evidence * prior / (evidence * prior).sum())


def test_mirrored_sides_mirror_the_kernel():
    refinement = BoundaryRefinement()
    torch.nn.init.normal_(refinement.kernel)
    profile, sigma = torch.rand(1, 21), torch.tensor([3.0])
    log = refinement.log_posteriors(profile, torch.tensor([[8.0, 12]]), sigma)
    mirrored = refinement.log_posteriors(profile.flip(1), torch.tensor([[8.0, 12]]), sigma)
    torch.testing.assert_close(log[:, 0], mirrored[:, 1].flip(1))


def test_training_beats_the_regressed_sides():
    torch.manual_seed(0)
    refinement = BoundaryRefinement(gamma=0.1)
    optimizer = torch.optim.Adam(refinement.parameters(), lr=0.05)
    true = torch.tensor([[20.0, 10, 40, 30]]).repeat(32, 1)
    profiles = rectangle(32)
    before = None
    for _ in range(150):
        noisy = true + torch.randint(-2, 3, true.shape)
        loss = refinement.loss(*profiles, noisy, true)
        before = before or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < before / 2
    noisy = true + torch.randint(-2, 3, true.shape)
    assert torch.equal(refinement(*profiles, noisy), true)

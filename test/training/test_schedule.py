"""Learning rates against those printed in the papers."""

from dataclasses import replace

import pytest

from training.recipes import RECIPES, rate


def lr(recipe, step, steps):
    return recipe.lr * rate(recipe, step, steps)


@pytest.mark.parametrize(
    "step, expected",
    [(0, 3.333e-4), (250, 6.667e-4), (500, 1e-3), (59_999, 1e-3), (60_000, 1e-4), (80_000, 1e-5)],
)
def test_segrpn_follows_its_paper(step, expected):
    recipe = RECIPES["segrpn_r50_cityscapes"]
    assert lr(recipe, step, recipe.steps) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "epoch, expected", [(0.5, 5e-3), (7.99, 5e-3), (8, 5e-4), (10.99, 5e-4), (11, 5e-5)]
)
def test_rdsnet_drops_after_epochs_8_and_11(epoch, expected):
    steps_an_epoch = 14_659
    recipe = RECIPES["rdsnet_r101_coco_1x"]
    found = lr(recipe, round(epoch * steps_an_epoch), 12 * steps_an_epoch)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("step, expected", [(0, 1e-4), (279_999, 1e-3), (280_000, 1e-4)])
def test_rdsnet_s_follows_yolact(step, expected):
    recipe = RECIPES["rdsnet_s_coco"]
    assert lr(recipe, step, recipe.steps) == pytest.approx(expected)


def test_half_a_cosine_leads_from_the_full_rate_to_the_last():
    recipe = replace(
        RECIPES["rdsnet_tiny_synthetic"], warm_up=200, warm_up_from=0.005, cosine_to=0.01
    )
    rates = [rate(recipe, step, 1000) for step in range(1001)]
    assert rates[0] == 0.005 and rates[200] == 1 and rates[1000] == pytest.approx(0.01)
    assert rates[600] == pytest.approx((1 + 0.01) / 2)
    assert rates[200:] == sorted(rates[200:], reverse=True)

"""The moving average of weights."""

import pytest
import torch
from torch import nn

from training.runs.average import Average


def model(value):
    built = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(built[0].weight, value)
    return built


def test_decay_is_reached_as_updates_are_counted():
    average = Average(model(0.0), decay=0.5)
    value = 0.0
    for update in range(12):
        average.update(model(1.0))
        decay = min(0.5, (1 + update) / (10 + update))
        value = decay * value + 1 - decay
        assert average.model[0].weight.item() == pytest.approx(value)


def test_no_decay_is_the_model_itself():
    average, trained = Average(model(0.0), decay=0.0), model(3.7)
    trained(torch.randn(4, 1))
    average.update(trained)
    for mine, other in zip(
        average.model.state_dict().values(), trained.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other)


def test_the_state_holds_weights_and_count():
    first, second = Average(model(0.0), 0.9), Average(model(5.0), 0.9)
    first.update(model(1.0))
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update(model(2.0))
    assert torch.equal(first.model[0].weight, second.model[0].weight)


def test_broken_statistics_are_healed_and_nothing_else():
    average, trained = Average(model(1.0), 0.9), model(2.0)
    trained[1].running_mean.fill_(float("nan"))
    trained[1].running_var.fill_(4.0)
    average.heal(trained)
    assert trained[1].running_mean.item() == 0
    assert trained[1].running_var.item() == 4

"""Whether a CPU computes in bf16 where nobody says so: where it has tried that it saves time."""

from collections.abc import Iterator

import pytest
import torch

from jointseg_core.predictor import choose_precision
from jointseg_core.runtime import bf16

INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    bf16.bf16_saves_time.cache_clear()
    yield
    bf16.bf16_saves_time.cache_clear()


def processor(monkeypatch: pytest.MonkeyPatch, *has: str, seconds: float = 1.0) -> list:
    """A CPU with these instructions, which needs so many seconds in bf16 and one in fp32.

    Gives the list in which trials are noted.
    """
    for name in INSTRUCTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda there=name in has: there)
    trials = []

    def tried(dtype: torch.dtype) -> float:
        trials.append(dtype)
        return seconds if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(bf16, "_seconds", tried)
    return trials


def test_without_the_instructions_nothing_is_tried(monkeypatch):
    trials = processor(monkeypatch, seconds=0.1)
    assert not bf16.bf16_saves_time() and not trials


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@pytest.mark.parametrize(("seconds", "saves"), [(0.5, True), (4.0, False)])
def test_with_either_of_them_the_trial_decides(monkeypatch, instruction, seconds, saves):
    processor(monkeypatch, instruction, seconds=seconds)
    assert bf16.bf16_saves_time() == saves


def test_it_is_tried_once(monkeypatch):
    trials = processor(monkeypatch, *INSTRUCTIONS, seconds=0.5)
    first = bf16.bf16_saves_time()
    processor(monkeypatch)
    assert first and bf16.bf16_saves_time() and len(trials) == 2


def test_a_trial_takes_milliseconds():
    assert all(0 < bf16._seconds(dtype) < 0.5 for dtype in (torch.float32, torch.bfloat16))


@pytest.mark.parametrize(("saves", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_follows_the_trial(monkeypatch, saves, precision):
    monkeypatch.setattr("jointseg_core.predictor.bf16_saves_time", lambda: saves)
    assert choose_precision("auto", torch.device("cpu")) == precision
    assert choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("cuda")) == "fp32"

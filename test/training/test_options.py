"""Flags from the fields of dataclasses, and back."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from jointseg_core import shipped_weights
from training.runs.command import parse_command
from training.runs.options import Parser, add_flags, as_values, changed, described, from_values


@dataclass(frozen=True)
class Inner:
    depth: int = 2  # how deep
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    warm_up: float = 0.5  # seconds
    kind: Literal["sgd", "adamw"] = "sgd"
    names: tuple[str, ...] = ()
    steps: int | None = None
    data: Path | None = None
    fast: bool = False


def parsed(*arguments):
    parser = Parser()
    add_flags(parser, Outer())
    return changed(Outer(), vars(parser.parse_args(arguments)))


@pytest.mark.parametrize(
    "arguments, name, expected",
    [
        (["--inner.depth", "5"], "inner.depth", 5),
        (["--inner.sizes", "256x512"], "inner.sizes", (256, 512)),
        (["--inner.sizes", "256", "512"], "inner.sizes", (256, 512)),
        (["--inner.sizes=7,8"], "inner.sizes", (7, 8)),
        (["--warm-up", "1e-3"], "warm_up", 1e-3),
        (["--warm_up", "inf"], "warm_up", math.inf),
        (["--kind", "adamw"], "kind", "adamw"),
        (["--names", "car,traffic light"], "names", ("car", "traffic light")),
        (["--steps", "0"], "steps", 0),
        (["--steps", "none"], "steps", None),
        (["--data", "some/where"], "data", Path("some/where")),
        (["--fast"], "fast", True),
        (["--fast", "false"], "fast", False),
    ],
)
def test_a_flag_sets_its_field(arguments, name, expected):
    result = parsed(*arguments)
    assert as_values(result) == {
        **as_values(Outer()),
        name: json.loads(json.dumps(str(expected) if isinstance(expected, Path) else expected)),
    }


def test_fields_that_are_not_given_stay_away():
    parser = Parser()
    add_flags(parser, Outer())
    assert vars(parser.parse_args(["--steps", "3"])) == {"steps": 3}


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["--warmup", "3"], "did you mean --warm-up?"),
        (["--iner.depth=3"], "did you mean --inner.depth?"),
        (["--kind", "adam"], "'adam'; want sgd or adamw"),
        (["--steps", "many"], "invalid"),
    ],
)
def test_what_is_wrong_is_refused_with_a_hint(arguments, hint, capsys):
    with pytest.raises(SystemExit) as refusal:
        parsed(*arguments)
    assert refusal.value.code == 2
    assert hint in capsys.readouterr().err


def test_values_survive_json():
    before = parsed("--inner.sizes", "3", "4", "--data", "there", "--warm-up", "inf", "--fast")
    assert from_values(Outer(), json.loads(json.dumps(as_values(before)))) == before


def test_unknown_values_are_named():
    with pytest.raises(KeyError, match="steeps"):
        from_values(Outer(), {"steeps": 3})


def test_comments_are_the_help():
    assert described(Outer())["inner.depth"] == (int, "how deep")


def test_shipped_weights_to_start_from_go_by_their_names():
    command = parse_command(["joint_tiny_synthetic", "--init", "joint_tiny, mine.safetensors"])
    assert command.options.init == (shipped_weights("joint_tiny"), Path("mine.safetensors"))

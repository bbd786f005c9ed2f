"""R. What was there before, comes twice or later: states that are damaged or of another version,
clocks that disagree, weights that are wrong but finite, errors that say nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from dataset_trees import write_coco
from rclpy.parameter import Parameter
from safetensors.torch import load, save

from faults.checkpoints import EXPORT, data, weights
from faults.contract import Case
from faults.run_checkpoints import manifest_text, run_with
from faults.tree import deep_json
from jointseg_core import load_model
from jointseg_core.errors import BadCheckpoint, BadDataset, SegError
from jointseg_core.export.backends import Export
from jointseg_core.model_check import check_model, sign
from jointseg_core.predictor import Predictor
from jointseg_eval.datasets import open_dataset
from jointseg_ros.diagnostics import input_level
from jointseg_ros.inputs import Matched
from jointseg_ros.levels import OK, WARN, described
from jointseg_ros.liveness import Liveness
from jointseg_ros.monitor import Monitor
from jointseg_ros.parameters import Settings
from jointseg_ros.perception_node import PerceptionNode
from training.loading.cache import DecodedCache


def case(
    name: str,
    run: Callable,
    made: Callable[[Path], tuple] = lambda folder: (),
    error: type[SegError] | None = None,
    *words: str,
    **limits: Any,
) -> Case:
    return Case("again", name, made, run, error, words=words, **limits)


# States: garbage is made anew with a warning, what a newer version wrote is left alone

GARBAGE = {
    "of no byte": b"",
    "of garbage": b"\xff\xfe{",
    "that is a list": b"[1]",
    "that is nothing": b"null",
    "that is a number": b"3",
    "that is a text": b'"a"',
    "cut at half": b'{"format": 2, "pict',
    "nested deeply": deep_json(20_000).encode(),
    "of a zero": b"\0" * 99,
    "of a megabyte": b"[" + b"1," * 500_000 + b"1]",
}


def cached(content: bytes) -> Callable[[Path], tuple[Path]]:
    """A data set of three pictures, one of them in its cache, whose description is another one."""

    def made(folder: Path) -> tuple[Path]:
        write_coco(folder / "set")
        DecodedCache(open_dataset(folder / "set", "train"), folder / "cache")[0]
        (folder / "cache" / "cache.json").write_bytes(content)
        return (folder,)

    return made


def _cache_anew(folder: Path) -> None:
    samples = open_dataset(folder / "set", "train")
    for _ in range(2):
        cache = DecodedCache(samples, folder / "cache")
        assert np.array_equal(cache[0].image, samples[0].image)
    assert json.loads((folder / "cache" / "cache.json").read_text())["pictures"] == 3


def manifest_of(text: str) -> Callable[[Path], tuple[Path]]:
    def made(folder: Path) -> tuple[Path]:
        path = weights(folder)
        path.with_suffix(".json").write_text(text)
        return (path,)

    return made


def export_of(document: dict) -> Callable[[Path], tuple[Path]]:
    def made(folder: Path) -> tuple[Path]:
        (folder / "export.json").write_text(json.dumps(document))
        return (folder,)

    return made


LATER = {"2": 2, "3": 3, "10^20": 10**20}
NEWER = [
    *(
        case(f"a cache of format {n + 1}", _cache_anew, cached(text.encode()), BadDataset, "newer")
        for n in (2, 98, 10**20)
        for text in [json.dumps({"format": n + 1, "shards": []})]
    ),
    *(
        case(
            f"weights of format {name}, whose manifest has other fields",
            load_model,
            manifest_of(json.dumps({"format": number, "tensors": [1]})),
            BadCheckpoint,
            "newer version",
        )
        for name, number in LATER.items()
    ),
    *(
        case(
            f"an export of format {name}{how}",
            Export.read,
            export_of(rest | {"format": number}),
            BadCheckpoint,
            "newer version",
        )
        for name, number in LATER.items()
        for how, rest in ((", whose fields are others", {}), ("", EXPORT))
    ),
    *(
        case(
            f"a run's checkpoint of format {name}",
            lambda run: run.newest(),
            run_with(manifest_text(json.dumps({"format": number}))),
            BadCheckpoint,
            "newer version",
        )
        for name, number in LATER.items()
    ),
]
STATES = [
    case(f"a cache {how}", _cache_anew, cached(text), often=how == "of garbage")
    for how, text in GARBAGE.items()
]


# Clocks: what the diagnostics say of a camera whose stamps are not of this time

SECOND, HOUR = 10**9, 3600 * 10**9
LAST = (2**31 - 1) * SECOND  # that a message can hold
CLOCKS = {
    "a clock that is 50 ms ahead": (lambda now: now + SECOND // 20, ""),
    "a clock that is a second ahead": (lambda now: now + SECOND, "1.0 s ahead"),
    "a clock that is half a minute ahead": (lambda now: now + 30 * SECOND, "30.0 s ahead"),
    "a clock that is an hour ahead": (lambda now: now + HOUR, "60 min ahead"),
    "a clock that is a zone ahead": (lambda now: now + 9 * HOUR, "540 min ahead"),
    "a clock of the year 2038": (lambda now: LAST, "ahead"),
    "a clock that is half a second behind": (lambda now: now - SECOND // 2, "500 ms old"),
    "a clock that is a zone behind": (lambda now: now - 5 * HOUR, "5 h behind"),
    "a clock that is a month behind": (lambda now: now - 720 * HOUR, "30 days behind"),
    "a clock that began at 1970": (lambda now: 7 * SECOND, "1970-01-01"),
    "a clock of before 1970": (lambda now: -LAST, "behind"),
    "a clock of 0": (lambda now: 0, "sets no stamp"),
}


def _of_clock(stamp_at: Callable[[int], int], words: str) -> None:
    monitor = Monitor(("camera",))
    monitor.watch(time.monotonic() - 1)
    for _ in range(8):
        now = 1_800_000_000 * SECOND
        monitor.arrived("camera", stamp_at(now), (now - stamp_at(now)) / 1e6)
    monitor.good("camera", "bgr8", 48, 64)
    matched = Matched("/camera/image_raw", count=1)
    level = input_level(monitor.inputs["camera"], time.monotonic(), Settings(), matched)
    assert (level.level == WARN and words in level.text) if words else level.level == OK, level


CLOCK = [case(name, _of_clock, lambda f, given=given: given) for name, given in CLOCKS.items()]


# Weights that are finite and not those that were signed


def signed(change: Callable[[dict], object]) -> Callable[[Path], tuple[Path]]:
    """Weights whose manifest says what they compute; then others, with their own SHA-256."""

    def made(folder: Path) -> tuple[Path]:
        path = weights(folder)
        sign(path)

        def edit(content: bytes) -> bytes:
            found = load(content)
            change(found)
            return save({name: tensor.contiguous() for name, tensor in found.items()})

        data(edit, signed=True)(path)
        return (path,)

    return made


def each(make: Callable[[torch.Tensor], torch.Tensor], of: str = "") -> Callable[[dict], None]:
    """Every tensor of floats whose name holds `of` becomes another one."""

    def change(found: dict) -> None:
        for name, tensor in found.items():
            if tensor.is_floating_point() and of in name:
                found[name] = make(tensor)

    return change


def _exchanged(found: dict) -> None:
    """Two tensors of one shape have each other's name."""
    names = sorted(n for n, t in found.items() if "backbone" not in n and t.dim() == 4)
    one, other = next(
        (a, b) for a in names for b in names if a < b and found[a].shape == found[b].shape
    )
    found[one], found[other] = found[other], found[one]


def _first_layer(make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict], None]:
    def change(found: dict) -> None:
        name = next(n for n, t in found.items() if t.dim() == 4 and t.shape[1] == 3)
        found[name] = make(found[name])

    return change


def _checked(path: Path) -> None:
    check_model(Predictor.from_file(path, "cpu", "fp32"))


WRONG = {
    "all zero": each(torch.zeros_like),
    "all one": each(torch.ones_like),
    "a tenth larger": each(lambda t: t * 1.1),
    "of the other sign": each(lambda t: -t),
    "a million times as large": each(lambda t: t * 1e6),
    "rounded to quarters": each(lambda t: (t * 4).round() / 4),
    "with every bias one more": each(lambda t: t + 1, "bias"),
    "without a bias": each(lambda t: t * 0 - 1, "bias"),
    "with turned kernels": each(lambda t: t.flip(-1) if t.dim() == 4 else t),
    "with their channels shifted": each(lambda t: t.roll(1, 0)),
    "with noise": each(lambda t: t + 0.1 * t.std() * torch.randn(t.shape) if t.dim() > 1 else t),
    "with two layers exchanged": _exchanged,
    "that see blue for red": _first_layer(lambda t: t.flip(1)),
    "with a first layer of zeros": _first_layer(torch.zeros_like),
}
WEIGHTS = [
    case(
        f"weights {how}",
        _checked,
        signed(change),
        BadCheckpoint,
        "self-test",
        often=how == "all zero",
    )
    for how, change in WRONG.items()
]


# Errors without a text, in another's words or of many lines: their type, in one line

ODD = [MemoryError(), KeyError("w"), RuntimeError("a\nb"), RecursionError(), AssertionError()]
ODD += [StopIteration(), Exception("\n \t"), OSError(), TypeError(None), UnicodeError("\u2028")]
ODD += [EOFError(), SegError("a\n\nb")]


def _told(error: Exception) -> None:
    text, kind = described(error), type(error).__name__
    assert text and len(text.splitlines()) == 1
    assert isinstance(error, SegError) or kind in text


TEXTS = [
    case(f"an error without a word: {error!r}", _told, lambda f, e=error: (e,)) for error in ODD
]


# Settings of a node with which it would end itself, hang, or show nothing for ever

NAN, INF = float("nan"), float("inf")
TIMEOUTS = ("watchdog.timeout_ms", "watchdog.loading_timeout_ms")
KILLING = [
    *((name, value) for name in TIMEOUTS for value in (-1.0, NAN, INF)),
    *((name, NAN) for name in ("max_rate_hz", "max_input_age_ms", "score_threshold")),
    ("batch.max_size", -1),
    ("batch.max_size", 1 << 62),
    ("num_threads", -1),
]
SHORT = [(name, value) for name in TIMEOUTS for value in (0.001, 1.0, 150.0)]


def _refused(name: str, value: float) -> None:
    """By a node that is there; nobody has to hear it."""
    rclpy.init()
    node = PerceptionNode(parameter_overrides=[Parameter("autostart", value=False)])
    before = node.settings
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and name in result.reason, result
    assert node.settings is before
    node.close()
    node.destroy_node()
    rclpy.shutdown()


def _too_short(name: str, value: float) -> None:
    """A batch took 100 ms, and loading longer than that: no timeout that healthy ones exceed."""
    liveness = Liveness()
    with liveness.loading():
        time.sleep(0.31)
    settings = replace(Settings(), **{name.replace(".", "_"): value})
    assert name in liveness.too_short(settings, 100.0)


SETTINGS = [
    *(case(f"{n} of {v}", _refused, lambda f, given=(n, v): given) for n, v in KILLING),
    *(case(f"{n} of {v}", _too_short, lambda f, given=(n, v): given) for n, v in SHORT),
]


CASES = [*NEWER, *STATES, *CLOCK, *WEIGHTS, *TEXTS, *SETTINGS]

"""Q. Values that parse and mean nothing: of manifests, settings and arguments of programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.checkpoints import classes, config, manifest, pixels, refused
from faults.contract import Case
from jointseg_core import (
    CITYSCAPES,
    Manifest,
    Predictor,
    Preprocessing,
    build_model,
    preset,
    shipped_weights,
)
from jointseg_core.errors import BadConfig

NAN, INF, HUGE = float("nan"), float("inf"), 10**20

# Manifests: a value of another kind, or one that no network is built or decoded with

CONFIG = {
    "train_margin": [NAN, "0.25", None, True],
    "test_margin": [-1, 1e30],
    "gamma": [NAN, "0.05"],
    "hard_ratio": [NAN, "inf"],
    "refinement_reach": [10**9, -1, 4.0],
    "candidates": [-1, 0, HUGE, "9", 9.5],
    "anchor_size": [0, -1, 1e300, INF],
    "head_depth": [10**6, 10**9, 2.0],
    "pixel_level": [99, "3"],
    "head_groups": [7, -1, None],
    "num_classes": [True, HUGE],
    "norm": ["magic", None],
    "backbone": [18, ["tiny"]],
}
PIXELS = {"keep_ratio": ["no", 0, None], "by_sides": ["yes", 1, []]}
NAMES = {
    "of a megabyte": "x" * 10**6,
    "of 257 letters": "x" * 257,
    "without a letter": "",
    "as another": CITYSCAPES.things[1],
}


def named(name: str) -> Callable[[Path], None]:
    return manifest(lambda document: document["classes"]["things"].__setitem__(0, name))


def short(value: object) -> str:
    return "10^20" if value == HUGE else repr(value)


MANIFESTS = [
    *(
        refused(f"{name} of {short(value)}", config(**{name: value}), "a.", seconds=10)
        for name, values in CONFIG.items()
        for value in values
    ),
    *(
        refused(f"{name} of {value!r}", pixels(name, value), "true or false")
        for name, values in PIXELS.items()
        for value in values
    ),
    *(refused(f"a class {how}", named(name), "called", often=True) for how, name in NAMES.items()),
    refused("pixels called as others", classes(semantic=["road"] * 19), "two classes"),
    refused("classes in one text", classes(things="abcdefgh"), "things"),
    refused("classes of pixels that are floats", classes(thing_to_semantic=[11.0] * 8), "thing_to"),
    refused("classes of pixels that are true", classes(thing_to_semantic=[True] * 8), "thing_to"),
    *(
        refused(f"a training of {value!r}", manifest(lambda d, v=value: d.update(training=v)), "a.")
        for value in ([1], "x", None, 3)
    ),
]


# Settings of a predictor: the old ones stay

SETTINGS = {
    "score_threshold": [NAN, INF, 1.5, -0.1, "0.5", None, True, [0.5]],
    "nms_iou": [7, NAN],
    "mask_threshold": [INF, "x"],
    "max_detections": [-5, 0, 10.5, 1001, HUGE, "7"],
}


def setting(name: str, value: object, often: bool = False) -> Case:
    def made(folder: Path) -> tuple[Predictor]:
        model = build_model(preset("rdsnet", "tiny"))
        about = Manifest(model.config, CITYSCAPES, Preprocessing((64, 128)))
        return (Predictor(model, about, "cpu"),)

    def run(see: Predictor) -> None:
        before = see.model.config
        try:
            see.configure(**{"nms_iou": 0.4} | {name: value})
        finally:
            assert see.model.config == before

    title = f"a setting: {name} of {short(value)}"
    limits = {"megabytes": 150, "often": often}
    return Case("values", title, made, run, BadConfig, words=(f"{name} is",), **limits)


SET = [
    setting(name, value, often=value is values[0])
    for name, values in SETTINGS.items()
    for value in values
]


# Numbers of the command line

TRAIN = ("training.train", "rdsnet_tiny_synthetic", "--out", "run")
SET_OF = ("training.synthesize", "set", "--format", "coco")
SHEET = ("training.scenes.contact_sheet", "sheet.png")
EXPORT = ("jointseg_core.export", shipped_weights("rdsnet"), "--to", "onnx")
BAG = ("jointseg_eval.evaluate_bag", "a.mcap", "--weights", "a.safetensors")
GIVEN: list[tuple[tuple[str, ...], str, str]] = [
    *((TRAIN, option, str(HUGE)) for option in ("--steps", "--batch", "--warm-up", "--epochs")),
    *((TRAIN, option, str(HUGE)) for option in ("--workers", "--keep", "--save-every")),
    (TRAIN, "--lr", "1e300"),
    *((SHEET, "--count", number) for number in ("0", "-1", str(HUGE))),
    *((SHEET, "--columns", number) for number in ("0", "-1", str(HUGE))),
    *((BAG, option, str(HUGE)) for option in ("--workers", "--batch")),
    *((BAG, option, "1e300") for option in ("--window", "--rate")),
    *((("jointseg_eval.check_data", "x"), "--workers", number) for number in ("-1", str(HUGE))),
    *((SET_OF, option, str(HUGE)) for option in ("--frames", "--val-frames", "--workers")),
    (SET_OF, "--frames", "-1"),
    (("demo",), "--frames-per-street", str(HUGE)),
    (("demo.tracking",), "--seeds", str(HUGE)),
    *((EXPORT, "--batch", number) for number in ("0", "-1", str(HUGE))),
]


def argued(command: tuple[Any, ...], option: str, number: str) -> Case:
    name = command[0].removeprefix("jointseg_").rpartition(".")[2]
    title = f"{name} {option} {number.replace(str(HUGE), '10^20')}"
    given = [*command[1:], option, number]
    limits = {"seconds": 20, "megabytes": 400, "often": (command, option) == (TRAIN, "--steps")}
    return Case("values", title, lambda folder: given, command[0], None, 2, (option,), **limits)


CASES = [*MANIFESTS, *SET, *(argued(*one) for one in GIVEN)]

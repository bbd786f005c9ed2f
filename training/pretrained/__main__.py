"""Show what of a weights file fits a model, and save the model that starts from it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jointseg_core.checkpoint import build_model, preset, save_model
from jointseg_core.classes import CITYSCAPES, Classes
from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.preprocessing import Preprocessing
from training.pretrained.fitting import load_pretrained
from training.pretrained.source import COCO_THINGS
from training.recipes import learns_pixels, with_classes


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    config = preset(options.model, options.preset)
    classes = _classes(options.classes, options.model, learns_pixels(config))
    config = with_classes(config, classes)
    try:
        preprocessing = _preprocessing(options.model, options.size, options.sides)
    except ValueError as error:
        raise BadConfig(str(error)) from error
    model = build_model(config)
    table = load_pretrained(model, classes, options.weights, options.released_refinement)
    print(table)
    if options.out:
        facts = {"pretrained": {"file": Path(table.path).name, "kind": table.kind}}
        save_model(model, options.out, classes, preprocessing, facts)
        print(f"saved {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training.pretrained", description=__doc__)
    parser.add_argument("weights", help="a .pth of torchvision or RDSNet, or our .safetensors")
    parser.add_argument("--model", default="rdsnet", help="rdsnet, rdsnet_s, segrpn or joint")
    parser.add_argument("--preset", default="r50")
    parser.add_argument(
        "--classes",
        help="coco, cityscapes or names with commas (default: coco; with pixels: cityscapes)",
    )
    parser.add_argument(
        "--released-refinement",
        action="store_true",
        help="set RDSNet's boundary refinement to the constants of its authors' code",
    )
    parser.add_argument("--out", help="where to save the model, .safetensors")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="input of --out (default: 512 1024; rdsnet_s: 550 550)",
    )
    size.add_argument(
        "--sides",
        type=int,
        nargs=2,
        metavar=("SHORT", "LONG"),
        help="or the short side of every image and the most of its long one (COCO: 800 1333)",
    )
    return parser


def _classes(choice: str | None, model_type: str, pixels: bool) -> Classes:
    if pixels and choice not in (None, "cityscapes"):
        raise BadConfig(
            f"--classes {choice}: {model_type} needs classes of pixels too, want cityscapes"
        )
    match choice or ("cityscapes" if pixels else "coco"):
        case "cityscapes":
            return CITYSCAPES
        case "coco":
            return Classes(COCO_THINGS)
        case names:
            return Classes(tuple(name.strip() for name in names.split(",")))


def _preprocessing(
    model_type: str, size: Sequence[int] | None, sides: Sequence[int] | None
) -> Preprocessing:
    if sides:
        return Preprocessing(tuple(sides), keep_ratio=model_type != "rdsnet_s", by_sides=True)
    if model_type == "rdsnet_s":
        return Preprocessing(tuple(size or (550, 550)), keep_ratio=False)
    return Preprocessing(tuple(size or (512, 1024)))


if __name__ == "__main__":
    run_program(main)

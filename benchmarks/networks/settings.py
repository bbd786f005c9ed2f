"""What a run measures: the command line, checked, as one dataclass."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import torch

from jointseg_core.checkpoint import preset
from jointseg_core.errors import BadConfig
from jointseg_core.predictor import choose_device, choose_precision

PEERS = {
    "rdsnet": ("released", "maskrcnn", "retinanet", "fasterrcnn", "deeplab"),
    "segrpn": ("pair", "fasterrcnn", "deeplab", "maskrcnn", "retinanet"),
    "joint": ("both", "pair", "fasterrcnn", "deeplab", "maskrcnn", "retinanet"),
}
"""Of each model what it can be compared with; `pair` is Faster R-CNN, then DeepLabV3, `both` our
RDSNet, then our SegRPN."""
MAX_DETECTIONS = 100
PRESETS = {
    "full": {
        "preset": "r50",
        "size": (512, 1024),
        "dets": 100,
        "rounds": 9,
        "frames": 2,
        "peers": {
            "rdsnet": ("released", "maskrcnn", "retinanet"),
            "segrpn": ("pair",),
            "joint": ("both",),
        },
    },
    "small": {
        "preset": "r18",
        "size": (256, 512),
        "dets": 30,
        "rounds": 3,
        "frames": 1,
        "peers": {"rdsnet": ("released", "maskrcnn"), "segrpn": ("pair",), "joint": ("both",)},
    },
}
"""What the command line does not say."""


@dataclass(frozen=True)
class Settings:
    """One run. Sizes are (height, width) in pixels."""

    model: str  # rdsnet, segrpn or joint
    preset: str
    size: tuple[int, int]  # the network's input
    image: tuple[int, int]  # the camera's picture
    classes: int  # of things
    dets: int  # planted objects
    regions: int  # of SegRPN
    precisions: tuple[str, ...]  # of ours, one contender each
    peers: tuple[str, ...]
    rounds: int
    frames: int  # of each contender in each round
    threads: int
    device: str
    seed: int = 0
    batches: tuple[int, ...] = ()  # of ours, one more contender for each precision and size

    def __post_init__(self) -> None:
        _check(self)


def _check(settings: Settings) -> None:
    """Raise BadConfig for what the models or this machine cannot do."""
    if any(side % 32 or side <= 0 for side in settings.size):
        raise BadConfig(f"--size is {_text(settings.size)}, expected multiples of 32")
    if not 0 <= settings.dets <= MAX_DETECTIONS:
        raise BadConfig(f"--dets is {settings.dets}, expected 0 to {MAX_DETECTIONS}")
    for name in ("classes", "regions", "rounds", "frames", "threads"):
        if (number := getattr(settings, name)) < 1:
            raise BadConfig(f"--{name} is {number}, expected at least 1")
    if settings.model != "rdsnet" and settings.regions < settings.dets:
        raise BadConfig(f"--regions is {settings.regions}, fewer than --dets {settings.dets}")
    for peer in settings.peers:
        if peer not in PEERS[settings.model]:
            known = ", ".join(PEERS[settings.model])
            raise BadConfig(f"--peers names {peer!r}; {settings.model} has {known}, or none")
    if any(count < 2 for count in settings.batches):
        raise BadConfig(f"--batches is {settings.batches}, expected 2 pictures or more in each")
    preset(settings.model, settings.preset)
    device = choose_device(settings.device)
    for precision in settings.precisions:
        _choose(precision, device)


def parse(arguments: Sequence[str]) -> tuple[Settings, str]:
    """The settings of a command line, and the file for JSON or "".

    Raises BadConfig; exits for --help and for what argparse itself refuses.
    """
    options = _parser().parse_args(arguments)
    default = PRESETS["small" if options.small else "full"]
    if options.json and not Path(options.json).resolve().parent.is_dir():
        raise BadConfig(f"--json is {options.json}, in a folder that does not exist")
    device = _device(options.device)
    size = _size(options.size, "--size") if options.size else default["size"]
    settings = Settings(
        model=options.model,
        preset=options.preset or default["preset"],
        size=size,
        image=_size(options.image, "--image") if options.image else size,
        classes=options.classes or (80 if options.model == "rdsnet" else 8),
        dets=default["dets"] if options.dets is None else options.dets,
        regions=options.regions,
        precisions=_names(options.precision) or default_precisions(device),
        peers=default["peers"][options.model]
        if options.peers is None
        else tuple(name for name in _names(options.peers) if name != "none"),
        rounds=default["rounds"] if options.rounds is None else options.rounds,
        frames=default["frames"] if options.frames is None else options.frames,
        threads=options.threads,
        device=device,
        seed=options.seed,
        batches=_counts(options.batches, "--batches"),
    )
    resolved = [_choose(p, choose_device(device)) for p in settings.precisions]
    return replace(settings, precisions=tuple(dict.fromkeys(resolved))), options.json


def default_precisions(device: str) -> tuple[str, ...]:
    """fp32, and first what the device computes faster in, where it has such a thing."""
    if device != "cpu":
        return ("bf16", "fp32")
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ("bf16", "fp32") if fast else ("fp32",)


def _choose(precision: str, device: torch.device) -> str:
    """As `choose_precision`, and int8 where OpenVINO and NNCF make it."""
    if precision != "int8" or device.type != "cpu":
        return choose_precision(precision, device)
    if missing := [name for name in ("openvino", "nncf") if find_spec(name) is None]:
        raise BadConfig(f"precision 'int8' needs {' and '.join(missing)}; pip install them")
    return precision


def _device(name: str) -> str:
    return str(choose_device(name))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _counts(text: str, option: str) -> tuple[int, ...]:
    names = _names(text)
    if not all(name.isdecimal() for name in names):
        raise BadConfig(f"{option} is {text!r}, expected numbers such as 4,8")
    return tuple(int(name) for name in names)


def _size(text: str, option: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise BadConfig(f"{option} is {text!r}, expected HEIGHTxWIDTH such as 512x1024")
    return int(height), int(width)


def _text(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise BadConfig(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks.networks",
        description="Speed of RDSNet, SegRPN and the joint network from picture to results, "
        "measured in turn with torchvision's models and with RDSNet as published.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", choices=sorted(PEERS), default="rdsnet")
    add("--small", action="store_true", help="a quick look: r18, 256x512, 3 rounds")
    add("--preset", help="network, such as r50, r18 or tiny (default r50)")
    add("--size", metavar="HxW", help="input of the network (default 512x1024)")
    add("--image", metavar="HxW", help="the camera's picture (default: as --size)")
    add("--classes", type=int, help="of things (default 80 for RDSNet, else 8)")
    add("--dets", type=int, help="planted objects, 0 to 100 (default 100)")
    add("--regions", type=int, default=1000, help="proposals of SegRPN (default 1000)")
    add("--precision", help="of ours, of bf16,fp32,int8 (default: bf16 where it is fast, and fp32)")
    add("--peers", help="such as released,maskrcnn, or none; each also given our treatment")
    add("--batches", help="ours also with so many pictures at once, such as 4,8")
    add("--rounds", type=int, help="default 9")
    add("--frames", type=int, help="of each contender in each round (default 2)")
    add("--threads", type=int, default=2, help="default 2")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--seed", type=int, default=0, help="of weights, picture and objects (default 0)")
    add("--json", default="", metavar="FILE", help="write everything measured there")
    return parser

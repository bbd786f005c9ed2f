"""What a run measures: the command line, checked, as one dataclass."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from benchmarks.arguments import Parser, names, size, whole
from benchmarks.networks.outsiders import outsiders
from benchmarks.networks.runs import BACKENDS, runs_of
from jointseg_core.checkpoint import load_model, preset
from jointseg_core.errors import BadConfig
from jointseg_core.images import read_picture
from jointseg_core.predictor import choose_device

BASELINES = {
    "rdsnet": ("released", "maskrcnn", "fasterrcnn", "deeplab", "retinanet", "unrefined"),
    "rdsnet_s": ("yolact",),
    "segrpn": ("pair", "fasterrcnn", "deeplab", "maskrcnn"),
    "joint": ("both", "pair", "fasterrcnn", "deeplab", "maskrcnn"),
}
"""What a model is compared with; `pair`: Faster R-CNN, then DeepLabV3, `both`: our RDSNet, then our
SegRPN; retinanet, unrefined: RDSNet without masks, without MBRM; yolact: its baseline head."""
USUAL = {"rdsnet": 2, "rdsnet_s": 1, "segrpn": 1, "joint": 1}
"""So many of them where --baselines does not say which."""
MAX_DETECTIONS = 100
SMALL = {"preset": "r18", "size": (256, 512), "dets": 30, "rounds": 3, "frames": 1}


@dataclass(frozen=True)
class Settings:
    """One run. Sizes are (height, width) in pixels."""

    model: str  # rdsnet, rdsnet_s, segrpn or joint
    preset: str
    size: tuple[int, int]  # the network's input
    image: tuple[int, int]  # the camera's picture
    classes: int  # of things
    dets: int  # planted objects
    regions: int  # of SegRPN
    runs: tuple[str, ...]  # of ours, one entry each: fp32, openvino-int8
    baselines: tuple[str, ...]
    outsiders: dict[str, str]  # entries of networks from ONNX files, and the files
    batches: tuple[int, ...]  # of ours, one more entry for each run and size
    rounds: int
    frames: int  # of each entry in each round
    threads: int
    device: str
    seed: int
    weights: str = ""  # of a trained network on a picture, in place of random ones and a scene
    picture: str = ""
    variant: str = ""  # of the model, one of VARIANTS


def parse(arguments: Sequence[str]) -> tuple[Settings, Path | None]:
    """The settings of a command line, and the file for JSON.

    Raises BadConfig for what makes no sense, or what this machine cannot do; exits for --help.
    """
    parser = _parser()
    if "--small" in arguments:
        parser.set_defaults(**SMALL)
    options = parser.parse_args(arguments)
    if options.json and not options.json.resolve().parent.is_dir():
        raise BadConfig(f"--json is {options.json}, in a folder that does not exist")
    if bool(options.weights) != bool(options.picture):
        raise BadConfig("--weights and --picture belong together")
    if options.weights:
        _take_trained(options)
    device, model = choose_device(options.device), options.model
    options.device = str(device)
    options.image = options.image or options.size
    options.classes = options.classes or (80 if "rdsnet" in model else 8)
    chosen = options.precisions or default_precisions(device.type)
    options.runs = runs_of(options.backends, chosen, device)
    if options.baselines is None:
        options.baselines = BASELINES[model][: USUAL[model]]
    options.baselines = tuple(name for name in options.baselines if name != "none")
    options.outsiders = outsiders(options.onnx, options.size, device.type)
    known = {one.name for one in fields(Settings)}
    settings = Settings(**{k: v for k, v in vars(options).items() if k in known})
    _check(settings)
    return settings, options.json


def _take_trained(options: Namespace) -> None:
    """What the manifest of --weights and the size of --picture decide."""
    if options.baselines not in (None, ("none",)):
        raise BadConfig("--weights is compared with no --baselines: they find other objects")
    manifest = load_model(options.weights)[1]
    options.model, options.baselines = manifest.model_type, ("none",)
    options.size, options.classes = manifest.preprocessing.input_size, len(manifest.classes.things)
    options.image, options.dets = read_picture(Path(options.picture)).shape[:2], 0


def _check(settings: Settings) -> None:
    if any(side % 32 for side in settings.size):
        raise BadConfig("--size is {}x{}, expected multiples of 32".format(*settings.size))
    if "rdsnet" not in settings.model and settings.regions < settings.dets:
        raise BadConfig(f"--regions is {settings.regions}, fewer than --dets {settings.dets}")
    for name in settings.baselines:
        if name not in (known := BASELINES[settings.model]):
            listed = ", ".join(known)
            raise BadConfig(f"--baselines has {name!r}; {settings.model} has {listed}, or none")
    preset(settings.model, settings.preset)


def default_precisions(device: str) -> tuple[str, ...]:
    """fp32, and first what the device computes faster in, where it has such a thing."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ("bf16", "fp32") if fast or device != "cpu" else ("fp32",)


def _batches(text: str) -> tuple[int, ...]:
    return tuple(map(whole(2), names(text)))


def _parser() -> Parser:
    parser = Parser(
        "benchmarks.networks",
        "Speed of RDSNet, SegRPN and the joint network from picture to results, measured in turn "
        "with torchvision's models and with RDSNet as published.",
    )
    add = parser.add_argument
    add("--model", choices=sorted(BASELINES), default="rdsnet")
    add("--small", action="store_true", help="a quick look: r18, 256x512, 30 objects, 3 rounds")
    add("--preset", default="r50", help="network, such as r50, r18 or tiny (default r50)")
    add("--size", type=size, default=(512, 1024), metavar="HxW", help="input of the network")
    add("--image", type=size, metavar="HxW", help="the camera's picture (default: as --size)")
    add("--classes", type=whole(1), help="of things (default 80 for RDSNet and RDSNet_s, else 8)")
    add("--dets", type=whole(0, MAX_DETECTIONS), default=100, help="planted objects (default 100)")
    add("--regions", type=whole(1), default=1000, help="proposals of SegRPN (default 1000)")
    add("--precision", type=names, dest="precisions", help="of ours, such as bf16,fp32,int8")
    add("--backends", type=names, default=(), help=f"of ours, of {','.join(BACKENDS)}")
    add("--baselines", type=names, help="such as released,maskrcnn; or none")
    add("--onnx", type=Path, nargs="+", default=(), metavar="FILE", help="networks of others")
    add("--batches", type=_batches, default=(), help="ours also with so many pictures, such as 4,8")
    add("--rounds", type=whole(1), default=9, help="default 9")
    add("--frames", type=whole(1), default=2, help="of each entry in each round (default 2)")
    add("--threads", type=whole(1), default=2, help="default 2")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--weights", default="", help="a trained network, on --picture, in place of random weights")
    add("--picture", default="", help="what it sees; objects below a score of 0.3 are left out")
    add("--seed", type=int, default=0, help="of weights, picture and objects (default 0)")
    add("--json", type=Path, metavar="FILE", help="write everything measured there")
    return parser

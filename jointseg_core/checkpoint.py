"""Models by name, and models as files: weights in safetensors, the rest in a manifest beside.

`NAME.safetensors` holds tensors and nothing else; `NAME.json` says what they are: model type,
config, class names, preprocessing, how they were trained, and the SHA-256 of the weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from jointseg_core import joint_config, rdsnet, rdsnet_s, segrpn
from jointseg_core.backbone import Backbone
from jointseg_core.classes import Classes
from jointseg_core.errors import BadCheckpoint, BadConfig, in_words
from jointseg_core.files import open_file
from jointseg_core.joint import Joint, build_joint
from jointseg_core.joint_config import JointConfig
from jointseg_core.pickles import load_pickle
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet, RDSNetConfig, build_rdsnet
from jointseg_core.rdsnet_s import RDSNetS, RDSNetSConfig, build_rdsnet_s
from jointseg_core.segrpn import SegRPN, SegRPNConfig, build_segrpn

Model = RDSNet | RDSNetS | SegRPN | Joint
Config = RDSNetConfig | RDSNetSConfig | SegRPNConfig | JointConfig
_CONFIGS: Mapping[str, type[Config]] = {
    "rdsnet": RDSNetConfig,
    "rdsnet_s": RDSNetSConfig,
    "segrpn": SegRPNConfig,
    "joint": JointConfig,
}
_PRESETS: Mapping[str, Mapping[str, Config]] = {
    name: module.PRESETS
    for name, module in zip(_CONFIGS, (rdsnet, rdsnet_s, segrpn, joint_config), strict=True)
}
_BUILDERS: Mapping[type, Callable[[Any], Model]] = {
    RDSNetConfig: build_rdsnet,
    RDSNetSConfig: build_rdsnet_s,
    SegRPNConfig: build_segrpn,
    JointConfig: build_joint,
}
_KINDS = {"int": Integral, "float": Real, "str": str, "bool": bool, "None": type(None)}
_WEIGHTS = Path(__file__).parent / "weights"
_FORMAT = 1
_LARGEST_WEIGHTS, _LARGEST_MANIFEST = 1 << 33, 1 << 24  # bytes
_SIZES = {"joint": "lite", "rdsnet": "tiny", "segrpn": "tiny"}  # meant by a model's name

# What published files hold beside the backbone: of ResNets, and of EfficientNet-Lite0
_CLASSIFIERS = ("fc.", "_fc.", "_conv_head.", "_bn1.")

_SHARES = "score_threshold nms_iou mask_threshold panoptic_score panoptic_visible panoptic_stuff"
_RANGES: Mapping[str, tuple[str, float, float]] = {
    **dict.fromkeys(_SHARES.split(), ("float", 0, 1)),
    "max_detections": ("int", 1, 1000),
    "candidates": ("int", 1, 10**6),
    **dict.fromkeys(("head_depth", "head_groups"), ("int", 0, 100)),
    "anchor_size": ("float", 0.01, 10**4),
    "test_margin": ("float", 0, 100),
}
"""Anything else would find nothing, fail at a picture, or take for ever to build."""


@dataclass(frozen=True)
class Manifest:
    """What a weights file is.

    training  free-form facts: data, steps, command, results
    sha256    of the weights file, in hexadecimal digits
    self_test  what the network computes of a fixed picture, see `model_check`
    """

    config: Config
    classes: Classes
    preprocessing: Preprocessing
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    self_test: Mapping[str, float | list[float]] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        """`rdsnet`, `rdsnet_s`, `segrpn` or `joint`."""
        return model_type(self.config)

    def at_size(self, size: str) -> Manifest:
        """The same network with an input of HEIGHTxWIDTH pixels, or as it is for "".

        Larger ones find smaller things, in more time. The self-test has numbers for the own size
        alone. Raises BadConfig for what is no size, or none of this network.
        """
        height, _, width = size.partition("x")
        if not size:
            return self
        try:
            other = replace(self.preprocessing, input_size=(int(height), int(width)))
        except ValueError as error:
            raise BadConfig(f"the input size {size!r} is none, want 384x768: {error}") from error
        same = other == self.preprocessing
        return self if same else replace(self, preprocessing=other, self_test={})


def model_type(config: Config) -> str:
    """`rdsnet`, `rdsnet_s`, `segrpn` or `joint`."""
    return next(name for name, kind in _CONFIGS.items() if type(config) is kind)


def preset(model_type: str, name: str) -> Config:
    """The config of a preset: `preset("rdsnet", "tiny")`. Raises BadConfig for unknown names."""
    if model_type not in _PRESETS:
        raise BadConfig(f"model type {model_type!r}; want one of {', '.join(_PRESETS)}")
    if name not in _PRESETS[model_type]:
        raise BadConfig(
            f"preset {name!r} of {model_type}; want one of {', '.join(_PRESETS[model_type])}"
        )
    return _PRESETS[model_type][name]


def build_model(config: Config, backbone_weights: str | Path | None = None) -> Model:
    """The network that a config describes, with random weights.

    backbone_weights is a file of torch.save for the backbone, such as one trained on ImageNet: a
    ResNet in torchvision's format, for lite0 `efficientnet-lite0-57934424.pth` (docs/training.md).
    Raises BadCheckpoint for another file.
    """
    if type(config) not in _BUILDERS:
        wanted = " or ".join(kind.__name__ for kind in _BUILDERS)
        raise TypeError(f"config is a {type(config).__name__}, expected {wanted}")
    model = _BUILDERS[type(config)](config)
    if backbone_weights is not None:
        _load_backbone(model.backbone, backbone_weights)
    return model


def _load_backbone(backbone: Backbone, path: str | Path) -> None:
    """Load a published file, without its classifier.

    Raises BadCheckpoint naming the keys that are missing or have another shape.
    """
    name = f"backbone weights: {Path(path).absolute()}"
    try:
        with open_file(path) as file:
            weights = dict(load_pickle(file))
        weights = {k: v for k, v in weights.items() if not k.startswith(_CLASSIFIERS)}
    except Exception as error:
        raise BadCheckpoint(
            f"{name} is not a file of a published backbone "
            f"({type(error).__name__}); expected a state dict saved with torch.save"
        ) from error
    try:
        missing, unexpected = backbone.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise BadCheckpoint(f"{name}: {error}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise BadCheckpoint(
            f"{name} lacks {missing[:3]} and has {unexpected[:3]} that this backbone does not know"
        )


def shipped_weights(name: str) -> Path:
    """Weights that come with the package, by their name or that of a model: docs/models.md."""
    named = _WEIGHTS / f"{name}.safetensors"
    return named if named.is_file() else _WEIGHTS / f"{name}_{_SIZES.get(name)}.safetensors"


def check_limits(values: Mapping[str, Any]) -> None:
    """Raises BadConfig for a limit of decoding, by its name, that makes no sense."""
    for name, value in values.items():
        if name not in _RANGES:
            continue
        kind, low, high = _RANGES[name]
        if not (_is(value, kind) and low <= value <= high):
            wanted = "a whole number" if kind == "int" else "a number"
            raise BadConfig(f"{name} is {value!r:.60}; want {wanted} from {low} to {high}")


def save_model(
    model: Model,
    path: str | Path,
    classes: Classes,
    preprocessing: Preprocessing,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Manifest:
    """Write PATH (.safetensors) and its manifest; floats are stored as dtype.

    Both are complete beside their places before either is replaced, the manifest last; whoever is
    killed between the two leaves a manifest that `load_model` finds.
    """
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    data = tensors_to_bytes(tensors)
    manifest = Manifest(
        model.config, classes, preprocessing, training or {}, hashlib.sha256(data).hexdigest()
    )
    document = {"format": _FORMAT, "model": manifest.model_type, **asdict(manifest)}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (json.dumps(document, indent=2) + "\n").encode()
    _write_files({path: data, path.with_suffix(".json"): text})
    return manifest


def _write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files beside their places first, then put each there in one step, in this order."""
    try:
        for path, data in contents.items():
            _write(_part(path), data)
    except BaseException:  # a full disk keeps no half of a file
        for path in contents:
            _part(path).unlink(missing_ok=True)
        raise
    for path in contents:
        _part(path).replace(path)


def _part(path: Path) -> Path:
    """What a file is called until it is complete."""
    return path.with_name(path.name + ".part")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load_model(path: str | Path, sha256: str = "") -> tuple[Model, Manifest]:
    """The model in evaluation mode, in fp32 on the CPU, and its manifest.

    sha256, where given, has to be the file's as well. Raises BadCheckpoint for a file that is
    missing, damaged, of unknown content, or that its own manifest does not fit.
    """
    path = Path(os.path.realpath(path))  # raises nothing for a link to itself
    data = _read(path, "weights", _LARGEST_WEIGHTS)
    digest = hashlib.sha256(data).hexdigest()
    manifest = _manifest_of(path, digest)
    for wanted, origin in ((manifest.sha256, "its manifest"), (sha256, "the caller")):
        if wanted and digest != wanted.lower():
            raise BadCheckpoint(
                f"{path}: SHA-256 is {digest[:16]}..., {origin} says {wanted[:16]}...; "
                "the file is damaged or of another version, copy it again"
            )
    try:
        tensors = tensors_from_bytes(data)
        del data  # as large as the model
        _check_finite(tensors, path)
        with torch.device("meta"):  # a config of nonsense takes no memory there
            build_model(manifest.config).load_state_dict(tensors, assign=True)
        model = build_model(manifest.config)
        model.load_state_dict(tensors)
    except SafetensorError as error:
        raise BadCheckpoint(f"{path}: not a safetensors file ({error})") from error
    except BadCheckpoint:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadCheckpoint(f"{path}: does not fit the config in its manifest: {reason}") from error
    return model.eval(), manifest


def _check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise BadCheckpoint(
            f"{path}: {len(broken)} of {len(tensors)} tensors hold NaN or infinite values, the "
            f"first is {broken[0]}; take another file"
        )


def _manifest_of(path: Path, digest: str) -> Manifest:
    """The manifest beside weights, or the next one, if saving was cut short between the two."""
    beside = path.with_suffix(".json")
    if _part(beside).exists():
        with suppress(BadCheckpoint):
            if (following := _read_manifest(_part(beside))).sha256 == digest:
                return following
    return _read_manifest(beside)


def _read(path: Path, what: str, most: int) -> bytes:
    try:
        with open_file(path, most) as file:
            return file.read()
    except OSError as error:
        raise BadCheckpoint(
            f"{what} not found: looked for {path} ({error.strerror}); "
            "a checkpoint is a .safetensors file with a .json manifest of the same name beside it"
        ) from error


def _read_manifest(path: Path) -> Manifest:
    try:
        document = json.loads(_read(path, "manifest of the weights", _LARGEST_MANIFEST))
        if (found := document["format"]) != _FORMAT:
            if isinstance(found, int) and found > _FORMAT:
                raise BadCheckpoint(
                    f"{path}: written by a newer version of this package, in format {found}; "
                    f"this one reads {_FORMAT}: update it"
                )
            raise ValueError(f"format {found}, this version reads {_FORMAT}")
        _check_layout(document, path)
        manifest = Manifest(
            config=_config(document["model"], document["config"]),
            classes=Classes(**document["classes"]),
            preprocessing=Preprocessing(**document["preprocessing"]),
            training={**document["training"]},
            sha256=document["sha256"],
            self_test=document.get("self_test", {}),
        )
        if not re.fullmatch("[0-9a-fA-F]{64}", manifest.sha256):
            raise ValueError(f"sha256 is {manifest.sha256!r}")
        for name, said in manifest.self_test.items():
            known: Any = said if said and isinstance(said, list) else [said]
            size, *numbers = known
            sane = not isinstance(size, bool) and 0 < size < math.inf
            if not sane or not all(map(math.isfinite, numbers)):
                raise ValueError(f"self_test of {name} is {str(said)[:80]}")
    except BadCheckpoint:
        raise
    except BadConfig as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadCheckpoint(
            f"{path}: not a manifest of this package ({in_words(error)})"
        ) from error
    _check_classes(manifest, path)
    return manifest


def _check_layout(document: Mapping[str, Any], path: Path) -> None:
    """Raises BadCheckpoint for joint networks of before the exchange, which shared no layers."""
    if document["model"] != "joint" or "branch_channels" not in document["config"]:
        return
    made = " ".join(str(document.get("training", {}).get("command", "")).split())[:300]
    raise BadCheckpoint(
        f"{path}: weights of an earlier joint network, whose layers this version does not have "
        f"(CHANGELOG.rst){f', made by `{made}`' if made else ''}; train again with a recipe of "
        "the joint network (docs/training.md), or use them with the version that made them"
    )


def _config(model_type: str, values: Mapping[str, Any]) -> Config:
    check_limits(values)
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    config = _CONFIGS[model_type](**known)  # JSON has lists where configs have tuples
    for one in fields(config):
        value = getattr(config, one.name)
        if not any(_is(value, kind) for kind in str(one.type).split(" | ")):
            raise ValueError(f"{one.name} is {value!r:.80}, none of its values")
    return config


def _is(value: object, kind: str) -> bool:
    """Whether a value of JSON is of the kind that an annotation names; none is not a number."""
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(_is(one, "int") for one in value)
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _KINDS[kind]) and value == value


def _check_classes(manifest: Manifest, path: Path) -> None:
    match manifest.config:
        case JointConfig(num_classes=things, num_semantic=semantic):
            _check_things(manifest.config, path)
            wanted = {"things": things, "semantic": semantic}
        case RDSNetConfig(num_classes=things) | RDSNetSConfig(num_classes=things):
            wanted = {"things": things}
        case SegRPNConfig(num_things=things, num_classes=semantic):
            wanted = {"things": things, "semantic": semantic}
    for name, count in wanted.items():
        if (found := len(getattr(manifest.classes, name))) != count:
            raise BadCheckpoint(f"{path}: names {found} {name} classes, its network has {count}")


def _check_things(config: JointConfig, path: Path) -> None:
    known = range(config.num_semantic)
    if len(config.things) != config.num_classes or not all(k in known for k in config.things):
        raise BadCheckpoint(
            f"{path}: things are {list(config.things)}, expected the class of pixels of each of "
            f"{config.num_classes} things, 0 to {config.num_semantic - 1}"
        )

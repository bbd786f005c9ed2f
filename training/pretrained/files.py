"""Reading a file of weights, whoever wrote it, and telling what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from jointseg_core.checkpoint import BadCheckpoint, load_model
from jointseg_core.files import open_file
from jointseg_core.pickles import load_pickle
from training.pretrained.heads import class_rows
from training.pretrained.released_rdsnet import released_rdsnet
from training.pretrained.source import Source, without_counters
from training.pretrained.torchvision_files import faster_rcnn, resnet, retinanet

KNOWN = (
    "known are torchvision's ResNets, RetinaNets and Faster R-CNNs and the released RDSNets, as "
    "state dicts of torch.save, and checkpoints of this package, .safetensors with their .json"
)

_RDSNET = {"bbox_head.retina_rep.weight", "bbox_head.retina_cls.weight"}
_FASTER_RCNN = {"roi_heads.box_predictor.cls_score.weight", "rpn.head.bbox_pred.bias"}
_RETINANET = {"head.classification_head.cls_logits.weight", "head.regression_head.bbox_reg.bias"}
_FCOS = {"head.regression_head.bbox_ctrness.bias"}
_RESNET = {"conv1.weight", "bn1.running_var", "layer4.0.conv1.weight"}


def read_source(path: Path) -> Source:
    """The weights of a file under our names. Raises BadInput for what cannot be used."""
    if not path.is_file():
        raise BadCheckpoint(f"pretrained weights: looked for the file {path}, found none; {KNOWN}")
    source = _own(path) if path.suffix == ".safetensors" else _foreign(path)
    broken = [name for name, tensor in source.tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise unusable(
            path,
            f"{len(broken)} of {len(source.tensors)} tensors hold NaN or infinite values, the "
            f"first is {source.origins[broken[0]]}; use another file",
        )
    return source


def unusable(path: Path, why: str) -> BadCheckpoint:
    """What to raise for a file that cannot be used."""
    return BadCheckpoint(f"pretrained weights {path}: {why}")


def _own(path: Path) -> Source:
    try:
        model, manifest = load_model(path)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"pretrained weights: {error}") from error
    tensors = without_counters(model.state_dict())
    heads = class_rows(tensors, manifest.classes)
    return Source(
        kind=f"{manifest.model_type} of this package",
        tensors=tensors,
        origins={name: name for name in tensors},
        classes={layer: rows.names for layer, rows in heads.items()},
        config=manifest.config,
    )


def _foreign(path: Path) -> Source:
    try:
        with open_file(path) as file:
            content = load_pickle(file)
    except Exception as error:
        found = str(error) if isinstance(error, ValueError) else type(error).__name__
        why = (
            f"not a file of plain tensors ({found}), it is damaged, of another kind, or holds more "
            f"than torch reads safely; {KNOWN}"
        )
        raise unusable(path, why) from error
    tensors = _state_dict(content)
    if _RDSNET.issubset(tensors):
        return released_rdsnet(tensors, _mmdetection_classes(content))
    if _FASTER_RCNN.issubset(tensors):
        return faster_rcnn(tensors)
    if _RETINANET.issubset(tensors) and _FCOS.isdisjoint(tensors):
        return retinanet(tensors)
    if _RESNET.issubset(tensors):
        return resnet(tensors)
    names = ", ".join(list(tensors)[:3]) or "no tensors"
    raise unusable(path, f"holds {names}, which is of no known kind; {KNOWN}")


def _state_dict(content: Any) -> dict[str, Tensor]:
    """The tensors of a file, also of one that holds an optimiser or a parallel wrapper's names."""
    if not isinstance(content, Mapping):
        return {}
    nested = (content.get(key) for key in ("state_dict", "model"))
    content = next((inner for inner in nested if isinstance(inner, Mapping)), content)
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def _mmdetection_classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names that a checkpoint of mmdetection carries, if it does."""
    meta = content.get("meta")
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None

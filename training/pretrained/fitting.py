"""Loading what fits of a file into a model, and saying what did not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from jointseg_core.checkpoint import Model
from jointseg_core.classes import Classes
from jointseg_core.rdsnet_s import RDSNetSConfig
from training.pretrained.files import read_source, unusable
from training.pretrained.heads import ClassRows, class_rows, match_rows, plain
from training.pretrained.released_rdsnet import RELEASED_REFINEMENT
from training.pretrained.source import Source, without_counters
from training.pretrained.table import LOADED, MISSING, REINITIALISED, UNEXPECTED, Table

READS_FROM = {
    "object_stream.class_logits": ("object_stream.class_tower", "object_stream.shared"),
    "object_stream.box_deltas": ("object_stream.box_tower", "object_stream.shared"),
    "object_stream.filters": ("object_stream.filter_tower", "object_stream.shared"),
    "pixel_stream.output": tuple(
        f"pixel_stream.{m}" for m in ("branches", "merge", "before", "after")
    ),
    "proposal_head.objectness": ("proposal_head.conv",),
    "proposal_head.box_deltas": ("proposal_head.conv",),
    "mask_proposal_head.objectness": ("mask_proposal_head.conv",),
    "mask_proposal_head.box_deltas": ("mask_proposal_head.conv",),
    "segmentation.classes": ("segmentation.semantic", "segmentation.agnostic"),
    "segmentation.background": ("segmentation.agnostic",),
    "region_head.class_logits": ("region_head.hidden",),
    "region_head.box_deltas": ("region_head.hidden",),
    "head.class_logits": ("head.class_tower",),
    "head.regions": ("head.region_tower", "stream"),
    "classes": ("stream",),
    "coarse_classes": ("stream.coarse",),
    "exchange.hidden": ("head.region_tower", "stream"),
    "exchange.change": ("head.region_tower", "stream", "exchange.norm", "exchange.hidden"),
}
"""The hidden layers behind each prediction layer, which means nothing without all of them."""
EXCHANGED = ("head.class_logits", "classes")
"""Class heads of the joint network whose classes the layers of its exchange see or change."""
PYRAMID_NOTE = "pyramids of rdsnet_s enlarge bilinearly and end in ReLUs, others do neither"


def load_pretrained(
    model: Model, classes: Classes, path: str | Path, released_refinement: bool = False
) -> Table:
    """Load what fits of a file into a model, in place, and say what became of every weight.

    classes are the model's; rows of class heads are matched by name. released_refinement also sets
    RDSNet's boundary refinement to the constants of its authors' code. Raises BadInput for a file
    that is missing, damaged, of an unknown kind, or made for another backbone; the model is then as
    it was.
    """
    path = Path(os.path.realpath(path))
    source = _with_levels_of(model, read_source(path))
    if released_refinement:
        source = _with_released_refinement(source)
    state = without_counters(model.state_dict())
    _check_backbone(model, state, source, path)
    table = Table(str(path), source.kind)
    values = _fit(state, source, class_rows(state, classes), table)
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)
    table.notes = (*source.notes, *_config_notes(source, model))
    return table


def _with_levels_of(model: Model, source: Source) -> Source:
    """The pyramid's levels numbered as in the model: both end at C5, one may begin finer."""
    theirs, ours = _levels(source.tensors), _levels(model.state_dict())
    if not theirs or not ours or theirs == ours:
        return source
    shift = ours - theirs

    def moved(name: str) -> str:
        match = re.fullmatch(r"(pyramid\.(?:lateral|output)\.)(\d+)(\..+)", name)
        return f"{match[1]}{int(match[2]) + shift}{match[3]}" if match else name

    tensors = {moved(name): tensor for name, tensor in source.tensors.items()}
    origins = {moved(name): origin for name, origin in source.origins.items()}
    return replace(source, tensors=tensors, origins=origins)


def _levels(names: Iterable[str]) -> int:
    """Of a pyramid; 0 for that of the joint network, which has norms and fits no other."""
    return sum(bool(re.fullmatch(r"pyramid\.lateral\.\d+\.weight", name)) for name in names)


def _with_released_refinement(source: Source) -> Source:
    return replace(
        source,
        tensors={**source.tensors, **RELEASED_REFINEMENT},
        origins={**source.origins, **{name: name for name in RELEASED_REFINEMENT}},
        notes=(*source.notes, "refinement holds the constants of the authors' code"),
    )


def _check_backbone(model: Model, state: Mapping[str, Tensor], source: Source, path: Path) -> None:
    found = _first_difference(state, source.tensors, "backbone")
    if found:
        there, here = (
            list(tensors[found].shape) if found in tensors else "missing"
            for tensors in (source.tensors, state)
        )
        raise unusable(
            path,
            f"the backbone of this {source.kind} is not the model's {model.config.backbone}, "
            f"{found} is {there} in the file and {here} in the model; build the model on the "
            "file's backbone or take another file",
        )


def _first_difference(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], module: str
) -> str | None:
    """The first tensor of a module that only one side has, or with another shape."""
    names = [name for name in dict.fromkeys([*ours, *theirs]) if name.startswith(f"{module}.")]
    same = {n for n in names if n in ours and n in theirs and ours[n].shape == theirs[n].shape}
    return next((name for name in names if name not in same), None)


def _fit(
    state: Mapping[str, Tensor], source: Source, heads: Mapping[str, ClassRows], table: Table
) -> dict[str, Tensor]:
    """The model's new values by name; the table is told what becomes of every tensor."""
    unfit = {
        **_other_shapes(state, source.tensors, heads),
        **_unlike_inputs(state, source.tensors),
        **_other_classes(heads, source),
    }
    values: dict[str, Tensor] = {}
    for name, current in state.items():
        layer, given, count = name.rpartition(".")[0], source.tensors.get(name), current.numel()
        if given is None:
            table.add(name, MISSING, count, "not in the file")
        elif why := next((w for module, w in unfit.items() if name.startswith(f"{module}.")), ""):
            table.add(name, REINITIALISED, count, why)
        elif layer in heads and layer in source.classes:
            names = source.classes[layer]
            values[name] = _by_class(name, current, given, heads[layer], names, table)
        elif current.shape != given.shape:
            table.add(name, REINITIALISED, count, _shapes(given, current))
        else:
            values[name] = given
            table.add(name, LOADED, count)
    theirs = {source.origins[n]: t for n, t in source.tensors.items() if n not in state}
    for name, tensor in {**theirs, **source.unexpected}.items():
        table.add(name, UNEXPECTED, tensor.numel())
    return values


def _other_shapes(
    state: Mapping[str, Tensor], given: Mapping[str, Tensor], heads: Mapping[str, ClassRows]
) -> dict[str, str]:
    """Why not, for layers whose weights differ in shape; class heads may differ in classes."""
    unfit = {}
    for name in state.keys() & given.keys():
        layer, _, part = name.rpartition(".")
        ours, theirs = (tensors[name].shape[layer in heads :] for tensors in (state, given))
        if part == "weight" and ours != theirs:
            unfit[layer] = _shapes(given[name], state[name])
    return unfit


def _unlike_inputs(state: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Why not, for hidden layers that differ from the file's and for those that read them."""
    unfit = {}
    for reader, layers in READS_FROM.items():
        for hidden in layers:
            if found := _first_difference(state, given, hidden):
                why = f"{hidden} is not the file's: {_where(found, state, given)}"
                unfit[hidden] = unfit[reader] = why
    return unfit


def _other_classes(heads: Mapping[str, ClassRows], source: Source) -> dict[str, str]:
    """Why not, for layers of the exchange where the file's has other classes."""
    for head in EXCHANGED:
        ours, theirs = heads.get(head), source.classes.get(head)
        if ours and theirs and list(map(plain, ours.names)) != list(map(plain, theirs)):
            return dict.fromkeys(("exchange.hidden", "exchange.change"), "the classes are others")
    return {}


def _where(name: str, state: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """How a tensor of one side or of both differs."""
    if name in state and name in given:
        return f"{name} has another shape"
    return f"{name} is only {'here' if name in state else 'in the file'}"


def _by_class(
    name: str,
    current: Tensor,
    given: Tensor,
    rows: ClassRows,
    names: tuple[str, ...],
    table: Table,
) -> Tensor:
    """Rows of known classes from the file, the others as they are."""
    matched = match_rows(current, given, rows, names)
    if matched is None:
        why = f"{_shapes(given, current)}, and no rows of {len(names)} known classes"
        table.add(name, REINITIALISED, current.numel(), why)
        return current
    value, absent = matched
    of_class, known = current.numel() // len(rows.names), len(rows.names) - len(absent)
    if known:
        by_name = f"{known} of {len(rows.names)} classes by name"
        table.add(name, LOADED, known * of_class, by_name)
    if absent:
        new = f"not in the file: {', '.join(absent)}"
        table.add(name, REINITIALISED, len(absent) * of_class, new)
    return value


def _shapes(given: Tensor, current: Tensor) -> str:
    return f"{list(given.shape)} in the file, {list(current.shape)} here"


def _config_notes(source: Source, model: Model) -> list[str]:
    """Where the networks differ although names and shapes do not show it."""
    if isinstance(source.config, RDSNetSConfig) != isinstance(model.config, RDSNetSConfig):
        return [PYRAMID_NOTE] if _levels(source.tensors) and _levels(model.state_dict()) else []
    if type(source.config) is not type(model.config):
        return []
    theirs, ours = asdict(source.config), asdict(model.config)
    differing = [f"{n} {theirs[n]} there, {ours[n]} here" for n in ours if theirs[n] != ours[n]]
    return [f"configs differ: {'; '.join(differing)}"] if differing else []

"""The parts of a model that can leave Python: tensors in, tensors out, of sizes known before.

The dense part is `forward` without the anchors, which follow from the input's size. SegRPN's second
part is its region head on features that were pooled already. Everything else stays in torch:
decoding, RoIAlign, the predictions that are computed only where something was found, refinement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jointseg_core.checkpoint import Model
from jointseg_core.joint import JointOutput
from jointseg_core.rdsnet import RDSNetOutput
from jointseg_core.rdsnet_s import RDSNetSOutput
from jointseg_core.regions import RegionHead
from jointseg_core.roi_align import BINS
from jointseg_core.segrpn import SegRPN, SegRPNOutput

Output = RDSNetOutput | RDSNetSOutput | SegRPNOutput | JointOutput
_OUTPUTS: Mapping[str, type[Output]] = {
    "rdsnet": RDSNetOutput,
    "rdsnet_s": RDSNetSOutput,
    "segrpn": SegRPNOutput,
    "joint": JointOutput,
}


class _Dense(nn.Module):
    """Normalised images [B, 3, H, W] in fp32 to the tensors of the model's output in fp32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.dtype = model, next(model.backbone.parameters()).dtype

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(named_tensors(self.model(images.to(self.dtype))).values())


class _Regions(nn.Module):
    """Pooled features [n, bins, C] in fp32 to class logits [n, K + 1] and box deltas [n, K, 4]."""

    def __init__(self, head: RegionHead) -> None:
        super().__init__()
        self.head, self.dtype = head, head.class_logits.weight.dtype

    def forward(self, pooled: Tensor) -> list[Tensor]:
        return list(self.head.classify(pooled.to(self.dtype)))


def parts(
    model: Model, batch: int, input_size: tuple[int, int]
) -> dict[str, tuple[nn.Module, Tensor]]:
    """What is traced of a model that is ready to run, each with an input of zeros.

    `dense`, for images of that size, and of SegRPN `regions`, for any number of these.
    """
    found: dict[str, tuple[nn.Module, Tensor]] = {
        "dense": (_Dense(model).eval(), torch.zeros(batch, 3, *input_size))
    }
    if isinstance(model, SegRPN):
        pooled = torch.zeros(8, BINS * BINS, model.config.channels)
        found["regions"] = _Regions(model.region_head), pooled
    return found


def named_tensors(output: Output) -> dict[str, Tensor]:
    """The tensors of an output in fp32: `pixels`, `box_features.0` and so on, without anchors.

    Those without elements, such as the pixels of a network that makes no masks, are left out.
    """
    named = {}
    for field, value in output._asdict().items():
        if isinstance(value, Tensor):
            named[field] = value
        elif field != "anchors":
            named |= {f"{field}.{i}": tensor for i, tensor in enumerate(value)}
    return {name: tensor.float() for name, tensor in named.items() if tensor.numel()}


def empty_shapes(output: Output) -> dict[str, list[int]]:
    """The shapes of what `named_tensors` leaves out for having no elements."""
    fields = output._asdict().items()
    return {k: list(v.shape) for k, v in fields if isinstance(v, Tensor) and not v.numel()}


def assemble(
    model_type: str,
    anchors: list[Tensor],
    named: Mapping[str, Tensor],
    empty: Mapping[str, list[int]],
) -> Output:
    """The output that `named_tensors` and `empty_shapes` were made from, with its anchors."""
    kind, some = _OUTPUTS[model_type], next(iter(named.values()))
    values: dict[str, Any] = {field: [] for field in kind._fields}
    values |= {name: some.new_zeros(len(some), *shape[1:]) for name, shape in empty.items()}
    for name, tensor in named.items():
        field, _, index = name.partition(".")
        if index:
            values[field].append(tensor)
        else:
            values[field] = tensor
    return kind(**values | {"anchors": anchors})

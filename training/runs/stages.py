"""What one step of training does: the joint stage, and that of all that follows NMS after it.

A stage is called with a batch and gives back its named losses; its state goes into checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jointseg_core import Target
from jointseg_core.checkpoint import Model
from jointseg_core.joint import Joint
from jointseg_core.predictor import PRECISIONS
from jointseg_core.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from jointseg_core.runtime.bf16 import bf16_saves_time
from jointseg_core.segrpn import SegRPN
from training.recipes import Recipe
from training.runs.distributed import Ranks

MIN_SCALE = 1.0
"""Below this factor on fp16 losses, gradients that are not finite are no longer the factor's."""


class Step(NamedTuple):
    """What a step did."""

    losses: dict[str, float]  # of the whole batch, over all processes
    norm: float  # of the gradient, before it was clipped
    lr: float
    done: bool  # False where loss or gradient was not finite and the weights stayed


class TrainingStep(nn.Module):
    """What DistributedDataParallel wraps: images and targets in, named losses out."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor, targets: list[Target], counts: Mapping[str, float] | None
    ) -> dict[str, Tensor]:
        output = self.model(images, *told_of(self.model, targets))
        return self.model.loss(output, targets, counts)


def told_of(model: Model, targets: list[Target]) -> tuple[list[Tensor] | None, ...]:
    """What `forward` takes beside images: SegRPN of Table II is told where objects are."""
    return (model.true_scale_maps(targets),) if isinstance(model, SegRPN) else ()


class Stage:
    """Keeps `parts`, which have a state each, by their names in a checkpoint."""

    parts: Mapping[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another stage was."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


class JointStage(Stage):
    """Everything but the boundary refinement learns (RDSNet 3.2; SegRPN's eight losses).

    A batch may be spread over processes and, by `accumulate`, over steps of each: every loss is
    divided by what the whole batch counts, so that its parts add up to the loss of one batch.
    """

    def __init__(self, model: Model, recipe: Recipe, ranks: Ranks) -> None:
        if ranks.world > 1 and ranks.device.type == "cuda":
            synchronise_norms(model)
        self.model, self.recipe, self.ranks = model, recipe, ranks
        self.optimizer = _optimizer(model, recipe)
        self.dtype = half_precision(recipe.precision, ranks.device)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=self.dtype == torch.float16)
        self.parts = {"optimizer": self.optimizer, "scaler": self.scaler}
        self.step: nn.Module = TrainingStep(model)
        if ranks.world > 1:
            self.step = DistributedDataParallel(self.step)

    def __call__(self, images: Tensor, targets: list[Target], rate: float) -> Step:
        """One step on this process's share of a batch, uint8 [B, 3, H, W], at rate times lr."""
        ranks, parts = self.ranks, self.recipe.accumulate
        counts = whole_counts(self.model, targets, tuple(images.shape[-2:]), ranks, parts)
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        size = math.ceil(len(images) / parts)
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            inputs = network_input(images[part], ranks.device)
            # gradients travel between processes once, with the last part
            alone = ranks.world == 1 or part.stop >= len(images)
            with nullcontext() if alone else self.step.no_sync():
                with autocast(ranks.device, self.dtype):
                    losses = self.step(inputs, targets[part], counts)
                # processes' gradients are averaged where the parts of a loss add up
                self.scaler.scale(sum(losses.values()) * ranks.world).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach()
        return self._update(sums, self.recipe.lr * rate)

    def _update(self, sums: Mapping[str, Tensor], lr: float) -> Step:
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip))
        values = self.ranks.sum(torch.stack(list(sums.values())).tolist())
        scaled = self.scaler.is_enabled() and self.scaler.get_scale() > MIN_SCALE
        done = math.isfinite(sum(values)) and (math.isfinite(norm) or scaled)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["rate"]
        if done:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        return Step(dict(zip(sums, values, strict=True)), norm, lr, done)


class RefinementStage(Stage):
    """What follows NMS learns on what NMS leaves, all else stays.

    That is the boundary refinement (RDSNet 3.3) and, of the joint network, its exchange.

    model   the trained network, in evaluation mode and without gradients
    """

    def __init__(self, model: Model, recipe: Recipe, ranks: Ranks) -> None:
        self.model, self.recipe, self.ranks = model, recipe, ranks
        self.dtype = half_precision(recipe.precision, ranks.device)
        refinement = model.refinement.requires_grad_(True).parameters()
        self.optimizer = torch.optim.SGD(refinement, recipe.refinement_lr, momentum=0.9)
        self.parts = {"optimizer": self.optimizer}
        if isinstance(model, Joint):
            exchange = model.exchange.requires_grad_(True).parameters()
            self.parts["exchange"] = torch.optim.AdamW(exchange, recipe.exchange_lr)

    def __call__(self, images: Tensor, targets: list[Target], left: float = 1.0) -> Step:
        """One step on this process's share of a batch, uint8 [B, 3, H, W].

        left   share of the stage that is still to come, by which the exchange's rate falls
        """
        device = self.ranks.device
        with torch.no_grad(), autocast(device, self.dtype):
            output = self.model(network_input(images, device))
        output = torch.utils._pytree.tree_map(Tensor.float, output)
        counts = whole_counts(self.model, targets, tuple(images.shape[-2:]), self.ranks)
        losses = {"refinement": self.model.refinement_loss(output, targets, counts)}
        if isinstance(self.model, Joint):
            losses |= self.model.exchange_losses(output, targets, counts)
            for group in self.parts["exchange"].param_groups:
                group["lr"] = self.recipe.exchange_lr * left
        for optimizer in self.parts.values():
            optimizer.zero_grad()
        sum(losses.values()).backward()
        return self._update(losses)

    def _update(self, losses: Mapping[str, Tensor]) -> Step:
        weights = [w for o in self.parts.values() for g in o.param_groups for w in g["params"]]
        for weight in weights:
            weight.grad = self._summed(weight.grad)
        norm = math.hypot(*(float(weight.grad.norm()) for weight in weights))
        values = self.ranks.sum([float(loss.detach()) for loss in losses.values()])
        if done := math.isfinite(norm) and math.isfinite(sum(values)):
            for optimizer in self.parts.values():
                optimizer.step()
        named = dict(zip(losses, values, strict=True))
        return Step(named, norm, self.optimizer.param_groups[0]["lr"], done)

    def _summed(self, gradient: Tensor) -> Tensor:
        """Over all processes."""
        if self.ranks.world == 1:
            return gradient
        total = self.ranks.sum(gradient.flatten().tolist())
        return gradient.new_tensor(total).view_as(gradient)


def whole_counts(
    model: Model,
    targets: list[Target],
    input_size: tuple[int, int],
    ranks: Ranks,
    parts: int = 1,
) -> dict[str, float] | None:
    """What the losses of a batch in several parts are divided by; None where it is in one.

    targets are this process's share, `parts` how many parts the process makes of it.
    """
    if ranks.world * parts == 1:
        return None
    counts = model.counts(targets, input_size)
    return dict(zip(counts, ranks.sum(list(counts.values())), strict=True))


def network_input(images: Tensor, device: torch.device) -> Tensor:
    """uint8 pixels [B, 3, H, W] as network input, normalised as ImageNet's."""
    mean, std = (
        torch.tensor(v, device=device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return ((images.to(device) - mean) / std).contiguous(memory_format=torch.channels_last)


def half_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format for convolutions; "auto" is bf16 where that saves time."""
    if name != "auto":
        return PRECISIONS[name]
    fast = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else bf16_saves_time()
    )
    return torch.bfloat16 if fast else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Convolutions in a half precision; nothing for fp32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def freeze_norms(model: nn.Module) -> None:
    """Batch norms keep their statistics from now on, so that they fold into convolutions."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()


def synchronise_norms(model: nn.Module) -> None:
    """Batch norms that learn statistics see all processes together; those of a backbone may not."""
    for name, part in model.named_children():
        if name != "backbone" or model.config.norm == "trainable":
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(part))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weights decay, norms and biases only if the recipe says so; a backbone has its own rate."""
    gentle = recipe.weight_decay if recipe.decay_norms else 0.0
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in trained if (p.ndim > 1, id(p) in inside) == (matrix, backbone)],
            "weight_decay": recipe.weight_decay if matrix else gentle,
            "rate": recipe.backbone_rate if backbone else 1.0,
        }
        for backbone in (False, True)
        for matrix in (True, False)
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr)
    return torch.optim.SGD(groups, recipe.lr, momentum=recipe.momentum)

"""Train a model on rendered synthetic scenes: `python -m training.train rdsnet SCENES --out FILE`.

One visible loop, on the GPU if there is one. RDSNet's boundary refinement trains afterwards, its
ten parameters alone, with everything else fixed (RDSNet 3.3).
"""

from __future__ import annotations

import argparse
import copy
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model
from jointseg_core.checkpoint import Model, load_model
from training.dataset import RenderedScenes, collate


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("rdsnet", "segrpn"))
    parser.add_argument("scenes", type=Path, help="a folder that training.dataset rendered")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--init", type=Path, help="weights to start from")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop-after", type=int, help="leave the schedule at this step")
    parser.add_argument("--refinement-steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--max-gradient", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--note", default="", help="kept in the manifest")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = RenderedScenes(options.scenes, augment=True)
    preprocessing = Preprocessing(tuple(data.planes["image"].shape[1:3]))
    earlier: Mapping = {}
    if options.init:
        model, manifest = load_model(options.init)
        earlier = manifest.training
    else:
        model = build_model(preset(options.model, options.preset))
    model = model.to(device, memory_format=torch.channels_last).train()
    batches = endless(
        DataLoader(
            data,
            options.batch,
            shuffle=True,
            drop_last=True,
            collate_fn=collate,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            generator=torch.Generator().manual_seed(options.seed),
        )
    )

    def save(model: Model, step: int) -> None:
        facts = {
            "data": f"{len(data)} synthetic driving scenes, {preprocessing.input_size} pixels",
            "command": shlex.join(["python", "-m", "training.train", *sys.argv[1:]]),
            "steps": step,
            "note": options.note,
            **({"started_from": earlier} if earlier else {}),
        }
        save_model(model, options.out, CITYSCAPES, preprocessing, facts, torch.float16)

    average = train(model, batches, preprocessing, options, device, save)
    if options.model == "rdsnet" and options.refinement_steps:
        train_refinement(average, batches, preprocessing, options.refinement_steps, device)
    save(average, options.stop_after or options.steps)


def train(model, batches, preprocessing, options, device, save) -> Model:
    """The loop; returns the exponential moving average of the model."""
    optimizer = torch.optim.AdamW(groups(model, options.weight_decay), lr=options.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: rate(n, options.steps))
    average = copy.deepcopy(model)
    dtype = half_precision(device)
    started, seen = time.monotonic(), {}
    for step in range(options.stop_after or options.steps):
        if step == int(options.steps * 0.9):
            freeze_norms(model)
        images, targets = next(batches)
        inputs = prepare(images, preprocessing, device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            losses = model.loss(model(inputs), [t.to(device) for t in targets])
        total = sum(losses.values())
        if not torch.isfinite(total):
            raise FloatingPointError(f"step {step}: loss is not finite: {losses}")
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.max_gradient)
        optimizer.step()
        schedule.step()
        update_average(average, model, min(0.998, (step + 1) / (step + 10)))
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        seen = {name: 0.98 * seen.get(name, v) + 0.02 * v for name, v in values.items()}
        if (step + 1) % 50 == 0:
            spent = (time.monotonic() - started) / (step + 1)
            text = " ".join(f"{name} {value:.3f}" for name, value in seen.items())
            print(f"{step + 1}/{options.steps} {spent:.2f} s/step {text}", flush=True)
        if (step + 1) % options.save_every == 0:
            save(average, step + 1)
    return average


def train_refinement(model, batches, preprocessing, steps: int, device) -> None:
    """RDSNet's second stage: the boundary refinement alone, everything else fixed."""
    model.eval().requires_grad_(False)
    model.refinement.requires_grad_(True)
    optimizer = torch.optim.Adam(model.refinement.parameters(), lr=1e-2)
    for step in range(steps):
        images, targets = next(batches)
        with torch.no_grad():
            output = model(prepare(images, preprocessing, device))
        loss = model.refinement_loss(output, [t.to(device) for t in targets])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"refinement {step + 1}/{steps} {float(loss):.3f}", flush=True)


def endless(loader: DataLoader) -> Iterator:
    """The loader's batches, over and over, shuffled anew each time."""
    while True:
        yield from loader


def prepare(images: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """uint8 images [B, 3, H, W] as network input."""
    inputs = preprocessing.normalize(images.to(device))
    return inputs.contiguous(memory_format=torch.channels_last)


def groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weights decay, norms and biases do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def rate(step: int, steps: int, warm_up: int = 200) -> float:
    """Learning rate factor: linear warm-up, then half a cosine down to 1 %."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2


def half_precision(device: torch.device) -> torch.dtype:
    """bf16 where the processor computes in it, else fp32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def freeze_norms(model: nn.Module) -> None:
    """Batch norms keep their statistics from now on, so that they fold into convolutions."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's tensors towards the model's; counters are copied."""
    for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, 1 - decay)
        else:
            a.copy_(b)


if __name__ == "__main__":
    main()

"""Whether a model that was loaded computes what it should, on a fixed picture, before it is used.

    python -m jointseg_core.model_check W.safetensors    # notes in the manifest what it computes

The SHA-256 says that a file is whole; this says that the machine, the backend and the number format
make of it what they should. Always tested: every tensor of the network's output is finite, they are
not the same for a black picture, as those of weights of zeros are, and what the network shows are
boxes, scores, labels and maps of the picture. Where the manifest says of each tensor in fp32 on a
CPU how large it is (root of the mean square) and some of its numbers, it has to be that large here,
and in fp32 and fp16 the numbers have to be those. Weights of a training run and of an export say.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jointseg_core.command import run_program
from jointseg_core.errors import BadCheckpoint, SegError, in_words
from jointseg_core.export.graphs import named_tensors
from jointseg_core.export.limits import LIMITS
from jointseg_core.files import completed
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.roi_align import BINS
from jointseg_core.segrpn import SegRPN

_SAMPLES, _REGIONS = 64, 8
_APART = {"fp32": 0.01, "fp16": 0.05}
"""How far the numbers of a tensor may be from what is said, root of the mean square of its size."""


def _fixed_picture(input_size: tuple[int, int]) -> np.ndarray:
    """Gradients under a chequered pattern, uint8 RGB [H, W, 3]: integers alone, no library."""
    rows, columns = np.indices(input_size)
    tiles = 64 * ((rows // 16 + columns // 24) % 2)
    return np.stack([rows * 5 + tiles, columns * 3, (rows + columns) * 2], -1).astype(np.uint8)


def _numbers(predictor: Predictor) -> dict[str, list[float]]:
    """What a manifest says of the network's output for the picture, see `_numbers_of`."""
    return _numbers_of(_computed(predictor, _fixed_picture(predictor.input_size)))


def _numbers_of(tensors: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Of every tensor the root of its mean square, and then some of its numbers, evenly spread."""
    return {
        name: [float(tensor.square().mean().sqrt()), *_spread(tensor.flatten())]
        for name, tensor in tensors.items()
    }


def _spread(values: Tensor) -> list[float]:
    places = np.linspace(0, len(values) - 1, _SAMPLES).astype(int)
    return [round(value, 7) for value in values[torch.from_numpy(places)].tolist()]


@torch.no_grad()
def _computed(predictor: Predictor, picture: np.ndarray) -> dict[str, Tensor]:
    """A copy of every tensor of the network's output: what computes it may use the memory again.

    SegRPN's region head, which is a graph of its own in an export, is given a picture of its own.
    """
    named = {name: t.clone() for name, t in named_tensors(predictor.raw([picture])).items()}
    if isinstance(model := predictor.model, SegRPN):
        shape = _REGIONS, BINS * BINS, model.config.channels
        pooled = torch.linspace(-1, 1, math.prod(shape), device=predictor.device).reshape(shape)
        head = model.region_head.class_logits.weight
        parts = model.region_head.classify(pooled.to(head.dtype))
        named |= {f"regions.{i}": part.float().clone() for i, part in enumerate(parts)}
    return named


def check_model(predictor: Predictor) -> None:
    """Raises BadCheckpoint with the first thing that is wrong with what the model computes."""
    try:
        reason = next(_problems(predictor), None)
    except (SegError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a runtime raises what it likes
        if predictor.backend == "torch":
            raise
        reason = f"it cannot be run ({in_words(error)})"
    if reason:
        raise BadCheckpoint(
            f"{predictor.weights}: failed its self-test on {predictor.device} by "
            f"{predictor.backend} in {predictor.precision}: {reason}; use other weights, "
            "or another device, backend or precision"
        )


def _problems(predictor: Predictor) -> Iterator[str]:
    picture = _fixed_picture(predictor.input_size)
    tensors, black = (_computed(predictor, one) for one in (picture, np.zeros_like(picture)))
    found = _numbers_of(tensors)
    for name, (size, *_) in found.items():
        if not np.isfinite(size):
            yield f"{name} holds values that are not finite"
    for name, said in predictor.manifest.self_test.items():
        yield from _differences(name, found.get(name, [0.0]), said, predictor.precision)
    if all(torch.equal(tensor, black[name]) for name, tensor in tensors.items()):
        yield "it computes the same for every picture"
    (seen,) = predictor([picture])
    yield from _implausible(seen, predictor)


def _differences(
    name: str, found: Sequence[float], said: float | Sequence[float], precision: str
) -> Iterator[str]:
    """What is computed, against what a manifest says, which may be the size alone."""
    size, *numbers = [said] if isinstance(said, int | float) else said
    error, allowed = abs(found[0] / size - 1), LIMITS[precision].error
    if not error <= allowed:
        yield f"{name} is off by {error:.2g} of its size, allowed are {allowed:g}"
    elif precision in _APART and len(numbers) == len(found) - 1:
        apart = float(np.sqrt(np.mean(np.square(np.subtract(found[1:], numbers))))) / size
        if not apart <= _APART[precision]:
            text = f"{name} has other numbers, apart by {apart:.2g} of its size"
            yield f"{text}, allowed are {_APART[precision]:g}"


def _implausible(seen: Predictions, predictor: Predictor) -> Iterator[str]:
    height, width = predictor.input_size
    things, semantic = predictor.classes.things, predictor.classes.semantic
    if tuple(seen.image_size) != (height, width):
        yield f"the picture has {height} x {width} pixels, its results {seen.image_size}"
    if not torch.isfinite(seen.boxes).all():
        yield "a box is not finite"
    if not ((seen.scores >= 0) & (seen.scores <= 1)).all():
        yield "a score is not within 0 and 1"
    if len(seen) and not 0 <= int(seen.labels.min()) <= int(seen.labels.max()) < len(things):
        yield f"a label is none of the {len(things)} things"
    if seen.semantic is not None:
        classes = seen.semantic[seen.semantic != 255]
        if tuple(seen.semantic.shape) != (height, width):
            yield f"the map of classes is {tuple(seen.semantic.shape)}"
        elif len(classes) and int(classes.max()) >= len(semantic):
            yield f"a pixel is of none of the {len(semantic)} classes"


def sign(path: Path) -> dict[str, list[float]]:
    """Write to the manifest what the weights compute in fp32 on this CPU, and return it.

    What is nothing but zeros is not said.
    """
    predictor = Predictor.from_file(path, device="cpu", precision="fp32", backend="torch")
    manifest = path.with_suffix(".json")
    found = {name: said for name, said in _numbers(predictor).items() if 0 < said[0] < math.inf}
    document = json.loads(manifest.read_text()) | {"self_test": {}}
    text = json.dumps(document, indent=2).removesuffix("{}\n}")  # with a line for each tensor
    lines = [f"    {json.dumps(name)}: {json.dumps(said)}" for name, said in found.items()]
    with completed(manifest) as file:
        file.write((text + "{\n" + ",\n".join(lines) + "\n  }\n}\n").encode())
    return found


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="jointseg_core.model_check", description="Note in a manifest what its weights compute."
    )
    parser.add_argument("weights", type=Path, help="a .safetensors file with its .json beside it")
    for name, (size, *_) in sign(parser.parse_args().weights).items():
        print(f"{size:12.6g}  {name}")


if __name__ == "__main__":
    run_program(_main)

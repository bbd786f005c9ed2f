"""Whether a model that was loaded computes what it should, on a fixed picture, before it is used.

    python -m jointseg_core.model_check W.safetensors    # notes in the manifest what it computes

The SHA-256 says that a file is whole; this says that the machine, the backend and the number format
make of it what they should. Always tested: every tensor of the network's output is finite, they are
not the same for a black picture, as those of weights of zeros are, and what the network shows are
boxes, scores, labels and maps of the picture. Where the manifest says how large (root
of the mean square) each tensor is in fp32 on a CPU, it has to be that large here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jointseg_core.command import run_program
from jointseg_core.errors import BadCheckpoint
from jointseg_core.export.graphs import named_tensors
from jointseg_core.export.limits import LIMITS
from jointseg_core.files import completed
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor


def _fixed_picture(input_size: tuple[int, int]) -> np.ndarray:
    """Gradients under a chequered pattern, uint8 RGB [H, W, 3]: integers alone, no library."""
    rows, columns = np.indices(input_size)
    tiles = 64 * ((rows // 16 + columns // 24) % 2)
    return np.stack([rows * 5 + tiles, columns * 3, (rows + columns) * 2], -1).astype(np.uint8)


def _sizes(predictor: Predictor) -> dict[str, float]:
    """The root of the mean square of every tensor of the network's output for the picture."""
    return _sizes_of(_computed(predictor, _fixed_picture(predictor.input_size)))


def _sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(tensor.square().mean().sqrt()) for name, tensor in tensors.items()}


def _computed(predictor: Predictor, picture: np.ndarray) -> dict[str, Tensor]:
    """A copy of every tensor of the network's output: what computes it may use the memory again."""
    return {name: t.clone() for name, t in named_tensors(predictor.raw([picture])).items()}


def check_model(predictor: Predictor) -> None:
    """Raises BadCheckpoint with the first thing that is wrong with what the model computes."""
    reason = next(_problems(predictor), None)
    if reason:
        raise BadCheckpoint(
            f"{predictor.weights}: failed its self-test on {predictor.device} by "
            f"{predictor.backend} in {predictor.precision}: {reason}; use other weights, "
            "or another device, backend or precision"
        )


def _problems(predictor: Predictor) -> Iterator[str]:
    picture = _fixed_picture(predictor.input_size)
    tensors, black = (_computed(predictor, one) for one in (picture, np.zeros_like(picture)))
    found = _sizes_of(tensors)
    for name, size in found.items():
        if not np.isfinite(size):
            yield f"{name} holds values that are not finite"
    for name, size in predictor.manifest.self_test.items():
        error, allowed = abs(found.get(name, 0.0) / size - 1), LIMITS[predictor.precision].error
        if not error <= allowed:
            yield f"{name} is off by {error:.2g} of its size, allowed are {allowed:g}"
    if all(torch.equal(tensor, black[name]) for name, tensor in tensors.items()):
        yield "it computes the same for every picture"
    (seen,) = predictor([picture])
    yield from _implausible(seen, predictor)


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


def _sign(path: Path) -> dict[str, float]:
    """Write to the manifest what the weights compute in fp32 on this CPU, and return it."""
    predictor = Predictor.from_file(path, device="cpu", precision="fp32", backend="torch")
    manifest = path.with_suffix(".json")
    found = _sizes(predictor)
    document = json.loads(manifest.read_text()) | {"self_test": found}
    with completed(manifest) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    return found


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="jointseg_core.model_check", description="Note in a manifest what its weights compute."
    )
    parser.add_argument("weights", type=Path, help="a .safetensors file with its .json beside it")
    for name, size in _sign(parser.parse_args().weights).items():
        print(f"{size:12.6g}  {name}")


if __name__ == "__main__":
    run_program(_main)

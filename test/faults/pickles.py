"""F. Files of torch.save that others trained, and such that want more than they are."""

from __future__ import annotations

import argparse
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision

from faults.contract import Case
from jointseg_core import build_model, preset
from jointseg_core.errors import BadCheckpoint
from training.pretrained.files import read_source

BLOCK = bytes(1 << 20)
NAMES = "conv1.weight", "bn1.running_var", "layer4.0.conv1.weight"


def trained_by_torchvision(path: Path, model: torch.nn.Module, **options: Any) -> None:
    """With all that its training keeps: an optimiser and the command line as a namespace."""
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    given = argparse.Namespace(lr=0.02, output_dir=str(path.parent), amp=False)
    states = {"model": model.state_dict(), "optimizer": optimiser.state_dict(), "args": given}
    torch.save(states, path, **options)


def _resnet(path: Path, **options: Any) -> None:
    trained_by_torchvision(path, torchvision.models.resnet18(num_classes=2), **options)


def _resnet_of_old(path: Path) -> None:
    _resnet(path, _use_new_zipfile_serialization=False)


def _linear(side: int) -> Callable[[Path], None]:
    return lambda path: trained_by_torchvision(path, torch.nn.Linear(side, side))


def _rewritten(path: Path, name: str, megabytes: int, kind: int = zipfile.ZIP_DEFLATED) -> None:
    """A sound file whose entry of that name is zeros of so many megabytes, compressed."""
    made = io.BytesIO()
    torch.save(dict.fromkeys(NAMES, torch.zeros(4)), made)
    with zipfile.ZipFile(made) as sound, zipfile.ZipFile(path, "w", kind, True, 1) as out:
        for entry in sound.namelist():
            if entry.endswith(name):
                with out.open(entry, "w") as file:
                    for _ in range(megabytes):
                        file.write(BLOCK)
            else:
                out.writestr(entry, sound.read(entry))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as out:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data := pickle.dumps(1))
            out.addfile(entry, io.BytesIO(data))


def _itself() -> dict:
    content: dict[str, Any] = dict.fromkeys(NAMES, torch.zeros(1).expand(1 << 33))
    content["all"] = content
    return content


def _saved(content: object, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def _sparse() -> torch.Tensor:
    return torch.sparse_coo_tensor([[0]], [1.0], (1 << 33,), check_invariants=True)


def _wide(*shape: int) -> dict[str, torch.Tensor]:
    return dict.fromkeys(NAMES, torch.zeros(1).expand(*shape))


def read(name: str, write: Callable[[Path], object], *words: str, **limits: Any) -> Case:
    """As `--init`."""
    return _case(name, write, read_source, ("pretrained weights", *words), limits)


def backbone(name: str, write: Callable[[Path], object], **limits: Any) -> Case:
    """As `--backbone`."""

    def build(path: Path) -> None:
        build_model(preset("rdsnet", "tiny"), path)

    return _case(f"{name} as a backbone", write, build, ("backbone weights",), limits)


def _case(
    name: str, write: Callable, run: Callable, words: tuple[str, ...], limits: dict[str, Any]
) -> Case:
    def made(folder: Path) -> tuple[Path]:
        write(folder / "a.pth")
        return (folder / "a.pth",)

    given = {"error": BadCheckpoint, "words": words, "megabytes": 50} | limits
    return Case("checkpoints", name, made, run, **given)


def _understood(path: Path) -> None:
    assert read_source(path).kind == "ResNet of torchvision"


def understood(name: str, write: Callable[[Path], object]) -> Case:
    limits = {"error": None, "megabytes": 250}
    return _case(name, write, _understood, (), limits)


LARGE = {  # what they are, and what writes them
    "a compressed tensor of 64 MB": lambda p: _rewritten(p, "/data/0", 64),
    "a compressed pickle of 64 MB": lambda p: _rewritten(p, "data.pkl", 64),
    "a pickle packed by bzip2": lambda p: _rewritten(p, "data.pkl", 64, zipfile.ZIP_BZIP2),
    "one number as a tensor of 32 GB": _saved(_wide(1 << 33)),
    "one number as a tensor of 2 GB": _saved(_wide(1 << 29)),
    "one number as a picture of 1 TB": _saved(_wide(1 << 19, 1 << 19)),
    "one number, by an old torch, of 32 GB": _saved(
        _wide(1 << 33), _use_new_zipfile_serialization=False
    ),
    "a wide tensor in lists": _saved({"model": [[_wide(1 << 33)]]}),
    "a wide tensor in a namespace": _saved({"args": argparse.Namespace(**_wide(1 << 33))}),
    "a wide tensor in what holds itself": _saved(_itself()),
    "a sparse tensor of 32 GB": lambda p: _saved(dict.fromkeys(NAMES, _sparse()))(p),
}
CASES = [
    *(read(name, write, "more than") for name, write in LARGE.items()),
    *(backbone(name, write) for name, write in LARGE.items()),
    read("a tar file of torch", _tar),
    backbone("a tar file of torch", _tar),
    read("a namespace with a path in it", lambda p: torch.save(argparse.Namespace(p=p), p)),
    read("a training of another network", _linear(9), "no known kind"),
    read("a training of another network, 80 MB", _linear(4500), "no known kind", megabytes=250),
    backbone("a training of another network", _linear(9)),
    understood("a training of torchvision with its namespace", _resnet),
    understood("the same of an old torch", _resnet_of_old),
]

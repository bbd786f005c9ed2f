"""Decoded pictures and annotations on disk, mapped into memory by all who load them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jointseg_core import Target
from jointseg_core.errors import BadDataset, ResourceError
from jointseg_core.files import open_file
from jointseg_eval.datasets.masks import pack, unpack
from jointseg_eval.datasets.sample import Changed, Sample, Samples

FORMAT = 2
MARGIN = 1.1  # what masks and boxes need beside pixels, about


class DecodedCache(Changed):
    """A data set that is decoded once: later visits read a file of `folder` as it is.

    A picture is written when it is first asked for, by whichever process that is; a file is whole
    or absent. The pages are shared by all workers, and the system drops them when memory is short.

    Raises BadInput for a folder of another data set, ResourceError for a disk without room.
    """

    def __init__(self, samples: Samples, folder: Path) -> None:
        super().__init__(samples)
        self.folder = folder
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._claim()
            self._make_sure_of_room()

    def __getitem__(self, index: int) -> Sample:
        path = self._path(index)
        try:
            return _read(path)
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
            sample = self.samples[index]  # not yet there, or damaged
        with _disk(self.folder), _replacing(path) as temporary:
            _write(sample, temporary)
        return sample

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:07d}.safetensors"

    def _claim(self) -> None:
        """Write down whose folder this is, or make sure that it is ours; one process at a time."""
        key = self.folder / "cache.json"
        others = [entry.name for entry in self.folder.iterdir() if entry.name[0] != "."]
        if others and not key.exists():
            raise BadDataset(
                f"{self.folder} is to be a cache, but holds {', '.join(sorted(others)[:5])};"
                " name an empty or a new folder."
            )
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system that has no locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            self._claim_alone(key)
        finally:
            os.close(folder)

    def _claim_alone(self, key: Path) -> None:
        asked = {"format": FORMAT, "pictures": len(self), "identity": self.samples.identity()}
        if not key.exists():
            _describe(key, asked | {"name": self.name})
        if (found := _description(key)) is None:
            print(f"warning: {key} is damaged; the cache is made anew", file=sys.stderr)
            for path in self.folder.glob("[0-9]" * 7 + ".safetensors"):
                path.unlink(missing_ok=True)  # of whatever data set
            _describe(key, found := asked | {"name": self.name})
        if isinstance(version := found.get("format"), int) and version > FORMAT:
            raise BadDataset(
                f"{self.folder} holds a cache of a newer version of this package; name another"
                " folder."
            )
        if any(found.get(name) != value for name, value in asked.items()):
            raise BadDataset(
                f"{self.folder} holds the cache of another data set, {found.get('name')}, wanted"
                f" {self.name} (or its files have changed); name another folder or remove this one."
            )

    def _make_sure_of_room(self) -> None:
        """Say how much is to be written, and refuse what does not fit on the disk."""
        with os.scandir(self.folder) as entries:
            files = {entry.name: entry.stat().st_size for entry in entries}
        missing = [index for index in range(len(self)) if self._path(index).name not in files]
        if not missing:
            return
        sizes = np.array([self.image_size(index) for index in missing], np.int64)
        needed = int(sizes.prod(1).sum() * (4 if self.classes.semantic else 3) * MARGIN)
        free = shutil.disk_usage(self.folder).free
        told = f"{_megabytes(needed)} for {len(missing)} pictures of {self.name}"
        if needed > free:
            raise ResourceError(
                f"the cache needs {told}, but {self.folder} has {_megabytes(free)} free; name a"
                " folder on another disk, or go without a cache."
            )
        print(f"cache in {self.folder}: {told}, {_megabytes(free)} are free", flush=True)


def _describe(key: Path, facts: dict[str, Any]) -> None:
    with _replacing(key) as temporary:
        temporary.write_text(json.dumps(facts))


def _description(key: Path) -> dict[str, Any] | None:
    """What a cache.json says; None where it is damaged."""
    try:
        with open_file(key, 1 << 16) as file:
            found = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _write(sample: Sample, path: Path) -> None:
    """One sample as a file: its arrays as they are, masks as bits."""
    target = sample.target
    windows, bits = pack(target.masks)
    arrays = {
        "image": torch.from_numpy(np.ascontiguousarray(sample.image)),
        "boxes": target.boxes,
        "labels": target.labels,
        "crowd": target.crowd,
        "windows": torch.from_numpy(windows),
        "bits": torch.from_numpy(bits),
    }
    if target.semantic is not None:
        arrays["semantic"] = target.semantic.byte()
    if sample.areas is not None:
        arrays["areas"] = sample.areas
    if sample.void is not None:
        arrays["void"] = torch.from_numpy(np.packbits(sample.void))
    facts = {"name": sample.name, "image_id": str(sample.image_id)}
    save_file({name: array.contiguous() for name, array in arrays.items()}, path, facts)


def _read(path: Path) -> Sample:
    """The sample that `_write` was given; its picture stays on disk until it is looked at."""
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        names = file.keys()
        arrays: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    semantic = arrays.get("semantic")
    image = arrays["image"].numpy()
    target = Target(
        boxes=arrays["boxes"],
        labels=arrays["labels"],
        masks=unpack(arrays["windows"].numpy(), arrays["bits"].numpy(), image.shape[:2]),
        semantic=None if semantic is None else semantic.long(),
        crowd=arrays["crowd"],
    )
    void = arrays.get("void")
    if void is not None:
        bits = np.unpackbits(void.numpy(), count=image.shape[0] * image.shape[1])
        void = bits.reshape(image.shape[:2]).view(bool)
    return Sample(facts["name"], int(facts["image_id"]), image, target, arrays.get("areas"), void)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` that becomes it in one step, if all goes well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Raises ResourceError where the disk is full or cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ResourceError(
            f"the cache in {folder} cannot be written ({error}); name a folder with room for it."
        ) from error

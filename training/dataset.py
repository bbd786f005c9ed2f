"""Synthetic scenes as a training set: rendered once to disk, augmented anew at every visit."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from jointseg_core.classes import UNLABELLED
from jointseg_core.targets import Target
from training.scenes import render_scene

PLANES = {"image": (np.uint8, 3), "instances": (np.uint16, 1), "semantic": (np.uint8, 1)}
CHUNK = 50


def _render_chunk(folder: Path, seed: int, start: int, stop: int, size: tuple[int, int]) -> list:
    """Render scenes start..stop into a folder's arrays; labels and crowd flags of objects."""
    planes = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in PLANES}
    objects = []
    for index in range(start, stop):
        scene = render_scene(seed, index, size)
        for name, plane in planes.items():
            plane[index] = getattr(scene, name)
        objects.append([(o.label, bool(o.crowd)) for o in scene.objects])
    return objects


def render_scenes(
    folder: Path, seed: int, count: int, size: tuple[int, int], workers: int = 2
) -> Path:
    """Render `count` scenes into arrays of one folder; nothing to do where that was done before.

    Raises ValueError for a folder that holds other scenes.
    """
    asked = {"seed": seed, "count": count, "size": list(size)}
    if (folder / "objects.json").exists():
        if (found := json.loads((folder / "scenes.json").read_text())) != asked:
            raise ValueError(f"{folder} holds {found}, wanted {asked}; name another folder")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, (dtype, channels) in PLANES.items():
        shape = (count, *size, channels)[: 4 if channels > 1 else 3]
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape).flush()
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_render_chunk, folder, seed, start, min(start + CHUNK, count), size)
            for start in starts
        ]
        chunks = [job.result() for job in track(jobs, "rendering scenes")]
    (folder / "scenes.json").write_text(json.dumps(asked))
    (folder / "objects.json").write_text(
        json.dumps([objects for chunk in chunks for objects in chunk])
    )
    return folder


class RenderedScenes(Dataset):
    """Images and annotations of a folder that `render_scenes` wrote.

    augment    mirror, zoom in by up to 1.6 and change the colours, differently at every visit
    min_pixels objects that show fewer become unlabelled pixels
    """

    def __init__(self, folder: Path, augment: bool, min_pixels: int = 16) -> None:
        self.planes = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in PLANES}
        self.objects = json.loads((folder / "objects.json").read_text())
        self.min_pixels = min_pixels
        size = self.planes["image"].shape[1:3]
        zoom = v2.RandomResizedCrop(size, scale=(0.4, 1.0), ratio=(1.8, 2.2), antialias=False)
        colors = v2.ColorJitter(0.25, 0.25, 0.25)
        steps = [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([zoom], 0.5),
            v2.RandomApply([colors], 0.3),
        ]
        self.augmentation = v2.Compose(steps) if augment else v2.Identity()

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """uint8 image [3, H, W] and its annotation."""
        image, instances, semantic = (np.array(plane[index]) for plane in self.planes.values())
        labels = np.stack([instances.astype(np.int32), semantic.astype(np.int32)])
        pixels, maps = self.augmentation(
            tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
            tv_tensors.Mask(torch.from_numpy(labels)),
        )
        instances, semantic = maps.as_subclass(Tensor)
        return pixels.as_subclass(Tensor), target_of(
            instances, semantic, self.objects[index], self.min_pixels
        )


def target_of(
    instances: Tensor, semantic: Tensor, objects: list[tuple[int, bool]], min_pixels: int
) -> Target:
    """The annotation in label maps [H, W]; object k of the (at most 255) is pixel value k + 1.

    Unlabelled things (label -1) and those that show too few pixels are ignored.
    """
    numbers = torch.arange(1, len(objects) + 1)
    counts = torch.bincount(instances.flatten(), minlength=len(objects) + 1)[1:]
    labels = torch.tensor([label for label, _ in objects], dtype=torch.int64)
    crowd = torch.tensor([crowd for _, crowd in objects], dtype=torch.bool)
    keep = (labels >= 0) & (counts >= min_pixels)
    semantic = semantic.long()
    lost = torch.cat([torch.tensor([False]), (labels >= 0) & ~keep])
    semantic[lost[instances]] = UNLABELLED
    masks = instances.to(torch.uint8) == numbers[keep].to(torch.uint8)[:, None, None]
    return Target(tight_boxes(masks), labels[keep], masks, semantic, crowd[keep])


def tight_boxes(masks: Tensor) -> Tensor:
    """Boxes [N, 4] of masks [N, H, W] that all show a pixel."""
    if not len(masks):
        return torch.zeros(0, 4)
    height, width = masks.shape[1:]
    columns, rows = masks.any(1).int(), masks.any(2).int()
    edges = [
        columns.argmax(1),
        rows.argmax(1),
        width - columns.flip(1).argmax(1),
        height - rows.flip(1).argmax(1),
    ]
    return torch.stack(edges, 1).float()


def collate(samples: list[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Images [B, 3, H, W] and their annotations."""
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), list(targets)


def main() -> None:
    """Render a training set from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    render_scenes(options.folder, options.seed, options.count, tuple(options.size), options.workers)


if __name__ == "__main__":
    main()

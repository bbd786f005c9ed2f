"""What changes a picture and its annotation at every visit of training.

Geometry is by torchvision's v2 transforms, which move picture, boxes, masks and classes of pixels
together. Only the final resize is our own: v2 takes the nearest label by the corner of a pixel,
which shifts labels by up to half a pixel against the picture; here it is by the centre.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transform

from jointseg_core import UNLABELLED, Letterbox, Preprocessing, Target
from jointseg_core.preprocessing import sides_fitted
from jointseg_eval.datasets.masks import pixel_counts, tight_boxes
from jointseg_eval.datasets.pictures import Size
from jointseg_eval.datasets.sample import Sample

BEYOND = (124, 116, 104)
"""The colour of what lies beyond a picture: ImageNet's mean, which networks see as zero."""

STRETCH = 1.1  # how much a zoom may change the ratio of width to height


class _Semantic(tv_tensors.Mask):
    """Classes of pixels: unlabelled, and not zero, beyond the picture."""


_FILL = {tv_tensors.Image: BEYOND, tv_tensors.Mask: 0, _Semantic: UNLABELLED}

_Parts = tuple[tv_tensors.Image, tv_tensors.BoundingBoxes, tv_tensors.Mask, _Semantic]


@dataclass(frozen=True)
class Augmentation:
    """Changes with chances and strengths; the default leaves everything as it is.

    flip            chance to mirror left and right
    zoom            most magnification, of a random part of the picture
    zoom_chance     chance to zoom
    expand          most side of a canvas, in sides of the picture put on it (half of the visits)
    iou_crop        a crop that shows some object by a random least IoU (SSD)
    scales          sides to choose from, to which the shorter one is resized
    long_side       most of the longer one then, where that is less
    size            (height, width) instead of scales
    keep_aspect     fit the picture into `size` with the rest beyond it, rather than stretch it
    colours         most relative change of brightness, contrast and saturation
    colours_chance  chance to change them
    distortion      change brightness, contrast, saturation, hue and order of colours (SSD)
    min_box         objects with a shorter side than this, in pixels, are ignored
    min_pixels      and those that show fewer pixels
    """

    flip: float = 0.0
    zoom: float = 1.0
    zoom_chance: float = 1.0
    expand: float = 1.0
    iou_crop: bool = False
    scales: tuple[int, ...] = ()
    long_side: int | None = None
    size: Size | None = None
    keep_aspect: bool = True
    colours: float = 0.0
    colours_chance: float = 1.0
    distortion: bool = False
    min_box: float = 1.0
    min_pixels: int = 1

    def __call__(self, sample: Sample, generator: torch.Generator) -> tuple[Tensor, Target]:
        """The picture uint8 [3, h, w] and its annotation; the same for a generator's same state.

        Boxes of objects that a crop has cut are tight around what remains of their masks. Objects
        that show too little become crowds, which are ignored, and their pixels unlabelled; those
        of which nothing shows are left out.
        """
        height, width = sample.image.shape[:2]
        size = self._content_size((height, width), generator)
        with _own_random_numbers(generator):
            parts = self._moved(_parts(sample))
            image, boxes, masks, semantic = _resized(parts, size)
            image = self._coloured(image)
        target = Target(
            boxes, sample.target.labels, masks, semantic, sample.target.crowd, sample.target.seed
        )
        return self._canvas(image, self._pruned(target, sample.target.boxes_alone()))

    def output_size(self, image_size: Size, generator: torch.Generator) -> Size:
        """(h, w) of what a call with a generator in this state makes of a picture."""
        return self.size or self._content_size(image_size, generator)

    def _content_size(self, image_size: Size, generator: torch.Generator) -> Size:
        """(h, w) of the picture itself; takes one number from the generator."""
        choice = int(torch.randint(max(1, len(self.scales)), (), generator=generator))
        if self.size:
            fitted = Letterbox(image_size, self.size).content_size
            return fitted if self.keep_aspect else self.size
        if not self.scales:
            return image_size
        return sides_fitted(image_size, self.scales[choice], self.long_side or math.inf)

    def _moved(self, parts: _Parts) -> _Parts:
        """Expanded, cropped and mirrored, in pixels of the picture."""
        whole = pixel_counts(parts[2])
        if self.expand > 1:
            parts = v2.RandomZoomOut(_FILL, (1.0, self.expand))(*parts)
        if self.iou_crop and len(parts[1]):
            parts = v2.RandomIoUCrop()(*parts)
        if self.zoom > 1 and torch.rand(()) < self.zoom_chance:
            parts = _zoomed(parts, self.zoom)
        if torch.rand(()) < self.flip:
            parts = tuple(transform.horizontal_flip(part) for part in parts)
        image, boxes, masks, semantic = parts
        cut = pixel_counts(masks) < whole
        boxes = boxes.as_subclass(Tensor).clone()
        boxes[cut] = tight_boxes(masks[cut].as_subclass(Tensor))
        return image, tv_tensors.wrap(boxes, like=parts[1]), masks, semantic

    def _coloured(self, image: Tensor) -> Tensor:
        if self.colours and torch.rand(()) < self.colours_chance:
            image = v2.ColorJitter(*[self.colours] * 3)(image)
        if self.distortion:
            image = v2.RandomPhotometricDistort()(image)
        return image

    def _pruned(self, target: Target, alone: Tensor) -> Target:
        """Without what does not show; what shows too little becomes crowd and unlabelled.

        alone: bool [N], whose box is all that is known, so that the box has to show.
        """
        height, width = target.masks.shape[1:]
        limits = target.boxes.new_tensor([width, height, width, height])
        target = replace(target, boxes=target.boxes.clamp(min=0).minimum(limits))
        counts = pixel_counts(target.masks)
        sides = (target.boxes[:, 2:] - target.boxes[:, :2]).amin(1)
        shown = torch.where(alone, sides > 0, counts > 0)
        target, counts, sides, alone = (each[shown] for each in (target, counts, sides, alone))
        few = (counts < self.min_pixels) & ~alone
        lost = ~target.crowd & (few | (sides < self.min_box))
        semantic = target.semantic
        if semantic is not None and lost.any():
            semantic = semantic.masked_fill(target.masks[lost].any(0), UNLABELLED)
        return replace(target, semantic=semantic, crowd=target.crowd | lost)

    def _canvas(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        """In the top left of `size`, if there is one."""
        return (image, target) if self.size is None else padded(image, target, self.size)


def padded(image: Tensor, target: Target, size: Size) -> tuple[Tensor, Target]:
    """Picture [3, H, W] and annotation with what lies beyond them to the right and below."""
    height, width = image.shape[1:]
    if (height, width) == size:
        return image, target
    canvas = image.new_tensor(BEYOND)[:, None, None].repeat(1, *size)
    canvas[:, :height, :width] = image
    margin = (0, size[1] - width, 0, size[0] - height)
    semantic = target.semantic
    if semantic is not None:
        semantic = F.pad(semantic, margin, value=UNLABELLED)
    return canvas, replace(target, masks=F.pad(target.masks, margin), semantic=semantic)


def as_input(sample: Sample, preprocessing: Preprocessing) -> tuple[Tensor, Target]:
    """The picture uint8 [3, h, w] and its annotation as a network in use sees them."""
    frame = preprocessing.frame(sample.image.shape[:2])
    fitted = Augmentation(size=frame.content_size, keep_aspect=False)
    return padded(*fitted(sample, torch.Generator()), preprocessing.size_of([frame]))


def _parts(sample: Sample) -> _Parts:
    """What v2 transforms move together."""
    target, (height, width) = sample.target, sample.image.shape[:2]
    image = torch.from_numpy(sample.image).permute(2, 0, 1)
    nothing = torch.zeros(0, height, width, dtype=torch.uint8)
    semantic = nothing if target.semantic is None else target.semantic.byte()[None]
    return (
        tv_tensors.Image(image),
        tv_tensors.BoundingBoxes(target.boxes, format="XYXY", canvas_size=(height, width)),
        tv_tensors.Mask(target.masks),
        _Semantic(semantic),
    )


def _zoomed(parts: _Parts, zoom: float) -> _Parts:
    """A random part whose sides are at least 1 / zoom of the picture's."""
    height, width = parts[0].shape[-2:]
    ratio = (width / height / STRETCH, width / height * STRETCH)
    window = v2.RandomResizedCrop(1, (zoom**-2, 1.0), ratio).make_params([parts[0]])
    return tuple(transform.crop(part, **window) for part in parts)


def _resized(parts: _Parts, size: Size) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Picture, boxes, masks and classes of pixels as plain tensors of a size."""
    image, boxes, masks, semantic = (part.as_subclass(Tensor) for part in parts)
    height, width = image.shape[-2:]
    if (height, width) != size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        boxes = boxes * boxes.new_tensor([size[1] / width, size[0] / height]).repeat(2)
        masks, semantic = _nearest(masks, size), _nearest(semantic, size)
    return image, boxes, masks, semantic[0].long() if len(semantic) else None


def _nearest(labels: Tensor, size: Size) -> Tensor:
    """Maps [N, H, W] of bool or uint8 in another size, each pixel what its centre shows."""
    if not len(labels):
        return labels.new_zeros(0, *size)
    resized = F.interpolate(labels.view(torch.uint8)[None], size, mode="nearest-exact")[0]
    return resized.view(labels.dtype)


@contextmanager
def _own_random_numbers(generator: torch.Generator) -> Iterator[None]:
    """Torch's global generator starts from this one inside, and is as before outside."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach for the GPU
        yield

"""RDSNet as its authors published it, in plain PyTorch: a baseline, and the oracle of ours.

The network computes every prediction at every anchor, enlarges 256 channels before the last 1x1
convolution, and its norms and memory layout are as trained. Post-processing correlates two channels
per object with the whole map, enlarges all of them to the padded input and again to the picture,
takes the softmax over the two, cuts the crops out with full-size boolean masks and refines boxes on
full maps (released code of RDSNet, mask head and detector; paper 3.1 and 3.3).

`oracle_masks` goes from the map to the picture in one step, and refines in network pixels as the
paper does (3.4). That is what ours must equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import letterbox, make_model, make_scene
from benchmarks.networks.planting import plant_classes
from benchmarks.networks.settings import Settings
from jointseg_core.boxes import decode_boxes, detect
from jointseg_core.correlation import MASK_STRIDE
from jointseg_core.layers import per_anchor
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Predictions
from jointseg_core.preprocessing import Preprocessing
from jointseg_core.rdsnet import RDSNet
from jointseg_core.refinement import BoundaryRefinement

CUT = 3.294
"""Of its Gaussian prior, in sigma: where it falls below 0.0044 it is 0."""


def released_network(model: RDSNet, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Class logits [B, A, K], deltas [B, A, 4], representations [B, A, 2 d], pixels [B, d, h, w].

    images [B, 3, H, W] are normalised. The weights are those of ours.
    """
    inputs = model.pyramid.inputs
    levels = model.pyramid(model.backbone(images)[-inputs:])
    stream, objects = model.object_stream, levels[-5:]
    classes = [stream.class_logits(stream.class_tower(level)) for level in objects]
    deltas = [stream.box_deltas(stream.box_tower(level)) for level in objects]
    representations = [stream.filters(stream.filter_tower(level)) for level in objects]
    return (
        per_anchor(classes, stream.num_classes),
        per_anchor(deltas, 4),
        per_anchor(representations, 2 * stream.filter_size),
        _released_pixels(model, levels[:inputs]),
    )


def _released_pixels(model: RDSNet, levels: list[Tensor]) -> Tensor:
    """The pixel stream that enlarges before it projects."""
    stream = model.pixel_stream
    merged = stream.merge(sum(stream._branch(i, level) for i, level in enumerate(levels)))
    if stream.factor != 1:
        merged = F.interpolate(
            merged, scale_factor=stream.factor, mode="bilinear", align_corners=True
        )
    return stream.output(merged)


def released_detections(
    model: RDSNet, class_logits: Tensor, deltas: Tensor, frame: Letterbox
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes [N, 4] in camera pixels, scores [N], labels [N] and anchors [N] of one image.

    class_logits [A, K], deltas [A, 4]. Every anchor's scores, then the best of each level.
    """
    config, chosen, start = model.config, [], 0
    anchors = model.anchors(frame.input_size, class_logits.device)
    scores = class_logits.sigmoid()
    for level in anchors:
        best = scores[start : start + len(level)].amax(1)
        chosen.append(start + best.topk(min(config.candidates, len(level))).indices)
        start += len(level)
    index = torch.cat(chosen)
    boxes = frame.to_image(decode_boxes(deltas[index], torch.cat(anchors)[index]))
    limits = config.score_threshold, config.nms_iou, config.max_detections
    rows, labels = detect(boxes, scores[index], *limits)
    return boxes[rows], scores[index][rows, labels], labels, index[rows]


def released_masks(
    representations: Tensor,
    pixels: Tensor,
    boxes: Tensor,
    frame: Letterbox,
    refinement: BoundaryRefinement,
    margin: float,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Masks, bool [N, H, W] of the picture, and refined boxes [N, 4].

    representations [N, 2, d], pixels [d, h, w], boxes [N, 4] in camera pixels.
    """
    maps = by_way_of_the_input(torch.einsum("nkd,dhw->nkhw", representations, pixels), frame)
    probability = maps.softmax(1)[:, 1] * crop_bitmaps(boxes, margin, frame)
    return probability > threshold, released_refinement(probability, boxes, refinement)


def oracle_masks(
    representations: Tensor, pixels: Tensor, boxes: Tensor, *rest: object
) -> tuple[Tensor, Tensor]:
    """What ours computes, by published means; a few objects at a time, all would need gigabytes.

    Takes and gives what `released_masks` does.
    """
    parts = [
        _oracle_masks(some, pixels, theirs, *rest)
        for some, theirs in zip(representations.split(10), boxes.split(10), strict=True)
    ]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _oracle_masks(
    representations: Tensor,
    pixels: Tensor,
    boxes: Tensor,
    frame: Letterbox,
    refinement: BoundaryRefinement,
    margin: float,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    maps, content = torch.einsum("nkd,dhw->nkhw", representations, pixels), frame.content
    seen, found = (
        straight_to_picture(maps, at).softmax(1)[:, 1] * crop_bitmaps(there, margin, at)
        for at, there in ((frame, boxes), (content, in_network(boxes, frame)))
    )
    refined = released_refinement(found, in_network(boxes, frame), refinement)
    return seen > threshold, frame.to_image(refined)


def in_network(boxes: Tensor, frame: Letterbox) -> Tensor:
    """Boxes [N, 4] of the camera in network pixels."""
    vertical, horizontal = frame.scale
    return boxes * boxes.new_tensor([horizontal, vertical, horizontal, vertical])


def by_way_of_the_input(maps: Tensor, frame: Letterbox) -> Tensor:
    padded = F.interpolate(maps, size=frame.input_size, mode="bilinear")
    height, width = frame.content_size
    return F.interpolate(padded[..., :height, :width], size=frame.image_size, mode="bilinear")


def straight_to_picture(maps: Tensor, frame: Letterbox) -> Tensor:
    """Maps [N, 2, h, w] at the centres of the picture's pixels [N, 2, H, W]."""
    height, width = frame.image_size
    factors = tuple(MASK_STRIDE / scale for scale in frame.scale)
    full = F.interpolate(maps, scale_factor=factors, mode="bilinear")[..., :height, :width]
    return F.pad(full, (0, width - full.shape[-1], 0, height - full.shape[-2]), mode="replicate")


def crop_bitmaps(boxes: Tensor, margin: float, frame: Letterbox) -> Tensor:
    """Pixels whose centres lie in the expanded boxes, bool [N, H, W]: four full-size comparisons.

    A box grows by its margin, at least by the cell of a map.
    """
    height, width = frame.image_size
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    halves, pad = sizes * (1 + 2 * margin) / 2, MASK_STRIDE / min(frame.scale)
    first = torch.minimum(centers - halves, boxes[:, :2] - pad)[:, :, None, None]  # [N, 2, 1, 1]
    last = torch.maximum(centers + halves, boxes[:, 2:] + pad)[:, :, None, None]
    x = torch.arange(width, device=boxes.device) + 0.5
    y = (torch.arange(height, device=boxes.device) + 0.5)[:, None]
    return (x >= first[:, 0]) & (x < last[:, 0]) & (y >= first[:, 1]) & (y < last[:, 1])


def released_refinement(
    probability: Tensor, boxes: Tensor, refinement: BoundaryRefinement
) -> Tensor:
    """Boxes [N, 4] moved by mask probabilities [N, H, W] of the whole picture (3.3)."""
    if not len(boxes) or not refinement.gamma:
        return boxes
    profiles = probability.amax(1), probability.amax(2)  # of columns [N, W] and of rows [N, H]
    sides = []
    for side in range(4):  # left, top, right, bottom; the last two are exclusive
        far = side > 1
        at, lengths = boxes[:, side] - int(far), boxes[:, side % 2 + 2] - boxes[:, side % 2]
        sides.append(_best_pixel(profiles[side % 2], at, lengths, far, refinement))
    refined = torch.stack([sides[0], sides[1], sides[2] + 1, sides[3] + 1], 1).to(boxes.dtype)
    crossed = (refined[:, 2:] <= refined[:, :2]).any(1, keepdim=True)
    return torch.where(crossed, boxes, refined)


def _best_pixel(
    profile: Tensor, at: Tensor, lengths: Tensor, mirrored: bool, refinement: BoundaryRefinement
) -> Tensor:
    """The pixel [N] where evidence times prior is highest, on profiles [N, L]."""
    kernel = refinement.kernel.flip(0) if mirrored else refinement.kernel
    evidence = F.conv1d(
        profile[:, None], kernel.view(1, 1, -1), refinement.bias, padding=len(kernel) // 2
    )[:, 0].sigmoid()
    sigma = (lengths * refinement.gamma).clamp(min=1)
    distance = (torch.arange(profile.shape[1], device=profile.device) - at[:, None]).abs()
    distance = distance / sigma[:, None]
    prior = (-distance.square() / 2).exp()
    far = (distance > CUT) & (distance > distance.amin(1, keepdim=True))
    return (evidence * prior.masked_fill(far, 0)).argmax(1)


class Published(NamedTuple):
    """What the published pipeline returns: no packed masks, but bitmaps, bool [N, H, W]."""

    objects: Predictions
    bitmaps: Tensor


def released(
    settings: Settings, clock: StageClock, post_process: Callable = released_masks
) -> Callable[[np.ndarray], Published]:
    """Picture to results as published, in fp32. Stages: preprocess, net, decode, masks.

    The preprocessing is ours. `post_process` may be `oracle_masks`, to compare with.
    """
    model = make_model(settings).to(settings.device)
    scene, frame = make_scene(settings), letterbox(settings)
    anchors = torch.cat(model.anchors(settings.size, "cpu"))
    planted = plant_classes(scene.scaled(*frame.scale), scene.labels, anchors, settings.device)
    preprocessing = Preprocessing(settings.size)
    limits = model.refinement, model.config.test_margin, model.config.mask_threshold

    @torch.inference_mode()
    def see(picture: np.ndarray) -> Published:
        images, _ = preprocessing.batch([picture], settings.device)
        images = images.contiguous()  # the published layout
        clock.mark("preprocess")
        class_logits, deltas, representations, pixels = released_network(model, images)
        planted.write(class_logits)
        clock.mark("net")
        boxes, scores, labels, chosen = released_detections(
            model, class_logits[0], deltas[0], frame
        )
        clock.mark("decode")
        chosen_objects = representations[0, chosen].unflatten(1, (2, -1))
        bitmaps, refined = post_process(chosen_objects, pixels[0], boxes, frame, *limits)
        objects = Predictions(frame.image_size, refined, scores, labels).to("cpu")
        found = Published(objects, bitmaps.cpu())
        clock.mark("masks")
        return found

    return see

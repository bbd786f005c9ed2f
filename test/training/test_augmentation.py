"""Augmentation moves picture, boxes, masks and classes of pixels together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jointseg_core import Preprocessing, Target
from jointseg_eval.datasets.masks import tight_boxes
from jointseg_eval.datasets.sample import Sample
from training.loading.augmentation import BEYOND, Augmentation, as_input, padded

SIZE = (60, 100)
CLASS = {0: 11, 1: 13}  # of the pixels of things


def street(seed: int = 0, count: int = 4) -> Sample:
    """Rectangles that do not overlap; the picture's red is 100 where there is an object, else 0."""
    random = np.random.default_rng(seed)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    for k in range(count):
        x, y = 25 * k + random.integers(0, 10), random.integers(0, 40)
        masks[k, y : y + random.integers(4, 20), x : x + random.integers(4, 15)] = True
    labels = torch.arange(count) % 2
    semantic = torch.zeros(SIZE, dtype=torch.int64)
    for mask, label in zip(masks, labels.tolist(), strict=True):
        semantic[mask] = CLASS[label]
    image = random.integers(0, 256, (*SIZE, 3), np.uint8)
    image[..., 0] = masks.any(0).numpy() * 100
    target = Target(tight_boxes(masks), labels, masks, semantic, torch.arange(count) == 3)
    return Sample("street", 0, image, target)


def apply(augmentation: Augmentation, sample: Sample, seed: int = 0):
    return augmentation(sample, torch.Generator().manual_seed(seed))


def assert_equal(a, b):
    assert torch.equal(a[0], b[0])
    for name in ("boxes", "labels", "masks", "semantic", "crowd"):
        assert torch.equal(getattr(a[1], name), getattr(b[1], name)), name


EVERYTHING = Augmentation(
    flip=0.5,
    zoom=1.6,
    expand=2.0,
    iou_crop=True,
    scales=(40, 60, 90),
    long_side=120,
    colours=0.2,
    distortion=True,
    min_box=2,
    min_pixels=9,
)


def test_the_default_changes_nothing():
    sample = street()
    image, target = apply(Augmentation(), sample)
    assert (image.permute(1, 2, 0).numpy() == sample.image).all()
    assert_equal((image, target), (image, sample.target))
    assert target.semantic.dtype == torch.int64 and target.masks.dtype == torch.bool


def test_it_depends_on_its_generator_alone_and_leaves_the_global_one():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = apply(EVERYTHING, street(), 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert_equal(apply(EVERYTHING, street(), 5), first)
    assert not torch.equal(apply(EVERYTHING, street(), 6)[1].boxes, first[1].boxes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4))
def test_whatever_happens_the_annotation_fits_the_picture(seed, count):
    augmentation = replace(EVERYTHING, colours=0.0, distortion=False)
    sample = street(seed, count)
    image, target = apply(augmentation, sample, seed)
    height, width = image.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    assert augmentation.output_size(SIZE, generator) == (height, width)
    assert target.masks.shape == (len(target.labels), height, width)
    assert target.masks.flatten(1).any(1).all()
    for mask, label in zip(target.masks, target.labels.tolist(), strict=True):
        assert set(target.semantic[mask].tolist()) <= {CLASS[label], 255}
    sought = target[~target.crowd]
    assert (sought.masks.flatten(1).sum(1) >= 9).all()
    assert ((sought.boxes[:, 2:] - sought.boxes[:, :2]) >= 2).all()
    assert (target.boxes >= 0).all() and (
        target.boxes[:, 2:] <= torch.tensor([width, height])
    ).all()
    # Boxes were tight around the masks before; a resize moves an edge by a pixel of the source.
    pixel = max(height / 24, width / 40, 1)  # the smallest crop is 0.3 / 1.6 of the picture
    assert ((target.boxes - tight_boxes(target.masks)).abs() <= pixel + 1).all()


def test_a_flip_mirrors_everything():
    sample = street()
    image, target = apply(Augmentation(flip=1.0), sample)
    assert (image.flip(2).permute(1, 2, 0).numpy() == sample.image).all()
    assert torch.equal(target.masks.flip(2), sample.target.masks)
    assert torch.equal(target.semantic.flip(1), sample.target.semantic)
    assert torch.equal(target.boxes, tight_boxes(target.masks))


def test_annotated_boxes_are_kept_to_the_fraction_unless_the_object_is_cut():
    sample = street()
    finer = sample.target.boxes + torch.tensor([0.25, 0.25, -0.25, -0.25])
    sample = replace(sample, target=replace(sample.target, boxes=finer))
    _, target = apply(Augmentation(flip=1.0, scales=(120,)), sample)
    mirrored = torch.tensor([200, 0, 200, 0]) - 2 * finer[:, [2, 1, 0, 3]]
    expected = mirrored * torch.tensor([1, -1, 1, -1])
    torch.testing.assert_close(target.boxes, expected)


def test_what_a_crop_cuts_gets_a_tight_box_and_what_remains_too_little_is_ignored():
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, :, :] = True
    semantic = torch.full(SIZE, 13)
    box = torch.tensor([[0.0, 0, 100, 60]])
    target = Target(box, torch.tensor([1]), masks, semantic)
    sample = Sample("all", 0, np.zeros((*SIZE, 3), np.uint8), target)
    _, cut = apply(Augmentation(zoom=2.0), sample)
    assert cut.boxes.tolist() == [[0, 0, 100, 60]] and not cut.crowd.any()
    _, small = apply(Augmentation(zoom=2.0, min_pixels=SIZE[0] * SIZE[1] + 1), sample)
    assert small.crowd.tolist() == [True] and (small.semantic == 255).all()


def test_objects_that_are_not_shown_are_left_out_and_crowds_are_kept():
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5, 5] = True
    target = Target(
        tight_boxes(masks), torch.tensor([0, 1]), masks, crowd=torch.tensor([True, False])
    )
    sample = Sample("empty", 0, np.zeros((*SIZE, 3), np.uint8), target)
    _, target = apply(Augmentation(min_pixels=50), sample)
    assert target.labels.tolist() == [0] and target.crowd.tolist() == [True]
    assert target.semantic is None


@pytest.mark.parametrize("factor", [1 / 3, 0.4, 0.7, 2.0, 3.0])
def test_labels_are_not_shifted_against_boxes_and_picture(factor):
    shifts = []
    for seed in range(15):
        _, target = apply(Augmentation(scales=(round(SIZE[0] * factor),)), street(seed))
        shifts.append((tight_boxes(target.masks) - target.boxes).mean(1))
    assert torch.cat(shifts).mean().abs() < 0.08  # pixels


def test_sides_are_scaled_within_the_longest():
    sample = street()
    heights = {
        apply(Augmentation(scales=(30, 90, 120), long_side=150), sample, seed)[0].shape[1:]
        for seed in range(20)
    }
    assert heights == {(30, 50), (90, 150)}  # 120 would be 200 wide, 90 after all


def test_a_size_is_filled_from_the_top_left_or_stretched():
    sample = street()
    image, target = apply(Augmentation(size=(64, 64)), sample)
    assert image.shape == (3, 64, 64) and target.masks.shape[1:] == (64, 64)
    assert (image[:, 38:] == torch.tensor(BEYOND)[:, None, None]).all()
    assert (target.semantic[38:] == 255).all() and (target.semantic[:38] != 255).all()
    image, target = apply(Augmentation(size=(64, 64), keep_aspect=False), sample)
    assert (target.semantic != 255).all()
    stretched = sample.target.boxes * torch.tensor([0.64, 64 / 60, 0.64, 64 / 60])
    torch.testing.assert_close(target.boxes, stretched)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((64, 96)),
        Preprocessing((90, 90), keep_ratio=False),
        Preprocessing((70, 90), by_sides=True),
    ],
    ids=["fixed", "stretched", "by sides"],
)
def test_an_annotation_is_told_to_a_network_as_its_input_shows_the_picture(preprocessing):
    sample = street()
    image, target = as_input(sample, preprocessing)
    inputs, (frame,) = preprocessing.batch([sample.image])
    assert image.shape == inputs.shape[1:] and target.masks.shape[1:] == image.shape[1:]
    torch.testing.assert_close(preprocessing.normalize(image), inputs[0], atol=0.02, rtol=0)
    torch.testing.assert_close(frame.to_image(target.boxes), sample.target.boxes)


def test_beyond_a_picture_nothing_is_labelled():
    sample = street()
    image, target = apply(Augmentation(expand=4.0), sample, 1)
    beyond = (image == torch.tensor(BEYOND)[:, None, None]).all(0)
    assert beyond.float().mean() > 0.2
    assert (target.semantic[beyond] == 255).float().mean() > 0.9
    image, target = padded(*apply(Augmentation(), sample), (96, 128))
    assert (target.semantic[60:] == 255).all() and not target.masks[:, :, 100:].any()


def test_colours_change_nothing_else():
    sample = street()
    image, target = apply(Augmentation(colours=0.4, distortion=True), sample)
    assert (image.permute(1, 2, 0).numpy() != sample.image).any()
    assert_equal((image, target), (image, sample.target))


def test_a_picture_without_objects_can_be_cropped():
    image, target = apply(EVERYTHING, street(0, 0))
    assert len(target.labels) == 0 and image.dtype == torch.uint8

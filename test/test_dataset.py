"""Rendered scenes as a training set."""

import pytest
import torch

from training.dataset import RenderedScenes, collate, render_scenes, target_of, tight_boxes
from training.scenes import render_scene

SIZE = (64, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return render_scenes(tmp_path_factory.mktemp("scenes"), seed=3, count=4, size=SIZE, workers=1)


def test_a_sample_is_the_scene_and_its_annotation(folder):
    scene = render_scene(3, 2, SIZE)
    image, target = RenderedScenes(folder, augment=False, min_pixels=1)[2]
    assert (image.permute(1, 2, 0).numpy() == scene.image).all()
    things = [o for o in scene.objects if o.label >= 0]
    assert target.labels.tolist() == [o.label for o in things]
    assert target.crowd.tolist() == [o.crowd for o in things]
    torch.testing.assert_close(target.boxes, torch.tensor([list(o.box) for o in things]).float())
    assert (target.semantic.numpy() == scene.semantic).all()


def test_a_folder_of_other_scenes_is_refused(folder):
    assert render_scenes(folder, seed=3, count=4, size=SIZE) == folder
    with pytest.raises(ValueError, match="name another folder"):
        render_scenes(folder, seed=4, count=4, size=SIZE)


def test_augmentation_changes_the_picture_and_keeps_boxes_tight(folder):
    data = RenderedScenes(folder, augment=True)
    torch.manual_seed(0)
    samples = [data[1] for _ in range(6)]
    assert len({tuple(image.flatten()[:500].tolist()) for image, _ in samples}) > 1
    for image, target in samples:
        assert image.shape == (3, *SIZE)
        torch.testing.assert_close(target.boxes, tight_boxes(target.masks))
        assert (target.masks.flatten(1).sum(1) >= 16).all()


def test_unlabelled_and_tiny_objects_are_ignored():
    instances = torch.tensor([[1, 1, 2, 3], [1, 1, 0, 3]])
    semantic = torch.tensor([[13, 13, 11, 255], [13, 13, 0, 255]])
    target = target_of(instances, semantic, [(2, False), (0, False), (-1, False)], min_pixels=2)
    assert target.labels.tolist() == [2]
    assert target.boxes.tolist() == [[0, 0, 2, 2]]
    assert target.semantic.tolist() == [[13, 13, 255, 255], [13, 13, 0, 255]]


def test_a_scene_without_things_is_a_valid_sample():
    semantic = torch.zeros(4, 4, dtype=torch.long)
    target = target_of(torch.zeros(4, 4, dtype=torch.int32), semantic, [], min_pixels=2)
    assert target.boxes.shape == (0, 4) and target.masks.shape == (0, 4, 4)


def test_batches_keep_annotations_apart(folder):
    images, targets = collate([RenderedScenes(folder, augment=False)[i] for i in range(3)])
    assert images.shape == (3, 3, *SIZE) and len(targets) == 3

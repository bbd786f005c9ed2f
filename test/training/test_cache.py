"""A data set that is decoded once."""

import os
import shutil
from collections import namedtuple

import pytest
import torch
from dataset_trees import (
    SIZE,
    coco_document,
    picture,
    save,
    write_cityscapes,
    write_coco,
    write_panoptic,
)
from safetensors.torch import save as save_tensors

from jointseg_core.errors import BadInput, ResourceError
from jointseg_eval.datasets import Subset, open_dataset
from jointseg_eval.datasets.workers import in_order
from training.loading.cache import DecodedCache

ZERO = torch.zeros(1)


@pytest.fixture(params=[write_cityscapes, write_coco])
def samples(request, tmp_path):
    return open_dataset(request.param(tmp_path / "data"), "train")


def assert_same(a, b):
    assert (a.name, a.image_id) == (b.name, b.image_id)
    assert (a.image == b.image).all()
    for name in ("boxes", "labels", "masks", "crowd", "semantic"):
        left, right = getattr(a.target, name), getattr(b.target, name)
        assert left is right or (torch.equal(left, right) and left.dtype == right.dtype)
    assert a.areas is b.areas or torch.equal(a.areas, b.areas)
    assert a.void is b.void or (a.void == b.void).all()


def test_a_second_visit_needs_no_picture_and_gives_the_same(samples, tmp_path):
    cache = DecodedCache(samples, tmp_path / "cache")
    first = [cache[i] for i in range(len(cache))]
    for file in (tmp_path / "data").rglob("*.png"):
        times = file.stat()
        file.write_bytes(b"x" * times.st_size)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    again = DecodedCache(samples, tmp_path / "cache")
    assert (again.classes, again.name, len(again)) == (samples.classes, samples.name, 3)
    for index, sample in enumerate(first):
        assert_same(again[index], sample)
        assert again.image_size(index) == SIZE
        assert again.sample_name(index) == sample.name


def test_the_size_is_told_before_and_not_once_all_is_there(samples, tmp_path, capsys):
    cache = DecodedCache(samples, tmp_path / "cache")
    told = capsys.readouterr().out
    assert str(tmp_path / "cache") in told and "0 MB for 3 pictures" in told
    list(map(cache.__getitem__, range(3)))
    DecodedCache(samples, tmp_path / "cache")
    assert capsys.readouterr().out == ""


def test_a_disk_without_room_is_refused(samples, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9000, 0, 9000))
    with pytest.raises(ResourceError, match=r"needs 0 MB for 3 pictures .* has 0 MB free"):
        DecodedCache(samples, tmp_path / "cache")


def test_a_folder_that_is_another_data_sets_is_refused(samples, tmp_path):
    DecodedCache(samples, tmp_path / "cache")
    with pytest.raises(BadInput, match="holds the cache of another data set"):
        DecodedCache(Subset(samples, [0, 2]), tmp_path / "cache")
    name = samples.sample_name(1)
    save(tmp_path / "data" / name, picture(99))  # the same names, another picture
    with pytest.raises(BadInput, match="or its files have changed"):
        DecodedCache(samples, tmp_path / "cache")
    with pytest.raises(BadInput, match=r"is to be a cache, but holds .*; name an empty"):
        DecodedCache(samples, tmp_path / "data")


@pytest.mark.parametrize(
    "text", ["", "garbage", "[1]", "null", "3", '"a"', "[" * 50_000, "\0", '{"format": 2', "NaN"]
)
def test_a_description_that_is_damaged_is_made_anew_with_its_pictures(
    samples, tmp_path, capsys, text
):
    cache = DecodedCache(samples, tmp_path / "cache")
    first, old = cache[0], tmp_path / "cache" / "0000001.safetensors"
    old.write_bytes(b"of who knows what")
    (tmp_path / "cache" / "cache.json").write_text(text)
    again = DecodedCache(samples, tmp_path / "cache")
    assert "cache.json is damaged; the cache is made anew" in capsys.readouterr().err
    assert not old.exists()
    assert_same(again[0], first)
    DecodedCache(samples, tmp_path / "cache")
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"x" * 99, save_tensors({}), save_tensors({"a": ZERO})])
def test_a_picture_that_is_something_else_is_made_anew(samples, tmp_path, content):
    cache = DecodedCache(samples, tmp_path / "cache")
    first = cache[0]
    (tmp_path / "cache" / "0000000.safetensors").write_bytes(content)
    assert_same(cache[0], first)


def test_a_cache_of_a_newer_version_is_said_to_be_one(samples, tmp_path):
    DecodedCache(samples, tmp_path / "cache")
    (tmp_path / "cache" / "cache.json").write_text('{"format": 99}')
    with pytest.raises(BadInput, match="newer version"):
        DecodedCache(samples, tmp_path / "cache")


def test_other_labels_are_another_data_set(tmp_path):
    root = write_coco(tmp_path / "data", coco_document())
    DecodedCache(open_dataset(root, "train"), tmp_path / "cache")
    with pytest.raises(BadInput, match="another data set"):
        DecodedCache(open_dataset(root, "train", classes=["dog"]), tmp_path / "cache")


def test_a_file_cut_short_is_made_anew(samples, tmp_path):
    cache = DecodedCache(samples, tmp_path / "cache")
    sample = cache[1]
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    assert_same(cache[1], sample)
    assert_same(cache[1], sample)


def test_several_processes_may_fill_it_at_once(samples, tmp_path):
    cache = DecodedCache(samples, tmp_path / "cache")

    def read(task, at):
        return [cache[i].image for i in range(3)]

    for images in in_order(read, range(6), 3, str):
        assert all((image == samples[i].image).all() for i, image in enumerate(images))
    files = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert files == [*(f"{i:07d}.safetensors" for i in range(3)), "cache.json"]


def test_a_picture_that_cannot_be_read_leaves_nothing(samples, tmp_path):
    cache = DecodedCache(samples, tmp_path / "cache")
    (tmp_path / "data" / samples.sample_name(0)).write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        cache[0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cache.json"]


def test_a_folder_that_cannot_be_written_is_told(samples, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        DecodedCache(samples, tmp_path / "file")


def test_a_map_of_pixels_that_changed_or_is_missing_is_noticed(tmp_path):
    samples = open_dataset(write_panoptic(tmp_path / "data"), "train")
    DecodedCache(samples, tmp_path / "cache")
    segments = tmp_path / "data/annotations/panoptic_train2017/b.png"
    save(segments, picture(5))
    with pytest.raises(BadInput, match="or its files have changed"):
        DecodedCache(samples, tmp_path / "cache")
    segments.unlink()
    with pytest.raises(BadInput, match=r"there is no picture at .*b\.png"):
        DecodedCache(samples, tmp_path / "cache")

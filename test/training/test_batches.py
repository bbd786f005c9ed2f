"""Batches: the same for any number of workers and ranks, from any start; deaths have names."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, write_cityscapes

from jointseg_core import CITYSCAPES, Target
from jointseg_core.errors import BadInput, ResourceError
from jointseg_eval.datasets import open_dataset
from jointseg_eval.datasets.masks import tight_boxes
from jointseg_eval.datasets.sample import Sample
from training.loading.augmentation import Augmentation
from training.loading.batches import Order, batches

FIELDS = ("boxes", "labels", "masks", "semantic", "crowd")


class Album:
    """Pictures of two shapes, each with as many objects as its number modulo 3."""

    classes = CITYSCAPES
    name = "album"

    def __init__(self, count: int = 10, semantic: bool = True) -> None:
        self.count, self.semantic = count, semantic
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return self.count

    def image_size(self, index: int) -> tuple[int, int]:
        return (24, 40) if index % 2 else (36, 20)

    def has_objects(self, index: int) -> bool:
        return index % 3 > 0

    def sample_name(self, index: int) -> str:
        return f"picture {index}"

    def identity(self) -> str:
        return "album"

    def __getitem__(self, index: int) -> Sample:
        self.decoded.append(index)
        height, width = self.image_size(index)
        masks = torch.zeros(index % 3, height, width, dtype=torch.bool)
        for k, mask in enumerate(masks):
            mask[5 * k : 5 * k + 4, 3:17] = True
        semantic = masks.any(0).long() * 13 if self.semantic else None
        image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        target = Target(tight_boxes(masks), torch.full([len(masks)], 2), masks, semantic)
        return Sample(f"picture {index}", index, image, target)


AUGMENTATION = Augmentation(flip=0.5, zoom=1.5, colours=0.2, scales=(20, 30))


def take(count, samples=None, batch_size=4, seed=7, workers=0, **options):
    samples = Album() if samples is None else samples
    made = batches(samples, AUGMENTATION, batch_size, seed, workers, **options)
    try:
        return list(islice(made, count))
    finally:
        made.close()


def assert_same(left, right):
    assert len(left) == len(right)
    for (images, targets, names), (others, wanted, called) in zip(left, right, strict=True):
        assert torch.equal(images, others) and names == called
        for a, b in zip(targets, wanted, strict=True):
            assert a.seed == b.seed
            for name in FIELDS:
                x, y = getattr(a, name), getattr(b, name)
                assert x is y is None or torch.equal(x, y)


@pytest.mark.parametrize("semantic", [True, False])
def test_two_epochs_are_the_same_for_any_number_of_workers(semantic):
    samples = Album(semantic=semantic)
    alone = take(5, samples)
    for workers in (1, 2):
        assert_same(take(5, samples, workers=workers), alone)


def test_a_start_leaves_out_without_decoding():
    whole = take(7)
    samples = Album()
    assert_same(take(3, samples, start=4), whole[4:])
    assert len(samples.decoded) == 3 * 4
    assert_same(take(3, start=4, workers=2), whole[4:])


def test_ranks_share_each_batch():
    whole = take(3, batch_size=5)
    parts = [take(3, batch_size=5, rank=rank, world=2) for rank in range(2)]
    for (images, targets, names), *pieces in zip(whole, *parts, strict=True):
        for rank, piece in enumerate(pieces):
            rows = slice(rank, None, 2)
            assert_same([piece], [(images[rows], targets[rows], names[rows])])


def test_every_visit_is_of_every_picture_in_an_order_of_its_own():
    order = Order(Album(10), 4, seed=1)
    rows = [row for number in range(30) for row in order(number)]
    assert len(set(rows)) == len(rows) == 12 * 10
    assert set(rows) == {(visit, index) for visit in range(12) for index in range(10)}
    other = Order(Album(10), 4, seed=2)
    assert [other(number) for number in range(5)] != [order(number) for number in range(5)]
    assert [i for v, i in rows if v == 0] != [i for v, i in rows if v == 1]


def test_batches_are_of_wide_or_of_tall_pictures_but_for_one_of_each_window():
    samples = Album(200)
    order = Order(samples, 8, seed=0)
    mixed = 0
    for number in range(3 * order.window):
        tall = {samples.image_size(index)[0] == 36 for _, index in order(number)}
        mixed += len(tall) == 2
    assert order.window == 25 and mixed <= 3


def test_images_are_padded_to_a_common_multiple():
    for images, targets, _ in take(6):
        height, width = images.shape[2:]
        assert height % 32 == 0 and width % 32 == 0
        for target in targets:
            assert target.masks.shape[1:] == target.semantic.shape == (height, width)
            assert (target.semantic[-1] == 255).all() or (target.semantic[:, -1] == 255).all()
    images, _, _ = take(1, multiple=10)[0]
    assert images.shape[2] % 10 == 0


def test_visits_of_a_picture_differ_and_have_seeds_of_their_own():
    seen = [
        (names[row], images[row], targets[row].seed)
        for images, targets, names in take(10)
        for row in range(4)
    ]
    assert len({seed for _, _, seed in seen}) == len(seen)
    visits = [image for name, image, _ in seen if name == "picture 1"]
    assert len(visits) == 4
    assert len({image.double().mean().item() for image in visits}) > 1


def test_fewer_pictures_than_a_batch_has_rows_repeat():
    (batch,) = take(1, Album(3), batch_size=8)
    assert sorted(Counter(batch[2]).values()) == [2, 3, 3]


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    take(2)
    take(2, workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_that_cannot_be_read_is_named_by_any_worker(tmp_path):
    root = write_cityscapes(tmp_path)
    samples = open_dataset(root, "train")
    path = root / samples.sample_name(1)
    path.write_bytes(path.read_bytes()[:200])
    for workers in (0, 2):
        with pytest.raises(BadInput, match="cannot be read as a picture") as caught:
            take(3, samples, workers=workers)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Deadly(Album):
    """Picture 3 kills its reader, or has a bug."""

    def __init__(self, deed) -> None:
        super().__init__()
        self.deed = deed

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            self.deed()
        return super().__getitem__(index)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("deed", "how", "error"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL", ResourceError),
        (lambda: os._exit(7), "exit code 7", BadInput),
    ],
)
def test_a_worker_that_dies_names_its_picture_at_once(deed, how, error):
    started = time.monotonic()
    with pytest.raises(error, match=rf"worker died \({how}\) while it read picture 3;"):
        take(10, Deadly(deed), workers=2)
    assert time.monotonic() - started < 10


def test_a_bug_names_its_picture_too():
    with pytest.raises(RuntimeError, match="picture 3 of album"):
        take(10, Deadly(lambda: 1 / 0))
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError(.|\n)*picture 3 of album"):
        take(10, Deadly(lambda: 1 / 0), workers=2)


def test_workers_ignore_what_is_meant_for_their_parent_and_die_with_it(tmp_path):
    """A terminal interrupts all processes of a group; the training decides what follows."""
    script = (
        "import os, signal, sys, time\n"
        "from test_batches import Album, AUGMENTATION, batches\n"
        "made = batches(Album(), AUGMENTATION, 2, 0, 2)\n"
        "next(made)\n"
        "import multiprocessing\n"
        "pids = [child.pid for child in multiprocessing.active_children()]\n"
        "for pid in pids:\n"
        "    os.kill(pid, signal.SIGINT), os.kill(pid, signal.SIGTERM)\n"
        "for _ in range(20):\n"
        "    next(made)\n"
        "print(*pids, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.path.dirname(here), os.getcwd()])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_ranks_and_rows_must_fit():
    for rank, world in ((2, 2), (0, 5), (-1, 2)):
        with pytest.raises(ValueError, match="shares batches of 4"):
            take(1, rank=rank, world=world)
    with pytest.raises(BadInput, match="no picture"):
        take(1, Album(0))


def test_a_sample_of_real_files_becomes_a_batch(tmp_path):
    samples = open_dataset(write_cityscapes(tmp_path), "train")
    images, targets, names = take(1, samples, batch_size=3, workers=1)[0]
    assert images.dtype == torch.uint8 and images.shape[:2] == (3, 3)
    assert sorted(names) == [samples.sample_name(i) for i in range(3)]
    assert all(target.semantic.dtype == torch.int64 for target in targets)
    assert samples.image_size(0) == SIZE

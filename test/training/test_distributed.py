"""Two processes learn what one learns: real ones, joined by gloo."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import run, scenes, words

from jointseg_core import CITYSCAPES, Preprocessing, build_model, save_model
from jointseg_eval.datasets import open_dataset
from training.loading.batches import Order
from training.recipes import RECIPES
from training.runs.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SEED = 0
FLAGS = {
    "steps": 3, "batch": 2, "optimizer": "sgd", "lr": 0.005, "refinement-steps": 1, "seed": SEED,
    "model.norm": "fixed_statistics", "validate-every": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six scenes, three of which show no objects."""
    root = scenes(tmp_path_factory.mktemp("data"))
    for path in sorted(root.glob("gtFine/train/*/*_labelIds.png"))[::2]:
        labels = np.array(Image.open(path))
        labels[labels >= 24] = 0
        Image.fromarray(labels).save(path)
        instances = Path(str(path).replace("labelIds", "instanceIds"))
        Image.fromarray(labels.astype(np.uint16)).save(instances)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Where both begin: norms are fixed, as with ImageNet weights, so that a process's few pictures
    do not have statistics of their own."""
    torch.manual_seed(1)
    model = build_model(replace(RECIPES["rdsnet_tiny_synthetic"].model, norm="fixed_statistics"))
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_model(model, path, CITYSCAPES, Preprocessing((64, 128)))
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_two(arguments):
    """What torchrun does: two processes that know of each other; their exit codes."""
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "training.train", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for rank in range(2)
    ]
    return [process.wait(250) for process in processes]


def records(folder, kind):
    return [record for record in RunFolder(folder).records() if record["kind"] == kind]


@pytest.mark.timeout(300)  # for a machine with other things to do: both import torch
def test_two_processes_have_the_losses_of_one(tmp_path, data, weights):
    samples = open_dataset(data, "train")
    order = Order(samples, FLAGS["batch"], SEED)
    shown = [[samples.has_objects(index) for _, index in order(step)] for step in range(3)]
    assert any(sum(row) == 1 for row in shown), "no step in which one process has no object"

    one, two = tmp_path / "one", tmp_path / "two"
    assert run(*words("rdsnet_tiny_synthetic", data, one, init=weights, **FLAGS)) == 0
    assert run_two(words("rdsnet_tiny_synthetic", data, two, init=weights, **FLAGS)) == [0, 0]
    pairs = zip(records(one, "training"), records(two, "training"), strict=True)
    for single, double in pairs:
        for name in [name for name in single if name.startswith("loss")]:
            assert double[name] == pytest.approx(single[name], rel=1e-5, abs=1e-8), name
    assert len(records(two, "training")) == 4
    assert len(records(two, "validation")) == 2  # the first process alone writes
    assert (two / "weights.safetensors").exists()

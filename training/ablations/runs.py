"""Trainings of a study: each is done once, by training's own loop, and kept.

    OUT/recipes/KEY.json   the recipe, as `python -m training.train` takes it
    OUT/runs/KEY/          the run's folder, see training/runs/run_folder.py
    OUT/runs/KEY.lock      held while a command trains there
    OUT/starts/KEY...      a finished run's weights, for others to start from

A key names the recipe and stands for all that decides the result: the recipe, its seed among it,
the pictures, what the training starts from, and the code. An interrupted training goes on where it
was, unless its code has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from jointseg_core import load_model, save_model
from jointseg_core.checkpoint import Config, model_type
from jointseg_core.errors import BadConfig, BadInput, SegError
from jointseg_core.refinement import BoundaryRefinement
from jointseg_eval.datasets import Samples
from jointseg_eval.provenance import code_digest
from training import train
from training.ablations.study import Row, Table
from training.recipes import RECIPES, Recipe, steps_of
from training.runs.command import config_document
from training.runs.options import as_values, changed
from training.runs.run_folder import RunFolder, as_json, replace_file
from training.runs.stopping import StopSignals

PATIENCE = 0.2
"""Seconds between looks at trainings in other processes."""
TRAINING_CODE = ("jointseg_core", "jointseg_eval/datasets", "training/loading", "training/runs")
"""What decides the weights that come out of a recipe."""
PLACES = ("data", "validation_data")
"""Fields of a recipe that say where pictures are, which decides nothing."""


class Stopped(SegError):
    """A signal or a problem ended a training; the exit code says which."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = code


@dataclass(frozen=True)
class Base:
    """What the trainings of a study have in common.

    name        of the recipe in training/recipes.py
    recipe      with the flags of the command line in it, and its data set
    training    the pictures to learn from
    validation  those to be scored on
    cache       folder for decoded pictures, or None
    backbone    a published file of weights for it, or None
    weights     of a finished network that is used as it is, or None
    """

    name: str
    recipe: Recipe
    training: Samples
    validation: Samples
    cache: Path | None = None
    backbone: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Run:
    """One training.

    label   what people call it: the row that first asked for it, and its seed
    start   the training whose weights it goes on from, or None
    """

    label: str
    base: Base
    recipe: Recipe
    start: Run | None = None

    @cached_property
    def key(self) -> str:
        """Another one for every other result."""
        if given := self.base.weights:
            return f"{given.stem}_{str(_digest(given))[:12]}"
        fields = {k: v for k, v in as_values(self.recipe).items() if k not in PLACES}
        decisive = {
            "recipe": self.base.name,
            "fields": fields,
            "pictures": self.base.training.identity(),
            "start": self.start.key if self.start else _digest(self.base.backbone),
            "code": code_digest(*TRAINING_CODE),
        }
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return f"{self.base.name}_seed{self.recipe.seed}_{digest[:12]}"

    @property
    def main(self) -> Run:
        """The training of everything but the boundary refinement: it decides what is compared."""
        return self.start or self

    @property
    def steps(self) -> int:
        """Of both stages."""
        return steps_of(self.recipe, len(self.base.training)) + self.recipe.refinement_steps

    def folder(self, out: Path) -> RunFolder:
        """Where it is kept."""
        return RunFolder(out / "runs" / self.key)

    def weights(self, out: Path) -> Path:
        """What it results in; there once it is finished."""
        return self.base.weights or self.folder(out).weights

    def finished(self, out: Path) -> bool:
        """Whether there is nothing left to train."""
        return bool(self.base.weights) or self.weights(out).with_suffix(".json").exists()


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def run_of(base: Base, table: Table, row: Row, number: int) -> Run:
    """The training behind a row, for the number-th of the seeds.

    A network of another model learns at the rate of its own recipe, in proportion. Raises BadInput
    for a recipe that lacks what the row changes.
    """
    seed = base.recipe.seed + number
    label = f"{row.name.strip('+ ')}, seed {seed}"
    network: Config = row.network(base.recipe.model)
    types = model_type(base.recipe.model), model_type(network)
    name = base.name.replace(*types, 1)
    lr = base.recipe.lr * RECIPES[name].lr / RECIPES[base.name].lr
    base = replace(base, name=name)
    size = scaled(base.recipe, table.scale)
    recipe = replace(base.recipe, model=network, input_size=size, lr=lr, seed=seed)
    if table.steps:
        recipe = replace(recipe, steps=table.steps, validate_every=validations_of(table.steps))
    try:
        main = Run(label, base, changed(recipe, row.train))
        if row.refine is None:
            return main
        return Run(label, base, changed(main.recipe, {"steps": 0, **row.refine}), start=main)
    except (KeyError, AttributeError) as error:
        raise BadInput(f"row {row.name!r} does not fit {base.name}: {error}") from error


def validations_of(steps: int) -> int:
    """After how many steps each: a curve over training has ten points."""
    return max(1, steps // 10)


def scaled(recipe: Recipe, scale: float) -> tuple[int, int]:
    """An input size whose content has this share of the sides; fixed sides stay multiples of 32."""
    step = 1 if recipe.by_sides else 32
    height, width = (step * math.ceil(side * scale / step) for side in recipe.input_size)
    return height, width


@dataclass(frozen=True)
class Means:
    """What trainings are done with; nothing of it changes what they learn."""

    jobs: int = 1  # trainings at a time, each in a process of its own if more than one
    threads: int = 1  # of each training
    workers: int = 1  # processes that load pictures, for each training
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    out: Path = Path("out/ablations")  # folder for trainings, scores and pictures


def train_all(runs: Iterable[Run], means: Means, say: Callable[[str], None]) -> None:
    """Train what is not finished, those that others start from first.

    Raises Stopped after SIGTERM or SIGINT, when all is saved, and for a training that fails;
    BadInput as training itself.
    """
    every: dict[str, Run] = {}
    for run in (part for asked in runs for part in (asked.main, asked)):
        every.setdefault(run.key, run)
    todo = [run for run in every.values() if not run.finished(means.out)]
    if len(every) > len(todo):
        say(f"{len(every) - len(todo)} of {len(every)} trainings are there already")
    queue = _Queue(means, say, todo)
    for part in ([r for r in todo if not r.start], [r for r in todo if r.start]):
        queue.train(deque(part))


class _Queue:
    """Trainings to be done, `jobs` at a time, and how far they are."""

    def __init__(self, means: Means, say: Callable[[str], None], todo: Sequence[Run]) -> None:
        self.means, self.say, self.total = means, say, len(todo)
        self.left, self.done = sum(run.steps for run in todo), 0  # steps
        self.started, self.began = 0, time.monotonic()

    def train(self, waiting: deque[Run]) -> None:
        """Trainings that do not need each other; those under way are told to save in the end."""
        running: list[_Training] = []
        with StopSignals() as stop, ExitStack() as stack:
            stack.callback(_end, running)
            while waiting or running:
                if stop.number:
                    raise Stopped(stop.exit_code, "stopped; the same command goes on from here")
                for training in [one for one in running if one.poll() is not None]:
                    running.remove(training)
                    training.settle()
                    self._finish(training.run)
                if waiting and len(running) < self.means.jobs:
                    self._start_next(waiting, running)
                else:
                    time.sleep(PATIENCE)

    def _start_next(self, waiting: deque[Run], running: list[_Training]) -> None:
        run = waiting.popleft()
        lock = _locked(self.means.out / "runs" / f"{run.key}.lock")
        if lock is None:  # another command trains it
            waiting.append(run)
            time.sleep(PATIENCE)
        elif run.finished(self.means.out):
            lock.close()
            self._finish(run)
        else:
            self._announce(run)
            running.append(_Training(run, self.means, lock))

    def _announce(self, run: Run) -> None:
        """Say which training begins, and when all will be over."""
        self.started += 1
        spent = time.monotonic() - self.began
        when = f"; {spent / self.done * self.left / 60:.0f} min left" if self.done else ""
        self.say(f"training {self.started} of {self.total}: {run.label}, {run.steps} steps{when}")

    def _finish(self, run: Run) -> None:
        self.done += run.steps
        self.left -= run.steps


def _locked(path: Path) -> IO | None:
    """An open file that is locked until it is closed; None if another process has locked it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


class _Training:
    """A training under way: in this process if it is the only one, else in one of its own."""

    def __init__(self, run: Run, means: Means, lock: IO) -> None:
        self.run, self.lock = run, lock
        self.folder = run.folder(means.out).path
        self.log = self.folder.with_suffix(".log")
        self.process: subprocess.Popen | None = None
        self.code: int | None = None
        words = _arguments(run, means)
        if means.jobs == 1:
            self.code = train.main(words)
            return
        environment = os.environ | {"OMP_NUM_THREADS": str(means.threads)}
        command = [sys.executable, "-m", "training.train", *words]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def poll(self) -> int | None:
        """Its exit code, None while it goes on."""
        return self.process.poll() if self.process else self.code

    def settle(self) -> None:
        """Raise what its exit code says."""
        self.lock.close()
        code = self.poll()
        if code in (BadConfig.exit_code, BadInput.exit_code):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            kind = BadInput if code == BadInput.exit_code else BadConfig
            raise kind(f"{self.run.label}: {lines[-1] if lines else f'see {self.log}'}")
        if code:
            raise Stopped(code, f"{self.run.label} ended with exit code {code}; see {self.folder}")


def _end(running: list[_Training]) -> None:
    """Let trainings save, and wait for that."""
    processes = [training.process for training in running if training.process]
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    for training in running:
        training.lock.close()


def _arguments(run: Run, means: Means) -> list[str]:
    """Of `python -m training.train`."""
    recipe = means.out / "recipes" / f"{run.key}.json"
    replace_file(recipe, as_json(config_document(run.base.name, run.recipe)))
    start = _unrefined(run.start, means.out) if run.start else None
    options: Mapping[str, Any] = {
        "out": run.folder(means.out).path,
        "device": means.device,
        "workers": means.workers,
        "cache": run.base.cache,
        "init": start,
        "backbone": None if start else run.base.backbone,
    }
    given = [word for k, v in options.items() if v is not None for word in (f"--{k}", str(v))]
    return [str(recipe), "--resume", *given]


def _unrefined(start: Run, out: Path) -> Path:
    """The weights of a finished run with the boundary refinement as before any training.

    Otherwise a kernel of the length that the run had would have been trained twice as long.
    """
    path = out / "starts" / f"{start.key}.safetensors"
    model, what = load_model(start.weights(out))
    model.refinement = BoundaryRefinement(what.config.gamma, what.config.refinement_reach)
    save_model(model, path, what.classes, what.preprocessing)
    return path

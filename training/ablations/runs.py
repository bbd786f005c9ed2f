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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from training.recipes import Recipe, steps_of
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
    backbone    ResNet weights to start from, or None
    """

    name: str
    recipe: Recipe
    training: Samples
    validation: Samples
    cache: Path | None = None
    backbone: Path | None = None


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
        return self.folder(out).weights

    def finished(self, out: Path) -> bool:
        """Whether there is nothing left to train."""
        return self.weights(out).with_suffix(".json").exists()


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def run_of(base: Base, table: Table, row: Row, number: int) -> Run:
    """The training behind a row, for the number-th of the seeds.

    Raises BadInput for a recipe that lacks what the row changes.
    """
    seed = base.recipe.seed + number
    label = f"{row.name.strip('+ ')}, seed {seed}"
    network: Config = row.network(base.recipe.model)
    types = model_type(base.recipe.model), model_type(network)
    base = replace(base, name=base.name.replace(*types, 1))
    size = scaled(base.recipe, table.scale)
    recipe = replace(base.recipe, model=network, input_size=size, seed=seed)
    try:
        main = Run(label, base, changed(recipe, row.train))
        if row.refine is None:
            return main
        return Run(label, base, changed(main.recipe, {"steps": 0, **row.refine}), start=main)
    except (KeyError, AttributeError) as error:
        raise BadInput(f"row {row.name!r} does not fit {base.name}: {error}") from error


def scaled(recipe: Recipe, scale: float) -> tuple[int, int]:
    """An input size whose content has this share of the sides; fixed sides stay multiples of 32."""
    step = 1 if recipe.by_sides else 32
    height, width = (step * math.ceil(side * scale / step) for side in recipe.input_size)
    return height, width


@dataclass(frozen=True)
class Means:
    """What trainings are done with; nothing of it changes what they learn.

    jobs      trainings at a time
    threads   of each
    workers   processes that load pictures, of each
    """

    out: Path
    jobs: int = 1
    threads: int = 1
    workers: int = 1
    device: str = "auto"


@dataclass
class Queue:
    """Trainings to be done, and how far they are."""

    means: Means
    say: Callable[[str], None]
    total: int = 0
    left: int = 0  # steps
    done: int = 0  # steps
    started: int = 0
    began: float = field(default_factory=time.monotonic)

    def announce(self, run: Run) -> None:
        """Say which training begins, and when all will be over."""
        self.started += 1
        spent = time.monotonic() - self.began
        when = f"; {spent / self.done * self.left / 60:.0f} min left" if self.done else ""
        self.say(f"training {self.started} of {self.total}: {run.label}, {run.steps} steps{when}")

    def finish(self, run: Run) -> None:
        """A training is over."""
        self.done += run.steps
        self.left -= run.steps


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
    queue = Queue(means, say, len(todo), sum(run.steps for run in todo))
    for part in ([r for r in todo if not r.start], [r for r in todo if r.start]):
        _train_part(deque(part), queue)


def _train_part(waiting: deque[Run], queue: Queue) -> None:
    """Trainings that do not need each other, `jobs` at a time."""
    running: list[_Training] = []
    with StopSignals() as stop:
        while waiting or running:
            if stop.number:
                _end(running)
                raise Stopped(stop.exit_code, "stopped; the same command goes on from here")
            for training in [one for one in running if one.poll() is not None]:
                running.remove(training)
                try:
                    _settle(training, queue)
                except SegError:
                    _end(running)
                    raise
            if waiting and len(running) < queue.means.jobs:
                _start_next(waiting, running, queue)
            else:
                time.sleep(PATIENCE)


def _start_next(waiting: deque[Run], running: list[_Training], queue: Queue) -> None:
    run = waiting.popleft()
    lock = _locked(queue.means.out / "runs" / f"{run.key}.lock")
    if lock is None:  # another command trains it
        waiting.append(run)
        time.sleep(PATIENCE)
    elif run.finished(queue.means.out):
        queue.finish(run)
        lock.close()
    else:
        queue.announce(run)
        running.append(_Training(run, queue.means, lock))


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


def _settle(training: _Training, queue: Queue) -> None:
    """Go on after a training that ended; raise what its exit code says."""
    training.lock.close()
    code, run = training.poll(), training.run
    if code == 0:
        queue.finish(run)
    elif code in (BadConfig.exit_code, BadInput.exit_code):
        kind = BadInput if code == BadInput.exit_code else BadConfig
        raise kind(f"{run.label}: {training.last_words()}")
    else:
        folder = run.folder(queue.means.out).path
        raise Stopped(code, f"{run.label} ended with exit code {code}; see {folder}")


def _end(running: list[_Training]) -> None:
    """Let trainings save, and wait for that."""
    for training in running:
        training.tell_to_stop()
    for training in running:
        training.wait()


class _Training:
    """A training under way: in this process if it is the only one, else in one of its own."""

    def __init__(self, run: Run, means: Means, lock: IO) -> None:
        self.run, self.lock = run, lock
        self.log = run.folder(means.out).path.with_suffix(".log")
        words = _arguments(run, means)
        self.process: subprocess.Popen | None = None
        if means.jobs == 1:
            self.code: int | None = train.main(words)
        else:
            self.code = None
            self.process = self._beside(words, means)

    def _beside(self, words: list[str], means: Means) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": str(means.threads)}
        command = [sys.executable, "-m", "training.train", *words]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def poll(self) -> int | None:
        """Its exit code, None while it goes on."""
        return self.code if self.process is None else self.process.poll()

    def tell_to_stop(self) -> None:
        """It saves after its step and ends."""
        if self.process is not None:
            self.process.terminate()

    def wait(self) -> None:
        """Until it has ended."""
        if self.process is not None:
            self.process.wait()
        self.lock.close()

    def last_words(self) -> str:
        """What it said last."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or [f"see {self.log}"]
        return lines[-1]


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

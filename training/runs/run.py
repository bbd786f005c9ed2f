"""A run: its parts, the step, and what is kept of it."""

from __future__ import annotations

import copy
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointseg_core import Manifest, Predictor, Target, save_model
from jointseg_core.checkpoint import Model
from jointseg_core.errors import BadCheckpoint, SegError
from jointseg_core.model_check import sign
from jointseg_eval.datasets import Samples
from training.loading.real_streets import attributions
from training.recipes import preprocessing_of, rate, steps_of
from training.runs.average import Average
from training.runs.command import Command
from training.runs.distributed import Ranks
from training.runs.panels import batch_sheet
from training.runs.records import Records, finite
from training.runs.run_folder import RunFolder
from training.runs.stages import JointStage, RefinementStage, Step, freeze_norms

NAMES_SHOWN = 8
"""Pictures that a message names."""
FIRST_BATCHES = 2
"""Batches that are drawn as the network is given them."""


class Diverged(SegError):
    """Too many steps in a row had no finite loss; the message says which and what to do."""


@dataclass
class Progress:
    """What changes as a run goes on, beside its weights."""

    step: int = 0  # steps taken, in both stages
    validated: int = 0  # steps taken at the last validation
    best: float = -math.inf  # score of the best validation
    best_step: int = 0
    skipped: int = 0  # steps without a finite loss
    skipped_in_row: int = 0
    seconds: float = 0.0  # that all steps took


class Run:
    """What the loop works with; at its first step, until a state is loaded.

    steps, total  of the first stage, and of both
    model         learns in the first stage
    average       of its weights, which are validated and shipped; the second stage refines them
    """

    def __init__(
        self, command: Command, ranks: Ranks, training: Samples, validation: Samples, model: Model
    ) -> None:
        recipe = command.recipe
        self.command, self.ranks = command.text, ranks
        self.recipe, self.options = recipe, command.options
        self.training, self.validation = training, validation
        self.steps = steps_of(recipe, len(training))
        self.total = self.steps + recipe.refinement_steps
        self.model = model.to(ranks.device, memory_format=torch.channels_last).train()
        self.average = Average(self.model, recipe.average)
        self.joint = JointStage(self.model, recipe, ranks)
        self.refinement = (
            RefinementStage(self.average.model, recipe, ranks) if recipe.refinement_steps else None
        )
        self.folder = RunFolder(command.folder, command.options.keep)
        options = command.options
        self.records = Records(self.folder, options.log_every, ranks.first, options.log)
        self.progress, self.began = Progress(), time.monotonic()

    @property
    def workers(self) -> int:
        """Processes that load pictures for this one."""
        if self.options.workers is not None:
            return self.options.workers
        cores = len(os.sched_getaffinity(0)) // self.ranks.world
        return max(1, min(8, cores - 1)) if self.ranks.device.type == "cuda" else 1

    @property
    def late(self) -> bool:
        """Whether the minutes that this process was given are over."""
        return time.monotonic() - self.began > 60 * self.options.minutes

    def say(self, text: str) -> None:
        """A line for people, from the first process."""
        self.records.say(text)

    # -- steps --------------------------------------------------------------------------------

    def take_step(
        self, images: Tensor, targets: list[Target], names: Sequence[str], waited: float
    ) -> None:
        """One step of the stage that it is time for, on this process's share of a batch.

        waited   seconds that the batch took to come
        """
        began, step = time.monotonic(), self.progress.step
        seed_everything(self.recipe.seed, step)
        if step < FIRST_BATCHES and self.ranks.first:
            sheet = batch_sheet(images, targets, names, self.training.classes)
            self.folder.save_batch(step + 1, sheet)
        targets = [target.to(self.ranks.device) for target in targets]
        learn = self._joint_step if step < self.steps else self._second_step
        outcome = learn(images, targets)
        self.progress.step += 1
        spent = time.monotonic() - began
        self.progress.seconds += waited + spent
        self._guard(outcome, names)
        self.records.step(self.progress.step, outcome, waited, spent)

    def _joint_step(self, images: Tensor, targets: list[Target]) -> Step:
        step = self.progress.step
        if step >= round(self.steps * (1 - self.recipe.freeze_norms)):
            freeze_norms(self.model)
        outcome = self.joint(images, targets, rate(self.recipe, step, self.steps))
        if outcome.done:
            self.average.update(self.model)
        else:
            self.average.heal(self.model)
        return outcome

    def _second_step(self, images: Tensor, targets: list[Target]) -> Step:
        left = (self.total - self.progress.step) / self.recipe.refinement_steps
        return self.refinement(images, targets, left)

    def _guard(self, outcome: Step, names: Sequence[str]) -> None:
        """Count a step that was skipped. Raises Diverged after too many in a row."""
        progress = self.progress
        if outcome.done:
            progress.skipped_in_row = 0
            return
        progress.skipped += 1
        progress.skipped_in_row += 1
        shown = sorted(self.ranks.gather(names))[:NAMES_SHOWN]
        self.records.write("skipped", progress.step, pictures=shown, losses=outcome.losses)
        if progress.skipped_in_row >= self.recipe.max_skipped:
            raise Diverged(
                f"step {progress.step}: no finite loss for {progress.skipped_in_row} steps in a "
                f"row, the last with {', '.join(shown)}; look at these pictures with "
                f"jointseg_eval.check_data, or lower --lr (now {self.recipe.lr:g})"
            )

    # -- validation ---------------------------------------------------------------------------

    @property
    def validation_due(self) -> bool:
        """Every so many steps, and at the end of each stage."""
        step = self.progress.step
        regular = step % self.recipe.validate_every == 0 or step in (self.steps, self.total)
        return regular and step > self.progress.validated

    def predictor(self) -> Predictor:
        """The averaged weights, ready to be used on pictures of any size."""
        model = copy.deepcopy(self.average.model)
        return Predictor(model, self.manifest(), str(self.ranks.device), "auto")

    def manifest(self) -> Manifest:
        """What the weights are."""
        return Manifest(self.recipe.model, self.training.classes, preprocessing_of(self.recipe))

    # -- keeping ------------------------------------------------------------------------------

    def export(self, name: str, metrics: Mapping[str, float]) -> None:
        """Write the averaged weights in fp16 as NAME.safetensors, with how they came to be."""
        step, what = self.progress.step, self.manifest()
        facts = {
            "command": self.command,
            "data": self.training.name,
            "steps": min(step, self.steps),
            "refinement_steps": max(0, step - self.steps),
            "pictures_a_step": self.recipe.batch,
            "seed": self.recipe.seed,
            "hours": round(self.progress.seconds / 3600, 3),
            "validation": {"data": self.validation.name, **finite(metrics)},
            **(
                {"real_pictures": attributions(bool(self.recipe.teacher))}
                if self.recipe.real
                else {}
            ),
        }
        path = self.folder.path / f"{name}.safetensors"
        model = self.average.model
        save_model(model, path, what.classes, what.preprocessing, facts, torch.float16)
        with suppress(BadCheckpoint):  # of a run that diverges, which is told in its place
            sign(path)

    def save(self) -> None:
        """Write a checkpoint: all that `load_state_dict` needs to go on as if nothing stopped."""
        if not self.ranks.first:
            return
        state = {
            "step": self.progress.step,
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "joint": self.joint.state_dict(),
            "refinement": self.refinement.state_dict() if self.refinement else {},
        }
        self.folder.save(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where a checkpoint was written."""
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.joint.load_state_dict(state["joint"])
        if self.refinement and state["refinement"]:
            self.refinement.load_state_dict(state["refinement"])


def seed_everything(seed: int, step: int) -> None:
    """Seed every global generator for one step: what it draws depends on nothing before it.

    So a resumed run needs no states of generators to go on exactly.
    """
    mixed = (seed * 1_000_003 + step) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)

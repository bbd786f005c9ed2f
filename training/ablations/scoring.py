"""Scores of a row: its network as the row uses it, on all validation pictures and on resamples.

They are kept beside the run, RUN/scores/KEY.npy, by all that decides them, the code included.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from torch import Tensor

from jointseg_core import Letterbox, Predictions, Predictor, RDSNet, build_model, load_model
from jointseg_core.refinement import mask_profiles
from jointseg_eval.datasets import Sample, Samples
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.models import SCORE_THRESHOLD
from jointseg_eval.provenance import code_digest
from training.ablations.direct_boxes import direct_boxes
from training.ablations.study import Choice, Row
from training.loading.augmentation import as_input
from training.runs.options import changed
from training.runs.run_folder import replace_file
from training.runs.stages import told_of

SCORING_CODE = ("jointseg_core", "jointseg_eval", "training/ablations/scoring.py")
"""What decides the scores of given weights."""

OF_PROPOSALS = {"ar_1000", "recall_50", "foreground_share"}
IOUS = range(50, 100, 5)
"""In percent."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Numbers by name, in percent; resampled [R]: of R draws of pictures, the same everywhere."""

    values: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Task:
    """What is to be scored: weights, how a row uses them, which numbers, how many resamples.

    They are kept in a folder. pixels are weights of a network that adds the classes of pixels, or
    None.
    """

    label: str
    weights: Path
    folder: Path
    row: Row
    columns: tuple[str, ...]
    resamples: int
    device: str = "auto"
    pixels: Path | None = None

    def path(self, samples: Samples) -> Path:
        """Where the scores are kept."""
        decisive = {
            "code": code_digest(*SCORING_CODE),
            "use": dict(self.row.use),
            "boxes": self.row.boxes,
            "pixels": self.pixels and self.pixels.parent.name,
            "columns": self.columns,
            "resamples": self.resamples,
            "pictures": samples.identity(),
        }
        key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return self.folder / "scores" / f"{key[:16]}.npy"


def score_all(
    tasks: Sequence[Task], samples: Samples, jobs: int, threads: int, say: Callable[[str], None]
) -> list[Scores]:
    """The scores of all tasks, some of them at a time in processes of their own."""
    todo = [task for task in tasks if not task.path(samples).exists()]
    for number, _ in enumerate(_scored(todo, samples, jobs, threads), 1):
        say(f"scored {number} of {len(todo)}: {todo[number - 1].label}")
    return [score(task, samples) for task in tasks]


def chosen(
    tasks: Sequence[Task], choice: Choice, score_them: Callable[[Sequence[Task]], list[Scores]]
) -> list[Task]:
    """The same tasks, each used with the value that is best for it alone; the first of equals."""
    tries = [_tried(task, choice, value) for task in tasks for value in choice.values]
    found = np.nan_to_num([scores.values[choice.by] for scores in score_them(tries)], nan=-np.inf)
    each = found.reshape(len(tasks), len(choice.values)).argmax(1)
    return [_used(t, choice, choice.values[k]) for t, k in zip(tasks, each, strict=True)]


def _tried(task: Task, choice: Choice, value: float) -> Task:
    label = f"{task.label}, {choice.field} {value}"
    return replace(_used(task, choice, value), label=label, columns=(choice.by,), resamples=0)


def _used(task: Task, choice: Choice, value: float) -> Task:
    return replace(task, row=replace(task.row, use={**task.row.use, choice.field: value}))


def _scored(tasks: Sequence[Task], samples: Samples, jobs: int, threads: int) -> Iterator[Scores]:
    """One after the other, as they are done."""
    if jobs == 1 or len(tasks) < 2:
        yield from (score(task, samples) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        yield from pool.map(score, tasks, [samples] * len(tasks))


def score(task: Task, samples: Samples) -> Scores:
    """The scores of a task, measured unless they are kept."""
    path, columns = task.path(samples), task.columns
    if not path.exists():
        evaluation = measured(task, samples)
        draws = [None, *image_draws(len(samples), task.resamples)]
        rows = [numbers(evaluation, columns, images) for images in draws]
        file = io.BytesIO()
        np.save(file, np.array([[row[name] for name in columns] for row in rows]))
        replace_file(path, file.getbuffer())
    table = np.load(path)  # [1 + R, columns], all pictures first
    values, resampled = table[0].tolist(), table[1:].T
    return Scores(
        dict(zip(columns, values, strict=True)), dict(zip(columns, resampled, strict=True))
    )


def image_draws(pictures: int, resamples: int) -> list[np.ndarray]:
    """Numbers of pictures, with repeats, as many as there are; the same ones whoever asks."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, pictures, pictures) for _ in range(resamples)]


def measured(task: Task, samples: Samples) -> Evaluation:
    """A row's network on every picture."""
    predictor = predictor_of(task.weights, task.row.use, task.device)
    if task.row.boxes == "camera":
        predictor.model._refined = MethodType(_refined_in_camera_pixels, predictor.model)
    other = predictor_of(task.pixels, {}, task.device) if task.pixels else None
    evaluation = Evaluation(samples.classes)
    proposing = bool(OF_PROPOSALS & set(task.columns))  # matching a thousand boxes takes long
    for number in range(len(samples)):
        sample = samples[number]
        found, proposals = see(predictor, sample)
        found = direct_boxes(found) if task.row.boxes == "direct" else found
        if other:
            maps, _ = see(other, sample)
            found = replace(found, semantic=maps.semantic, foreground=maps.foreground)
        evaluation.add(sample, found, proposals if proposing else None)
    return evaluation


def _refined_in_camera_pixels(
    model: RDSNet, _: Tensor, boxes: Tensor, crops: tuple[list[Tensor], Tensor], frame: Letterbox
) -> Tensor:
    """`RDSNet._refined` as the released code does it: by masks as fine as the camera's pixels."""
    return model.refinement(*mask_profiles(*crops, frame.image_size), frame.to_image(boxes))


def predictor_of(weights: Path, use: Mapping[str, float], device: str = "auto") -> Predictor:
    """A network with other numbers in its config than those it was trained with."""
    model, manifest = load_model(weights)
    config = changed(manifest.config, {"score_threshold": SCORE_THRESHOLD, **use})
    used = build_model(config)
    used.load_state_dict(model.state_dict())
    return Predictor(used, replace(manifest, config=config), device)


@torch.inference_mode()
def see(predictor: Predictor, sample: Sample) -> tuple[Predictions, tuple[Tensor, Tensor]]:
    """What a network finds in a picture, and its proposals: boxes [P, 4] and scores [P].

    Not the predictor's own call, since networks of SegRPN's Table II are told where objects are.
    """
    model, preprocessing = predictor.model, predictor.manifest.preprocessing
    inputs, frames = preprocessing.batch([sample.image], predictor.device)
    told = ()
    if getattr(model.config, "scale_case", 0):
        _, target = as_input(sample, preprocessing)
        told = told_of(model, [target.to(predictor.device)])
    output = model(inputs, *told)
    (found,), ((boxes, scores),) = model.decode(output, frames), model.proposals(output, frames)
    return found.to("cpu"), (boxes.cpu(), scores.cpu())


def numbers(
    evaluation: Evaluation, columns: Sequence[str], images: Sequence[int] | None = None
) -> dict[str, float]:
    """The numbers of these names in percent, of the pictures with these numbers or of all."""
    found: dict[str, float] = {}
    kinds = {name.partition("_")[0] for name in columns}
    if "box" in kinds:
        boxes = evaluation.objects.boxes(images)
        found |= boxes.named("box")
        found |= {f"box_ap_at_{iou}": v for iou, v in zip(IOUS, boxes.by_iou, strict=True)}
        found["box_ap_from_75"] = float(np.mean(boxes.by_iou[IOUS.index(75) :]))
    if "mask" in kinds and evaluation.objects.has_masks:
        found |= evaluation.objects.masks(images).named("mask")
    if "miou" in kinds:
        found["miou"] = evaluation.pixels.over(images).mean_iou()
    for name, part in (("pq", evaluation.panoptic), ("agreement", evaluation.agreement)):
        if name in columns and evaluation.has(part):
            found |= part.score(images)
    if "foreground_miou" in columns and evaluation.has(evaluation.foreground):
        found["foreground_miou"] = evaluation.foreground.over(images).mean_iou()
    if OF_PROPOSALS & set(columns):
        found |= evaluation.proposals.score(images)
    return {name: 100 * found.get(name, np.nan) for name in columns}

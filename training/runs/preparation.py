"""Builds a run from its command: everything is checked before anything is written."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import replace

import torch

from jointseg_core import CITYSCAPES, Classes, build_model
from jointseg_core.checkpoint import Model
from jointseg_core.errors import BadCheckpoint, BadConfig, BadInput
from jointseg_eval.datasets import Subset
from jointseg_eval.input_validation import check_folder
from jointseg_eval.provenance import environment
from training.loading.real_streets import attributions
from training.pretrained import Table, load_pretrained
from training.pretrained.imagenet import lite0_weights
from training.recipes import Recipe, augmentation_of, check, fitted, learns_pixels
from training.runs.command import Command, Options, config_document, stored
from training.runs.distributed import Ranks
from training.runs.loggers import check_loggers
from training.runs.options import as_values
from training.runs.own_pictures import (
    best_metric,
    say_what_is_shared,
    with_pixels,
    with_stuff,
)
from training.runs.run import Run
from training.runs.run_folder import RunFolder, as_json, replace_file
from training.runs.sources import check_pictures, open_sources
from training.runs.validation import check_metric


def prepare(command: Command, ranks: Ranks, stack: ExitStack) -> Run:
    """The run of a command, where it was if it is resumed, with its folder begun.

    Raises SegError for whatever cannot be used; nothing is written then.
    """
    recipe, options = command.recipe, command.options
    check(recipe)
    check_loggers(options.log)
    if recipe.batch < ranks.world:
        raise BadConfig(f"--batch is {recipe.batch}, fewer pictures than processes: {ranks.world}")
    saved = _checked(RunFolder(command.folder), options)
    if saved is None:
        options = _with_backbone(recipe, options)
        _check_start(recipe, options)
        # refused before pictures are made, which may take minutes
        start_model(recipe, replace(options, init=()), CITYSCAPES, resumed=False)
    recipe = with_stuff(recipe, options.init)
    training, validation = open_sources(recipe, ranks, options.cache)
    say_what_is_shared(training, validation)
    training = with_pixels(training, recipe)
    recipe = best_metric(recipe, validation, "best" in command.changes or saved is not None)
    if options.dry_run:
        validation = Subset(validation, range(min(2, len(validation))))
    recipe = fitted(recipe, training.classes, training.name)
    if saved and recipe.model != command.recipe.model:
        raise BadInput(
            f"{command.folder} holds a run on other classes than those of {training.name}; "
            "--init and --out start another run from its weights"
        )
    model, tables = start_model(recipe, options, training.classes, resumed=saved is not None)
    command = command._replace(recipe=recipe)
    _choose_algorithms(recipe)
    run = Run(command, ranks, training, validation, model)
    stack.callback(run.records.close)
    done = saved["step"] if saved else 0
    if not done <= run.total > 0:
        raise BadConfig(
            f"there is nothing to do: {done} of {run.total} steps are done; see --steps"
        )
    if saved:
        run.load_state_dict(saved)
    elif ranks.first:
        check_pictures(training, learns_pixels(recipe.model))
        check_metric(run)
    ranks.wait()  # nobody has refused anything
    for table in tables:
        run.say(str(table))
    if ranks.first:
        _begin(run, command, saved is not None)
    return run


def _choose_algorithms(recipe: Recipe) -> None:
    """With `deterministic`, the same command gives the same bits on one machine, if more slowly.

    On a GPU as far as its operations can; those that cannot are named in a warning.
    """
    sizes_vary = bool(augmentation_of(recipe).scales)
    torch.backends.cudnn.benchmark = not recipe.deterministic and not sizes_vary
    if recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


_RANGES = {
    **dict.fromkeys(("save_every", "log_every", "keep"), (1, 10**9)),
    "workers": (0, 1024),
    "minutes": (0, math.inf),
}


def _checked(folder: RunFolder, options: Options) -> dict | None:
    """The state to go on from, None for a new run. Raises BadInput for a folder in use."""
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            wanted = f"{least} to {most}"
            raise BadConfig(f"--{name.replace('_', '-')} is {value}, expected {wanted}")
    files = {"init": options.init, "backbone": [options.backbone] if options.backbone else []}
    for name, path in ((name, path) for name, paths in files.items() for path in paths):
        if not path.is_file():
            raise BadCheckpoint(f"--{name}: there is no file {path.absolute()}")
    check_folder(folder.path, "--out")
    if folder.used and not options.resume:
        raise BadConfig(
            f"{folder.path} holds a run; --resume goes on with it, --out names another folder"
        )
    return folder.newest() if folder.used else None


def _with_backbone(recipe: Recipe, options: Options) -> Options:
    """The options with the installed weights of a backbone, where no other file is named."""
    named = options.backbone or options.init
    if named or not recipe.pretrained or recipe.model.backbone != "lite0":
        return options
    return replace(options, backbone=lite0_weights())


def _check_start(recipe: Recipe, options: Options) -> None:
    """Raises BadConfig for a recipe that needs weights to start from and gets none.

    With the fixed statistics of random weights, activations grow beyond all bounds.
    """
    if options.backbone or options.init:
        return
    if recipe.pretrained:
        raise BadConfig(
            "this recipe starts from ImageNet weights, but neither --backbone nor --init names "
            "any; give a published file for the backbone (docs/training.md), or train from "
            "scratch with --pretrained false"
        )
    if recipe.model.norm != "trainable":
        raise BadConfig(
            f"the backbone has {recipe.model.norm} norms, as belong to ImageNet weights, but "
            "neither --backbone nor --init names weights; give a published file for the backbone "
            "(docs/training.md), or train from scratch with --model.norm trainable "
            "--model.frozen-stages 0"
        )


def start_model(
    recipe: Recipe, options: Options, classes: Classes, resumed: bool
) -> tuple[Model, list[Table]]:
    """The network of a recipe: random weights from its seed, then those of given files.

    A table for each file of --init says what became of its weights. Raises BadInput for files that
    cannot be used, and for a second stage of a network that has none.
    """
    torch.manual_seed(recipe.seed)
    try:
        model = build_model(recipe.model, None if resumed else options.backbone)
    except KeyError as error:
        raise BadConfig(f"there is no {error} among the backbones and norms of networks") from error
    if recipe.refinement_steps and getattr(model, "refinement", None) is None:
        raise BadConfig(
            "this network has no boundary refinement for a second stage; --refinement-steps 0"
        )
    files = () if resumed else options.init
    return model, [load_pretrained(model, classes, path) for path in files]


def _differences(run: Run) -> list[str]:
    """What a run that goes on does in another way than when it was started last."""
    was, now = (as_values(recipe) for recipe in (stored(run.folder.config)[1], run.recipe))
    data = (run.folder.starts() or [{}])[-1].get("data", run.training.name)
    was, now = was | {"pictures": data}, now | {"pictures": run.training.name}
    return [f"{key} {now[key]} instead of {was[key]}" for key in now if now[key] != was.get(key)]


def _begin(run: Run, command: Command, resumed: bool) -> None:
    """Write down what runs, where and with what; the checkpoint first, since a config means one."""
    folder = run.folder
    if resumed:
        if other := _differences(run):
            run.say(f"warning: from here on it is another run: {'; '.join(other)}")
        folder.forget_after(run.progress.step, run.progress.validated)
        run.records.write("resumed", run.progress.step, changes=sorted(command.changes))
    else:
        run.save()
    if run.recipe.real:
        replace_file(folder.attributions, as_json(attributions(bool(run.recipe.teacher))))
    document = config_document(command.name, run.recipe)
    replace_file(folder.config, as_json(document))
    starts = folder.starts()
    facts = environment(command.text, run.ranks.device, run.ranks.world)
    facts["data"] = run.training.name
    replace_file(folder.environment, as_json({"starts": [*starts, facts]}))
    at = f"from step {run.progress.step} on" if resumed else "from the first step on"
    run.say(
        f"{command.name} {at}: {run.steps} steps of {run.recipe.batch} pictures of "
        f"{run.training.name}, {run.recipe.refinement_steps} of the second stage; "
        f"{facts['device']}, {run.joint.dtype}; {folder.path}"
    )

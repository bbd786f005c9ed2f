"""Measure the papers' tables and figures, and what the joint network gains.

    python -m training.ablate rdsnet-table-4 --size tiny --seeds 3 --input-size 128x256 --jobs 2
    python -m training.ablate segrpn-table-1 --size tiny --seeds 5 --steps 2000
    python -m training.ablate exchange --input-size 128x256 --steps 500 # with eight seeds

Trains what it needs and has not trained before, one network after the other or `--jobs` at a time,
scores every row, and prints our numbers beside the paper's with 95 % intervals. Every flag of
`training.train` that changes a recipe is one here, for all rows alike; of the joint study's rows
each has a learning rate in proportion to that of its network's recipe. Interrupted, the same
command goes on. The numbers go to docs/results/, everything else to out/ablations/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from jointseg_core import Preprocessing, build_model, load_model
from jointseg_core.checkpoint import Model, model_type
from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.predictor import choose_device
from jointseg_eval.datasets import Samples, Subset
from jointseg_eval.input_validation import check_folder
from jointseg_eval.provenance import command_line, environment
from training.ablations import joint, rdsnet, segrpn
from training.ablations.figures import FIGURES, Finished
from training.ablations.objects import objects_of
from training.ablations.results import Measured, as_text, partners, table_document
from training.ablations.runs import Base, Means, Run, run_of, train_all, validations_of
from training.ablations.scoring import Scores, Task, chosen, score_all
from training.ablations.statistics import MAX_SEEDS
from training.ablations.study import Study, Table, of_given_weights, of_lengths
from training.recipes import RECIPES, Recipe, preprocessing_of, steps_of
from training.runs.distributed import Ranks
from training.runs.options import Parser, add_flags, changed, described
from training.runs.run_folder import as_json, replace_file
from training.runs.sources import decoded_beside, open_sources, scenes_of

STUDIES = {study.name: study for study in (*rdsnet.STUDIES, *segrpn.STUDIES, *joint.STUDIES)}
Size = Literal["tiny", "r18", "r50"]
SIZES = get_args(Size)


@dataclass(frozen=True)
class Options(Means):
    """What is trained and scored, and with what; the recipe's own flags follow."""

    size: Size = "tiny"  # of the network: tiny, r18 or r50
    recipe: str = ""  # of training/recipes.py, such as rdsnet_r101_coco_600; "" = by the size
    seeds: int = Study.seeds  # trainings of each row, with seeds from --seed on
    backbone: Path | None = None  # a published file for it, see docs/training.md
    cache: Path | None = None  # folder for decoded pictures; synthetic scenes have their own
    weights: Path | None = None  # use this network, and leave out rows that need another training
    resamples: int = 1000  # draws of validation pictures behind an interval
    results: Path = Path("docs/results")  # folder for the numbers


class Command(NamedTuple):
    """A command line, understood."""

    text: str
    study: Study
    name: str  # of the recipe
    recipe: Recipe
    options: Options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0; raises Stopped after a signal and for a training that failed."""
    command = parse_command(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(command.options.threads)
    document = ablate(command)
    print(f"\n{as_text(document)}\n")
    options = command.options
    what = options.weights.stem if options.weights else options.recipe or options.size
    path = options.results / f"ablation_{command.study.name}_{what}.json"
    replace_file(path, as_json(document))
    print(f"{path} is written", *document["pictures"], sep="\n")
    return 0


def ablate(command: Command) -> dict[str, Any]:
    """Train, score and draw a study; the document about it."""
    study, options = command.study, command.options
    base = base_of(command)
    runs = {
        table.title: {
            row.name: [run_of(base, table, row, k) for k in range(options.seeds)]
            for row in table.rows
        }
        for table in study.tables
    }
    every = [run for rows in runs.values() for seeds in rows.values() for run in seeds]
    train_all(every, options, say)
    tables = {t.title: measure(t, runs[t.title], base, options) for t in study.tables}
    folder = options.out / "figures" / f"{study.name}_{options.size}"
    draw = FIGURES.get(study.name, _no_pictures)
    if options.weights and study != STUDIES[study.name]:  # a part of it
        draw = _no_pictures
    objects = objects_of(base.validation, *_network(command))
    return {
        "study": study.name,
        "title": study.title,
        "settings": settings(command, base),
        "notes": list(study.notes),
        "objects": objects,
        "tables": [
            table_document(table, tables[table.title], objects["sizes"]) for table in study.tables
        ],
        **draw(Finished(base, options, tables, folder)),
        "environment": environment(command.text, choose_device(options.device), 1),
    }


def _network(command: Command) -> tuple[Model, Preprocessing]:
    """What the study is of, with its input."""
    if command.options.weights:
        model, manifest = load_model(command.options.weights)
        return model, manifest.preprocessing
    return build_model(command.recipe.model), preprocessing_of(command.recipe)


def _no_pictures(_: Finished) -> dict[str, Any]:
    return {"pictures": []}


def say(text: str) -> None:
    """A line about how far it is."""
    print(text, flush=True)


def base_of(command: Command) -> Base:
    """What all trainings share; makes the synthetic scenes where there is no data set."""
    recipe, here = command.recipe, Ranks(torch.device("cpu"))
    root = recipe.data or scenes_of(recipe, here)
    cache = command.options.cache or (None if recipe.data else decoded_beside(root))
    recipe = replace(recipe, data=root)
    training, validation = open_sources(recipe, here, cache)
    files = command.options.backbone, command.options.weights
    return Base(command.name, recipe, training, validation, cache, *files)


def measure(
    table: Table, runs: Mapping[str, Sequence[Run]], base: Base, options: Options
) -> dict[str, Measured]:
    """The rows of a table with their scores, by name."""
    resampled = resampled_rows(table, runs)
    tasks = [
        Task(
            f"{row.name}, seed {run.recipe.seed}",
            run.weights(options.out),
            run.folder(options.out).path,
            row,
            table.columns,
            options.resamples if row.name in resampled else 0,
            options.device,
            runs[row.pixels][number].weights(options.out) if row.pixels else None,
        )
        for row in table.rows
        for number, run in enumerate(runs[row.name])
    ]

    def scored(tasks: Sequence[Task], samples: Samples) -> list[Scores]:
        return score_all(tasks, samples, options.jobs, options.threads, say)

    if choice := table.choice:
        others = Subset(base.training, range(min(choice.pictures, len(base.training))))
        tasks = chosen(tasks, choice, lambda tries: scored(tries, others))
    scores, count = scored(tasks, base.validation), options.seeds
    parts = [slice(first, first + count) for first in range(0, len(tasks), count)]
    return {
        row.name: Measured(row, runs[row.name], scores[part], [t.row.use for t in tasks[part]])
        for row, part in zip(table.rows, parts, strict=True)
    }


def resampled_rows(table: Table, runs: Mapping[str, Sequence[Run]]) -> set[str]:
    """Names of rows that are compared with one of the same weights, over resampled pictures."""
    pairs = [(row.name, other.name) for row, other in partners(table)]
    return {
        name for pair in pairs if len({runs[n][0].main.key for n in pair}) == 1 for name in pair
    }


def settings(command: Command, base: Base) -> dict[str, Any]:
    """What the numbers were measured with."""
    options = command.options
    return {
        "command": command.text,
        "size": options.size,
        **(_file(options.weights) if options.weights else _trainings(command, base)),
        "validation_pictures": len(base.validation),
        "resamples": options.resamples,
    }


def _file(weights: Path) -> dict[str, Any]:
    """Given weights, and the size of their network's input."""
    _, manifest = load_model(weights)
    size = list(manifest.preprocessing.input_size)
    return {"weights": weights.name, "sha256": manifest.sha256, "input_size": size}


def _trainings(command: Command, base: Base) -> dict[str, Any]:
    recipe, lengths = base.recipe, {table.steps for table in command.study.tables}
    return {
        "recipe": command.name,
        "seeds": list(range(recipe.seed, recipe.seed + command.options.seeds)),
        "steps": sorted(steps or steps_of(recipe, len(base.training)) for steps in lengths),
        "refinement_steps": recipe.refinement_steps,
        "input_size": list(recipe.input_size),
        "training_pictures": len(base.training),
    }


def parse_command(arguments: Sequence[str]) -> Command:
    """The study, and its recipe with the flags in it.

    Exits with code 2 for a wrong command line. Raises BadInput for what cannot be measured.
    """
    parser = Parser(
        prog="python -m training.ablate",
        usage="%(prog)s STUDY [--field value ...]",
        description="Measure a table or figure of the papers again: " + ", ".join(STUDIES) + ".",
    )
    parser.add_argument("study", help="one of these")
    usual = _usual(arguments)
    add_flags(parser, usual)
    study = STUDIES[parser.first(arguments, "study", STUDIES)]
    name = recipe_name(study, *_choice(arguments))
    recipe = RECIPES[name]
    fixed = name == f"{study.family}_tiny_synthetic"  # what the study is defined for
    add_flags(parser, replace(recipe, input_size=study.input_size) if fixed else recipe)
    given = vars(parser.parse_args(arguments))
    options = changed(usual, {k: v for k, v in given.items() if k in described(usual)})
    if options.weights:
        study, options = _given(study, options), replace(options, seeds=1)
    changes = {k: v for k, v in given.items() if k in described(RECIPES[name])}
    recipe = changed(recipe, changes)
    if "validate_every" not in changes and recipe.steps:
        recipe = replace(recipe, validate_every=validations_of(recipe.steps))
    if fixed and "input_size" not in changes:
        recipe = replace(recipe, input_size=study.input_size)
    if fixed and "steps" not in changes and not options.weights:
        study = of_lengths(study)
    check(options)
    text = command_line("training.ablate", arguments)
    return Command(text, study, name, recipe, options)


def _given(study: Study, options: Options) -> Study:
    """What of a study given weights answer. Raises BadInput for no file, BadConfig for nothing."""
    _, manifest = load_model(options.weights)
    kept = of_given_weights(study)
    if not kept.tables:
        raise BadConfig(f"all of {study.name} needs trainings of its own; leave out --weights")
    if (kind := manifest.model_type) != study.family:
        raise BadConfig(
            f"--weights: {options.weights} is {kind}, {study.name} is of {study.family}"
        )
    return kept


def _usual(arguments: Sequence[str]) -> Options:
    """The options of a command without flags: a study has its own number of seeds."""
    study = STUDIES.get(arguments[0]) if arguments else None
    return Options(seeds=study.seeds) if study else Options()


def _choice(arguments: Sequence[str]) -> tuple[str, str]:
    """The values of --size and --recipe, which decide what other flags there are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--size", choices=SIZES, default=Options.size)
    parser.add_argument("--recipe", default="")
    given = parser.parse_known_args(list(arguments))[0]
    return given.size, given.recipe


def recipe_name(study: Study, size: str, recipe: str = "") -> str:
    """The recipe of a study: that of a size, or one by name. Raises BadConfig where none fits."""
    if recipe:
        fitting = [n for n in RECIPES if model_type(RECIPES[n].model) == study.family]
        if recipe not in fitting:
            raise BadConfig(f"--recipe {recipe}: {study.name} is for one of {', '.join(fitting)}")
        return recipe
    wanted = f"{study.family}_{size}_synthetic"
    if wanted not in RECIPES:
        sizes = [s for s in SIZES if f"{study.family}_{s}_synthetic" in RECIPES]
        raise BadConfig(
            f"{study.name} needs a recipe {wanted}, which training/recipes.py has not; "
            f"--size can be {' or '.join(sizes)}"
        )
    return wanted


def check(options: Options) -> None:
    """Raises BadConfig for numbers that mean nothing, BadInput for folders that cannot be."""
    limits = {"seeds": (1, MAX_SEEDS), "jobs": (1, 64), "threads": (1, 1024), "workers": (0, 64)}
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(options, name)) <= high:
            raise BadConfig(f"--{name} is {value}, expected {low} to {high}")
    if options.resamples < 2:
        raise BadConfig(f"--resamples is {options.resamples}, expected 2 or more; 1000 is usual")
    check_folder(options.out, "--out")
    check_folder(options.results, "--results")


if __name__ == "__main__":
    run_program(main)

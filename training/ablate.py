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

from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.predictor import choose_device
from jointseg_eval.input_validation import check_folder
from jointseg_eval.provenance import command_line, environment
from training.ablations import joint, rdsnet, segrpn
from training.ablations.figures import FIGURES, Finished
from training.ablations.results import Measured, as_text, partners, table_document
from training.ablations.runs import Base, Means, Run, run_of, train_all
from training.ablations.scoring import Task, score_all
from training.ablations.statistics import MAX_SEEDS
from training.ablations.study import Study, Table
from training.recipes import RECIPES, Recipe, steps_of
from training.runs.distributed import Ranks
from training.runs.options import Parser, add_flags, changed, described
from training.runs.run_folder import as_json, replace_file
from training.runs.sources import decoded_beside, open_sources, scenes_of

STUDIES = {study.name: study for study in (*rdsnet.STUDIES, *segrpn.STUDIES, *joint.STUDIES)}
Size = Literal["tiny", "r18", "r50"]
SIZES = get_args(Size)
VALIDATIONS = 10
"""A curve over training has so many points."""


@dataclass(frozen=True)
class Options(Means):
    """What is trained and scored, and with what; the recipe's own flags follow."""

    size: Size = "tiny"  # of the network: tiny, r18 or r50
    seeds: int = Study.seeds  # trainings of each row, with seeds from --seed on
    backbone: Path | None = None  # a published file for it, see docs/training.md
    cache: Path | None = None  # folder for decoded pictures; synthetic scenes have their own
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
    path = command.options.results / f"ablation_{command.study.name}_{command.options.size}.json"
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
    draw = FIGURES.get(study.name, lambda finished: {"pictures": []})
    return {
        "study": study.name,
        "title": study.title,
        "settings": settings(command, base),
        "notes": list(study.notes),
        "tables": [table_document(table, tables[table.title]) for table in study.tables],
        **draw(Finished(base, options, tables, folder)),
        "environment": environment(command.text, choose_device(options.device), 1),
    }


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
    return Base(command.name, recipe, training, validation, cache, command.options.backbone)


def measure(
    table: Table, runs: Mapping[str, Sequence[Run]], base: Base, options: Options
) -> dict[str, Measured]:
    """The rows of a table with their scores, by name."""
    resampled = resampled_rows(table, runs)
    tasks = [
        Task(
            f"{row.name}, seed {run.recipe.seed}",
            run.weights(options.out),
            row,
            table.columns,
            options.resamples if row.name in resampled else 0,
            options.device,
            runs[row.pixels][number].weights(options.out) if row.pixels else None,
        )
        for row in table.rows
        for number, run in enumerate(runs[row.name])
    ]
    scores = iter(score_all(tasks, base.validation, options.jobs, options.threads, say))
    return {
        row.name: Measured(row, runs[row.name], [next(scores) for _ in runs[row.name]])
        for row in table.rows
    }


def resampled_rows(table: Table, runs: Mapping[str, Sequence[Run]]) -> set[str]:
    """Names of rows that are compared with one of the same weights, over resampled pictures."""
    pairs = [(row.name, other.name) for row, other in partners(table)]
    return {
        name for pair in pairs if len({runs[n][0].main.key for n in pair}) == 1 for name in pair
    }


def settings(command: Command, base: Base) -> dict[str, Any]:
    """What the numbers were measured with."""
    recipe, options = base.recipe, command.options
    return {
        "command": command.text,
        "recipe": command.name,
        "size": options.size,
        "seeds": list(range(recipe.seed, recipe.seed + options.seeds)),
        "steps": steps_of(recipe, len(base.training)),
        "refinement_steps": recipe.refinement_steps,
        "input_size": list(recipe.input_size),
        "training_pictures": len(base.training),
        "validation_pictures": len(base.validation),
        "resamples": options.resamples,
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
    name = recipe_name(study, _size(arguments))
    add_flags(parser, RECIPES[name])
    given = vars(parser.parse_args(arguments))
    options = changed(usual, {k: v for k, v in given.items() if k in described(usual)})
    changes = {k: v for k, v in given.items() if k in described(RECIPES[name])}
    recipe = changed(RECIPES[name], changes)
    if "validate_every" not in changes and recipe.steps:
        recipe = replace(recipe, validate_every=max(1, recipe.steps // VALIDATIONS))
    check(options)
    text = command_line("training.ablate", arguments)
    return Command(text, study, name, recipe, options)


def _usual(arguments: Sequence[str]) -> Options:
    """The options of a command without flags: a study has its own number of seeds."""
    study = STUDIES.get(arguments[0]) if arguments else None
    return Options(seeds=study.seeds) if study else Options()


def _size(arguments: Sequence[str]) -> str:
    """The value of --size, which decides what other flags there are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--size", choices=SIZES, default=Options.size)
    return parser.parse_known_args(list(arguments))[0].size


def recipe_name(study: Study, size: str) -> str:
    """The recipe of a study in a size. Raises BadConfig where there is none."""
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

"""The command line of training: a recipe's name, then flags for its fields and for the run."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from jointseg_core.errors import BadConfig, in_words
from jointseg_core.files import open_file
from jointseg_eval.arguments import weights
from jointseg_eval.provenance import command_line
from training.recipes import RECIPES, Recipe
from training.runs.options import Parser, add_flags, as_values, changed, described, from_values
from training.runs.run_folder import CONFIG
from training.synthesize import SyntheticSet, synthesize

RUNS = Path("out/runs")
SHIPPED = "joint_tiny"
NEEDED = (
    *("data", "init", "out", "classes", "remap"),
    *("steps", "batch", "lr", "input_size", "resume"),
)
"""What people set first; the other flags are for who knows what they do."""


@dataclass(frozen=True)
class Options:
    """Where a recipe runs, what from, and what it leaves there."""

    out: Path | None = None  # folder of the run; none = out/runs/RECIPE
    resume: bool = False  # go on from the newest checkpoint in that folder, if there is one
    init: tuple[Path, ...] = ()  # weights to start from (joint_tiny: shipped), later over earlier
    backbone: Path | None = None  # a published file for it, see docs/training.md
    device: str = "auto"  # auto, cpu, cuda or cuda:N; under torchrun one GPU a process
    workers: int | None = None  # processes that load pictures; none = 1, or up to 8 for a GPU
    cache: Path | None = None  # folder for decoded pictures; synthetic scenes have their own
    save_every: int = 250  # steps between checkpoints
    keep: int = 2  # newest checkpoints that stay
    log_every: int = 25  # steps between lines in metrics.jsonl
    log: tuple[str, ...] = ()  # also mlflow or wandb, with commas; TensorBoard where it is there
    minutes: float = math.inf  # stop and save after so long
    dry_run: bool = False  # two steps and a small validation, leaving nothing


class Command(NamedTuple):
    """A command line, understood."""

    text: str  # as it was typed
    name: str
    recipe: Recipe
    options: Options
    changes: dict[str, Any]  # fields of the recipe that were given
    folder: Path  # of the run


def parse_command(arguments: Sequence[str]) -> Command:
    """The recipe with the flags in it; with --resume, the run's own recipe with the flags in it.

    Exits with code 2 for a wrong command line. Raises BadConfig for a config.json that is none and
    for a run that cannot go on as asked.
    """
    parser = Parser(
        prog="python -m training.train",
        usage="%(prog)s RECIPE [--field value ...]",
        description="Train a network by a recipe: " + ", ".join(RECIPES) + ".",
        epilog=_needed_first(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="one of these, or the config.json of a run to repeat")
    if arguments and arguments[0].endswith(".json"):
        name, recipe = stored(Path(arguments[0]))
    else:
        name = parser.first(arguments, "recipe", RECIPES)
        recipe = RECIPES[name]
    add_flags(parser, Options())
    add_flags(parser, recipe)
    given = vars(parser.parse_args(arguments))
    options = changed(Options(), {k: v for k, v in given.items() if k in described(Options())})
    options = replace(options, init=tuple(weights(str(path)) for path in options.init))
    changes = {key: value for key, value in given.items() if key in described(recipe)}
    folder = options.out or RUNS / name
    if options.resume and (folder / CONFIG).exists():
        recipe = _of_run(folder / CONFIG, name, changes)
    text = command_line("training.train", arguments)
    return Command(text, name, changed(recipe, changes), options, changes, folder)


def _needed_first() -> str:
    """The flags that people need first, with an example."""
    known = described(Options()) | described(next(iter(RECIPES.values())))
    flags = [f"  --{name.replace('_', '-'):14}{known[name][1]}" for name in NEEDED]
    return "\n".join(
        [
            "the flags that are needed first:",
            *flags,
            "",
            "for example, on what a labelling tool exported, from weights that know streets:",
            f"  python -m training.train joint_tiny_synthetic --data my_export --init {SHIPPED} \\",
            "    --steps 2000 --lr 3e-4 --warm-up 50 --out out/runs/mine",
            "",
            "RECIPE --help lists every flag; --dry-run rehearses two steps and leaves nothing.",
        ]
    )


def _of_run(config: Path, name: str, changes: Mapping[str, Any]) -> Recipe:
    """The recipe that a run began with. Raises BadConfig for changes that it cannot go on with."""
    begun, recipe = stored(config)
    if begun != name:
        raise BadConfig(f"{config} is of {begun}, not of {name}; name another folder with --out")
    now = as_values(recipe)
    for key in sorted(changes):
        kept = key.startswith("model.") or key == "optimizer"
        if kept and as_values(changed(recipe, changes))[key] != now[key]:
            raise BadConfig(
                f"{config} has {key} {now[key]}, and a run keeps its network and optimizer; leave "
                "the flag out, or start another run with --init and --out"
            )
    return recipe


def shortened(command: Command, folder: Path) -> Command:
    """The command as a rehearsal in a folder that goes away: two steps, two pictures to validate.

    A data set that would have to be made is made there, with a handful of scenes.
    """
    recipe = replace(
        command.recipe,
        steps=2,
        refinement_steps=min(1, command.recipe.refinement_steps),
        validate_every=2,
        validation_images=2,
        pictures=1,
    )
    if recipe.scenes and recipe.data is None:
        few = SyntheticSet("cityscapes", recipe.batch, 2, size=recipe.input_size)
        recipe = replace(recipe, data=synthesize(folder / "scenes", few))
    options = replace(command.options, resume=False)
    return command._replace(recipe=recipe, options=options, folder=folder / "run")


def stored(path: Path) -> tuple[str, Recipe]:
    """Name and recipe of a run's config.json. Raises BadConfig for another file."""
    try:
        with open_file(path, 1 << 20) as file:
            document = json.loads(file.read())
        name = document["recipe"]
        return name, from_values(RECIPES[name], document["fields"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadConfig(
            f"{path} is not the config.json of a run of this version ({in_words(error)}); "
            "name a recipe or another run"
        ) from error


def config_document(name: str, recipe: Recipe) -> dict[str, Any]:
    """What `stored` reads."""
    return {"recipe": name, "fields": as_values(recipe)}

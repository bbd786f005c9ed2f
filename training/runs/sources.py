"""The pictures of a run: a data set that is there, or synthetic scenes, made where they lack."""

from __future__ import annotations

from pathlib import Path

from jointseg_core import Classes
from jointseg_core.errors import BadConfig, BadDataset
from jointseg_eval.datasets import Samples, Subset
from training.loading.cache import DecodedCache
from training.recipes import Recipe, learns_pixels
from training.runs.distributed import Ranks
from training.runs.own_pictures import open_own
from training.synthesize import SyntheticSet, synthesize

SCENES = Path("out/data")
"""Where synthetic scenes are kept."""


def open_sources(recipe: Recipe, ranks: Ranks, cache: Path | None) -> tuple[Samples, Samples]:
    """What a run learns from, and what it is validated on. Raises BadInput where it cannot.

    cache   folder for decoded pictures; that of synthetic scenes made here lies beside them
    """
    root = recipe.data
    if root is None:
        root = scenes_of(recipe, ranks)
        cache = cache or decoded_beside(root)
    training = _opened(root, "train", recipe, recipe.keep_empty, cache)
    if recipe.overfit:
        few = _with_objects(training, recipe.overfit)
        return few, few
    other = recipe.validation_data or root
    validation = _opened(other, "val", recipe, True, cache, training.classes)
    _check_classes(training, validation, learns_pixels(recipe.model))
    return training, validation


def check_pictures(training: Samples) -> None:
    """Raises BadInput where pictures to learn from show no object, or the first cannot be read."""
    if not any(training.has_objects(index) for index in range(len(training))):
        raise BadDataset(
            f"none of the pictures of {training.name} shows an object to learn; "
            "`python -m jointseg_eval.check_data ROOT` counts what is there"
        )
    training[0]


def _check_classes(training: Samples, validation: Samples, pixels: bool) -> None:
    """Raises BadInput where two sets differ in things or, if they matter, in classes of pixels."""
    for kind in ("things", "semantic") if pixels else ("things",):
        ours, theirs = (getattr(samples.classes, kind) for samples in (training, validation))
        if ours != theirs:
            raise BadDataset(
                f"the {kind} of {validation.name} are {', '.join(theirs) or 'none'}, those of "
                f"{training.name} {', '.join(ours) or 'none'}; both need the same annotations, "
                "and --classes names the things to find"
            )


def scenes_of(recipe: Recipe, ranks: Ranks) -> Path:
    """The folder of a recipe's synthetic scenes, which the first process makes."""
    if not recipe.scenes:
        raise BadConfig("this recipe trains on a data set of yours; name it with --data")
    height, width = recipe.input_size
    wanted = SyntheticSet(
        "cityscapes", recipe.scenes, recipe.validation_scenes, size=recipe.input_size
    )
    root = SCENES / f"streets_{height}x{width}_{recipe.scenes}_{recipe.validation_scenes}"
    if ranks.first:
        synthesize(root, wanted)
    ranks.wait()
    return root


def decoded_beside(root: Path) -> Path:
    """Where the decoded pictures of synthetic scenes are kept."""
    return root.with_name(root.name + "_decoded")


def _opened(
    root: Path,
    split: str,
    recipe: Recipe,
    keep_empty: bool,
    cache: Path | None,
    expected: Classes | None = None,
) -> Samples:
    samples = open_own(root, split, recipe, keep_empty, expected)
    return DecodedCache(samples, cache / split) if cache else samples


def _with_objects(samples: Samples, count: int) -> Samples:
    """The first pictures that show objects."""
    indices = [i for i in range(len(samples)) if samples.has_objects(i)][:count]
    if not indices:
        raise BadDataset(f"{samples.name} has no picture with objects to learn by heart")
    return Subset(samples, indices)

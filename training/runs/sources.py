"""The pictures of a run: a data set that is there, or synthetic scenes, made where they lack."""

from __future__ import annotations

from pathlib import Path

from jointseg_core import Classes
from jointseg_core.errors import BadConfig, BadDataset
from jointseg_eval.datasets import Joined, Samples, Subset
from jointseg_eval.datasets.camvid import CAMVID
from training.loading.as_cityscapes import CAMVID_NAMES, AsCityscapes
from training.loading.cache import DecodedCache
from training.loading.real_streets import real_streets
from training.loading.taught import TaughtSamples
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
    if root:
        training = _opened(root, "train", recipe, recipe.keep_empty, cache)
    else:
        root, training = _scenes(recipe, ranks, cache)
        cache = cache or decoded_beside(root)
    if recipe.overfit:
        few = _with_objects(training, recipe.overfit)
        return few, few
    other = recipe.validation_data or root
    validation = _opened(other, "val", recipe, True, cache, training.classes)
    _check_classes(training, validation, learns_pixels(recipe.model))
    return training, validation


def _scenes(recipe: Recipe, ranks: Ranks, cache: Path | None) -> tuple[Path, Samples]:
    """The folder of the first style's scenes; scenes of all styles, with real pictures among them.

    Those of other styles are kept decoded in folders of their own.
    """
    roots = [scenes_of(recipe, ranks, style) for style in recipe.styles]
    kept = [decoded_beside(root) for root in roots]
    kept[0] = cache or kept[0]
    parts = [
        _opened(r, "train", recipe, recipe.keep_empty, at)
        for r, at in zip(roots, kept, strict=True)
    ]
    if recipe.real:
        pictures = real_streets()
        if recipe.teacher:
            pictures = Joined([pictures, TaughtSamples(recipe.teacher)])
        parts.append(Subset(pictures, [*range(len(pictures))] * recipe.real))
    return roots[0], Joined(parts) if len(parts) > 1 else parts[0]


def check_pictures(training: Samples, pixels: bool) -> None:
    """Raises BadInput where the first picture cannot be read, or none shows what is to be learned.

    Where pixels are learned a set may be without objects.
    """
    if not pixels and not any(training.has_objects(index) for index in range(len(training))):
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


def scenes_of(recipe: Recipe, ranks: Ranks, style: str = "plain") -> Path:
    """The folder of a recipe's synthetic scenes of a style, which the first process makes."""
    if not recipe.scenes:
        raise BadConfig("this recipe trains on a data set of yours; name it with --data")
    height, width = recipe.input_size
    counts = recipe.scenes, recipe.validation_scenes
    wanted = SyntheticSet("cityscapes", *counts, size=recipe.input_size, style=style)
    name = "streets" if style == "plain" else style
    root = SCENES / f"{name}_{height}x{width}_{recipe.scenes}_{recipe.validation_scenes}"
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
    if samples.classes == CAMVID:
        samples = AsCityscapes(samples, CAMVID_NAMES)
    return DecodedCache(samples, cache / split) if cache else samples


def _with_objects(samples: Samples, count: int) -> Samples:
    """The first pictures that show objects."""
    indices = [i for i in range(len(samples)) if samples.has_objects(i)][:count]
    if not indices:
        raise BadDataset(f"{samples.name} has no picture with objects to learn by heart")
    return Subset(samples, indices)

"""How each network is trained: the numbers of the papers, and our own for synthetic scenes.

    python -m training.train rdsnet_r50_coco_1x --data /data/coco --backbone resnet50.pth
    python -m training.train rdsnet_tiny_synthetic
    python -m training.train joint_r50_cityscapes --data /data/cityscapes --backbone resnet50.pth
    python -m training.ablate rdsnet-table-4 --recipe rdsnet_r101_coco_600 --data /data/coco

RDSNet: section 4.1 and, where that is silent, the released configurations; of scale 600, which no
configuration has, the long side is ours. RDSNet_s: YOLACT's training, to which that section refers.
SegRPN: section IV-A. The joint network: as long as RDSNet, with AdamW. The papers start from
ImageNet weights and, but for YOLACT, keep their norms fixed; on synthetic scenes all but the
network named lite starts from scratch with trainable norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jointseg_core import Classes, JointConfig, Preprocessing, SegRPNConfig, preset
from jointseg_core.checkpoint import Config
from jointseg_core.errors import BadConfig, BadDataset
from jointseg_core.rdsnet_s import as_yolact
from training.loading.augmentation import Augmentation


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns; each field is a flag of `training.train`."""

    model: Config
    augmentation: Augmentation
    input_size: tuple[int, int] = (256, 512)  # height and width of the network's input in use
    by_sides: bool = False  # input_size is instead the short side and the most of the long one

    data: Path | None = None  # data set: its folder or a COCO JSON; scenes are made where it lacks
    validation_data: Path | None = None  # another one to validate on; none = the val split of data
    classes: tuple[str, ...] = ()  # things to find in a COCO data set, with commas; none = all
    remap: tuple[str, ...] = ()  # other names there, OLD=NEW with commas; OLD= leaves one out
    val_fraction: float | None = None  # share to validate on of data in one file; none = 0.1
    split_seed: int = 0  # another choice of these pictures
    keep_empty: bool = True  # also train on pictures without objects
    skip_boxes: bool = False  # leave out pictures that show objects without an outline
    stuff: tuple[str, ...] = ()  # classes of pixels beside objects, where data has objects alone
    scenes: int = 0  # synthetic training scenes to make; 0 = the data set must be there
    styles: tuple[str, ...] = ("plain",)  # so many of each; the first is validated on
    validation_scenes: int = 500  # and validation scenes
    real: int = 0  # visits of each real picture that may teach shipped weights, for one of scenes
    teacher: str = ""  # weights that speak where nobody annotated; none = not even those of --init
    overfit: int = 0  # learn so many training pictures by heart, validate on the same; 0 = all

    pretrained: bool = False  # whether it has to start from given weights
    steps: int | None = None  # steps of the first stage; none = as many as `epochs` takes
    epochs: float = 0.0  # passes over the training pictures
    batch: int = 8  # pictures a step, over all processes
    accumulate: int = 1  # parts in which a process takes its pictures, one after the other

    optimizer: Literal["sgd", "adamw"] = "sgd"  # sgd or adamw
    lr: float = 0.005  # full learning rate
    backbone_rate: float = 1.0  # its factor for the backbone
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4  # of weights
    decay_norms: bool = True  # whether norms and biases decay as well
    clip: float = math.inf  # largest norm of the gradient
    warm_up: int = 500  # steps until the full learning rate
    warm_up_from: float = 1 / 3  # its factor at the first step
    drops: tuple[float, ...] = ()  # shares of the first stage after which the rate is a tenth
    cosine_to: float = 1.0  # factor at the end of half a cosine; 1 = no cosine
    freeze_norms: float = 0.1  # share of the first stage, its last, with trainable norms frozen
    average: float = 0.0  # decay of the averaged weights; 0 = no average

    refinement_steps: int = 0  # steps of the second stage: boundary refinement and exchange alone
    refinement_lr: float = 0.05  # learning rate of RDSNet's boundary refinement in it
    exchange_lr: float = 1e-3  # first learning rate of the joint network's exchange in it

    validate_every: int = 5000  # steps between validations
    validation_images: int = 500  # pictures of a validation during training; 0 = all
    best: str = "box_ap"  # metric of the best weights
    pictures: int = 4  # validation pictures to draw at every validation

    seed: int = 0  # of weights, order and augmentation
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto = bf16 where it is fast
    deterministic: bool = False  # the same bits again also on a GPU, where its operations can
    max_skipped: int = 20  # steps in a row without a finite loss after which the run gives up


LEAST = {
    **dict.fromkeys(("batch", "accumulate", "validate_every", "max_skipped"), 1),
    **dict.fromkeys(("steps", "epochs", "refinement_steps", "warm_up", "seed"), 0),
    **dict.fromkeys(
        (
            "lr",
            "refinement_lr",
            "exchange_lr",
            "momentum",
            "weight_decay",
            "average",
            "clip",
            "backbone_rate",
        ),
        0,
    ),
    **dict.fromkeys(("scenes", "validation_scenes", "validation_images", "pictures", "real"), 0),
}
"""Fields that cannot be less than this."""
_MOST = 10**9
"""And whole numbers not more than this."""


def check(recipe: Recipe) -> None:
    """Raises BadConfig for numbers that no network can be trained with."""
    for name, least in LEAST.items():
        value = getattr(recipe, name)
        most = _MOST if isinstance(value, int) else math.inf
        if value is not None and not least <= value <= most:
            wanted = f"at most {most}" if value > most else f"at least {least}"
            raise BadConfig(f"--{name.replace('_', '-')} is {value}, expected {wanted}")
    if recipe.teacher and not recipe.real and not recipe.data:
        raise BadConfig("--teacher annotates real pictures; say with --real how often they come")
    try:
        preprocessing_of(recipe)
    except ValueError as error:
        raise BadConfig(f"--input-size: {error}") from error


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """How pictures become inputs where the network is used."""
    keep_ratio = recipe.augmentation.keep_aspect
    return Preprocessing(recipe.input_size, keep_ratio=keep_ratio, by_sides=recipe.by_sides)


def learns_pixels(config: Config) -> bool:
    """Whether a network learns the class of every pixel."""
    return isinstance(config, SegRPNConfig | JointConfig)


def with_classes(config: Config, classes: Classes) -> Config:
    """The same network for other classes."""
    things, semantic = len(classes.things), len(classes.semantic)
    pixels = tuple(k for k in classes.thing_to_semantic if k >= 0)
    match config:
        case SegRPNConfig():
            return replace(config, num_things=things, num_classes=semantic, things=pixels)
        case JointConfig():
            return replace(config, num_classes=things, num_semantic=semantic, things=pixels)
    return replace(config, num_classes=things)


def fitted(recipe: Recipe, classes: Classes, data: str) -> Recipe:
    """The recipe for a data set's classes. Raises BadInput where the network cannot learn them."""
    if learns_pixels(recipe.model) and not classes.semantic:
        raise BadDataset(
            f"{data} has no classes of pixels, which this network learns; use a data set in "
            "Cityscapes layout or with panoptic annotations, or train an rdsnet recipe"
        )
    known = dict(zip(classes.things, classes.thing_to_semantic, strict=False))
    strange = [name for name in classes.things if known.get(name, -1) < 0]
    if isinstance(recipe.model, JointConfig) and strange:
        raise BadDataset(
            f"{data} has no class of pixels for {', '.join(strange)}, and the joint network fuses "
            "objects and pixels; name other things with --classes"
        )
    return replace(recipe, model=with_classes(recipe.model, classes))


def augmentation_of(recipe: Recipe) -> Augmentation:
    """What training does to pictures: in the recipe's input size, unless sizes are drawn."""
    changes = recipe.augmentation
    if recipe.overfit:
        changes = Augmentation(keep_aspect=changes.keep_aspect)
    if changes.scales:
        return changes
    if recipe.by_sides:
        short, long = recipe.input_size
        return replace(changes, scales=(short,), long_side=long)
    return replace(changes, size=recipe.input_size)


def steps_of(recipe: Recipe, pictures: int) -> int:
    """Steps of the first stage for a training set of so many pictures."""
    if recipe.steps is not None:
        return recipe.steps
    return math.ceil(recipe.epochs * pictures / recipe.batch)


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The factor on `lr` at a step, counted from 0, of a first stage of `steps` steps.

    Linear warm-up, then steps down or half a cosine; a function of nothing else.
    """
    if step < recipe.warm_up:
        return recipe.warm_up_from + (1 - recipe.warm_up_from) * step / recipe.warm_up
    passed = sum(step >= round(share * steps) for share in recipe.drops)
    done = min(1.0, (step - recipe.warm_up) / max(1, steps - recipe.warm_up))
    low = recipe.cosine_to
    falling = low + (1 - low) * (1 + math.cos(math.pi * done)) / 2
    return falling * 0.1**passed


# -- RDSNet on COCO (4.1 and the released configurations) -----------------------------------------

_RDSNET_1X = Recipe(
    model=preset("rdsnet", "r101"),
    augmentation=Augmentation(flip=0.5),
    input_size=(800, 1333),
    by_sides=True,
    keep_empty=False,
    epochs=12,
    batch=8,
    lr=0.005,
    weight_decay=1e-4,
    clip=35.0,
    warm_up=500,
    warm_up_from=1 / 3,
    drops=(8 / 12, 11 / 12),
    refinement_steps=1000,
    validate_every=10000,
)
_RDSNET_2X = replace(
    _RDSNET_1X,
    augmentation=Augmentation(flip=0.5, scales=(640, 800), long_side=1333),
    epochs=24,
    drops=(16 / 24, 22 / 24),
)
_RDSNET_600 = replace(_RDSNET_1X, input_size=(600, 1000))  # Table 2, lower block, and Table 4
_RDSNET_S = Recipe(
    model=preset("rdsnet_s", "r101"),
    augmentation=Augmentation(
        flip=0.5, distortion=True, expand=4.0, iou_crop=True, min_box=4.0, keep_aspect=False
    ),
    input_size=(550, 550),
    keep_empty=False,
    pretrained=True,
    steps=800_000,
    batch=8,
    lr=1e-3,
    weight_decay=5e-4,
    warm_up=500,
    warm_up_from=0.1,
    drops=(280 / 800, 600 / 800, 700 / 800, 750 / 800),
    freeze_norms=0.0,
    validate_every=20_000,
    best="mask_ap",
)

# -- SegRPN on Cityscapes (IV-A) ------------------------------------------------------------------

_SEGRPN = Recipe(
    model=preset("segrpn", "r50"),
    augmentation=Augmentation(flip=0.5),
    input_size=(512, 1024),
    steps=96_000,
    batch=1,
    lr=1e-3,
    weight_decay=1e-4,
    warm_up=500,
    warm_up_from=1 / 3,
    drops=(60 / 96, 80 / 96),
    validate_every=4000,
    best="box_ap50",
)

# -- the joint network: as long as RDSNet, on data that has both; its own norms always train -------

_JOINT_COCO = replace(
    _RDSNET_1X,
    model=preset("joint", "r50"),
    keep_empty=True,
    optimizer="adamw",
    lr=2e-4,
    weight_decay=0.05,
    decay_norms=False,
    clip=10.0,
    best="pq",
)
_JOINT_CITYSCAPES = replace(
    _JOINT_COCO,
    input_size=(512, 1024),
    by_sides=False,
    steps=24_000,
    drops=(16 / 24, 22 / 24),
    validate_every=2000,
)

# -- synthetic scenes -----------------------------------------------------------------------------


def _from_scratch(model_type: str, name: str) -> Config:
    return replace(preset(model_type, name), norm="trainable", frozen_stages=0)


_TINY = Recipe(
    model=preset("rdsnet", "tiny"),
    augmentation=Augmentation(
        flip=0.5, zoom=1.6, zoom_chance=0.5, colours=0.25, colours_chance=0.3, min_pixels=16
    ),
    input_size=(256, 512),
    scenes=4500,
    steps=3200,
    batch=8,
    optimizer="adamw",
    lr=1.5e-3,
    weight_decay=0.05,
    decay_norms=False,
    clip=10.0,
    warm_up=200,
    warm_up_from=0.005,
    cosine_to=0.01,
    average=0.998,
    validate_every=800,
    validation_images=100,
)
_TINY_RDSNET = replace(_TINY, refinement_steps=300)
_TINY_SEGRPN = replace(
    _TINY, model=preset("segrpn", "tiny"), steps=2600, validate_every=650, best="box_ap50"
)
_TINY_JOINT = replace(_TINY_RDSNET, model=preset("joint", "tiny"), lr=3e-3, best="pq")
# what has seen real pictures stays nearly as it is: it is soon forgotten
_LITE = replace(preset("joint", "lite"), norm="fixed_statistics", frozen_stages=3)
_LITE_JOINT = replace(_TINY_JOINT, model=_LITE, pretrained=True, lr=2e-3, backbone_rate=0.02)
_STREETS: dict[str, Any] = {"steps": 2200, "styles": ("plain", "wide"), "real": 16}
# pictures of everyday life show objects larger than a street does
_LITE_STREETS = replace(
    _LITE_JOINT, **_STREETS, augmentation=replace(_LITE_JOINT.augmentation, zoom=3.0)
)
_TINY_STREETS = replace(_TINY_JOINT, **_STREETS, teacher="joint_lite")
_LITE_OWN = replace(
    _LITE_JOINT,
    styles=(),
    scenes=0,
    steps=2200,
    lr=5e-4,
    backbone_rate=0.1,
    warm_up=50,
    validate_every=500,
)
_LITE_CAMVID = replace(
    _LITE_OWN,
    input_size=(384, 512),
    steps=400,
    refinement_steps=0,
    validate_every=200,
    best="miou",
)
_FAMILIES = {"rdsnet": _TINY_RDSNET, "segrpn": _TINY_SEGRPN, "joint": _TINY_JOINT}
_LARGER = {"input_size": (512, 1024), "steps": 6000, "batch": 16, "warm_up": 500}

RECIPES: dict[str, Recipe] = {
    "rdsnet_r50_coco_1x": replace(_RDSNET_1X, model=preset("rdsnet", "r50")),
    "rdsnet_r101_coco_1x": _RDSNET_1X,
    "rdsnet_r101_coco_2x": _RDSNET_2X,
    "rdsnet_r101_coco_600": _RDSNET_600,
    "rdsnet_s_coco": _RDSNET_S,
    "rdsnet_s_lc_coco": replace(_RDSNET_S, model=as_yolact(preset("rdsnet_s", "r101"))),
    "segrpn_r50_cityscapes": _SEGRPN,
    "rdsnet_tiny_synthetic": _TINY_RDSNET,
    "rdsnet_s_tiny_synthetic": replace(
        _TINY, model=_from_scratch("rdsnet_s", "tiny"), best="mask_ap"
    ),
    "segrpn_tiny_synthetic": _TINY_SEGRPN,
    "joint_r50_cityscapes": _JOINT_CITYSCAPES,
    "joint_r50_coco": _JOINT_COCO,
    "joint_tiny_synthetic": _TINY_JOINT,
    "joint_lite_synthetic": _LITE_JOINT,
    "joint_lite_streets": _LITE_STREETS,
    "joint_tiny_streets": _TINY_STREETS,
    "joint_lite_own": _LITE_OWN,
    "joint_lite_camvid": _LITE_CAMVID,
    "joint_lite_coco": replace(_JOINT_COCO, model=_LITE, lr=1e-3, backbone_rate=0.1),
    "joint_lite_cityscapes": replace(_JOINT_CITYSCAPES, model=_LITE, lr=1e-3, backbone_rate=0.1),
    **{
        f"{family}_{size}_synthetic": replace(
            recipe, model=_from_scratch(family, size), lr=lr, **_LARGER
        )
        for family, recipe in _FAMILIES.items()
        for size, lr in (("r18", 6e-4), ("r50", 4e-4))
    },
}
"""Recipes by name. The papers' are theirs in every number that they or their code state, see
docs/faithfulness.md; the joint network's on published data and the lite and larger synthetic ones
are untuned."""

"""What the demo knows of each model: what its node publishes, and what is scored of it."""

from __future__ import annotations

from dataclasses import dataclass

CAMERA = "camera"
DEFAULT_MODELS = ("joint",)
DETECTIONS_3D = "detections_3d"


@dataclass(frozen=True)
class DemoModel:
    """A model of the demo.

    results  what it is for: a frame is processed when all of these topics have arrived
    """

    title: str
    results: tuple[str, ...]

    @property
    def makes_maps(self) -> bool:
        """Whether it tells the class of every pixel."""
        return "semantic/image" in self.results

    @property
    def makes_masks(self) -> bool:
        """Whether its objects have pixels of their own, by whose depth they get a place."""
        return "instance_masks" in self.results

    @property
    def topics(self) -> tuple[str, ...]:
        """All that its node publishes of a camera and the demo records."""
        maps = ("foreground/image", "semantic/label_info") if self.makes_maps else ()
        return (*self.results, "label_info", *maps)

    @property
    def scores(self) -> tuple[str, ...]:
        """What is measured of it."""
        masks = ("mask_ap", "mask_ap50") if self.makes_masks else ()
        maps = ("miou", "foreground_miou") if self.makes_maps else ()
        return ("box_ap", "box_ap50", *masks, *maps)


MODELS = {
    "rdsnet": DemoModel("RDSNet: boxes and instance masks", ("detections", "instance_masks")),
    "segrpn": DemoModel(
        "SegRPN: boxes and a class for every pixel", ("detections", "semantic/image")
    ),
    "joint": DemoModel(
        "Joint: boxes, instance masks and a class for every pixel",
        ("detections", "instance_masks", "semantic/image"),
    ),
}


def result_topic(model: str, name: str) -> str:
    """The full name of a topic of a model's node."""
    return f"/{model}/{CAMERA}/{name}"

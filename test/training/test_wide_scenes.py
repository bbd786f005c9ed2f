"""What scenes of the style `wide` promise, and that those of the style `plain` stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jointseg_core.classes import CITYSCAPES, UNLABELLED
from training.scenes import Scene, render_scene
from training.scenes.camera import Camera
from training.scenes.codes import ROAD, SIDEWALK, SKY, TERRAIN, VEGETATION, VOID, WALL
from training.scenes.painter import Light, Painter
from training.scenes.scene import take_picture
from training.scenes.wide import landscape, open_road, trees, wide_street

SEED, SMALL = 1000, (128, 256)
MEANS_OF_PLAIN = (
    (105.0, 107.3, 94.1),
    (88.0, 91.8, 98.1),
    (113.5, 99.5, 116.6),
    (125.1, 128.3, 122.7),
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(SEED, index, style="wide") for index in range(40)]


def test_plain_pictures_are_those_that_weights_were_trained_on() -> None:
    """Their labels are held to the bit in test_scenes.py; these are means of red, green, blue."""
    for index, means in enumerate(MEANS_OF_PLAIN):
        image = render_scene(SEED, index, SMALL).image
        assert np.allclose(image.mean(axis=(0, 1)), means, atol=0.2)


def test_a_wide_scene_depends_on_seed_and_index_alone(scenes: list[Scene]) -> None:
    again = render_scene(SEED, 7, style="wide")
    assert np.array_equal(again.image, scenes[7].image)
    assert np.array_equal(again.semantic, scenes[7].semantic)
    assert again.objects == scenes[7].objects


def test_styles_differ() -> None:
    plain, wide = (render_scene(SEED, 0, SMALL, style=style) for style in ("plain", "wide"))
    assert not np.array_equal(plain.semantic, wide.semantic)


def test_every_class_occurs(scenes: list[Scene]) -> None:
    found = np.unique([scene.semantic for scene in scenes])
    assert found.tolist() == [*range(len(CITYSCAPES.semantic)), UNLABELLED]


def test_brightness_varies_from_dusk_to_glare(scenes: list[Scene]) -> None:
    means = [scene.image.mean() for scene in scenes]
    assert min(means) < 60 and max(means) > 150


def test_every_pixel_of_a_thing_belongs_to_an_object(scenes: list[Scene]) -> None:
    for scene in scenes:
        is_thing = np.isin(scene.semantic, CITYSCAPES.thing_to_semantic)
        assert (scene.instances[is_thing] > 0).all()
        for number, thing in enumerate(scene.objects, start=1):
            if thing.label >= 0:
                there = scene.semantic[scene.instances == number]
                assert (there == CITYSCAPES.thing_to_semantic[thing.label]).all()


def test_highways_have_road_below_sky_above_and_no_sidewalk() -> None:
    seen = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        street = wide_street(rng, SMALL, "easy")
        if street.plan.sidewalks[1]:
            continue
        street = replace(street, actors=(), hood=0.0, border=0)
        scene = take_picture(street, 0.0, rng)
        column = int(street.camera.centre / 2)
        column = SMALL[1] - column if street.mirrored else column
        assert scene.semantic[-8:, column].tolist() == [ROAD] * 8
        assert scene.semantic[0, column] in (SKY, VEGETATION)
        assert not (scene.semantic == SIDEWALK).any()
        seen += 1
    assert seen > 2


@pytest.fixture
def painter() -> Painter:
    camera = Camera(size=(200, 400), focal=300, centre=200, horizon=100, elevation=1.5)
    light = Light(np.array([0.0, 1.0, 0.0]), 0.6, np.full(3, 200.0), 0.001)
    painter = Painter(camera, light)
    painter.canvas[..., 3] = SKY
    return painter


@pytest.mark.parametrize(
    ("kind", "code"), [("rail", VOID), ("barrier", WALL), ("slope", TERRAIN), ("wood", VEGETATION)]
)
def test_what_lies_along_a_highway_has_the_class_of_cityscapes(
    painter: Painter, kind: str, code: int
) -> None:
    rng, z = np.random.default_rng(4), (5.0, 60.0)
    things = {
        "rail": landscape.guard_rail(rng, 1, 3.0, z),
        "barrier": landscape.barrier(rng, 1, 3.0, z, 1.0),
        "slope": landscape.slope(rng, 1, 3.0, z, 4.0),
        "wood": trees.wood(rng, 8.0, z, 9.0),
    }
    things[kind].paint(painter)
    codes, counts = np.unique(painter.canvas[..., 3], return_counts=True)
    painted = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert painted[code] > 200
    assert set(painted) <= {SKY, code, VEGETATION if kind == "slope" else code}


def test_the_lanes_of_an_open_road_lie_on_its_carriageways() -> None:
    for seed in range(20):
        plan = open_road.any_plan(np.random.default_rng(seed))
        spans = [span for span in ((plan.left, plan.right), plan.beyond) if span]
        for x, _ in plan.lanes:
            assert any(low + 1 < x < high - 1 for low, high in spans)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="style is 'deep', expected plain or wide"):
        render_scene(0, 0, style="deep")

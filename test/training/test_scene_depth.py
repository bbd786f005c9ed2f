"""How far away things are in a scene, against what is known of them in other ways."""

import numpy as np
import pytest

from training.scenes import Scene, SceneObject, render_drive
from training.scenes.camera import Camera
from training.scenes.codes import FIRST_OBJECT
from training.scenes.depth import DepthPainter
from training.scenes.painter import Light
from training.scenes.shapes import Mesh, Parts
from training.scenes.solids import Solid, solids

CAMERA = Camera(size=(128, 256), focal=200, centre=128, horizon=50, elevation=1.5, z=3.0)
FORWARD = np.array([0, 0, 1])
LIGHT = Light(np.array([0.0, 1, 0]), 1.0, np.zeros(3), 0.0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene for _, scene in render_drive(77, 4, 2, size=(128, 256), depth=True)]


def points(scene: Scene, where: np.ndarray) -> np.ndarray:
    """What is seen of some pixels, [n, 3] in the optical frame."""
    fx, fy, cx, cy = scene.intrinsics
    rows, columns = where.nonzero()
    z = scene.depth[rows, columns]
    return np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], axis=1)


def inside(solid: Solid, seen: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Which points [n, 3] lie in a box made larger by a margin [n, 1]."""
    x, y, z = (seen - solid.centre).T
    sin, cos = np.sin(solid.heading), np.cos(solid.heading)
    along = np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=1)
    return (np.abs(along) <= np.array(solid.size) / 2 + margin).all(axis=1)


def test_what_is_seen_of_an_object_lies_in_its_true_box(scenes: list[Scene]) -> None:
    objects = [(s, k, o) for s in scenes for k, o in enumerate(s.objects, 1) if o.solid]
    assert len(objects) > 40
    for scene, number, thing in objects:
        seen = points(scene, scene.instances == number)
        pixel = seen[:, 2:] / scene.intrinsics[0]  # how wide one is there
        assert inside(thing.solid, seen, 0.05 + 1.5 * pixel).mean() > 0.97, thing
        assert not inside(thing.solid, seen + 30.0 * FORWARD, 0.05 + 1.5 * pixel).any()


def test_the_ground_is_flat_and_the_sky_nowhere(scenes: list[Scene]) -> None:
    for scene in scenes:
        ground = np.isin(scene.semantic, (0, 1)) & (scene.depth < 60)
        heights = points(scene, ground)[:, 1]
        elevation = max(o.position[1] for o in scene.objects)  # all stand on it
        assert np.quantile(np.abs(heights - elevation), 0.99) < 0.02
        assert (scene.depth[scene.semantic == 10] == 0).all()
        assert (scene.depth[np.isin(scene.semantic, (0, 1, 2))] > 0).all()


def test_a_slanted_wall_has_the_depth_of_its_plane_in_every_pixel() -> None:
    painter = DepthPainter(CAMERA, LIGHT)
    wall = np.array([(-2.0, 0, 9), (4.0, 0, 15), (4, 3, 15), (-2, 3, 9)])
    painter.polygon(wall, np.zeros(3), FIRST_OBJECT)
    depth = painter.depth(2)
    rows, columns = (painter.canvas[::2, ::2, 3] == FIRST_OBJECT).nonzero()
    across = (columns * 2 + 0.5 - CAMERA.centre) / CAMERA.focal
    expected = (11 - CAMERA.z) / (1 - across)  # z = x + 11, seen along x = across * depth
    assert len(rows) > 100
    assert depth[rows, columns] == pytest.approx(expected, rel=1e-3)


def test_what_is_painted_last_is_what_is_seen_and_a_hull_is_before_its_middle() -> None:
    painter, ball, box = DepthPainter(CAMERA, LIGHT), Parts(), Mesh()
    box.prism([(-1, 0.0, 1.0), (1, 0, 1), (1, 2, 1), (-1, 2, 1)], (9, 9, 9))
    ball.hull([(0, 1.0, 0)], 0.4, (5, 5, 5))
    painter.mesh(box, 0, 13, 0.0, FIRST_OBJECT)
    painter.parts(ball, 0, 8, 0.0, [FIRST_OBJECT + 1])
    codes, depth = painter.canvas[::2, ::2, 3], painter.depth(2)
    assert depth[codes == FIRST_OBJECT] == pytest.approx(13 - 1 - 3, abs=1e-3)
    assert depth[codes == FIRST_OBJECT + 1] == pytest.approx(8 - 0.4 - 3, abs=1e-3)


def test_a_box_worked_out_by_hand_and_its_mirror_image() -> None:
    shape = Mesh()
    shape.prism([(-2, 0.0, 1.0), (2, 0, 1), (2, 1.5, 1), (-2, 1.5, 1)], (9, 9, 9))
    (found,) = solids(CAMERA, shape, 5.0, 13.0, 0.3)
    assert found.centre == pytest.approx((5, 1.5 - 0.75, 10))
    assert found.size == pytest.approx((2, 1.5, 4)) and found.heading == 0.3
    assert found.mirrored() == Solid((-5, *found.centre[1:]), found.size, -0.3)


def test_a_rider_and_the_bicycle_have_boxes_of_their_own(scenes: list[Scene]) -> None:
    riders = [(s, o) for s in scenes for o in s.objects if o.label == 1]
    assert riders
    for scene, rider in riders:
        below: SceneObject = next(o for o in scene.objects if o.track_id == rider.track_id - 1)
        assert rider.solid.centre[1] < below.solid.centre[1]

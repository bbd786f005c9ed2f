"""What the synthetic driving scenes promise to training and evaluation."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from jointseg_core.classes import CITYSCAPES, UNLABELLED
from training.scenes import (
    Scene,
    SceneObject,
    codes,
    contact_sheet,
    render_drive,
    render_scene,
    statistics,
)
from training.scenes.camera import NEAR, Camera
from training.scenes.codes import FIRST_OBJECT
from training.scenes.scene import LEAST_FRACTION, take_picture
from training.scenes.street import any_street
from training.scenes.traffic import KINDS, counts

SEED, STREETS, FRAMES = 1000, 20, 2
LABELS_OF_TEN_SCENES = "7058cc973f89e4a7c1ff4b287d943f2eac2a3cda88e58ccd9b0bc8295b114b5e"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(SEED, index) for index in range(45)]


@pytest.fixture(scope="module")
def drive() -> list[tuple[int, Scene]]:
    return list(render_drive(SEED, STREETS, FRAMES))


@pytest.fixture(scope="module")
def all_scenes(scenes: list[Scene], drive: list[tuple[int, Scene]]) -> list[Scene]:
    return scenes + [scene for _, scene in drive]


def same(a: Scene, b: Scene) -> bool:
    planes = ("image", "semantic", "instances")
    return a.objects == b.objects and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in planes
    )


def things(scene: Scene) -> list[SceneObject]:
    return [thing for thing in scene.objects if thing.label >= 0 and not thing.crowd]


def test_a_scene_depends_on_seed_and_index_alone(scenes: list[Scene]) -> None:
    np.random.default_rng(0).random(10)
    assert same(render_scene(SEED, 5), scenes[5])


def test_labels_are_those_that_weights_were_trained_on() -> None:
    """Colours may differ in the last bit from one OpenCV to the next; labels do not."""
    digest = hashlib.sha256()
    for index in range(10):
        scene = render_scene(SEED, index, size=(128, 256))
        digest.update(scene.semantic.tobytes() + scene.instances.tobytes())
    assert digest.hexdigest() == LABELS_OF_TEN_SCENES


def test_other_seeds_and_other_indices_give_other_scenes(scenes: list[Scene]) -> None:
    assert not np.array_equal(render_scene(SEED + 1, 0).semantic, scenes[0].semantic)
    assert not np.array_equal(scenes[0].semantic, scenes[1].semantic)


def test_a_drive_depends_on_its_arguments_alone(drive: list[tuple[int, Scene]]) -> None:
    again = render_drive(SEED, STREETS, FRAMES)
    for stamp, scene in drive[:4]:
        same_stamp, same_scene = next(again)
        assert same_stamp == stamp and same(scene, same_scene)


def test_planes_have_the_promised_types_and_sizes() -> None:
    scene = render_scene(SEED, 0, size=(96, 160))
    assert scene.image.shape == (96, 160, 3) and scene.image.dtype == np.uint8
    assert scene.semantic.shape == (96, 160) and scene.semantic.dtype == np.uint8
    assert scene.instances.shape == (96, 160) and scene.instances.dtype == np.uint16


def test_every_pixel_of_an_object_has_its_class_or_none(all_scenes: list[Scene]) -> None:
    for scene in all_scenes:
        assert scene.instances.max(initial=0) <= len(scene.objects)
        for number, thing in enumerate(scene.objects, start=1):
            there = scene.semantic[scene.instances == number]
            unknown = thing.label < 0
            want = UNLABELLED if unknown else CITYSCAPES.thing_to_semantic[thing.label]
            assert there.size and (there == want).all()


def test_every_pixel_of_a_thing_class_belongs_to_an_object(all_scenes: list[Scene]) -> None:
    for scene in all_scenes:
        thing_pixels = np.isin(scene.semantic, CITYSCAPES.thing_to_semantic)
        assert (scene.instances[thing_pixels] > 0).all()


def test_boxes_are_the_extents_of_the_visible_masks(all_scenes: list[Scene]) -> None:
    for scene in all_scenes:
        for number, thing in enumerate(scene.objects, start=1):
            rows, columns = np.nonzero(scene.instances == number)
            extents = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.box == extents


def test_visible_fractions_lie_between_the_least_and_one(all_scenes: list[Scene]) -> None:
    fractions = [thing.visible_fraction for scene in all_scenes for thing in scene.objects]
    assert min(fractions) >= LEAST_FRACTION and max(fractions) == 1.0


def test_crowds_keep_a_class_and_are_not_in_every_scene(all_scenes: list[Scene]) -> None:
    crowds = [[thing for thing in scene.objects if thing.crowd] for scene in all_scenes]
    assert all(thing.label >= 0 for found in crowds for thing in found)
    assert 0.05 <= np.mean([bool(found) for found in crowds]) <= 0.3


def test_objects_of_no_class_exist_and_are_no_crowds(all_scenes: list[Scene]) -> None:
    unknown = [thing for scene in all_scenes for thing in scene.objects if thing.label < 0]
    assert unknown and not any(thing.crowd for thing in unknown)


def test_a_rider_sits_on_a_vehicle_of_its_own_track(all_scenes: list[Scene]) -> None:
    rider, vehicles = 1, (6, 7)
    pairs = 0
    for scene in all_scenes:
        by_track = {thing.track_id: thing for thing in scene.objects}
        for thing in things(scene):
            if thing.label == rider and thing.track_id - 1 in by_track:
                assert by_track[thing.track_id - 1].label in vehicles
                pairs += 1
    assert pairs > 20


def test_scenes_are_hard_enough(scenes: list[Scene]) -> None:
    found = statistics.difficulty(scenes)
    assert found.objects >= 8
    assert found.small >= 0.35
    assert found.hidden >= 0.30
    assert found.majority_miou <= 0.12


def test_drives_are_hard_enough(drive: list[tuple[int, Scene]]) -> None:
    found = statistics.difficulty(scene for _, scene in drive)
    assert found.objects >= 8
    assert found.small >= 0.35
    assert found.hidden >= 0.30
    assert found.majority_miou <= 0.12


def test_no_class_is_rare(all_scenes: list[Scene]) -> None:
    found = statistics.difficulty(all_scenes)
    assert found.per_thing.min() >= 0.05
    assert found.per_class.min() >= 0.001


def test_stamps_follow_the_rate(drive: list[tuple[int, Scene]]) -> None:
    assert [stamp for stamp, _ in drive[:3]] == [0, 100_000_000, 200_000_000]


def test_a_track_keeps_its_class_and_moves_a_little(drive: list[tuple[int, Scene]]) -> None:
    kept = 0
    for (_, before), (_, after) in pairwise(drive):
        then = {thing.track_id: thing for thing in before.objects}
        for thing in after.objects:
            if thing.track_id in then:
                kept += 1
                assert then[thing.track_id].label == thing.label
                if min(thing.visible_fraction, then[thing.track_id].visible_fraction) == 1.0:
                    assert overlap(then[thing.track_id].box, thing.box) > 0
    assert kept > 5 * len(drive)


def test_something_moves_between_two_frames_of_a_street(drive: list[tuple[int, Scene]]) -> None:
    moved = 0
    for street in range(STREETS):
        first, last = drive[street * FRAMES][1], drive[street * FRAMES + FRAMES - 1][1]
        moved += not np.array_equal(first.instances, last.instances)
    assert moved >= STREETS - 2  # a street may stand still


def test_track_ids_are_not_reused_in_another_street(drive: list[tuple[int, Scene]]) -> None:
    streets = [
        {thing.track_id for _, scene in drive[k : k + FRAMES] for thing in scene.objects}
        for k in range(0, len(drive), FRAMES)
    ]
    assert sum(map(len, streets)) == len(set().union(*streets))


def test_traffic_counts_differ_by_one_at_most_and_keep_their_mean() -> None:
    evenly = (np.arange(100) + 0.5) / 100
    buses = [counts(np.full(12, u), busy=1.0)["bus"] for u in evenly]
    assert set(buses) == {0, 1} and np.mean(buses) == pytest.approx(KINDS["bus"], abs=0.01)


def test_projection_of_a_point_worked_out_by_hand() -> None:
    camera = Camera(size=(200, 400), focal=300, centre=200, horizon=100, elevation=1.5)
    pixels, depth = camera.project(np.array([[2.0, 0.0, 10.0]]))
    assert pixels.tolist() == [[200 + 300 * 2 / 10, 100 + 300 * 1.5 / 10]]
    assert depth.tolist() == [10]


def test_objects_stand_where_the_picture_shows_them() -> None:
    """The middle of the near edge of a footprint is seen at the foot of its object."""
    rng, seen = np.random.default_rng(3), 0
    for _ in range(12):
        street = any_street(rng, (256, 512), "default")
        camera = street.camera
        for thing in take_picture(street, 0.0, rng).objects:
            x, y, z = thing.position
            inside = thing.box[0] > 2 and thing.box[2] < 510 and thing.box[3] < 230
            if thing.crowd or thing.visible_fraction < 1 or z < 6 or not inside:
                continue
            column = (camera.centre + (-1 if street.mirrored else 1) * x * camera.focal / z) / 2
            column = 512 - column if street.mirrored else column
            row = (camera.horizon + y * camera.focal / z) / 2
            assert thing.box[0] - 4 < column < thing.box[2] + 4
            assert row == pytest.approx(thing.box[3], abs=6)
            seen += 1
    assert seen > 20


def test_a_polygon_is_cut_where_it_passes_the_camera() -> None:
    camera = Camera(size=(200, 400), focal=300, centre=200, horizon=100, elevation=1.5)
    strip = np.array([(-1.0, 0, -5), (1, 0, -5), (1, 0, 5), (-1, 0, 5)])
    cut = camera.cut(strip)
    assert len(cut) == 4 and cut[:, 2].min() == pytest.approx(NEAR) and cut[:, 2].max() == 5
    assert len(camera.cut(strip - (0, 0, 10))) == 0


def test_difficulty_of_a_scene_made_by_hand() -> None:
    semantic = np.zeros((4, 4), np.uint8)
    semantic[:2] = 10
    small = SceneObject(0, False, 1, (0, 0, 31, 33), 1.0)
    large = SceneObject(2, False, 2, (0, 0, 32, 32), 0.5)
    ignored = SceneObject(2, True, 3, (0, 0, 2, 2), 0.5)
    empty = np.zeros((4, 4), np.uint16)
    scene = Scene(np.zeros((4, 4, 3), np.uint8), semantic, empty, (small, large, ignored))
    found = statistics.difficulty([scene])
    assert (found.objects, found.small, found.hidden) == (2, 0.5, 0.5)
    assert found.majority_miou == 1.0 and found.per_class[10] == 0.5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"size": (32, 512)}, "size is"), ({"difficulty": "brutal"}, "difficulty is")],
)
def test_a_request_that_cannot_be_met_is_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        render_scene(0, 0, **arguments)


def test_a_drive_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a drive has 2 streets of 0 frames"):
        next(render_drive(0, 2, 0))


def test_codes_are_in_the_order_of_the_semantic_classes() -> None:
    names = {"light": "traffic light", "sign": "traffic sign"}
    stuff = CITYSCAPES.semantic[:11]
    for name, value in vars(codes).items():
        if name.isupper() and value < len(stuff):
            assert stuff[value] == names.get(name.lower(), name.lower())


def test_codes_suffice_for_the_busiest_street(all_scenes: list[Scene]) -> None:
    assert max(len(scene.objects) for scene in all_scenes) < 256 - FIRST_OBJECT


def test_the_contact_sheet_command_writes_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    contact_sheet.main([str(out), "--count", "2", "--columns", "1"])
    assert cv2.imread(str(out)).shape == (2 * 256, 2 * 512, 3)


def test_the_statistics_command_prints_every_class(capsys: pytest.CaptureFixture[str]) -> None:
    statistics.main(["--drive", "--streets", "2", "--frames", "1"])
    printed = capsys.readouterr().out
    assert "objects a picture" in printed
    assert all(name in printed for name in CITYSCAPES.semantic)


def overlap(a: tuple, b: tuple) -> float:
    """Area common to two boxes in square pixels."""
    wide, tall = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    return max(wide, 0) * max(tall, 0)

from pathlib import Path

import numpy as np
import pytest
import torch
from mcap.reader import make_reader

from jointseg_core.classes import CITYSCAPES
from jointseg_core.messages import read_plane, stamp_ns
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.messages import read_distances, read_target, to_rgb
from jointseg_eval.recordings.topics import image_topic
from training.scenes import Scene, SceneObject, driving_bag, render_drive
from training.scenes.driving_bag import scene_messages, scene_target, write_driving_bag

SEED, STREETS, FRAMES, SIZE = 1234, 2, 2, (128, 256)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    assert write_driving_bag(path, SEED, STREETS, FRAMES, SIZE) == STREETS * FRAMES
    return path


def by_topic(path: Path) -> dict[str, list]:
    with BagReader(path) as bag:
        found: dict[str, list] = {topic: [] for topic in bag.topics}
        for message in bag.messages():
            found[message.topic].append(message)
    return found


def recorded(path: Path) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    with path.open("rb") as file:
        for _, channel, message in make_reader(file).iter_messages():
            found.setdefault(channel.topic, []).append(message.data)
    return found


def tiny_scene() -> Scene:
    """A car, a group of people, and an object of no class."""
    instances = np.zeros((8, 12), np.uint16)
    instances[2:5, 1:5], instances[4:8, 6:9], instances[0:2, 10:12] = 1, 2, 3
    instances[3, 3] = 0
    semantic = np.full((8, 12), 0, np.uint8)
    semantic[instances == 1], semantic[instances == 2], semantic[instances == 3] = 13, 11, 255
    objects = (
        SceneObject(2, False, 41, (1, 2, 5, 5), 0.9),
        SceneObject(0, True, 42, (6, 4, 9, 8), 1.0),
        SceneObject(-1, False, 43, (10, 0, 12, 2), 1.0),
    )
    return Scene(np.zeros((8, 12, 3), np.uint8), semantic, instances, objects)


def test_a_drive_has_every_topic_for_every_frame_with_one_header(drive: Path):
    found = by_topic(drive)
    assert set(found) == {
        "/camera/image_raw",
        "/camera/camera_info",
        "/camera/ground_truth/detections",
        "/camera/ground_truth/instance_masks",
        "/camera/ground_truth/ignored_masks",
        "/camera/ground_truth/semantic/image",
    }
    stamps = {t: [stamp_ns(m.content.header) for m in ms] for t, ms in found.items()}
    first = stamps["/camera/image_raw"]
    assert all(s == first for s in stamps.values())
    assert np.diff(first).tolist() == [100_000_000] * 3 and first[0] > 0
    assert {m.content.header.frame_id for ms in found.values() for m in ms} == {"camera_optical"}
    assert all(m.time == stamp_ns(m.content.header) for ms in found.values() for m in ms)


def test_pictures_and_truth_are_those_of_the_scenes(drive: Path):
    found = by_topic(drive)
    scenes = [scene for _, scene in render_drive(SEED, STREETS, FRAMES, 10.0, SIZE)]
    for k, scene in enumerate(scenes):
        assert (to_rgb(found["/camera/image_raw"][k].content) == scene.image).all()
        semantic = read_plane(found["/camera/ground_truth/semantic/image"][k].content)
        assert (semantic.numpy() == scene.semantic).all()
        truth, expected = target_of(found, k), scene_target(scene)
        order = torch.cat([(~expected.crowd).nonzero(), expected.crowd.nonzero()]).flatten()
        for name in ("labels", "masks", "crowd", "semantic"):
            wanted = getattr(expected[order], name)
            assert torch.equal(getattr(truth, name), wanted), name
        assert torch.allclose(truth.boxes.float(), expected[order].boxes)


def test_the_truth_knows_how_far_away_its_objects_are(drive: Path):
    found = by_topic(drive)["/camera/ground_truth/detections"]
    for k, (_, scene) in enumerate(render_drive(SEED, STREETS, FRAMES, 10.0, SIZE)):
        wanted = [o.position[2] for o in scene.objects if o.label >= 0 and not o.crowd]
        assert read_distances(found[k].content).tolist() == wanted and min(wanted) > 0
    unknown = scene_messages(10**9, tiny_scene())["/camera/ground_truth/detections"]
    assert unknown.detections[0].results[0].pose.pose.position.z == 0
    assert read_distances(unknown).isnan().all()


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deep") / "drive.mcap"
    write_driving_bag(path, SEED, STREETS, FRAMES, SIZE, depth=True)
    return path


def test_depth_is_on_topics_of_its_own_and_changes_no_other(drive: Path, deep: Path):
    plain, found = recorded(drive), recorded(deep)
    extra = {"/camera/depth/image_raw", "/camera/ground_truth/detections_3d"}
    assert set(found) == set(plain) | extra
    assert {t for t in plain if found[t] != plain[t]} == {"/camera/camera_info"}
    frames = by_topic(deep)
    stamps = {t: [stamp_ns(m.content.header) for m in ms] for t, ms in frames.items()}
    assert all(s == stamps["/camera/image_raw"] for s in stamps.values())
    with BagReader(deep) as bag:
        assert image_topic(bag) == "/camera/image_raw"


def test_depth_and_calibration_are_messages_as_cameras_send_them(deep: Path):
    found, scenes = by_topic(deep), render_drive(SEED, STREETS, FRAMES, 10.0, SIZE, depth=True)
    for k, (_, scene) in enumerate(scenes):
        image, info = (
            found[f"/camera/{name}"][k].content for name in ("depth/image_raw", "camera_info")
        )
        assert (image.encoding, image.height, image.width) == ("16UC1", *SIZE)
        millimetres = image.data.view(np.uint16).reshape(SIZE)
        near = scene.depth < 65.5
        assert np.abs(millimetres[near] / 1000 - scene.depth[near]).max() <= 0.00051
        assert (millimetres[scene.depth > 65.54] == 0).all()
        fx, fy, cx, cy = scene.intrinsics
        assert info.k.tolist() == [fx, 0, cx, 0, fy, cy, 0, 0, 1]
        assert info.p.tolist() == [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0]
        assert (info.distortion_model, info.d.tolist()) == ("plumb_bob", [0] * 5)


def test_true_boxes_in_space_are_those_of_the_tracks(deep: Path):
    found, scenes = by_topic(deep), render_drive(SEED, STREETS, FRAMES, 10.0, SIZE, depth=True)
    flat, solid = (found[f"/camera/ground_truth/{n}"] for n in ("detections", "detections_3d"))
    for k, (_, scene) in enumerate(scenes):
        ids = [o.id for o in flat[k].content.detections]
        assert ids == [o.id for o in solid[k].content.detections] and ids
        by_id = {str(o.track_id): o for o in scene.objects}
        for one in solid[k].content.detections:
            thing, at = by_id[one.id], one.results[0].pose.pose.position
            kind = one.results[0].hypothesis.class_id
            assert kind == CITYSCAPES.things[thing.label]
            centre, turn = one.bbox.center.position, one.bbox.center.orientation
            assert (centre.x, centre.y, centre.z) == thing.solid.centre
            assert (one.bbox.size.x, one.bbox.size.y, one.bbox.size.z) == thing.solid.size
            heading = 2 * np.arctan2(turn.y, turn.w)
            assert np.sin((heading - thing.solid.heading) / 2) == pytest.approx(0, abs=1e-9)
            inside = scene.instances == scene.objects.index(thing) + 1
            assert at.z == pytest.approx(np.median(scene.depth[inside]))


def target_of(found: dict[str, list], k: int):
    prefix = "/camera/ground_truth/"
    names = ("detections", "instance_masks", "ignored_masks", "semantic/image")
    return read_target(SIZE, CITYSCAPES, *(found[prefix + name][k].content for name in names))


def test_the_same_seed_gives_the_same_messages_and_another_seed_does_not(
    drive: Path, tmp_path: Path
):
    def contents(path: Path) -> list[tuple]:
        with path.open("rb") as file:
            return [(c.topic, m.log_time, m.data) for _, c, m in make_reader(file).iter_messages()]

    write_driving_bag(tmp_path / "again.mcap", SEED, STREETS, FRAMES, SIZE)
    write_driving_bag(tmp_path / "other.mcap", SEED + 1, STREETS, FRAMES, SIZE)
    assert contents(tmp_path / "again.mcap") == contents(drive)
    assert contents(tmp_path / "other.mcap") != contents(drive)


def test_groups_are_ignored_masks_and_objects_without_a_class_are_in_no_list():
    messages = scene_messages(10**9, tiny_scene())
    detections = messages["/camera/ground_truth/detections"].detections
    assert [(d.results[0].hypothesis.class_id, d.id) for d in detections] == [("car", "41")]
    center = detections[0].bbox.center.position
    assert (center.x, center.y, detections[0].bbox.size_x, detections[0].bbox.size_y) == (
        3,
        3.5,
        4,
        3,
    )
    masks = messages["/camera/ground_truth/instance_masks"].masks
    assert [(m.class_id, m.track_id, m.rle.tolist()) for m in masks] == [(2, "41", [0, 6, 1, 5])]
    ignored = messages["/camera/ground_truth/ignored_masks"].masks
    assert [(m.class_id, m.track_id, m.roi.width) for m in ignored] == [(0, "42", 3)]


def test_the_target_of_a_scene_marks_groups_and_leaves_out_what_has_no_class():
    target = scene_target(tiny_scene())
    assert target.labels.tolist() == [2, 0] and target.crowd.tolist() == [False, True]
    assert target.masks.sum((1, 2)).tolist() == [11, 12]
    empty = scene_target(
        Scene(tiny_scene().image, tiny_scene().semantic, tiny_scene().instances, ())
    )
    assert empty.masks.shape == (0, 8, 12) and empty.boxes.shape == (0, 4)


def test_the_default_drive_is_long_enough_and_goes_through_many_streets():
    assert driving_bag.STREETS >= 6
    assert driving_bag.STREETS * driving_bag.FRAMES_PER_STREET >= 60

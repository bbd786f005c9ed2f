"""Recordings evaluate to the same numbers however the work is cut, and what is lost is said."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deadly import Deadly
from pycocotools import mask as run_lengths

from jointseg_core import CITYSCAPES, Predictor, shipped_weights
from jointseg_core.command import exit_code
from jointseg_eval import evaluate_bag as command
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.bag_evaluation.processes import in_processes
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.truth import TopicTruth
from jointseg_eval.bag_evaluation.windows import Window, common_truth, survey, windows
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.evaluation import evaluate
from jointseg_eval.recordings.bags import BagReader, BagWriter
from jointseg_eval.recordings.messages import detections_message, header_message, image_message
from jointseg_eval.recordings.pictures import pictures
from jointseg_eval.recordings.topics import IMAGE, START_NS, TRUE_DETECTIONS
from training.scenes import render_drive
from training.scenes.driving_bag import RATE_HZ, scene_target, write_driving_bag

SEED, STREETS, FRAMES, SIZE = 1000, 2, 4, (128, 256)
WEIGHTS = shipped_weights("rdsnet")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight annotated frames."""
    path = tmp_path_factory.mktemp("bags") / "drive.mcap"
    write_driving_bag(path, SEED, STREETS, FRAMES, SIZE)
    return path


@pytest.fixture(scope="module")
def scored(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drive evaluated by this process alone, in windows of three frames."""
    out = tmp_path_factory.mktemp("scored")
    assert run(drive, "--workers", "0", "--out", out) == 0
    return out


def run(*words: object, weights: Path = WEIGHTS) -> int:
    """The exit code of the command; windows of three frames."""
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--weights", weights, "--window", "0.3", *words]
        patch.setattr(sys, "argv", ["evaluate_bag", *map(str, arguments)])
        try:
            return exit_code(command.main)
        except SystemExit as end:
            return end.code


def numbers(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


class Scenes:
    """The frames of the drive as a data set."""

    classes, name = CITYSCAPES, "the drive"

    def __init__(self) -> None:
        self.scenes = [scene for _, scene in render_drive(SEED, STREETS, FRAMES, RATE_HZ, SIZE)]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, k: int) -> Sample:
        return Sample(str(k), k, self.scenes[k].image, scene_target(self.scenes[k]))


@pytest.mark.slow
def test_any_number_of_processes_finds_the_same_to_the_byte(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    for workers in (1, 2):
        assert run(drive, "--workers", workers, "--out", tmp_path / str(workers)) == 0
        for name in ("metrics.json", "frames.csv"):
            assert (tmp_path / str(workers) / name).read_bytes() == (scored / name).read_bytes()


def test_scores_are_those_of_the_same_pictures_as_a_data_set(scored: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    wanted = evaluate(Predictor.from_file(WEIGHTS, "cpu"), Scenes(), proposals=0).metrics
    torch.set_num_threads(before)
    found = numbers(scored)
    assert found["frames"] == found["frames_with_annotation"] == STREETS * FRAMES
    known = {name: value for name, value in wanted.items() if not np.isnan(value)}
    assert known.keys() >= {"box_ap", "mask_ap", "cityscapes_ap"}
    for name, value in known.items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-9), name


def test_drives_are_scored_for_their_tracks(scored: Path) -> None:
    found = numbers(scored)["tracking"]
    assert 0 < found["hota"] < 1 and found["objects"] > 5
    assert found["flicker"] <= numbers(scored)["flicker"]


def test_there_is_a_line_for_every_frame_and_a_row_for_every_window(scored: Path) -> None:
    with (scored / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["stamp_ns"]) for row in rows] == [
        START_NS + k * 100_000_000 for k in range(STREETS * FRAMES)
    ]
    assert {row["fate"] for row in rows} == {"processed"}
    over_time = numbers(scored)["over_time"]
    assert [row["frames"] for row in over_time] == [3, 3, 2]
    assert (scored / "report.html").stat().st_size > 10_000


def test_a_run_that_is_started_again_does_only_what_is_left(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    shutil.copytree(scored, tmp_path / "again")
    parts = sorted((tmp_path / "again" / "parts").iterdir())
    assert len(parts) == 3
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    kept = parts[2].stat().st_mtime_ns
    assert run(drive, "--workers", "0", "--out", tmp_path / "again") == 0
    assert parts[0].exists() and parts[2].stat().st_mtime_ns == kept
    assert (tmp_path / "again/metrics.json").read_bytes() == (scored / "metrics.json").read_bytes()


def rewritten(drive: Path, out: Path, change) -> Path:
    """A copy with other messages: change(topic, content) gives the new one, None leaves it out."""
    with BagReader(drive) as bag, BagWriter(out) as copy:
        for message in bag.messages():
            if (content := change(message.topic, message.content)) is not None:
                copy.write(message.topic, content, message.time)
    return out


def test_a_recording_without_annotations_gives_rates_and_flicker(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    bare = rewritten(drive, tmp_path / "bare.mcap", lambda t, c: c if t == IMAGE else None)
    assert run(bare, "--workers", "0", "--out", tmp_path / "out") == 0
    found, wanted = numbers(tmp_path / "out"), numbers(scored)
    assert found["metrics"] == {} and found["frames_with_annotation"] == 0
    assert found["recordings"][0]["rate_hz"] == RATE_HZ
    for name in ("flicker", "confidence", "objects_per_frame"):
        assert found[name] == wanted[name]


def test_boxes_alone_are_annotation_enough_and_unpaired_ones_are_counted(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    def change(topic: str, content):
        if topic not in (IMAGE, TRUE_DETECTIONS):
            return None
        if topic == TRUE_DETECTIONS:
            late = content.header.stamp.nanosec == 700_000_000
            content.header.stamp.nanosec += 30_000_000 if late else 4_000_000
            if content.header.stamp.nanosec == 104_000_000:
                content.detections[0].results[0].hypothesis.class_id = "dragon"
        return content

    boxes = rewritten(drive, tmp_path / "boxes.mcap", change)
    assert run(boxes, "--workers", "0", "--out", tmp_path / "out") == 0
    found = numbers(tmp_path / "out")
    assert found["frames_with_annotation"] == 7 and found["annotations_without_frame"] == 1
    assert found["annotated_objects_of_unknown_classes"] == {"dragon": 1}
    assert "box_ap" in found["metrics"] and "mask_ap" not in found["metrics"]
    assert abs(found["metrics"]["box_ap"] - numbers(scored)["metrics"]["box_ap"]) < 0.25


def of_one_frame(path: Path, frame: int, truth: int, time: int = START_NS) -> Path:
    """A recording of a frame and its truth with these stamps, both received at one time."""
    with BagWriter(path) as bag:
        picture = image_message(np.zeros((64, 64, 3), np.uint8), header_message(frame, "front"))
        boxes = [[8.0, 8.0, 40.0, 40.0]]
        known = detections_message(header_message(truth, "front"), boxes, ["car"], ["1"])
        bag.write("/front/image_raw", picture, time)
        bag.write("/front/ground_truth/detections", known, time)
    return path


def test_annotations_none_of_which_pairs_are_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = of_one_frame(tmp_path / "late.mcap", START_NS, START_NS + 1_500_000_000)
    assert run(late, "--workers", "0", "--out", tmp_path / "out") == 4
    first = capsys.readouterr().out.splitlines()[0]
    assert "none of the 1 annotations belongs to one of the 1 frames" in first
    assert "1.500 s apart" in first and "--truth-topics detections=TOPIC" in first
    assert numbers(tmp_path / "out")["losses"][0] == first
    assert run(late, "--workers", "0", "--truth", "none", "--out", tmp_path / "none") == 0


@pytest.mark.parametrize("frame", [0, START_NS - 5_000_000_000])
def test_annotations_without_stamps_pair_by_when_they_came(tmp_path: Path, frame: int) -> None:
    path = of_one_frame(tmp_path / "one.mcap", frame, 0)
    window = Window(survey(path))
    with BagReader(path) as bag:
        truth = TopicTruth(bag, window, ("detections",), CITYSCAPES, 10_000_000)
        (one,) = pictures(bag, "/front/image_raw")
        found = truth.at(one.time, one.stamp, (64, 64))
    assert found.target.labels.tolist() == [2]
    assert truth.pairing.seen == truth.pairing.used == [START_NS]


def test_recall_by_distance_is_there_where_the_annotation_tells_distances(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    metrics = numbers(scored)["metrics"]
    objects = [o for s in Scenes().scenes for o in s.objects if o.label >= 0 and not o.crowd]
    near = sum(o.position[2] < 15 for o in objects)
    assert metrics["objects_0_15_m"] == near > 0 and 0 < metrics["recall_0_15_m"] <= 1
    assert "Objects by distance" in (scored / "report.html").read_text()

    def change(topic: str, content):
        for one in content.detections if topic == TRUE_DETECTIONS else ():
            one.results[0].pose.pose.position.z = 0.0
        return content

    bag = rewritten(drive, tmp_path / "flat.mcap", change)
    assert run(bag, "--workers", "0", "--out", tmp_path / "out") == 0
    found = numbers(tmp_path / "out")["metrics"]
    assert {k: v for k, v in metrics.items() if k in found} == found
    assert {k.split("_")[0] for k in metrics.keys() - found.keys()} == {"recall", "objects"}
    assert "Objects by distance" not in (tmp_path / "out/report.html").read_text()


def test_annotations_may_come_from_a_coco_json_named_by_stamps(
    drive: Path, scored: Path, tmp_path: Path
) -> None:
    images, objects = [], []
    for k, sample in enumerate(map(Scenes().__getitem__, range(STREETS * FRAMES)), start=1):
        stamp = START_NS + (k - 1) * 100_000_000
        images.append({"id": k, "file_name": f"{stamp}.png", "height": SIZE[0], "width": SIZE[1]})
        target = sample.target
        for n in range(len(target.labels)):
            bitmap = np.asfortranarray(target.masks[n].numpy().astype(np.uint8))
            coded = run_lengths.encode(bitmap)
            x1, y1, x2, y2 = target.boxes[n].tolist()
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": k,
                    "category_id": int(target.labels[n]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(bitmap.sum()),
                    "iscrowd": int(target.crowd[n]),
                    "segmentation": {"size": list(SIZE), "counts": coded["counts"].decode()},
                }
            )
    names = [{"id": k, "name": name} for k, name in enumerate(CITYSCAPES.things, start=1)]
    file = tmp_path / "truth.json"
    file.write_text(json.dumps({"images": images, "annotations": objects, "categories": names}))
    assert run(drive, "--truth", file, "--workers", "0", "--out", tmp_path / "out") == 0
    found, wanted = numbers(tmp_path / "out")["metrics"], numbers(scored)["metrics"]
    for name in ("box_ap", "mask_ap", "box_ap_small"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-9)
    file.write_text(json.dumps({"images": [], "annotations": []}))
    assert run(drive, "--truth", file, "--out", tmp_path / "none") == 3


def test_a_bag_cut_in_the_middle_evaluates_and_its_loss_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "long.mcap", tmp_path / "cut.mcap"
    with BagWriter(whole) as bag:
        noise = np.random.default_rng(0)
        for k in range(40):
            stamp = START_NS + k * 100_000_000
            picture = noise.integers(0, 255, (*SIZE, 3), np.uint8)
            bag.write(IMAGE, image_message(picture, header_message(stamp, "camera")), stamp)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    assert run(cut, "--workers", "0", "--out", tmp_path / "out") == 4
    found = numbers(tmp_path / "out")
    assert 0 < found["frames"] < 40 and found["losses"]
    assert "cut.mcap" in found["losses"][0] and "lost: " in capsys.readouterr().out
    assert run(cut, "--strict", "--out", tmp_path / "strict") == 3
    assert not (tmp_path / "strict").exists()


def test_damaged_pictures_cost_themselves_alone(drive: Path, tmp_path: Path) -> None:
    def change(topic: str, content):
        if topic == IMAGE and content.header.stamp.nanosec == 200_000_000:
            content.encoding = "nonsense"
        return content

    bag = rewritten(drive, tmp_path / "bad.mcap", change)
    assert run(bag, "--workers", "0", "--out", tmp_path / "out") == 4
    found = numbers(tmp_path / "out")
    assert (found["frames"], found["frames_damaged"], found["frames_with_annotation"]) == (8, 1, 7)
    assert "nonsense" in found["losses"][0]


@pytest.mark.slow
@pytest.mark.timeout(300)  # every death costs the start of a process
def test_a_window_that_kills_its_process_is_reported_and_the_rest_stands(
    drive: Path, tmp_path: Path
) -> None:
    def change(topic: str, content):
        if topic == IMAGE and content.header.stamp.nanosec == 400_000_000:
            return image_message(np.zeros((*SIZE, 3), np.uint8), content.header)
        return content

    recording = survey(rewritten(drive, tmp_path / "dark.mcap", change))
    jobs = windows(recording, 400_000_000)
    always = Deadly(WEIGHTS, kinds=common_truth([recording]))
    found = dict(in_processes(jobs, always, 1))
    assert sorted(found) == [0, 1] and len(found[0]["frames.time"]) == 4
    wanted = "dark.mcap from 0 s to 1 s: its process died (exit code 7), 3 times"
    assert found[1].reason.endswith(wanted)
    once = Deadly(WEIGHTS, kinds=always.kinds, once=tmp_path / "died")
    ((_, part),) = in_processes(jobs[1:], once, 1)
    assert once.once.exists() and len(part["frames.time"]) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.mcap"], "no recording at"),
        (["{drive}", "--topic", "/other"], "/camera/image_raw (Image, 8)"),
        (["{drive}", "--truth", "nowhere.json"], "nowhere.json cannot be read"),
        (["{drive}", "--truth-topics", "boxes=/x"], "KIND=TOPIC"),
        (["{drive}", "--truth-topics", "detections=/x"], "has no topic /x"),
        (["{drive}", "--with", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_sentence(
    words: list[str], sentence: str, drive: Path, tmp_path: Path, capsys
) -> None:
    given = [word.format(drive=drive) for word in words]
    assert run(*given, "--out", tmp_path / "out") == (2 if "boxes=/x" in words else 3)
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_several_recordings_keep_their_own_rows(drive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mcap"
    write_driving_bag(other, SEED + 1, 1, 2, SIZE)
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no recording")
    words = (drive, other, broken, "--workers", "0", "--out", tmp_path / "out")
    assert run(*words) == 4
    found = numbers(tmp_path / "out")
    assert [one["frames"] for one in found["recordings"]] == [8, 2]
    assert [row["bag"] for row in found["over_time"]] == [0, 0, 0, 1]
    assert "broken.mcap" in found["losses"][0]


@pytest.mark.slow
@pytest.mark.timeout(300)  # a cluster has to start
def test_ray_finds_the_same(drive: Path, scored: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    assert run(drive, "--ray", "local", "--workers", "2", "--out", tmp_path / "out") == 0
    for name in ("metrics.json", "frames.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (scored / name).read_bytes()


def test_flicker_counts_what_comes_or_goes_for_one_frame() -> None:
    box = [0.0, 0, 10, 10]
    frames = [[(0, box)], [], [(0, box), (1, box)], [(0, box)], [(0, box)]]
    frame = np.array([k for k, found in enumerate(frames) for _ in found])
    label = np.array([one[0] for found in frames for one in found])
    boxes = np.array([one[1] for found in frames for one in found])
    found = flicker(np.zeros(5, int), np.ones(5, bool), frame, label, boxes)
    assert np.isnan(found[[0, 4]]).all()
    assert found[1:4].tolist() == [1.0, 0.5, 0.0]
    assert np.isnan(flicker(np.arange(5), np.ones(5, bool), frame, label, boxes)).all()


def test_settings_that_change_a_result_change_its_key(drive: Path) -> None:
    window = windows(survey(drive), 300_000_000)[0]
    keys = {
        Settings(WEIGHTS).key(window, "a"),
        Settings(WEIGHTS).key(window, "b"),
        Settings(WEIGHTS, precision="bf16").key(window, "a"),
        Settings(WEIGHTS, tolerance=5).key(window, "a"),
        Settings(WEIGHTS).key(windows(survey(drive), 200_000_000)[0], "a"),
    }
    assert len(keys) == 5

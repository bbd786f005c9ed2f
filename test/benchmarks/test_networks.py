"""The benchmark: what it plants, what it compares, how it counts, and what it refuses."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from benchmarks.networks import planting
from benchmarks.networks.__main__ import main
from benchmarks.networks.baselines import detector
from benchmarks.networks.clock import StageClock
from benchmarks.networks.entries import PEAK_REPEATS, build, count_objects, names_of, peak_gflop
from benchmarks.networks.gate import check_results, masks_reason, pipeline_reason
from benchmarks.networks.models import SEEN, make_picture
from benchmarks.networks.planting import crop_share, street_scene
from benchmarks.networks.settings import parse
from benchmarks.networks.summary import Results, spread, statistics
from benchmarks.networks.worker import Worker, WorkerFailed, costs, environment, gflop_of, measure
from jointseg_core import Predictor, shipped_weights
from jointseg_core.command import exit_code
from jointseg_core.errors import SegError

ROOT = Path(__file__).parents[2]
TINY = ["--preset", "tiny", "--size", "128x256", "--threads", "1"]


def settings_of(*arguments, baselines="none"):
    return parse([*TINY, "--baselines", baselines, *arguments])[0]


# What is planted


@pytest.mark.parametrize("count", [10, 100])
def test_a_scene_has_street_like_objects_that_nms_keeps(count):
    scene = street_scene(count, (512, 1024), 8, seed=0)
    boxes, labels, (_, width) = scene
    assert len(boxes) == len(labels) == count
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all()
    assert 0.01 < crop_share(scene) < 0.04
    overlaps = box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlaps.max() < 0.5
    assert overlaps[labels[:, None] == labels].max() < 0.25


def test_a_scene_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(planting, "SIDES", (0.7, 0.8))
    with pytest.raises(ValueError, match=r"no room for more than \d objects in 32x64"):
        street_scene(20, (32, 64), 1, seed=0)


@pytest.mark.parametrize("name", ["ours-fp32", "ours-bf16", "released"])
@pytest.mark.parametrize("count", [0, 7, 100])
def test_rdsnet_finds_exactly_the_planted_objects(name, count):
    settings = settings_of("--dets", str(count), "--image", "270x480")
    see = build(name, settings, StageClock("cpu"))
    assert count_objects(see(make_picture(settings))) == count


@pytest.mark.parametrize("count", [0, 100])
def test_segrpn_finds_exactly_the_planted_objects(count):
    settings = settings_of("--dets", str(count), "--model", "segrpn", "--regions", "150")
    see = build("ours-fp32", settings, StageClock("cpu"))
    assert count_objects(see(make_picture(settings))) == count


@pytest.mark.parametrize(
    ("model", "usual"), [("rdsnet", 80), ("rdsnet_s", 80), ("segrpn", 8), ("joint", 8)]
)
def test_the_command_line_decides_about_the_classes(model, usual):
    assert settings_of("--model", model).classes == usual
    assert settings_of("--model", model, "--classes", "3").classes == 3


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("rdsnet", "retinanet-fp32"),
        ("rdsnet", "unrefined-fp32"),
        ("rdsnet_s", "ours-fp32"),
        ("rdsnet_s", "yolact-fp32"),
    ],
)
def test_networks_of_the_papers_other_rows_find_exactly_the_planted_objects(model, name):
    settings = settings_of("--dets", "7", "--model", model)
    found = build(name, settings, StageClock("cpu"))(make_picture(settings))
    assert len(found) == 7 and (found.masks is None) is (name == "retinanet-fp32")


@pytest.mark.parametrize("name", ["ours-fp32", "both-fp32"])
def test_the_joint_network_and_both_others_find_exactly_the_planted_objects(name):
    settings = settings_of("--dets", "40", "--model", "joint", "--regions", "150", baselines="both")
    assert name in names_of(settings)
    found = build(name, settings, StageClock("cpu"))(make_picture(settings))
    assert count_objects(found) == 40 and found.semantic.shape == settings.image


@pytest.mark.slow
@pytest.mark.timeout(300)  # tracing takes long on a busy machine
@pytest.mark.parametrize(
    ("model", "run"), [("rdsnet", "onnx-fp32"), ("segrpn", "openvino-fp32"), ("joint", "onnx-fp32")]
)
def test_exported_networks_find_exactly_the_planted_objects(model, run):
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    settings = settings_of("--model", model, "--regions", "150", "--dets", "30")
    see = build(f"ours-{run}", settings, StageClock("cpu"))
    assert count_objects(see(make_picture(settings))) == 30


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rdsnet", "segrpn", "joint"])
def test_int8_networks_find_exactly_the_planted_objects(model):
    pytest.importorskip("nncf")
    settings = settings_of("--model", model, "--regions", "150", "--precision", "int8")
    see = build("ours-openvino-int8", settings, StageClock("cpu"))
    assert count_objects(see(make_picture(settings))) == settings.dets


@pytest.mark.slow
def test_a_baseline_finds_exactly_the_planted_objects_also_in_bf16():
    settings = settings_of("--dets", "12", "--size", "128x128")
    for treated in (False, True):
        found = detector("fasterrcnn", settings, treated, StageClock("cpu"))(make_picture(settings))
        assert count_objects(found) == 12


# A trained network


@pytest.fixture
def street(tmp_path):
    """A picture with some edges, in another size than the network's input."""
    picture = np.full((90, 160, 3), 90, np.uint8)
    picture[40:70, 60:100] = (200, 40, 40)
    cv2.imwrite(str(tmp_path / "street.png"), picture)
    return str(tmp_path / "street.png")


def test_a_trained_network_finds_what_it_finds(street):
    arguments = ["--weights", str(shipped_weights("joint_tiny")), "--picture", street]
    settings = parse([*arguments, "--precision", "fp32", "--threads", "1"])[0]
    assert (settings.model, settings.size, settings.image) == ("joint", (256, 512), (90, 160))
    picture = make_picture(settings)
    assert picture.shape == (90, 160, 3) and picture[50, 80].tolist() == [40, 40, 200]
    found = build("ours-fp32", settings, StageClock("cpu"))(picture)
    predictor = Predictor.from_file(shipped_weights("joint_tiny"), "cpu", backend="torch")
    predictor.configure(score_threshold=SEEN)
    assert count_objects(found) == len(predictor([picture])[0])
    assert check_results(settings)["passed"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--weights", "w.safetensors"], "belong together"),
        (["--picture", "p.png"], "belong together"),
        (["--weights", "w", "--picture", "p", "--baselines", "both"], "no --baselines"),
        (["--weights", "w.safetensors", "--picture", "p.png"], "weights not found"),
    ],
)
def test_a_trained_network_is_refused_without_its_picture(arguments, reason):
    with pytest.raises(SegError, match=reason):
        parse(arguments)


def test_several_pictures_at_once_are_timed_and_counted_as_one_picture_each():
    settings = settings_of("--precision", "fp32", "--batches", "2,3")
    assert names_of(settings)[:3] == ["ours-fp32", "ours-fp32-x2", "ours-fp32-x3"]
    picture, clock = make_picture(settings), StageClock("cpu")
    alone, three = (build(name, settings, clock) for name in ("ours-fp32", "ours-fp32-x3"))
    assert count_objects(three(picture)) == settings.dets
    gflop = [costs(alone, picture, settings)["gflop"], costs(three, picture, settings, 3)["gflop"]]
    assert gflop[1] == pytest.approx(gflop[0], rel=0.01)
    clock = Clock(3.0, {"net": [2.0, 4.0]})
    assert measure(lambda _: None, picture, clock, 2) == {
        "wall_ms": 1.5, "cpu_ms": 1.5, "faults": 1.5, "stages": {"net": [1.0, 2.0]},
    }  # fmt: skip


class Clock:
    """A clock that always tells the same."""

    def __init__(self, each, stages):
        self.told = {"wall_ms": each, "cpu_ms": each, "faults": each, "stages": stages}

    def start(self):
        pass

    def stop(self):
        return self.told


@pytest.mark.parametrize("batches", ["1", "4,x", "-2"])
def test_batches_are_numbers_above_one(batches, capsys):
    assert exit_code(lambda: main([*TINY, f"--batches={batches}"])) == 2
    assert "--batches" in capsys.readouterr().err


def test_operations_are_counted_as_the_layers_are_defined():
    # the floor is what the network would take directly, however few multiplications are made
    settings = settings_of("--preset", "r50", "--size", "64x128", "--dets", "0")
    with closing(Worker("ours-fp32", settings)) as worker:
        facts = worker.ask("finish")
    assert facts["gflop_computed"] < 0.75 * facts["gflop"]
    directly = build("ours-fp32", settings, StageClock("cpu"), winograd=False)
    assert facts["gflop"] == pytest.approx(gflop_of(directly, make_picture(settings)))


# What is compared


def test_the_gate_finds_ours_and_the_published_computation_equal():
    report = check_results(settings_of("--dets", "20"))
    assert report["passed"], report["reason"]
    assert [(t["objects"], t["bits_differing"], t["boxes_differing"]) for t in report["tail"]] == [
        (count, 0, 0) for count in (10, 20, 30, 100)
    ]
    assert min(t["bits"] for t in report["tail"]) > 1000
    assert report["pipeline"]["objects"] == 20


@pytest.mark.parametrize("model", ["segrpn", "rdsnet_s"])
def test_the_gate_compares_a_network_with_itself_as_trained(model):
    report = check_results(settings_of("--model", model, "--dets", "20"))
    assert report["passed"], report["reason"]


def test_the_gate_says_what_differs():
    same = {"objects": 10, "bits": 5000, "bits_differing": 0, "boxes_differing": 0}
    assert masks_reason(same) == ""
    assert "3 of 5000 bits" in masks_reason({**same, "bits_differing": 3})
    settings = settings_of("--dets", "10")
    equal = {"objects_wanted": 10, "labels_differing": 0, "share_differing": 0.0, **same}
    assert pipeline_reason(equal, settings) == ""
    fewer = pipeline_reason({**equal, "objects": 9}, settings)
    assert fewer.startswith("10 objects are planted, but ours finds 9")
    assert "pixels differ" in pipeline_reason({**equal, "share_differing": 0.01}, settings)


# How it counts


def test_stages_of_a_frame_add_up():
    settings = settings_of("--dets", "3")
    clock = StageClock("cpu")
    frame = measure(build("ours-fp32", settings, clock), make_picture(settings), clock)
    assert list(frame["stages"]) == ["preprocess", "net", "decode", "masks", "rest"]
    for column, unit in enumerate(("wall_ms", "cpu_ms")):
        stages = sum(times[column] for times in frame["stages"].values())
        assert stages == pytest.approx(frame[unit], abs=1)


def test_statistics_and_spread_by_hand():
    assert statistics(np.array([[0.0, 10.0]])) == pytest.approx(
        {"min": 0, "p50": 5, "p95": 9.5, "p99": 9.9}
    )
    assert spread(np.array([10, 12, 20])) == pytest.approx(0.2)


def frame(milliseconds, **stages):
    """A measured frame whose wall time is twice its CPU time."""
    stages = {name: [2 * cpu, cpu] for name, cpu in stages.items()}
    return {"wall_ms": 2 * milliseconds, "cpu_ms": milliseconds, "faults": 0, "stages": stages}


def results(facts=None, **rounds):
    rounds = {name.replace("_", "-"): frames for name, frames in rounds.items()}
    return Results(settings_of(), rounds, facts or {})


def test_ratios_are_taken_within_rounds():
    # the machine is three times slower in the second round, the ratio stays
    found = results(
        ours_fp32=[[frame(10)], [frame(30)], [frame(10)]],
        maskrcnn=[[frame(40)], [frame(120)], [frame(40)]],
    )
    assert found.faster("ours-fp32", "maskrcnn")["value"] == 4


@pytest.mark.parametrize(("times", "quiet"), [([100, 110, 120], True), ([100, 130, 140], False)])
def test_no_verdict_where_the_machine_was_too_noisy(times, quiet):
    found = results(ours_fp32=[[frame(10)] for _ in times], maskrcnn=[[frame(t)] for t in times])
    assert found.faster("ours-fp32", "maskrcnn")["can_tell"] is quiet


def test_the_share_after_the_net_by_hand():
    found = results(ours_fp32=[[frame(10, preprocess=1, net=8, masks=1)]])
    assert found.share_after_net("ours-fp32")["value"] == pytest.approx(0.1)


def test_the_floor_of_a_known_convolution():
    # 3x3, 256 to 256 channels on 16 x 32 cells: 2 * 9 * 256 * 256 * 512 operations
    settings = settings_of()
    assert peak_gflop((128, 256)) == pytest.approx(0.603979776)
    see = build("peak-fp32", settings, StageClock("cpu"))
    counted = costs(see, make_picture(settings), settings)["gflop"]
    assert counted == pytest.approx(PEAK_REPEATS * 0.603979776)


def test_time_against_the_floor_by_hand():
    # the best convolution takes 2 ms, so 10 of them take 20 ms at least; 25 ms are 1.25 times that
    repeats = {str(n): 2.0 + n for n in range(PEAK_REPEATS)}
    found = results(
        {"ours-fp32": {"gflop": 10 * peak_gflop((128, 256))}},
        ours_fp32=[[frame(25)]],
        peak_fp32=[[frame(44, **repeats)]],
    )
    assert found.over_floor("ours-fp32")["value"] == pytest.approx(1.25)


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100x200"], "multiples of 32"),
        (["--size", "big"], "big is not HEIGHTxWIDTH"),
        (["--dets", "101"], "101 is not a number from 0 to 100"),
        (["--rounds", "0"], "0 is not a number from 1"),
        (["--preset", "r9"], "want one of"),
        (["--precision", "fp8"], "want auto or one of"),
        (["--precision", "int8", "--backends", "torch"], "none of torch has it here"),
        (["--backends", "tensorrt"], "want some of torch, openvino"),
        (["--baselines", "yolo"], "rdsnet has released, maskrcnn"),
        (["--model", "yolo"], "invalid choice"),
        (["--model", "segrpn", "--regions", "30"], "fewer than --dets"),
        (["--device", "cuda:64"], "CUDA devices"),
        (["--json", "/nowhere/out.json"], "a folder that does not exist"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(arguments, message, capsys):
    assert exit_code(lambda: main(arguments)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1 and not said.out


def test_what_is_not_said_comes_from_the_presets():
    full, _ = parse([])
    assert (full.preset, full.size, full.image, full.dets) == ("r50", (512, 1024), (512, 1024), 100)
    assert names_of(full)[-5:-2] == ["maskrcnn-treated", "masks-ours", "masks-released"]
    small, file = parse(
        ["--small", "--json", "out.json", "--precision", "fp32", "--baselines", "none"]
    )
    assert (small.preset, small.size, file) == ("r18", (256, 512), Path("out.json"))
    assert names_of(small) == ["ours-fp32", "peak-fp32"]


def test_workers_wait_without_burning_cpu_time(monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with environment(threads=2):
        assert os.environ["OMP_WAIT_POLICY"] == "passive"
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert "MALLOC_TOP_PAD_" not in os.environ
    assert os.environ["OMP_WAIT_POLICY"] == "active" and os.environ["MALLOC_TOP_PAD_"] == "1"


@pytest.mark.timeout(300)  # they start processes, which takes long where others are at work
def test_an_entry_that_breaks_is_named_with_its_reason():
    with pytest.raises(WorkerFailed, match="yolo: KeyError"):
        Worker("yolo", settings_of())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_from_the_command_line(tmp_path):
    file = tmp_path / "out.json"
    arguments = ["--dets", "5", "--rounds", "1", "--baselines", "released", "--precision", "fp32"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.networks", *TINY, *arguments, "--json", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ours-fp32 vs released" in done.stdout
    document = json.loads(file.read_text())
    assert document["gate"]["passed"]
    assert {one["objects"] for one in document["contenders"].values()} == {5}
    ours = document["contenders"]["ours-fp32"]
    assert ours["over_floor"]["value"] > 0 and 0 < ours["share_after_net"]["value"] < 1
    assert 1 < ours["memory_mb"] < 2000
    assert document["settings"]["size"] == [128, 256]
    assert document["machine"]["torch"] == torch.__version__
    assert len(document["load_average"]) == 2

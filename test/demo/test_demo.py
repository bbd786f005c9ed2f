import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import Page
from PIL import Image

from demo.__main__ import FILES, main
from demo.replay import LARGE_IMAGES, PROFILE_VARIABLES, Replay, _environment
from demo.synchroniser import synchronised
from jointseg_core.command import exit_code
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.report import number

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("jointseg_msgs.msg", reason="needs the messages of this package")

pytestmark = pytest.mark.timeout(600)  # nodes take their time to start on a busy machine

ROOT = Path(__file__).parents[2]
LATENCIES = {"p50", "p95", "p99"}
COUNTS = {"frames_processed", "frames_dropped"}


def start(out: Path, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "demo", "--out", out, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([str(c) for c in command], cwd=ROOT, env=dict(os.environ), **pipes)


def demo(out: Path, *arguments: object) -> tuple[int, str, str]:
    """The exit code and what was printed to stdout and stderr; runs in this process."""
    command = ["demo", "--out", *map(str, (out, *arguments))]
    printed, errors = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(errors):
        patch.setattr(sys, "argv", command)
        try:
            code = exit_code(main)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return code, printed.getvalue(), errors.getvalue()


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def processes_naming(path: Path) -> list[str]:
    """The command lines of running processes in which this path occurs."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in command:
            found.append(command)
    return found


@pytest.fixture(scope="module")
def short_drive(
    tmp_path_factory: pytest.TempPathFactory, rdsnet_weights: Path, segrpn_weights: Path
) -> Path:
    """What a demo of six frames leaves, with untrained weights and both models at once."""
    out = tmp_path_factory.mktemp("drive") / "out/demo"
    code, printed, errors = demo(
        *(out, "--seed", 1007, "--streets", 2, "--frames-per-street", 3),
        *("--models", "rdsnet", "segrpn", "--together"),
        *("--weights", f"rdsnet={rdsnet_weights}", "--weights", f"segrpn={segrpn_weights}"),
    )
    assert code == 0, errors
    assert all(str(out / name) in printed for name in FILES)
    assert "box ap50" in printed and "seed" in printed
    return out


def test_the_demo_leaves_its_files_and_nothing_else(short_drive: Path):
    assert {p.name for p in short_drive.iterdir()} == set(FILES)
    assert [p.name for p in short_drive.parent.iterdir()] == ["demo"]
    assert processes_naming(short_drive.parent) == []


def test_metrics_have_the_agreed_form(short_drive: Path):
    metrics = read(short_drive / "metrics.json")
    assert set(metrics) == {"seed", "frames_in", "models"}
    assert (metrics["seed"], metrics["frames_in"]) == (1007, 6)
    rdsnet, segrpn = metrics["models"]["rdsnet"], metrics["models"]["segrpn"]
    scores = {"box_ap", "box_ap50", "mask_ap", "mask_ap50"}
    assert set(rdsnet) == COUNTS | scores | {"latency_ms"}
    scores = {"box_ap", "box_ap50", "miou", "foreground_miou"}
    assert set(segrpn) == COUNTS | scores | {"latency_ms"}
    for numbers in (rdsnet, segrpn):
        assert numbers["frames_processed"] + numbers["frames_dropped"] == 6
        assert numbers["frames_processed"] >= 1
        assert set(numbers["latency_ms"]) == LATENCIES
        assert 0 < numbers["latency_ms"]["p50"] <= numbers["latency_ms"]["p99"] < 5000
        assert all(0 <= numbers[name] <= 1 for name in set(numbers) & (scores | {"mask_ap"}))


def test_the_results_carry_the_headers_of_the_images_and_join_with_the_truth(short_drive: Path):
    metrics = read(short_drive / "metrics.json")["models"]
    frames = list(
        synchronised(short_drive / "input.mcap", short_drive / "output.mcap", ["rdsnet", "segrpn"])
    )
    assert len(frames) == 6 and all(frame.truth is not None for frame in frames)
    for model, numbers in metrics.items():
        found = [frame.results[model] for frame in frames if frame.results[model] is not None]
        assert len(found) == numbers["frames_processed"]
        assert all(f.image_size == (256, 512) for f in found)
    assert all(
        f.results["segrpn"] is None or f.results["segrpn"].foreground is not None for f in frames
    )


def test_the_report_says_of_each_model_what_metrics_json_says(short_drive: Path):
    page, models = Page(short_drive / "report.html"), read(short_drive / "metrics.json")["models"]
    assert page.open == [] and page.tags.count("figure") > 2
    text = " ".join(page.text.split())
    for name, title in (("box_ap", "box AP"), ("foreground_miou", "foreground mIoU")):
        shown = re.search(rf"{title}\s*(\d\.\d{{3}}|-)\s*(\d\.\d{{3}}|-)", text).groups()
        wanted = [m.get(name) for m in models.values()]
        values = [None if value == "-" else float(value) for value in shown]
        assert values == pytest.approx(wanted, abs=0.0006)
    for model, numbers in models.items():
        latency = rf"{number(numbers['latency_ms']['p95'], 0)} ms\s*p95 latency, {model}"
        assert re.search(latency, text)
    assert "scores with the delay" in text
    for shown in ("picture", "rdsnet", "rdsnet from above", "segrpn", "truth"):
        assert ("data-layer", shown) in page.attributes


def test_the_recording_of_the_results_lies_in_the_time_of_the_input(short_drive: Path):
    with BagReader(short_drive / "input.mcap") as bag:
        begin = min(m.time for m in bag.messages(["/camera/image_raw"]))
    with BagReader(short_drive / "output.mcap") as bag:
        times = [m.time for m in bag.messages()]
        assert {"/rdsnet/camera/label_info", "/segrpn/stats"} <= set(bag.topics)
    assert times == sorted(times) and begin <= times[0] and times[-1] < begin + 60e9


def test_the_pictures_show_every_frame_and_every_street(short_drive: Path):
    video = cv2.VideoCapture(str(short_drive / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 6 and video.get(cv2.CAP_PROP_FPS) == 10
    with Image.open(short_drive / "overlay.png") as sheet:
        assert sheet.width == 4 * 512 and sheet.height > 6 * 256


def test_own_pictures_are_replayed_without_scores_and_the_summary_says_what_the_weights_know(
    tmp_path: Path, rdsnet_weights: Path
):
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        noise = np.random.default_rng(k).integers(0, 256, (90, 160, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"pictures/{k}.png")
    weights = f"rdsnet={rdsnet_weights}"
    code, printed, errors = demo(
        tmp_path / "out",
        "--input",
        tmp_path / "pictures",
        "--models",
        "rdsnet",
        "--weights",
        weights,
    )
    assert code == 0, errors
    assert "docs/models.md" in printed and "box ap" not in printed
    metrics = read(tmp_path / "out/metrics.json")
    page = Page(tmp_path / "out/report.html")
    assert "mean confidence" in page.text and "p95 latency" in page.text
    assert "box AP" not in page.text.split('"bags"')[0] and ("data-layer", "truth") not in (
        page.attributes
    )
    numbers = metrics["models"]["rdsnet"]
    assert metrics["seed"] is None and metrics["frames_in"] == 3
    assert numbers["box_ap50"] is None and numbers["mask_ap"] is None
    assert numbers["frames_processed"] >= 1 and numbers["latency_ms"]["p50"] > 0


def test_by_itself_it_shows_the_joint_network(tmp_path: Path):
    words = ("--seed", 1007, "--streets", 1, "--frames-per-street", 3)
    code, _, errors = demo(tmp_path / "out", *words)
    assert code == 0, errors
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())["models"]
    assert list(metrics) == ["joint"] and metrics["joint"]["frames_processed"] >= 1
    scores = {"box_ap", "box_ap50", "mask_ap", "mask_ap50", "miou", "foreground_miou"}
    assert set(metrics["joint"]) == COUNTS | scores | {"latency_ms"}
    assert all(0 <= metrics["joint"][name] <= 1 for name in scores)
    recordings = (tmp_path / "out/input.mcap", tmp_path / "out/output.mcap")
    found = [frame.results["joint"] for frame in synchronised(*recordings, ["joint"])]
    for one in (one for one in found if one is not None):
        assert len(one.masks) == len(one.boxes)
        assert one.semantic is not None and one.foreground is not None
    with Image.open(tmp_path / "out/overlay.png") as sheet:
        assert sheet.width == 3 * 512


def test_an_unreadable_input_is_named_with_what_is_accepted_and_old_results_stay(tmp_path: Path):
    (tmp_path / "notes.mp4").write_text("no video")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/metrics.json").write_text("old")
    code, _, errors = demo(tmp_path / "out", "--input", tmp_path / "notes.mp4")
    assert code == 3 and str(tmp_path / "notes.mp4") in errors and "accepted are" in errors
    assert len(errors.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.mp4", "out"]
    assert [p.read_text() for p in (tmp_path / "out").iterdir()] == ["old"]


def test_weights_of_a_model_that_is_not_shown_are_refused(tmp_path: Path):
    code, _, errors = demo(tmp_path / "out", "--weights", "rdsnet=own.safetensors")
    assert code == 2 and "add --models rdsnet" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_its_weights_is_reported_with_its_own_words(tmp_path: Path):
    missing = tmp_path / "none.safetensors"
    arguments = ("--streets", 1, "--frames-per-street", 1, "--models", "rdsnet")
    code, _, errors = demo(tmp_path / "out", *arguments, "--weights", f"rdsnet={missing}")
    assert code == 1 and str(missing) in errors and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_leaves_neither_processes_nor_files(
    tmp_path: Path, rdsnet_weights: Path
):
    arguments = ("--streets", 6, "--frames-per-street", 10, "--models", "rdsnet")
    process = start(tmp_path / "out", *arguments, "--weights", f"rdsnet={rdsnet_weights}")
    end = time.monotonic() + 100
    while not any("jointseg_ros.recorder" in c for c in processes_naming(tmp_path)):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert processes_naming(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_latency_runs_to_the_last_of_the_results_and_frames_without_all_of_them_do_not_count():
    published = {1: 1_000_000, 2: 2_000_000, 3: 3_000_000}
    arrived = {
        "/rdsnet/camera/detections": {1: 5_000_000, 2: 8_000_000},
        "/rdsnet/camera/instance_masks": {1: 6_500_000, 3: 9_000_000},
    }
    replay = Replay(Path("any.mcap"), published, arrived)
    assert replay.latencies_ms("rdsnet") == [5.5]
    assert replay.latencies_ms("segrpn") == []


def test_large_images_use_shared_memory_unless_something_else_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "RMW_IMPLEMENTATION")
    for name in choices:
        monkeypatch.delenv(name, raising=False)
    assert {_environment(1080 * 5760)[name] for name in PROFILE_VARIABLES} == {str(LARGE_IMAGES)}
    assert not set(PROFILE_VARIABLES) & set(_environment(256 * 1536))
    for name in choices:
        with monkeypatch.context() as chosen:
            chosen.setenv(name, "mine")
            assert str(LARGE_IMAGES) not in _environment(1080 * 5760).values()

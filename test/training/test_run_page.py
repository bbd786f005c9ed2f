"""What people look at while a network trains, and when it has."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from labelled_sets import roboflow
from PIL import Image
from tiny_run import trained

from jointseg_core import CITYSCAPES, Target
from jointseg_core.errors import BadConfig, ResourceError
from training.runs.curves import curves
from training.runs.loggers import LOGGERS, check_loggers, open_loggers
from training.runs.page import worst_first
from training.runs.panels import batch_sheet, captioned
from training.runs.records import duration, progress_line
from training.runs.run_folder import RunFolder
from training.train import main


def test_a_line_says_step_losses_rate_pace_and_time_left():
    means = {"loss": 1.5, "loss_box": 0.5, "loss_mask": 1.0, "lr": 3e-4, "seconds": 2.0}
    line = progress_line(120, 3200, means, 8.25, 4000.0)
    assert line == (
        "step 120/3200, loss 1.500 (box 0.5 mask 1), rate 0.0003, 8.2 pictures/s, 1 h 06 min left"
    )
    assert "no loss" in progress_line(1, 2, {}, 1.0, 1.0) and duration(95) == "1 min 35 s"


def test_panels_have_captions_above_them():
    black = np.zeros((20, 120, 3), np.uint8)
    row = captioned({"picture": black, "truth": black, "found after step 3": black})
    assert row.shape[1] == 3 * 120 + 2 * 4 and row.shape[0] > 30
    for x in (0, 124, 248):
        assert (row[-20:, x : x + 120] == 0).all()  # each picture below its caption
        assert (row[:-20, x : x + 120] < 255).any()
    assert (row[-20:, 120:124] == 255).all()


def test_a_batch_is_drawn_as_the_network_gets_it():
    images = torch.zeros(3, 3, 32, 64, dtype=torch.uint8)
    masks = torch.zeros(1, 32, 64, dtype=torch.bool)
    masks[0, 8:24, 8:40] = True
    target = Target(torch.tensor([[8.0, 8, 40, 24]]), torch.tensor([2]), masks)
    sheet = batch_sheet(images, [target] * 3, ["a", "b", "c"], CITYSCAPES)
    assert sheet.shape[1] == 128 and sheet[20:40, 12:36].any()


def test_curves_are_drawn_of_what_is_known():
    records = [
        {"kind": "training", "step": 1, "loss": None, "loss_box": 1.0, "lr": 0.1},
        {"kind": "validation", "step": 1, "box_ap": None},
        {"kind": "skipped", "step": 1},
    ]
    assert curves([]).shape == curves(records).shape and (curves([]) != curves(records)).any()


def test_the_worst_classes_come_first():
    nan = float("nan")
    table = {"a": {"mask_ap": 0.5}, "b": {"mask_ap": nan}, "c": {"mask_ap": 0.1}}
    table["road"] = {"iou": 0.3}
    assert list(worst_first(table)) == ["c", "road", "a", "b"]


def test_a_run_leaves_a_page_and_its_curves(tmp_path, capsys):
    trained("rdsnet_tiny_synthetic", roboflow(tmp_path / "set"), tmp_path, "--log-every", 25)
    run = tmp_path / "run"
    losses = [r["loss"] for r in RunFolder(run).records() if r["kind"] == "training"]
    assert len(losses) == 1  # of the last step, however short the run
    page = (run / "report.html").read_text()
    for part in ("Classes, the worst first", "The first batches", "car", "step 00000001"):
        assert part in page
    assert page.count("data:image/jpeg;base64,") == 3  # curves, one batch, one validation picture
    assert 'src="http' not in page and Image.open(run / "curves.png").width > 800
    assert f"{run}/report.html shows how it went" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_takes_numbers_and_pictures(tmp_path, monkeypatch, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    for logger in open_loggers((name,), tmp_path):
        logger.number("training/loss", 1.5, 3)
        logger.picture("a", np.zeros((8, 8, 3), np.uint8), 3)
        logger.close()
    assert any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_logger_that_lacks_is_told():
    with pytest.raises(BadConfig, match="no neptune; want some of tensorboard, mlflow, wandb"):
        check_loggers(("neptune",))
    if find_spec("mlflow") is None:
        with pytest.raises(ResourceError, match="--log mlflow: its package is not installed"):
            check_loggers(("mlflow",))


def test_help_names_ten_flags_and_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    flags = [line.split()[0] for line in out.splitlines() if line.startswith("  --")]
    assert len(flags) == 10 and {"--data", "--init", "--out", "--resume"} <= set(flags)
    assert "joint_lite_own --data export --init joint_lite" in out
    with pytest.raises(SystemExit):
        main(["rdsnet_tiny_synthetic", "--help"])
    assert capsys.readouterr().out.count("\n  --") > 60

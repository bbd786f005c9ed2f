from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from demo.pictures import PANEL_WIDTH, Panels, SheetRows, resized, sheet
from demo.synchroniser import Synchronised
from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.video import Video

SIZE = (64, 128)


def frame(
    stamp: int = 0, truth: Target | None = None, **results: Predictions | None
) -> Synchronised:
    return Synchronised(stamp, np.full((*SIZE, 3), 90, np.uint8), truth, results)


def one_bus(score: float = 0.9) -> Predictions:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 20:50, 30:90] = True
    box = torch.tensor([[30.0, 20.0, 90.0, 50.0]])
    return Predictions(
        SIZE, box, torch.tensor([score]), torch.tensor([4]), Masks.from_bitmaps(mask)
    )


@pytest.mark.parametrize("factor", [3, 1, 0.5])
def test_resized_results_cover_the_same_part_of_the_image(factor: float):
    size = (int(64 * factor), int(128 * factor))
    found = resized(one_bus(), size)
    assert found.image_size == size
    assert found.boxes.tolist() == [[v * factor for v in (30, 20, 90, 50)]]
    assert int(found.masks.bitmaps(size).sum()) == factor**2 * 30 * 60


def test_an_object_that_becomes_smaller_than_a_pixel_is_still_there():
    found = resized(one_bus(), (1, 2))
    assert len(found) == 1 and found.masks.windows.tolist() == [[0, 0, 1, 1]]


def test_a_panel_shows_objects_from_a_score_of_03_on():
    panels = {
        s: Panels(["rdsnet"], CITYSCAPES).of(frame(rdsnet=one_bus(s))) for s in (0.2, 0.3, 0.9)
    }
    assert (panels[0.2][30:] == 90).all()
    assert (panels[0.3][30:] != 90).any() and (panels[0.9][30:] != 90).any()
    assert 0.7 * PANEL_WIDTH <= panels[0.9].shape[1] <= 1.3 * PANEL_WIDTH


def test_tracks_keep_their_colours() -> None:
    shades = []
    for track in (1, 5, 1):
        followed = replace(frame(rdsnet=one_bus()), tracks={"rdsnet": np.array([track])})
        shades.append(Panels(["rdsnet"], CITYSCAPES).of(followed))
    assert (shades[0] == shades[2]).all() and (shades[0] != shades[1]).any()


def test_a_model_without_a_result_goes_on_showing_its_last_one_and_not_the_new_picture():
    panels = Panels(["rdsnet", "segrpn"], CITYSCAPES)
    first = panels.of(frame(0, rdsnet=one_bus(), segrpn=None))
    second = panels.of(frame(1, rdsnet=None, segrpn=one_bus()))
    half = len(first) // 2
    assert (first[:half] == second[:half]).all()
    assert (first[half:] != second[half:]).any()


def test_one_panel_shows_boxes_masks_and_classes_of_the_joint_network():
    joint = replace(one_bus(), semantic=torch.zeros(SIZE, dtype=torch.uint8))
    picture = Panels(["joint"], CITYSCAPES).of(frame(joint=joint))[-64 * 8 :: 8, ::8]
    alone = Panels(["rdsnet"], CITYSCAPES).of(frame(rdsnet=one_bus()))[-64 * 8 :: 8, ::8]
    assert picture.shape[:2] == SIZE
    road = (CITYSCAPES.semantic_colors[0].astype(int) + 90) / 2
    assert np.abs(picture[55:, 100:] - road).max() <= 1 and (alone[55:, 100:] == 90).all()
    inside = (slice(30, 45), slice(40, 80))  # the object's pixels hide their classes
    assert np.array_equal(picture[inside], alone[inside])


def test_panels_of_different_widths_lie_one_above_the_other():
    panels = Panels(["rdsnet", "segrpn"], CITYSCAPES)
    panels.of(frame(0, rdsnet=one_bus(), segrpn=one_bus()))
    wider = Synchronised(
        1, np.full((64, 200, 3), 90, np.uint8), None, {"rdsnet": None, "segrpn": None}
    )
    wider.results["segrpn"] = Predictions.empty((64, 200))
    assert panels.of(wider).ndim == 3


def test_the_sheet_takes_one_frame_from_each_stretch_and_prefers_those_with_results():
    rows = SheetRows(12, rows=3)
    for number in range(12):
        result = one_bus() if number in (1, 4, 5, 11) else None
        rows.offer(number, frame(number, rdsnet=result))
    assert [f.stamp for f in rows.chosen()] == [1, 5, 11]


def test_a_sheet_of_fewer_frames_than_rows_has_them_all():
    rows = SheetRows(2)
    for number in range(2):
        rows.offer(number, frame(number, rdsnet=None))
    assert [f.stamp for f in rows.chosen()] == [0, 1]


def test_the_sheet_has_a_column_for_the_camera_each_model_and_the_truth():
    truth = Target(
        torch.tensor([[1.0, 1.0, 9.0, 9.0]]),
        torch.tensor([0]),
        torch.ones(1, *SIZE, dtype=torch.bool),
        torch.zeros(SIZE, dtype=torch.int64),
    )
    models = ["rdsnet", "segrpn"]
    with_truth = sheet([frame(0, truth, rdsnet=one_bus(), segrpn=None)], models, CITYSCAPES)
    without = sheet([frame(0, None, rdsnet=one_bus(), segrpn=None)], models, CITYSCAPES)
    assert with_truth.shape[1] * 3 == without.shape[1] * 4


def test_frames_of_different_sizes_fit_on_one_sheet_and_in_one_video(tmp_path: Path):
    small = Synchronised(0, np.zeros((30, 50, 3), np.uint8), None, {"rdsnet": None})
    frames = [frame(0, rdsnet=None), small]
    assert sheet(frames, ["rdsnet"], CITYSCAPES).shape[2] == 3
    with Video(tmp_path / "a.mp4", 10) as video:
        for one in frames:
            video.add(Panels(["rdsnet"], CITYSCAPES).of(one))
    assert len(read(tmp_path / "a.mp4")) == 2


def test_the_truth_is_drawn_without_groups():
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, :9, :9], masks[1, 20:40, 20:40] = True, True
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 40, 40]])
    truth = Target(boxes, torch.tensor([2, 0]), masks, crowd=torch.tensor([False, True]))
    assert truth.as_predictions().labels.tolist() == [2]


@pytest.mark.parametrize("rate", [10.0, 24.6])
def test_the_video_holds_every_picture_at_its_rate(tmp_path: Path, rate: float):
    colors = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
    with Video(tmp_path / "a.mp4", rate) as video:
        for color in colors:
            video.add(np.full((51, 101, 3), color, np.uint8))  # odd sizes lose a pixel
    found = read(tmp_path / "a.mp4")
    assert len(found) == 3 and found[0].shape == (50, 100, 3)
    for picture, color in zip(found, colors, strict=True):
        assert np.abs(picture[25, 50].astype(int) - color).max() < 30
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == round(rate)


def read(path: Path) -> list[np.ndarray]:
    video, found = cv2.VideoCapture(str(path)), []
    while (frame_read := video.read())[0]:
        found.append(frame_read[1][..., ::-1])
    return found

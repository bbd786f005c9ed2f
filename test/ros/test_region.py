"""A region of interest: the network sees a part, results are of the whole picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from jointseg_msgs.msg import InstanceMaskArray
from node_bench import SOME, Bench, frame, send_until_heard, until
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from jointseg_core import Predictor
from jointseg_core.errors import BadImage
from jointseg_core.messages import read_boxes, read_masks, read_plane
from jointseg_core.predictions import Masks, Predictions
from jointseg_ros.region import Region, problem

SIZE, ROI = (48, 96), "16,8,64,32"


def found() -> Predictions:
    """An object in the upper left of a part of 2 x 3 pixels."""
    crop = [torch.tensor([[True, False]])]
    return Predictions(
        (2, 3),
        torch.tensor([[0.0, 0.0, 2.0, 1.0]]),
        torch.tensor([0.9]),
        torch.tensor([2]),
        Masks.from_crops(torch.tensor([[0, 0, 2, 1]]), crop),
        torch.full((2, 3), 7, dtype=torch.uint8),
        torch.full((2, 3), 0.5),
        torch.ones(2, 3, dtype=torch.bool),
    )


def test_results_move_to_their_place_in_the_whole_picture() -> None:
    whole = Region.of("4, 5, 3, 2").restored(found(), (10, 8))
    assert whole.boxes.tolist() == [[4, 5, 6, 6]] and whole.image_size == (10, 8)
    assert whole.masks.bitmaps((10, 8))[0].nonzero().tolist() == [[5, 4]]
    inside = torch.zeros(10, 8, dtype=torch.bool)
    inside[5:7, 4:7] = True
    assert (whole.semantic == torch.where(inside, 7, 255)).all()
    assert (whole.confidence == inside * 0.5).all() and (whole.foreground == inside).all()
    assert whole.semantic.dtype == torch.uint8 and whole.foreground.dtype == torch.bool
    assert Region.of("0,0,3,2").restored(found(), (2, 3)).boxes.tolist() == found().boxes.tolist()


def test_without_a_region_nothing_is_touched() -> None:
    image, seen = np.zeros((4, 6, 3), np.uint8), found()
    assert Region.of(" ").cut(image) is image and Region().restored(seen, (9, 9)) is seen


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,0,0,5", "0,0,5,0", "-1,0,4,4", "1 2 3 4"])
def test_what_is_no_region_is_told(text: str) -> None:
    assert "X,Y,WIDTH,HEIGHT" in problem(text) and not problem(ROI) and not problem("")


def test_a_region_that_leaves_the_picture_is_a_bad_image() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert (Region.of("2,1,4,3").cut(image) == image[1:, 2:]).all()
    for text in ("3,1,4,3", "2,2,4,3"):
        with pytest.raises(BadImage, match="the picture at 6x4") as error:
            Region.of(text).cut(image)
        assert error.value.reason == "roi"


def test_the_node_sees_a_part_and_tells_of_the_whole_or_that_it_is_not_there(bench: Bench) -> None:
    given = {"cameras__camera__roi": ROI, "cameras__camera__republish_info": True}
    node = bench.active("joint", **given, **SOME)
    names = ("detections", "instance_masks", "semantic/image")
    kinds = (Detection2DArray, InstanceMaskArray, Image)
    heard = [
        bench.listen(f"/jointseg/camera/{name}", kind)
        for name, kind in zip(names, kinds, strict=True)
    ]
    camera, sent = bench.camera(), frame(1)
    flat, masks, semantic = (send_until_heard(camera, sent, one) for one in heard)
    pixels = np.frombuffer(bytes(sent.data), np.uint8).reshape(*SIZE, 3)
    predictor = Predictor.from_file(bench.weights["joint"], "cpu", node.predictor.precision)
    predictor.configure(score_threshold=0.001, max_detections=5)
    part = predictor([np.ascontiguousarray(pixels[8:40, 16:80])])[0]
    boxes, _, _ = read_boxes(flat, predictor.classes)
    assert boxes.numpy() == pytest.approx(part.boxes.numpy() + np.tile([16, 8], 2), abs=1e-3)
    assert (masks.height, masks.width) == SIZE
    assert (read_masks(masks)[0].windows == part.masks.windows + torch.tensor([16, 8] * 2)).all()
    classes = read_plane(semantic)
    assert (classes[8:40, 16:80] == part.semantic).all() and (classes[:8] == 255).all()
    camera.publish(frame(2, size=(48, 64)))
    until(lambda: node.counts()["camera"].dropped.get("bad_image:roi"))
    status = until(lambda: _worse(bench))
    assert "the region of interest ends at 80x40, the picture at 64x48" in status
    assert not bench.set("cameras.camera.roi", "").successful  # the node is configured
    infos = bench.listen("/jointseg/camera/camera_info", CameraInfo)
    info = CameraInfo(header=frame(4).header, k=[float(k) for k in range(9)])
    assert send_until_heard(bench.camera("/camera/camera_info", CameraInfo), info, infos) == info
    send_until_heard(camera, frame(3), heard[0])


def _worse(bench: Bench) -> str:
    found = bench.status("input camera")
    return found[0].message if found and "region" in found[0].message else ""

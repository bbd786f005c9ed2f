"""The benchmark of the drawing draws all that it counts and prints a line for each part."""

import re

import numpy as np
import pytest

from benchmarks.networks.overlay import main, scene
from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import exit_code
from jointseg_core.visualize import draw


def test_the_scene_holds_so_many_objects_and_a_class_for_every_pixel():
    image, seen = scene((270, 480), 25)
    assert len(seen) == len(seen.masks) == 25 and float(seen.scores.min()) > 0.3
    assert set(seen.semantic.unique().tolist()) == set(range(len(CITYSCAPES.semantic)))
    assert (draw(image, seen, CITYSCAPES) != image).any(2).all()


def test_every_part_has_its_time(capsys: pytest.CaptureFixture[str]):
    main(["--image", "270x480", "--objects", "5", "--pictures", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert "480 x 270, 5 objects" in lines[0]
    times = [float(re.search(r"([\d.]+) ms", line).group(1)) for line in lines[1:]]
    assert len(times) == 3 and np.isfinite(times).all()


@pytest.mark.parametrize("wrong", [["--image", "12"], ["--image", "9x9"], ["--objects", "0"]])
def test_arguments_that_make_no_sense_are_refused(wrong: list[str]):
    assert exit_code(lambda: main(wrong)) == 2

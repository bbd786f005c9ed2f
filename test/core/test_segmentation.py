"""The class of a camera pixel is that of its interpolated logits, wherever they are computed."""

import pytest
import torch
import torch.nn.functional as F

from jointseg_core import Letterbox
from jointseg_core.segmentation import Segmentation, pixel_maps

FRAMES = [
    Letterbox((50, 90), (64, 128)),  # enlarged, with padding
    Letterbox((300, 500), (64, 128)),
    Letterbox((64, 128), (64, 128)),
    Letterbox((700, 9), (64, 128)),
    Letterbox((40, 90), (64, 128), keep_ratio=False),
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("coarse", [1, 4])
def test_it_is_the_class_of_the_highest_interpolated_logit(frame, coarse):
    torch.manual_seed(0)
    logits = torch.randn(7, 16 // coarse, 32 // coarse)  # coarse: areas of one class
    logits = F.interpolate(logits[None], size=(16, 32), mode="bilinear")[0]
    classes = pixel_maps(logits, logits[:0], (0,), frame).semantic
    assert classes.dtype == torch.uint8 and classes.shape == frame.image_size
    everywhere = frame.resize(logits, 4)
    chosen = everywhere.gather(0, classes[None].long())[0]
    torch.testing.assert_close(chosen, everywhere.amax(0))  # up to ties
    dense = pixel_maps(logits, logits[:0], (0,), frame, dense=True).semantic
    assert (dense != classes).float().mean() < 1e-3  # rounding, at ties


def test_a_class_that_wins_in_no_cell_can_win_between_cells():
    logits = torch.zeros(3, 1, 2)
    logits[0, 0, 0] = logits[1, 0, 1] = 10.0
    logits[2] = 9.0
    frame = Letterbox((4, 8), (4, 8), keep_ratio=False)
    assert pixel_maps(logits, logits[:0], (0,), frame).semantic[0].tolist() == [
        0,
        0,
        2,
        2,
        2,
        2,
        1,
        1,
    ]


def summed(levels):
    size = levels[0].shape[-2:]
    return sum(F.interpolate(level, size=size, mode="bilinear") for level in levels)


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_projecting_before_enlarging_gives_the_convolution_of_the_sums(class_agnostic):
    torch.manual_seed(0)
    branches = Segmentation(6, 4, 2, num_classes=5, class_agnostic=class_agnostic)
    levels = [torch.randn(2, 6, 32 >> i, 64 >> i) for i in range(5)]
    agnostic, logits, background = branches(levels)
    semantic = [b(level) for b, level in zip(branches.semantic, levels[:4], strict=True)]
    sums = [summed(semantic)]
    if class_agnostic:
        sums.append(summed(agnostic))
        torch.testing.assert_close(background, branches.background(sums[1]))
    torch.testing.assert_close(logits, branches.classes(torch.cat(sums, 1)))

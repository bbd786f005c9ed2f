"""The baseline of Table 4: boxes around masks."""

import pytest
import torch

from jointseg_core import Masks, Predictions
from training.ablations.direct_boxes import direct_boxes


def test_direct_boxes_are_the_tight_rectangles_of_masks():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3, 4] = masks[0, 11, 9] = True
    boxes = torch.tensor([[2.5, 1, 12, 13], [5, 6, 7.5, 8]])
    windows = torch.tensor([[2, 1, 13, 14], [5, 6, 8, 8]])  # of which the masks fill a part
    crops = [m[y1:y2, x1:x2] for m, (x1, y1, x2, y2) in zip(masks, windows.tolist(), strict=True)]
    stored = Masks.from_crops(windows, crops)
    seen = Predictions((20, 30), boxes, torch.tensor([0.9, 0.8]), torch.zeros(2).long(), stored)
    direct = direct_boxes(seen)
    assert direct.boxes.tolist() == [[4, 3, 10, 12], [5, 6, 7.5, 8]]  # the empty one keeps its own
    assert torch.equal(seen.boxes, boxes) and direct.masks is stored
    assert len(direct_boxes(Predictions.empty((20, 30)))) == 0
    with pytest.raises(ValueError, match="no masks"):
        direct_boxes(Predictions((20, 30), boxes, seen.scores, seen.labels))

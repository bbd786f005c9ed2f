"""The baseline of RDSNet's Table 4: boxes around masks."""

from __future__ import annotations

from dataclasses import replace

import torch

from jointseg_core.predictions import Predictions


def direct_boxes(predictions: Predictions) -> Predictions:
    """The baseline of Table 4: every box is the tight rectangle of its mask.

    An object whose mask is empty keeps its box. Raises ValueError without masks.
    """
    if predictions.masks is None:
        raise ValueError("predictions have no masks, expected those of RDSNet or RDSNet_s")
    boxes = predictions.boxes.clone()
    windows, crops = predictions.masks.windows.tolist(), predictions.masks.crops()
    for box, (left, top, _, _), crop in zip(boxes, windows, crops, strict=True):
        rows, columns = crop.any(1).nonzero().flatten(), crop.any(0).nonzero().flatten()
        if len(rows):
            tight = columns[0] + left, rows[0] + top, columns[-1] + left + 1, rows[-1] + top + 1
            box.copy_(torch.stack(tight))
    return replace(predictions, boxes=boxes)

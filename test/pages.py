"""What tests of pages share: an evaluation to show, hostile text, and a reader of HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch

from jointseg_core import CITYSCAPES, Classes
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.datasets import Sample
from jointseg_eval.evaluation import Evaluation

SIZE = (40, 60)
NASTY = '<script>alert("x")</script>'


def evaluation(classes: Classes = CITYSCAPES) -> Evaluation:
    """One picture: an object of class 0 found as class 1, another one found as what it is."""
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5:20, 5:20] = masks[1, 5:20, 30:50] = True
    boxes = Masks.from_bitmaps(masks).windows.float()
    semantic = torch.zeros(SIZE, dtype=torch.int64) if classes.semantic else None
    target = Target(boxes, torch.tensor([0, 1]), masks, semantic)
    plane = None if semantic is None else semantic.byte()
    found = Predictions(
        SIZE,
        boxes,
        torch.tensor([0.9, 0.8]),
        torch.tensor([1, 1]),
        Masks.from_bitmaps(masks),
        plane,
        foreground=None if plane is None else masks.any(0),
    )
    result = Evaluation(classes)
    sample = Sample("a.png", 0, np.zeros((*SIZE, 3), np.uint8), target)
    result.add(sample, found, (boxes, torch.ones(2)))
    result.add(sample, found, (boxes, torch.ones(2)))
    return result


class Page(HTMLParser):
    """The tags that are open, all attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

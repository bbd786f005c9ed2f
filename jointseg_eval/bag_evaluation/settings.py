"""What decides the result of a window of a recording, beside the window."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.models import Models, open_predictors
from jointseg_eval.provenance import code_digest


@dataclass(frozen=True)
class Settings:
    """The models and the truth of an evaluation.

    truth      "topics", "none" or the path of a COCO JSON
    kinds      of annotation that count, see `TopicTruth`
    tolerance  between the stamps of a frame and of its annotation, ns
    batch      frames that go through the network together
    strict     whether damage of a recording is an error
    bits       of 16 that a sample of the images uses; 0: all
    """

    weights: Path
    other: Path | None = None
    device: str = "cpu"
    precision: str = "fp32"
    backend: str = "auto"
    input_size: str = ""
    truth: str = "topics"
    kinds: tuple[str, ...] = ()
    tolerance: int = 10_000_000
    batch: int = 4
    strict: bool = False
    bits: int = 0

    def models(self) -> Models:
        """The model, or two; BadInput for what cannot be loaded.

        On one thread, so that the number of workers decides nothing.
        """
        torch.set_num_threads(1)
        first, second = open_predictors(self)
        return Models.of(first.classes, "the recording", first, second)

    def key(self, window: Window, run: str) -> str:
        """The name of a finished window: another one for whatever could change its result.

        run: the SHA-256 of the weights, and what runs them.
        """
        facts = {k: str(v) for k, v in vars(self).items() if k not in ("weights", "other")}
        truth, recording = Path(self.truth), window.recording
        facts["annotations"] = _digest_of(truth) if truth.is_file() else self.truth
        known = [
            facts,
            run,
            str((recording.fingerprint, recording.topic, recording.truth)),
            window.start,
            window.stop,
            code_digest("jointseg_core", "jointseg_objects", "jointseg_eval"),
        ]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

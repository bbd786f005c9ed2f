"""Settings for the evaluation of recordings whose models end their process."""

import os
from dataclasses import dataclass
from pathlib import Path

from jointseg_eval.bag_evaluation.settings import Settings


@dataclass(frozen=True)
class Deadly(Settings):
    """Dies at dark pictures; if `once` names a file, only while that is not there."""

    once: Path | None = None

    def models(self):
        models = super().models()
        see = models.predictor.__class__.with_proposals

        def deadly(predictor, images, limit=1000):
            if any(image.mean() < 10 for image in images):
                if self.once is None:
                    os._exit(7)
                if not self.once.exists():
                    self.once.touch()
                    os._exit(7)
            return see(predictor, images, limit)

        models.predictor.__class__ = type(
            "DeadlyPredictor", (type(models.predictor),), {"with_proposals": deadly}
        )
        return models

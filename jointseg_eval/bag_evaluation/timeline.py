"""What is known of every frame of some recordings, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PROCESSED = "processed"


@dataclass(frozen=True, eq=False)
class Timeline:
    """F frames in the order in which they are evaluated; NaN where something is not known.

    bags        names of the recordings
    things      names of the C classes of objects
    fates       what can become of a frame; the first is "processed", others say why it was not
    bag         int [F]       which recording
    time        float [F]     seconds since the first frame of its recording
    stamp       int64 [F]     of the image's header, ns
    fate        int [F]       which of the fates
    quality     float [F]     0 to 1, see `Evaluation.quality`; NaN without truth
    confidence  float [F]     mean score of the objects shown (score 0.3 or more)
    flicker     float [F]     share of objects that come or go for this frame alone
    latency_ms  float [F]     from publication to the last result; NaN offline
    objects     int [F, C]    objects shown of each class
    """

    bags: tuple[str, ...]
    things: tuple[str, ...]
    fates: tuple[str, ...]
    bag: np.ndarray
    time: np.ndarray
    stamp: np.ndarray
    fate: np.ndarray
    quality: np.ndarray
    confidence: np.ndarray
    flicker: np.ndarray
    latency_ms: np.ndarray
    objects: np.ndarray

    def __len__(self) -> int:
        return len(self.bag)

    def share_of(self, fate: str) -> float:
        """The share of frames with this fate; 0 for a fate that does not occur."""
        if fate not in self.fates or not len(self):
            return 0.0
        return float((self.fate == self.fates.index(fate)).mean())

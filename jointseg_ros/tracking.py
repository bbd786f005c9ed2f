"""The tracks of every camera, by the parameters `tracking.*`; without them nothing is done."""

from __future__ import annotations

import numpy as np

from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_objects.tracking import Tracker, TrackingConfig
from jointseg_ros.parameters import Settings


class CameraTracks:
    """A tracker for each camera; another model or a pause of tracking makes them forget."""

    def __init__(self) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._of: Predictor | None = None

    def __call__(
        self,
        camera: str,
        stamp: int,
        found: Predictions,
        settings: Settings,
        predictor: Predictor,
    ) -> tuple[Predictions, np.ndarray | None]:
        """The objects to publish and their tracks [N], 0 for none; None while nothing tracks.

        stamp in ns. Objects below the score threshold are among them if they continue a track.
        """
        if self._of is not (predictor if settings.tracking_enabled else None):
            self._of = predictor if settings.tracking_enabled else None
            for tracker in self._trackers.values():
                tracker.reset()
        if not settings.tracking_enabled:
            return found, None
        tracker = self._trackers.setdefault(camera, Tracker())
        tracker.config = TrackingConfig(
            settings.tracking_low_score,
            settings.tracking_high_score,
            max_gap_s=settings.tracking_max_gap_ms / 1e3,
        )
        ids = tracker(stamp, found)
        shown = (found.scores >= settings.score_threshold).numpy() | (ids > 0)
        return found[np.flatnonzero(shown)], ids[shown]

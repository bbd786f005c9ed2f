"""Which object each detection finds, as the COCO tools decide it, for all areas and IoUs at once.

The tools' own loops run over every class, area, IoU, detection and object in Python, which took a
fifth of the time of a run; the tests compare with them.
"""

from __future__ import annotations

import numpy as np
from pycocotools.cocoeval import Params

IOUS, RECALLS, AREAS = Params().iouThrs, Params().recThrs, Params().areaRngLbl
"""0.50, 0.55 ... 0.95; 0, 0.01 ... 1; all, small, medium, large."""
AREA_RANGES = np.array(Params().areaRng)
"""From and to so many pixels [4, 2]."""
ALMOST_ONE = 1 - 1e-10
"""No two masks or boxes are asked to be more alike."""


def match(
    overlaps: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, ious: np.ndarray
) -> np.ndarray:
    """The object that each of D detections finds, int [A, T, D]; -1 where it finds none.

    Each detection takes the free object that it overlaps most, by one of T IoUs or more: one that
    is sought if there is such a one, else one that is ignored; of equal ones the last.

    overlaps  float [D, G]  of each pair, the best detection first; below 0 for pairs of two classes
    ignored   bool [A, G]   objects that excuse a detection, crowds among them, for each of A areas
    crowd     bool [G]      stay free when they are found
    ious      float [T]
    """
    least = np.minimum(ious, ALMOST_ONE)
    found = np.full((len(ignored), len(ious), len(overlaps)), -1)
    free = np.ones((len(ignored), len(ious), len(crowd)), bool)
    may = overlaps >= least.min(initial=np.inf)
    # who may have one object alone, that nobody who can choose may have, needs no turn
    contested = may[may.sum(1) > 1].any(0)  # objects that some detection may choose from
    choosy = may[:, contested].any(1)
    alone = (may.any(1) & ~choosy).nonzero()[0]
    fits = overlaps[alone] >= least[:, None, None]  # [T, those alone, G]
    level, d, g = (fits & (crowd | (fits.cumsum(1) == 1))).nonzero()
    found[:, level, alone[d]] = g
    for d in choosy.nonzero()[0]:
        near = may[d].nonzero()[0][::-1]
        fits = free[:, :, near] & (overlaps[d, near] >= least[:, None])
        sought = fits & ~ignored[:, None, near]
        fits = np.where(sought.any(2, keepdims=True), sought, fits)
        best = near[np.where(fits, overlaps[d, near], -1).argmax(2)]
        found[:, :, d] = np.where(fits.any(2), best, -1)
        area, level = (fits.any(2) & ~crowd[best]).nonzero()
        free[area, level, best[area, level]] = False
    return found


def are_outside(areas: np.ndarray) -> np.ndarray:
    """Which areas [N] do not belong to each of A ranges, bool [A, N]."""
    return (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])

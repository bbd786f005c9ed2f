"""Detections find objects as the loops of the COCO tools decide it, ties and crowds included."""

import numpy as np
import pytest

from jointseg_eval.metrics.matching import IOUS, match


def loops(overlaps, ignored, crowd, ious):
    """What `match` promises, one detection, area and IoU after the other."""
    found = np.full((len(ignored), len(ious), len(overlaps)), -1)
    for a, excused in enumerate(ignored):
        order = np.argsort(excused, kind="stable")
        for t, iou in enumerate(ious):
            taken = set()
            for d, row in enumerate(overlaps):
                best, best_at = min(iou, 1 - 1e-10), -1
                for g in order:
                    if g in taken and not crowd[g]:
                        continue
                    if best_at >= 0 and not excused[best_at] and excused[g]:
                        break
                    if row[g] >= best:
                        best, best_at = row[g], g
                if best_at >= 0:
                    taken.add(best_at)
                    found[a, t, d] = best_at
    return found


@pytest.mark.parametrize("seed", range(20))
def test_random_overlaps_with_ties_are_matched_as_by_the_loops(seed: int):
    random = np.random.default_rng(seed)
    made, there = random.integers(0, 12), random.integers(0, 9)
    overlaps = random.integers(0, 9, (made, there)) / 8  # many equal ones, some of them 1
    overlaps = np.where(random.random((made, there)) < 0.3, -1, overlaps)
    crowd = random.random(there) < 0.2
    ignored = crowd | (random.random((4, there)) < 0.3)
    wanted = loops(overlaps, ignored, crowd, IOUS)
    assert (match(overlaps, ignored, crowd, IOUS) == wanted).all()


def test_a_sought_object_goes_before_an_ignored_one_and_a_crowd_is_found_again():
    overlaps = np.array([[0.6, 0.9], [0.6, 0.8], [0.1, 0.7]])
    crowd = np.array([False, True])
    assert match(overlaps, crowd[None], crowd, np.array([0.5]))[0, 0].tolist() == [0, 1, 1]
    nobody = np.zeros(2, bool)
    found = match(overlaps, nobody[None], nobody, np.array([0.5, 0.85]))
    assert found[0].tolist() == [[1, 0, -1], [1, -1, -1]]

"""One picture of objects and classes of pixels, in closed forms."""

from dataclasses import replace

import pytest
import torch

from jointseg_core import CITYSCAPES, Masks, PanopticFusion, Predictions
from jointseg_core.panoptic import VOID

SIZE = (10, 20)
ROAD, SKY, CAR = 0, 10, 13
FUSION = PanopticFusion(CITYSCAPES.thing_to_semantic)


def rectangle(x1, y1, x2, y2):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    return mask


def seen(masks=(), scores=(), labels=(), semantic=None, fusion=FUSION):
    """Objects in the order in which they are given, on a class map."""
    packed = Masks.from_bitmaps(torch.stack(masks)) if masks else Masks.empty()
    maps = {"semantic": semantic, "confidence": None if semantic is None else torch.ones(SIZE) / 2}
    boxes, labels = packed.windows.float(), torch.tensor(labels).long()
    return Predictions(SIZE, boxes, torch.tensor(scores), labels, packed, **maps, fusion=fusion)


def ground(upper=SKY, lower=ROAD):
    semantic = torch.full(SIZE, upper, dtype=torch.uint8)
    semantic[5:] = lower
    return semantic


def consistent(panoptic):
    """The list says exactly what the map shows; the pixels of segments cannot overlap."""
    values, areas = panoptic.ids.unique(return_counts=True)
    shown = dict(zip(values.tolist(), areas.tolist(), strict=True))
    shown.pop(VOID, None)
    assert {s.id: s.area for s in panoptic.segments} == shown
    assert all(s.id // 256 == s.label for s in panoptic.segments)
    assert all((s.id % 256 > 0) == s.is_thing == (s.object >= 0) for s in panoptic.segments)
    assert panoptic.ids.dtype == torch.int32 and panoptic.ids.max() < 2**16
    return panoptic


def test_the_most_certain_object_is_on_top_and_stuff_fills_the_rest():
    masks = [rectangle(0, 0, 8, 5), rectangle(4, 0, 12, 5)]
    panoptic = consistent(seen(masks, [0.6, 0.9], [2, 2], ground()).panoptic)
    first, second, road, sky = panoptic.segments
    assert (first.id, first.area, first.object) == (256 * CAR + 1, 40, 1)
    assert (second.id, second.area, second.object) == (256 * CAR + 2, 20, 0)
    assert (road.id, road.label, road.area, road.score) == (0, ROAD, 100, 0.5)
    assert (sky.id, sky.label, sky.area) == (256 * SKY, SKY, 40)
    assert first.score == pytest.approx(0.9)
    assert panoptic.ids[0, 5] == first.id and panoptic.ids[0, 3] == second.id


@pytest.mark.parametrize(("columns", "shown"), [(4, True), (5, False)])
def test_an_object_needs_half_of_its_mask(columns, shown):
    masks = [rectangle(0, 0, columns, 5), rectangle(0, 0, 8, 5)]
    panoptic = consistent(seen(masks, [0.9, 0.8], [2, 0]).panoptic)
    assert len(panoptic.segments) == 1 + shown


def test_what_is_unsure_stays_void():
    semantic = ground(upper=CAR)  # pixels of a thing that no object claims
    semantic[9, 19] = SKY  # one of 200 pixels
    fusion = replace(FUSION, min_stuff=0.01)
    found = seen([rectangle(0, 0, 4, 4)], [0.4], [2], semantic, fusion)
    panoptic = consistent(found.panoptic)
    assert [s.label for s in panoptic.segments] == [ROAD]
    assert (panoptic.ids[:5] == VOID).all() and panoptic.ids[9, 19] == VOID == 255 * 256


def test_pictures_without_things_or_stuff_have_empty_parts():
    nothing = consistent(seen().panoptic)
    assert (nothing.ids == VOID).all() and nothing.segments == ()
    stuff = consistent(seen(semantic=ground()).panoptic)
    assert [s.is_thing for s in stuff.segments] == [False, False] and (stuff.ids != VOID).all()
    things = consistent(seen([rectangle(0, 0, 4, 4)], [0.9], [2], ground(CAR, CAR)).panoptic)
    assert [s.is_thing for s in things.segments] == [True]
    assert consistent(seen([rectangle(0, 0, 0, 0)], [0.9], [2]).panoptic).segments == ()


def test_objects_beyond_the_last_number_of_a_class_are_left_out():
    masks = [rectangle(k % 20, k // 20 % 10, k % 20 + 1, k // 20 % 10 + 1) for k in range(200)]
    found = seen(masks * 2, [0.9] * 200 + [0.8] * 200, [2] * 400, fusion=FUSION)
    assert len(consistent(found.panoptic).segments) == 200  # the others are hidden
    tall = (20, 20)
    crops = [torch.ones(1, 1, dtype=torch.bool)] * 300
    windows = torch.tensor([[k % 20, k // 20, k % 20 + 1, k // 20 + 1] for k in range(300)])
    masks = Masks.from_crops(windows, crops)
    ones = torch.ones(300)
    found = Predictions(tall, windows.float(), ones, ones.long(), masks, fusion=FUSION)
    assert len(consistent(found.panoptic).segments) == 255


def test_it_is_computed_once_and_anew_for_other_objects():
    found = seen([rectangle(0, 0, 8, 5)], [0.9], [2], ground())
    assert found.panoptic is found.panoptic
    none = found[found.scores > 1]
    assert [s.is_thing for s in none.panoptic.segments] == [False, False]
    assert replace(found, fusion=None).panoptic is None

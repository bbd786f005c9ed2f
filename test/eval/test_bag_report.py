"""The report of recordings: one file that shows what is known, and text as text."""

import base64
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_timelines import THINGS, example, made_timeline, offline, played
from pages import NASTY, Page, evaluation
from PIL import Image

import jointseg_eval
from jointseg_core import Classes
from jointseg_eval.bag_evaluation.headline import DELAYED, Run, clock, headline
from jointseg_eval.bag_evaluation.page_data import TimeAxis, frame_data, run_data, score_data
from jointseg_eval.bag_evaluation.report import PICTURE_BYTES, write_bag_report
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.evaluation import Evaluation

NUMPY = {kind: f"<{kind}" for kind in ("u1", "u2", "f4", "f8", "i8")} | {"share": "<u2"}
CHARTS = Path(jointseg_eval.__file__).parent / "vendor/uplot/uPlot.iife.min.js"


def written(
    folder: Path,
    frames: Timeline,
    facts: dict[str, str],
    scored: Evaluation | None = None,
    *more: object,
    online: Sequence[Run] = (),
    **named: object,
) -> Page:
    runs = [offline(frames, scored), *online]
    write_bag_report(folder / "new" / "report.html", runs, facts, *more, **named)
    return Page(folder / "new" / "report.html")


def data(folder: Path) -> dict:
    """What the script of the page reads."""
    text = (folder / "new" / "report.html").read_text()
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


def unpacked(column: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(column["base64"]), NUMPY[column["kind"]])


def test_the_report_needs_nothing_else(tmp_path: Path):
    frames = made_timeline(20)
    seen = written(tmp_path, frames, {"title": "A"}, evaluation(), examples=[example()])
    assert seen.open == [] and seen.tags.count("html") == 1
    links = [value for name, value in seen.attributes if name in ("src", "href", "srcset")]
    assert all(link.startswith(("data:image/jpeg", "#")) for link in links)
    assert sum(link.startswith("data:") for link in links) == 3
    assert not {"link", "iframe", "object"} & set(seen.tags)
    text = (tmp_path / "new" / "report.html").read_text()
    heading, library = CHARTS.read_text().split("*/", 1)
    assert library in text
    text = text.replace(heading, "")  # it has an address, which nobody goes to
    assert not re.search(r"@import|url\(|https?:|fetch\(|XMLHttp|innerHTML|\beval\b", text)


def test_text_from_recordings_is_text_everywhere(tmp_path: Path):
    frames = made_timeline(4, bags=(f"a{NASTY}", "b]]>-->\u2028"), things=(NASTY, "b&b"))
    seen = written(
        tmp_path,
        frames,
        {"title": NASTY, NASTY: NASTY},
        evaluation(Classes((NASTY, "b&b"))),
        [{"bag": 0, "start": 0, "end": 1, NASTY: 0.5}],
        [example(name=NASTY, classes=(NASTY, "<!--"))],
        [NASTY],
        online=[played(frames, NASTY, NASTY)],
    )
    assert seen.open == [] and seen.tags.count("script") == 2
    assert seen.text.count(NASTY) >= 12
    known = data(tmp_path)
    assert known["bags"] == list(frames.bags) and known["runs"][1]["fates"][1] == NASTY
    embedded = (tmp_path / "new" / "report.html").read_text().split('id="data">')[1]
    assert not re.search(r"[<&]", embedded.split("</script>")[0])


def test_columns_are_read_as_they_were():
    frames = made_timeline(300)
    frames.quality[3] = math.nan
    frames.objects[7, 2] = 1000
    axis = TimeAxis([frames])
    run, shown = run_data("offline", frames, axis), frame_data(frames, axis, things=[2, 0])
    assert (unpacked(shown["stamps"]) == frames.stamp).all()
    assert (unpacked(shown["x"]) == frames.time).all()
    assert unpacked(run["quality"])[3] == 65535
    known = np.arange(300) != 3
    shares = unpacked(run["quality"])[known] / 65534
    assert shares == pytest.approx(frames.quality[known], abs=1e-5)
    assert np.isnan(unpacked(run["latency"])).all()
    assert (unpacked(shown["objects"][0]) == frames.objects[:, 2]).all()
    mixed = replace(frames, **{k: v[::-1] for k, v in vars(frames).items() if hasattr(v, "dtype")})
    assert run_data("offline", mixed, TimeAxis([mixed])) == run


def test_a_frame_that_one_run_lacks_is_there_and_told():
    frames = made_timeline(20)
    fewer = replace(
        frames, **{k: v[5:] for k, v in vars(frames).items() if isinstance(v, np.ndarray)}
    )
    axis = TimeAxis([fewer, frames])
    run = run_data("offline", fewer, axis)
    assert len(axis.x) == 20 and run["fates"] == [*frames.fates, "not evaluated"]
    assert unpacked(run["fate"]).tolist() == [2] * 5 + [0] * 15
    assert (unpacked(run["quality"]) == 65535).sum() == 5


def test_rates_are_those_around_a_frame():
    frames = made_timeline(200, ("a", "b"))
    axis = TimeAxis([frames])
    assert axis.rates(np.ones(200, bool)) == pytest.approx(10)
    every_second = axis.rates(np.arange(200) % 2 == 0)
    assert every_second[20:80] == pytest.approx(5, abs=0.3)
    assert np.isnan(TimeAxis([made_timeline(1)]).rates(np.ones(1, bool))).all()


def test_a_long_pause_is_cut_out_of_the_time_axis():
    frames = made_timeline(4, bags=("a", "b", "c"))
    bag, time = np.array([0, 0, 0, 1]), np.array([0.0, 0.5, 1e9, 2.0])
    axis = TimeAxis([replace(frames, bag=bag, time=time)])
    assert axis.stretches == [
        {"bag": 0, "start": 0, "end": 1, "at": 0},
        {"bag": 0, "start": 1e9, "end": 1e9 + 0.1, "at": 1},
        {"bag": 1, "start": 2, "end": 2.1, "at": pytest.approx(1.1)},
    ]
    assert axis.x == pytest.approx([0, 0.5, 1, 1.1]) and axis.end == pytest.approx(1.2)
    assert [axis.place(0, t) for t in (0.25, 70.0, 1e9)] == pytest.approx([0.25, 1, 1])
    assert axis.place(2, 0.0) is None and axis.range_of(1) == pytest.approx((1.1, 1.2))


def test_a_frame_has_the_scores_of_its_window():
    rows = [{"bag": 0, "start": 0, "end": 4.9, "box_ap": 0.5}]
    rows.append({"bag": 1, "start": 0, "end": 4.9, "box_ap": math.nan, "new": 1})
    found = score_data(rows, {"box_ap": "box AP"}, TimeAxis([made_timeline(100, ("a", "b"))]))
    assert [one["title"] for one in found] == ["box AP", "new"]
    assert [set(unpacked(one["values"])[:50]) for one in found] == [{32767}, {65535}]
    assert [set(unpacked(one["values"])[50:]) for one in found] == [{65535}, {65534}]


def test_the_headline_tells_what_the_delay_costs():
    frames = made_timeline(100)
    live = played(frames)
    scores = {"metrics": {"box_ap": 0.4}, "as_known": {"box_ap": 0.1}}
    runs = [Run("offline", frames, {"box_ap": 0.5}), replace(live, **scores)]
    sections = headline(runs)
    (late,) = sections.pop(DELAYED)
    assert late.values == ["-", "0.100"] and late.changes == ["", "\u22120.300"]
    rows = {row.title: row for part in sections.values() for row in part}
    assert rows["box AP"].values == ["0.500", "0.400"]
    assert rows["box AP"].changes == ["", "\u22120.100"]
    assert rows["processed"].values == ["100", "80"]
    assert rows["overwritten"].changes == ["0.0 %", "20.0 %"]
    assert rows["processed a second"].values == ["10.00", "8.00"]
    middle = np.nanmedian(live.timeline.latency_ms)
    assert rows["median, ms"].values == ["-", f"{middle:.1f}"]
    assert "unreadable" not in rows


def test_models_that_ran_beside_each_other_are_not_compared_but_all_shown(tmp_path: Path):
    frames = made_timeline(20)
    runs = [
        replace(played(frames, name), metrics={"box_ap": ap}, evaluation=evaluation())
        for name, ap in (("one", 0.5), ("two", 0.25))
    ]
    (row, *_) = headline(runs)["scores"]
    assert row.values == ["0.500", "0.250"] and row.changes == ["", ""]
    layers = {name: np.zeros((40, 60, 3), np.uint8) for name in ("one", "two")}
    write_bag_report(tmp_path / "a.html", runs, {"title": "A"}, examples=[example(found=layers)])
    page = Page(tmp_path / "a.html")
    assert page.tags.count("img") == 5 and page.tags.count("h3") == 2 * 7 and page.open == []
    for text in ("box AP, one", "box AP, two", "p95 latency, two"):
        assert text in page.text


def test_losses_stand_before_the_numbers(tmp_path: Path):
    seen = written(tmp_path, made_timeline(9), {"title": "A"}, losses=["b.mcap is cut off."])
    assert seen.text.index("b.mcap is cut off.") < seen.text.index("mean confidence")
    assert "Not everything" in seen.text
    assert "Not everything" not in written(tmp_path, made_timeline(9), {"title": "A"}).text


def test_without_truth_there_are_no_scores(tmp_path: Path):
    frames = replace(made_timeline(9, bags=("a", "b")), quality=np.full(9, np.nan))
    shown = [example(truth=None, quality=math.nan)]
    seen = written(tmp_path, frames, {"title": "A"}, examples=shown)
    visible = seen.text.split("@media print")[1].split('"bags"')[0]
    assert "AP" not in visible and "uality" not in visible and "Confusion" not in visible
    for title in ("mean confidence", "flicker", "objects in a frame", "processed a second"):
        assert title in visible
    assert seen.tags.count("img") == 3 and seen.open == []  # two, and that of the viewer


@pytest.mark.parametrize("frames", [0, 1])
def test_few_frames_are_a_report_too(tmp_path: Path, frames: int):
    seen = written(
        tmp_path, made_timeline(frames), {"title": "A"}, online=[played(made_timeline(frames))]
    )
    assert seen.open == []
    assert ("There is no frame to show." in seen.text) == (frames == 0)
    assert not re.search(r"\bnan\b", seen.text.split('"bags"')[0])
    assert "NaN" not in json.dumps(data(tmp_path))


def test_the_worst_frames_come_first_and_are_forty(tmp_path: Path):
    examples = [example(k, name=f"frame {k:02}") for k in range(99, 0, -1)]
    examples.insert(0, example(name="unknown", quality=math.nan))
    written(tmp_path, made_timeline(999), {"title": "A"}, examples=examples)
    text = (tmp_path / "new" / "report.html").read_text()
    assert re.findall(r"<b>frame (\d\d)</b>", text) == [f"{k:02}" for k in range(1, 41)]
    few = [*examples[:3], examples[-1]]
    seen = written(tmp_path, made_timeline(999), {"title": "A"}, examples=few)
    places = [seen.text.index(name) for name in ("frame 01", "frame 98", "frame 99", "unknown")]
    assert places == sorted(places)


@pytest.mark.slow
def test_an_hour_with_forty_large_pictures_stays_small(tmp_path: Path):
    frames = made_timeline(36_000)
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    layers = {"picture": noise, "found": {"found": noise[::-1]}, "truth": noise[:, ::-1]}
    examples = [example(k, **layers) for k in range(40)]
    written(tmp_path, frames, {"title": "A"}, online=[played(frames)])
    bare = (tmp_path / "new" / "report.html").stat().st_size
    written(tmp_path, frames, {"title": "A"}, examples=examples, online=[played(frames)])
    full = (tmp_path / "new" / "report.html").stat().st_size
    print(f"an hour: {bare / 1e6:.2f} MB, with 120 pictures of noise {full / 1e6:.2f} MB")
    assert bare < 5e6 and full < 20e6
    assert full - bare < 1.05 * PICTURE_BYTES


def test_pictures_are_as_large_as_they_may_be(tmp_path: Path):
    shown = [example(size=(100, 1600))]
    written(tmp_path, made_timeline(9), {"title": "A"}, examples=shown)
    text = (tmp_path / "new" / "report.html").read_text()
    coded = re.search(r'src="data:image/jpeg;base64,([^"]*)"', text)[1]
    assert Image.open(io.BytesIO(base64.b64decode(coded))).size == (1280, 80)


def test_a_class_has_one_colour_on_the_page(tmp_path: Path):
    written(tmp_path, made_timeline(50), {"title": "A"}, evaluation(), examples=[example()])
    text = (tmp_path / "new" / "report.html").read_text()
    colors = {one["name"]: one["color"] for one in data(tmp_path)["classes"]}
    assert set(colors) == set(THINGS) and len(set(colors.values())) == len(THINGS)
    lines = dict(re.findall(r'<polyline stroke="(.*?)".*?<title>(.*?)</title>', text, re.DOTALL))
    assert lines and all(colors[name] == color for color, name in lines.items())


def test_times_are_those_of_a_clock():
    assert [clock(t) for t in (0, 7.26, 59.96, 3727.3, -1.5)] == [
        "0:00.0",
        "0:07.3",
        "1:00.0",
        "1:02:07.3",
        "-0:01.5",
    ]

"""The report of recordings in a real browser: it opens, it is quiet, and everything can be used."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bag_timelines import example, made_timeline, offline, played
from browser import CHROMIUM, NAMES, Browser
from pages import NASTY, evaluation
from PIL import Image

from jointseg_eval.bag_evaluation.report import write_bag_report

if CHROMIUM is None:
    pytest.skip(f"none of {', '.join(NAMES)} is installed", allow_module_level=True)

WIDTHS = {"laptop": (1366, 768), "phone": (390, 844)}
LONG = "a_recording_whose_name_is_much_longer_than_a_phone_is_wide_2024-05-03T10-20-30.mcap"
MARKUP = f'</script>{NASTY}<img src=x onerror="document.title=1">'
DRAWN = "performance.getEntriesByName('drawn').length > 0"
VALUE = "document.getElementById('lanes').getAttribute('aria-valuetext')"
OPEN = "document.querySelector('#viewer').open"
LAYER = "document.querySelector('#viewer [aria-pressed=true]').textContent"
NAME = "document.getElementById('viewer-name').textContent"
VISIBLE = "[...document.querySelectorAll('figure.frame')].filter(f => f.checkVisibility()).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings with truth, played to a node too; cars in frames 10 and 30, a bus in 20."""
    path, frames = tmp_path_factory.mktemp("page") / "report.html", made_timeline(200, ("a", LONG))
    classes = {10: ("car",), 20: ("bus",), 30: ("car", "person")}
    examples = [example(k, (90, 160), classes=names) for k, names in classes.items()]
    windows = [
        {"bag": b, "start": s, "end": s + 2.0, "box_ap": 0.1 * s, "miou": float("nan")}
        for b in (0, 1)
        for s in range(0, 10, 2)
    ]
    facts = {"title": "A replay", "weights": "/a/very/" + "long/" * 30 + "path.safetensors"}
    runs = [offline(frames, evaluation()), played(frames), played(frames, "at 2x")]
    write_bag_report(path, runs, facts, windows, examples, [f"{LONG} is cut off."])
    return path


def shown(browser: Browser, page: Path, size: tuple[int, int] = WIDTHS["laptop"], **more) -> None:
    browser.open(page, *size, **more)
    browser.until(DRAWN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", WIDTHS)
def test_the_page_fits_and_is_quiet(
    browser: Browser, page: Path, tmp_path: Path, name: str, scheme: str
):
    shown(browser, page, WIDTHS[name], scheme=scheme)
    width = browser.ask("document.documentElement.clientWidth")
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    browser.picture(tmp_path / "page.png")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert picture.shape == WIDTHS[name][::-1] and picture.std() > 5
    assert (picture.mean() > 128) == (scheme == "light")


def test_all_lanes_are_drawn_and_the_cursor_tells_their_values(browser: Browser, page: Path):
    shown(browser, page)
    said = browser.ask(VALUE)
    for lane in ("scores", "quality", "confidence", "flicker", "frames a second", "objects"):
        assert lane in said
    assert "latency" in said and "without a result" in said
    browser.ask("document.getElementById('lanes').focus()")
    browser.press("Home")
    assert browser.ask(VALUE).startswith("a, 0:00.0, processed")
    browser.press("ArrowRight")
    assert browser.ask(VALUE).startswith("a, 0:00.1, processed")
    browser.press("End")
    assert browser.ask(VALUE).startswith(f"{LONG}, 0:09.9")
    assert browser.problems == []


def test_replays_lie_beside_each_other(browser: Browser, page: Path):
    shown(browser, page)
    browser.ask("document.getElementById('lanes').focus()")
    for key in ("Home", *["ArrowRight"] * 4):  # every fifth frame is lost
        browser.press(key)
    for name in ("at 1x", "at 2x"):
        assert f"overwritten ({name}) lost" in browser.ask(VALUE)
        assert f"processed, {name} " in browser.ask(VALUE)


def test_paper_is_light(browser: Browser, page: Path):
    shown(browser, page, scheme="dark")
    pixels = "(e => e.getContext('2d').getImageData(0, 0, e.width, e.height).data)"
    grey = "(d => { let most = 0; for (let k = 0; k < d.length; k += 4) if (d[k + 3] > 250)"
    grey += " most = Math.max(most, Math.min(d[k], d[k + 1], d[k + 2])); return most; })"
    lightest = f"{grey}({pixels}(document.querySelector('canvas')))"
    assert browser.ask(lightest) < 180
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="print", features=dark)
    browser.until(f"{lightest} > 200")  # the grid; in the dark it is darker than the text
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_dragging_looks_closer_and_a_button_shows_everything(browser: Browser, page: Path):
    shown(browser, page)
    width = "(s => s.getPropertyValue('--to') - s.getPropertyValue('--from'))"
    width += "(document.getElementById('lanes').style)"
    assert browser.ask(width) == pytest.approx(20)
    browser.ask("document.getElementById('lanes').scrollIntoView({block: 'center'})")
    x, y = browser.ask(
        "(b => [b.x + b.width / 4, b.y + b.height / 2])"
        "(document.querySelector('.u-over').getBoundingClientRect())"
    )
    browser.drag([x, y], [x + 100, y])
    browser.until(f"{width} < 2.4")
    browser.click("[data-do=out]")
    browser.until(f"{width} > 2.4")
    browser.click("[data-do=whole]")
    assert browser.ask(width) == pytest.approx(20)
    browser.click("[data-bag='1']")
    assert browser.ask(width) == pytest.approx(10)
    assert browser.ask(VALUE).startswith(f"{LONG}, 0:00.0")


def test_a_picture_is_enlarged_and_keys_go_on_from_it(browser: Browser, page: Path):
    shown(browser, page)
    browser.click("#frame-0 [data-layer=found]")
    assert browser.ask(OPEN) and browser.ask(NAME) == "frame 10" and browser.ask(LAYER) == "found"
    image = "document.querySelector('#viewer > img')"
    browser.until(f"{image}.complete && {image}.naturalWidth === 160")
    assert browser.ask(f"{image}.clientWidth") == WIDTHS["laptop"][0]
    browser.press("ArrowUp")
    assert browser.ask(LAYER) == "truth"
    browser.press("ArrowRight")
    assert browser.ask(NAME) == "frame 20" and browser.ask(LAYER) == "truth"
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")  # there is none before the first one
    assert browser.ask(NAME) == "frame 10"
    browser.press("Escape")
    assert not browser.ask(OPEN)
    assert browser.ask("document.activeElement.closest('figure').id") == "frame-0"
    browser.press("Enter")
    assert browser.ask(OPEN)
    browser.click("#viewer [data-close]")
    assert not browser.ask(OPEN) and browser.problems == []


def test_a_class_leaves_its_frames_and_objects_alone(browser: Browser, page: Path):
    shown(browser, page)
    chip = "[...document.querySelectorAll('.chip')].find(c => c.textContent === '{}')"
    assert browser.ask(VISIBLE) == 3 and "person" in browser.ask(VALUE)
    browser.ask(f"{chip.format('bus')}.click()")
    assert browser.ask(VISIBLE) == 1
    browser.until(f"!{VALUE}.includes('person')")
    assert "1 of 3 frames have bus in them." in browser.ask("document.body.innerText")
    browser.click("figure.frame:not([hidden]) [data-layer=picture]")
    browser.press("ArrowRight")
    assert browser.ask(NAME) == "frame 20"  # what is hidden is passed over
    browser.press("Escape")
    browser.ask(f"{chip.format('person')}.click()")
    assert browser.ask(VISIBLE) == 2
    browser.click(".board [data-class=all]")
    assert browser.ask(VISIBLE) == 3 and browser.problems == []


def test_frames_and_timeline_lead_to_each_other(browser: Browser, page: Path):
    shown(browser, page)
    browser.click("[data-jump='2']")
    assert browser.ask("document.activeElement.id") == "lanes"
    assert browser.ask(VALUE).startswith("a, 0:03.0")
    browser.press("Enter")
    assert browser.ask("document.activeElement.closest('figure').id") == "frame-2"
    browser.click(".pin")
    assert browser.ask("document.activeElement.closest('figure').id") == "frame-0"
    browser.ask("document.getElementById('lanes').scrollIntoView({block: 'center'})")
    box = browser.ask(
        "(b => [b.x + b.width * 0.25, b.y + 20])"
        "(document.querySelector('.u-over').getBoundingClientRect())"
    )
    browser.drag(box, box)
    assert browser.ask(VALUE).startswith("a, 0:05.0")  # what is pointed at


def test_hostile_text_stays_text(browser: Browser, tmp_path: Path):
    path, frames = tmp_path / "report.html", made_timeline(40, (MARKUP, "b"), (MARKUP, "car"))
    run, one = played(frames, MARKUP, MARKUP), example(3, name=MARKUP, classes=(MARKUP,))
    windows = [{"bag": 0, "start": 0, "end": 2, MARKUP: 0.5}]
    facts = {"title": MARKUP, MARKUP: MARKUP}
    write_bag_report(path, [offline(frames), run], facts, windows, [one], [MARKUP])
    shown(browser, path)
    browser.click(".chip[data-class='0']")
    browser.click("[data-layer=found]")
    assert browser.ask(NAME) == MARKUP == browser.ask("document.title")
    assert MARKUP in browser.ask(VALUE)
    assert browser.ask("document.querySelectorAll('img').length") == 4
    assert browser.problems == []


@pytest.mark.parametrize("frames", [0, 1])
def test_few_frames_open_too(browser: Browser, tmp_path: Path, frames: int):
    write_bag_report(tmp_path / "report.html", [offline(made_timeline(frames))], {"title": "A"})
    browser.open(tmp_path / "report.html")
    assert browser.ask("document.querySelectorAll('canvas').length > 0") == (frames > 0)
    assert browser.problems == []


@pytest.mark.slow
def test_an_hour_opens(browser: Browser, tmp_path: Path):
    frames, path = made_timeline(36_000, ("a", "b", "c")), tmp_path / "report.html"
    noise = np.random.default_rng(0).integers(0, 255, (270, 480, 3), np.uint8)
    layers = {"picture": noise, "found": {"found": noise[::-1]}, "truth": noise[:, ::-1]}
    examples = [example(100 * k, **layers) for k in range(40)]
    runs = [offline(frames), played(frames)]
    write_bag_report(path, runs, {"title": "A"}, (), examples)
    shown(browser, path)
    ready = browser.ask("performance.getEntriesByName('drawn')[0].startTime")
    metrics = {m["name"]: m["value"] for m in browser.call("Performance.getMetrics")["metrics"]}
    print(f"{path.stat().st_size / 1e6:.1f} MB, drawn {ready / 1000:.1f} s after its opening,")
    print(f"{metrics['ScriptDuration']:.1f} s of it in scripts")
    browser.ask("document.getElementById('lanes').focus()")
    browser.press("+")
    assert path.stat().st_size < 20e6 and browser.problems == []


def test_pictures_come_first_and_more_than_three_are_folded(browser: Browser, tmp_path: Path):
    frames, path = made_timeline(50), tmp_path / "a.html"
    examples = [example(k, (90, 160), classes=("bus",) if k == 9 else ("car",)) for k in range(10)]
    runs = [offline(frames, evaluation()), played(frames)]
    write_bag_report(path, runs, {"title": "A"}, examples=examples)
    shown(browser, path)
    first = "document.querySelector('h2').id"
    assert browser.ask(first) == "frames" and browser.ask(VISIBLE) == 3
    kinds = "[...document.querySelectorAll('#frame-0 small')].map(e => e.textContent).join()"
    assert browser.ask(kinds) == "picture,truth,found"
    chip = "[...document.querySelectorAll('.board .chip')].find(c => c.textContent === 'bus')"
    browser.ask(f"{chip}.click()")
    assert browser.ask(VISIBLE) == 1  # the one with a bus, which was folded away
    browser.click(".board .chip")
    assert browser.ask(VISIBLE) == 10
    cut = "[...document.querySelectorAll('.sheet')].filter(e => e.scrollWidth > e.clientWidth)"
    assert browser.ask(f"{cut}.length") == 0

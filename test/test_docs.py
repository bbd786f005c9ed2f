"""What the pages name is there: links, files, commands, topics, and CONTRIBUTING's "Where is"."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING, CHANGELOG = (
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.rst")
)
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, CONTRIBUTING, *DOCS]
RESULTS = sorted((ROOT / "docs/results").glob("*.json"))
WIDTH = 120
OF_OTHERS = {"pip", "pytest", "venv"}
"""Modules that commands in the pages start and that are not ours."""
ROOMS = {
    *("benchmarks", "demo", "jointseg_core", "jointseg_eval", "jointseg_objects"),
    *("jointseg_ros", "tools", "training"),
    *(".ci", "docs", "launch", "msg", "test"),
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> str:
    """The blocks of code of a page and what stands in backticks, a line each."""
    blocks = re.findall(r"^```.*?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *in_backticks(page)])


def in_backticks(page: Path) -> list[str]:
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# Links, files and commands


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def paths(page: Path) -> Iterator[str]:
    """What looks like a file or folder of this repository."""
    for words in in_backticks(page):
        path = words.split(": ")[0]
        room, slash, _ = path.partition("/")
        if re.fullmatch(r"[\w./*-]+", path) and slash and room in {*ROOMS, "jointseg_msgs"}:
            yield path


@each_page
def test_files_in_backticks_exist(page: Path) -> None:
    for path in paths(page):
        message = re.fullmatch(r"jointseg_msgs/([A-Z]\w+)", path)  # a type of messages
        wanted = f"msg/{message[1]}.msg" if message else path.rstrip("/")
        assert list(ROOT.glob(wanted)), path
    for name in in_backticks(page):
        if re.fullmatch(r"\w+\.py", name):
            assert [f for room in ROOMS for f in (ROOT / room).rglob(name)], name


@each_page
def test_names_that_stand_behind_a_file_are_in_it(page: Path) -> None:
    for file, name in re.findall(r"`([\w/]+\.py): ([\w.]+)`", prose(page)):
        assert name in names_in(ROOT / file), f"{file}: {name}"


def test_flags_that_give_the_other_choice_are_there() -> None:
    from training.recipes import RECIPES
    from training.runs.options import described, parsed

    kinds = {name: kind for one in RECIPES.values() for name, (kind, _) in described(one).items()}
    text = "\n".join(in_backticks(ROOT / "docs/faithfulness.md"))
    flags = re.findall(r"--([\w.-]+)(?: ([^\s-]\S*))?", text)
    assert len(flags) > 20
    for flag, value in flags:
        kind = kinds[flag.replace("-", "_")]
        assert not value or parsed(value, kind) is not None, flag
    assert set(re.findall(r"\b\w+_(?:coco|cityscapes)\w*", text)) <= set(RECIPES)


def starts(module: str) -> bool:
    """Whether `python -m` finds this module, and the module does something then."""
    file = ROOT / module.replace(".", "/")
    main, plain = file / "__main__.py", file.with_suffix(".py")
    return main.is_file() or (plain.is_file() and "__main__" in plain.read_text())


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=lambda page: page.name)
def test_commands_start_modules_that_are_there(page: Path) -> None:
    for module in re.findall(r"python -m ([\w.]*\w)", page.read_text()):
        assert module in OF_OTHERS or starts(module), module


@each_page
def test_make_has_the_targets_that_pages_name(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"^(?:\w+=\w+ )?make ([a-z]+)", code(page), re.MULTILINE)
    assert set(named) <= targets


# The shape of the pages


def test_the_readme_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 100
    assert [line for line in lines if len(line) > WIDTH] == []


@each_page
def test_prose_is_wrapped(page: Path) -> None:
    lines = prose(page).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith("|")] == []


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs/index.md"
    linked = set(re.findall(r"\]\((\w+\.md)\)", index.read_text()))
    assert linked == {page.name for page in DOCS} - {"index.md"}


def test_the_page_of_results_has_every_file() -> None:
    listed = re.findall(r"^\| `([\w-]+\.json)` \|", (ROOT / "docs/results.md").read_text(), re.M)
    assert sorted(listed) == [file.name for file in RESULTS]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_a_result_says_how_it_was_made(file: Path) -> None:
    assert '"command' in json.dumps(json.loads(file.read_text()))


def test_release_tools_read_the_changelog() -> None:
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed")
    text = CHANGELOG.read_text()
    assert "\nForthcoming\n-----------\n" in text
    released = text.replace("Forthcoming\n-----------", "9.9.9 (2026-11-30)\n------------------")
    parsed = changelog.populate_changelog_from_rst(changelog.Changelog("jointseg_ros"), released)
    assert "jointseg_eval" in str(parsed)


# What CONTRIBUTING.md and topics.md say


def expanded(name: str) -> list[str]:
    """What `a.{b,c}` stands for."""
    head, brace, rest = name.partition("{")
    return [head + one for one in rest.rstrip("}").split(",")] if brace else [name]


def test_modules_that_the_changelog_leads_to_are_there() -> None:
    text = re.sub(r"\n +", " ", CHANGELOG.read_text())
    rows = [row for row in text.split("* ") if ": ``" in row]
    named = [
        name for row in rows for name in re.findall(r"``([\w.{},]+)``", row.partition(": ")[2])
    ]
    modules = [one for name in named if "." in name for one in expanded(name)]
    assert len(modules) > 20
    for module in modules:
        place = ROOT.joinpath(*module.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), module


def names_in(file: Path) -> set[str]:
    """What a module defines: functions, classes, their methods, and constants."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
                found |= {f"{node.name}.{method.name}" for method in methods}
    return found


PLACES = re.findall(r"^\| (.+\?) \| `([^:`]+): ([\w.]+)` \|$", CONTRIBUTING.read_text(), re.M)


def test_the_table_of_places_answers_many_questions() -> None:
    rows = CONTRIBUTING.read_text().split("| question | file: name |")[1].split("\n\n")[0]
    assert len(PLACES) == rows.count("\n") - 1 >= 15


@pytest.mark.parametrize(("question", "file", "name"), PLACES, ids=lambda value: value)
def test_what_a_stranger_looks_for_is_where_the_table_says(question, file, name) -> None:
    assert name in names_in(ROOT / file)


NAMED = re.findall(r"`([\w/.]+\.py)`\s\((`\w+`(?:,\s`\w+`)*)\)", CONTRIBUTING.read_text())


def test_what_a_recipe_names_is_in_the_file_that_it_names() -> None:
    assert len(NAMED) >= 9
    for file, names in NAMED:
        assert set(re.findall(r"\w+", names)) <= names_in(ROOT / file), file


def test_the_rooms_are_those_that_the_imports_are_held_to() -> None:
    from test_packaging import ARROWS

    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", CONTRIBUTING.read_text(), re.M)
    assert {room: set(re.findall(r"`(\w+)`", imports)) for room, imports in rows} == ARROWS


def test_the_page_of_topics_has_each_topic_of_each_model() -> None:
    pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")
    from jointseg_ros.outputs import IN_SPACE, TOPICS

    page = (ROOT / "docs/topics.md").read_text()
    for place, model in enumerate(("joint", "rdsnet", "segrpn")):
        for topic in (*TOPICS[model], *IN_SPACE):
            row = re.search(rf"^\| `{topic.name}` \|(.*)\|$", page, re.M)
            assert row, topic.name
            kind, _, when, *models = (cell.strip() for cell in row[1].split("|"))
            assert topic.type.__name__ in kind
            assert when.startswith("lazy" if topic.lazy else "always")
            assert models[place] == "x"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    picture.fromarray(pixels).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    known: dict = {}
    exec(block, known)
    assert known["masks"].shape[1:] == known["classes"].shape == (120, 200)
    assert known["segments"].ids.shape == (120, 200)

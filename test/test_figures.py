"""Numbers that pages claim are those of the result files.

A comment behind numbers of a page names the fields that the last numbers before it are, in order:

    MBRM adds +1.7* (1.5 to 1.9) <!-- ablation_rdsnet-table-4_tiny.json:
    MBRM against baseline: box_ap.difference; box_ap.interval[0]; box_ap.interval[1] -->

It reads `FILE: NAME; NAME: FIELD; FIELD`: every field of the first name, then of the second. The
file is one of docs/results. A field is what leads to one number of that file alone, or to one by
the shortest way: some of the keys on the way to it, in a name split by " > ", in a field by ".".
Elements of a list are called `list[0]`, and by what names them there ("`row` against `against`").
` - ` and ` / ` subtract and divide by another field, `* 100` scales; from left to right. The page's
number has to be the field's, rounded to the digits that the page has; a * behind a difference has
to be its interval's. Comments that follow each other count as one. Not counted are the head and
first column of tables, and what stands in code or is part of a word.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKER = re.compile(r"<!--\s+([\w-]+\.json):\s+(.*?)\s*-->", re.DOTALL)
NUMBER = re.compile(
    r"(?<![\w.@#/=])(?<!\w-)[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w|[.,/]\d)"
)
NO_CLAIMS = (
    r"IoU (?:of )?\d\.\d+(?:(?:, | to | and | or )\d\.\d+)*",  # where it is measured
    r"(?:Python|torch|torchvision|rviz|Ubuntu)\s+\d+\.\d+(?: to \d+\.\d+)?",  # versions
    r"95\s%\sinterval",
    r"\b\d - \d\b",  # rows that are compared
)
"""What stands in running text and is not measured."""


class Claim(NamedTuple):
    """A number of a page and the field that it is said to be."""

    page: Path
    line: int
    text: str
    starred: bool
    file: str
    field: str


# -- pages ----------------------------------------------------------------------------------------


def blanked(text: str, *patterns: str) -> str:
    """The text with spaces for what matches, so that places in it stay the same."""
    for pattern in patterns:
        text = re.sub(
            pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL | re.MULTILINE
        )
    return text


def readable(text: str) -> str:
    """What of a page can claim numbers: no comments, code, addresses, heads and first columns."""
    return blanked(
        text,
        r"<!--.*?-->",
        r"^```.*?^```$",
        r"`[^`\n]+`",
        r"\]\([^)\s]+\)",
        r"^\|[^\n]*\n(?=\|[-|: ]+\|$)",
        r"^\|[^|\n]*\|",
        r"^#[^\n]*$",
        *NO_CLAIMS,
    )


def figures(page: Path) -> tuple[list[Claim], list[re.Match[str]]]:
    """The claims of a page, and its numbers that no comment ties to a field."""
    text = page.read_text()
    numbers = list(NUMBER.finditer(readable(text)))
    claims, free = [], []
    groups = re.finditer(rf"(?:{MARKER.pattern}\s*)+", text, re.DOTALL)
    start = 0
    for group in groups:
        fields = [pair for marker in MARKER.finditer(group[0]) for pair in named(*marker.groups())]
        before = [n for n in numbers if start <= n.start() < group.start()]
        assert len(before) >= len(fields), f"{page.name}: more fields than numbers: {group[0]}"
        free += before[: len(before) - len(fields)]
        for number, (file, field) in zip(before[len(before) - len(fields) :], fields, strict=True):
            line = text.count("\n", 0, number.start()) + 1
            starred = text[number.end() : number.end() + 1] == "*"
            claims.append(Claim(page, line, number[0], starred, file, field))
        start = group.end()
    return claims, free + [n for n in numbers if n.start() >= start]


def named(file: str, fields: str) -> Iterator[tuple[str, str]]:
    """The file and fields that a comment lists: each of its names with each of its fields."""
    names, _, tails = re.sub(r"\s+", " ", fields).rpartition(": ")
    for name, tail in product(names.split("; "), tails.split("; ")):
        yield file, f"{name}: {tail}"


# -- result files ---------------------------------------------------------------------------------

Step = tuple[str, ...]
"""What one step on the way to a number is called."""


class Leaf(NamedTuple):
    """A value of a file and how many steps lead to it."""

    value: object
    steps: int


@cache
def leaves(file: str) -> tuple[list[Leaf], dict[str, set[int]]]:
    """Every value of a result file, and by each name the places of those on whose way it is."""
    values, places = [], defaultdict(set)
    for place, (path, value) in enumerate(walk(json.loads((RESULTS / file).read_text()), [])):
        values.append(Leaf(value, len(path)))
        for name in chain(*path):
            places[name].add(place)
    return values, places


def walk(value: object, path: list[Step]) -> Iterator[tuple[list[Step], object]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, [*path, (key,)])
    elif isinstance(value, list):
        parent = path[-1][0]
        for index, below in enumerate(value):
            yield from walk(below, [*path, (f"{parent}[{index}]", *called(below))])
    else:
        yield path, value


def called(element: object) -> Step:
    """How an element of a list is called."""
    if not isinstance(element, dict):
        return ()
    if "against" in element:
        return (f"{element['row']} against {element['against']}",)
    return tuple(str(element[key]) for key in ("name", "title", "goal") if key in element)


def lookup(file: str, names: Sequence[str]) -> object:
    """The one value of a file whose way has all these names, or of those the nearest."""
    values, places = leaves(file)
    found = set.intersection(*(places.get(name, set()) for name in names))
    least = min((values[place].steps for place in found), default=0)
    nearest = [values[place].value for place in found if values[place].steps == least]
    assert len(nearest) == 1, f"{len(nearest)} fields are {' > '.join(names)}"
    return nearest[0]


def names_of(name: str, tail: str) -> list[str]:
    return [*filter(None, name.split(" > ")), *tail.lstrip("-").split(".")]


def value(file: str, field: str) -> float:
    """What a field of a comment stands for."""
    name, _, tail = field.rpartition(": ")
    first, *rest = re.split(r" ([-*/]) ", tail)
    result = term(file, name, first)
    for operator, other in zip(rest[::2], rest[1::2], strict=True):
        amount = term(file, name, other)
        result = {"-": result - amount, "*": result * amount, "/": result / (amount or 1)}[operator]
    return result


def term(file: str, name: str, text: str) -> float:
    if re.fullmatch(r"[\d.]+", text):
        return float(text)
    found = lookup(file, names_of(name, text))
    if isinstance(found, str):  # an aim, ">= 3.5"
        found = float(found.lstrip("<>= "))
    return -found if text.startswith("-") else found


def rounds_to(exact: float, text: str) -> bool:
    """Whether a page may write a number so; of ties both neighbours are right."""
    digits = len(text.partition(".")[2])
    return abs(float(text.replace(",", "")) - exact) <= 0.5 * 10**-digits + 1e-9


# -- promises -------------------------------------------------------------------------------------


def faults(claim: Claim) -> Iterator[str]:
    """What is wrong with a claim."""
    where = f"line {claim.line}: {claim.text}, {claim.file}: {claim.field}"
    try:
        exact, clear = value(claim.file, claim.field), is_clear(claim)
    except (AssertionError, TypeError, ValueError) as error:
        yield f"{where}: {str(error).splitlines()[0]}"
        return
    if not rounds_to(exact, claim.text):
        yield f"{where}: it is {exact:g}"
    if clear is not None and clear != claim.starred:
        yield f"{where}: {'no *, but' if clear else '*, but not'} a clear difference"


def is_clear(claim: Claim) -> bool | None:
    """Whether the interval of a difference excludes zero; None for other numbers."""
    name, _, tail = claim.field.rpartition(": ")
    if not tail.endswith(".difference"):
        return None
    names = names_of(name, tail.replace(".difference", ".verdict"))
    return lookup(claim.file, names) in ("higher", "lower")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_numbers_are_those_of_their_fields(page: Path) -> None:
    text = page.read_text()
    assert text.count("<!--") == len(MARKER.findall(text)), "a comment that names no fields"
    assert [fault for claim in figures(page)[0] for fault in faults(claim)] == []


FREE = {
    "joint.md": "choices of the design and its speed, measured as the page says, without a file",
    **dict.fromkeys(("benchmark.md", "consume.md", "faithfulness.md", "gpu.md"), "settings"),
    **dict.fromkeys(("depth.md", "tracks.md"), "settings"),
    **dict.fromkeys(("evaluate.md", "security.md", "vehicle.md"), "versions, settings, examples"),
    **dict.fromkeys(("fine_tuning.md", "views.md"), "one example, measured once, without a file"),
    "replay.md": "shares of time, memory and one drive, measured once, without a file",
    "large_images.md": "sizes of images; two rows without a file",
    "safety.md": "limits; sentences of its file; times of faults, without a file",
    "training.md": "sizes of networks",
    "models.md": "sizes of networks and files, the time of a training",
}
"""Pages with decimal numbers that are tied to no field, and what these are."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_decimal_numbers_are_tied_but_on_pages_that_are_known_for_others(page: Path) -> None:
    text = page.read_text()
    free = [
        f"line {text.count(chr(10), 0, number.start()) + 1}: {number[0]}"
        for number in figures(page)[1]
        if "." in number[0]
    ]
    assert page.name in FREE or free == [], "tie them, or say in FREE what they are"


SPLIT = re.compile(
    r"^[^\n]*[^\s>]\n *(<!--(?:(?!-->).)*-->)(?: *\S|\n(?! *(?:<!--|\* |#)) *\S)",
    re.MULTILINE | re.DOTALL,
)
"""A comment at the start of a line between lines of text, where Markdown ends the paragraph."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_comment_splits_a_paragraph(page: Path) -> None:
    assert SPLIT.findall("One <!-- a -->\nparagraph.\n<!-- b -->\n\nAnother.") == []
    assert SPLIT.findall("One\n<!-- a --> paragraph.") == ["<!-- a -->"]
    assert SPLIT.findall(page.read_text()) == []


def claims_of(tmp_path: Path, text: str) -> list[str]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return [fault for claim in figures(page)[0] for fault in faults(claim)]


TABLE_4 = "ablation_rdsnet-table-4_tiny.json: MBRM against baseline: box_ap"


def test_a_comment_ties_the_numbers_before_it(tmp_path: Path) -> None:
    fields = f"<!-- {TABLE_4}.difference; box_ap.interval[0] -->"
    assert claims_of(tmp_path, f"It gains 1.7* (1.5) {fields} in 4 runs.") == []
    [wrong] = claims_of(tmp_path, f"It gains 1.8* (1.5) {fields}")
    assert "it is 1.67" in wrong
    [unclear] = claims_of(tmp_path, f"It gains 1.7 (1.5) {fields}")
    assert "no *" in unclear
    [lost] = claims_of(tmp_path, f"It loses 1.7* <!-- {TABLE_4}.loss -->")
    assert "0 fields" in lost
    [many] = claims_of(tmp_path, f"About 1.7 <!-- {TABLE_4} -->")
    assert "fields" in many
    with pytest.raises(AssertionError, match="more fields than numbers"):
        claims_of(tmp_path, f"Much {fields}")

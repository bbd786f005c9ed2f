"""The version of the code that a kept result comes from.

It is a digest of every module of the project that a training, or a scoring, imports by whatever
way, so that none can be forgotten. Comments, docstrings and layout make no difference, and so that
hours are not thrown away for nothing, neither do modules that decide no result, networks other
than the one in question, and the table of recipes, whose numbers are in every key by themselves.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETWORKS = frozenset(f"jointseg_core.{name}" for name in ("rdsnet", "rdsnet_s", "segrpn", "joint"))
RECIPES = "training.recipes"
TRAINING, SCORING = "training.train", "training.ablations.scoring"

DECIDES_NOTHING = frozenset(
    {
        "jointseg_eval.input_validation",  # how bad input is told
        "training.synthesize",  # pictures are in a key by their files
        *(
            f"training.runs.{name}"
            for name in (
                *("command", "options", "environment", "stopping"),  # how a run is asked for
                *("records", "run_folder", "progress", "snapshots"),  # and what it tells
            )
        ),
    }
)
"""Modules that are not followed; what only they import does not count either."""


@cache
def training_code(network: str) -> str:
    """Digest of what trains a network, which is named by its module."""
    shared = reached(TRAINING, DECIDES_NOTHING | NETWORKS)
    return digest({**shared, **reached(network, {"jointseg_core"})})


@cache
def scoring_code() -> str:
    """Digest of what scores networks, themselves not among it."""
    return digest(reached(SCORING, DECIDES_NOTHING | NETWORKS))


def reached(start: str, leave_out: Collection[str], root: Path = ROOT) -> dict[str, Path]:
    """The files below `root` of a module and of all that it imports, directly or not, by name."""
    found: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _file(root, name)
        if path and name not in found and name not in leave_out:
            found[name] = path
            waiting += _imported(ast.parse(path.read_bytes()))
    return found


def digest(modules: dict[str, Path]) -> str:
    """Another one for other statements in any of these files."""
    whole = {name: _statements(name, path) for name, path in sorted(modules.items())}
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def _file(root: Path, name: str) -> Path | None:
    place = root.joinpath(*name.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Names that may be modules, with the packages that they are in."""
    for node in ast.walk(tree):
        names = [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)]
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{name}" for name in names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _statements(name: str, path: Path) -> str:
    """A file's code without what only people read."""
    tree = ast.parse(path.read_bytes())
    if name == RECIPES:
        tree.body = [one for one in tree.body if not isinstance(one, ast.Assign | ast.AnnAssign)]
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _is_text(statement)]
    return ast.unparse(tree)


def _is_text(statement: ast.AST) -> bool:
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    )

"""Let a new environment take the place of an old one, which goes when nobody uses it."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from tools.place import ANY, Place


def lead_to(place: Place) -> None:
    """Let `.venv` and the `env.sh` in it be links to this environment.

    A folder of that name, from before there were several, is moved away when nobody uses it. What
    the set-up did not make stays.
    """
    link, old = place.link, place.root / f"{place.family}{'0' * 16}"
    if not link.is_symlink() and (link / "set-up.json").exists() and not in_use(link):
        remove(old)
        link.rename(old)
    ours = link.is_symlink() and os.readlink(link).startswith(".venv-")
    if ours or not os.path.lexists(link):
        point(link, place.venv)
    point(place.venv / "env.sh", place.activation)


def point(link: Path, target: Path) -> None:
    """Make a link to what is beside or below it; whoever follows it finds the old or the new."""
    part = link.with_name(link.name + ".part")
    part.unlink(missing_ok=True)
    part.symlink_to(target.relative_to(link.parent))
    os.replace(part, link)


def tidy(place: Place) -> None:
    """Remove what this environment has replaced, but for what a process was started in."""
    found = {*place.root.glob(place.family + ANY), *place.venv.glob(f"ros-{ANY}")}
    for folder in found - {place.venv, place.colcon}:
        if not in_use(folder):
            remove(folder)


def in_use(folder: Path) -> bool:
    """Whether a process has a path in the folder in its variables, as far as this user may see."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{folder}/".encode() in file.read_bytes():
                return True
    return False


def remove(folder: Path) -> None:
    """Remove a folder, if it is there; one that was half removed does not look whole."""
    (folder / "made").unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)

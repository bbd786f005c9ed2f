"""The set-up makes what is missing, survives being stopped, and destroys nothing that works."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tools import environment, steps
from tools.environment import only_one, set_up
from tools.machine import SetUpError
from tools.place import Place, digest, made
from tools.replacement import lead_to, tidy
from tools.steps import Step, due_steps, locate, make_venv

ROOT = Path(__file__).parents[2]


def checkout(root: Path) -> Path:
    """The files that the digests are made from, in a folder of their own."""
    for name in ("package.xml", "CMakeLists.txt"):
        (root / name).write_text(name)
    for folder in ("msg", "tools/interfaces", "jointseg_ros"):
        (root / folder).mkdir(parents=True)
    for file in ("msg/A.msg", "tools/interfaces/B.msg"):
        (root / file).write_text("x")
    for name in (*(f"requirements-{n}" for n in steps.REQUIREMENTS), "constraints-ros", "lock"):
        (root / "tools" / f"{name}.txt").write_text("")
    for file in ("tools/exports.py", "tools/steps.py", "tools/activation.py", "jointseg_ros/a.py"):
        (root / file).write_text("")
    return root


def complete(place: Place) -> Place:
    """What a set-up leaves: a Python that works, and the two marks."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place.venv], check=True)
    place.colcon.mkdir()
    (place.venv / "made").touch()
    (place.colcon / "made").write_text(steps.links(place))
    place.activation.touch()
    return place


# What is due


@pytest.fixture(autouse=True, scope="module")
def no_lock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JOINTSEG_LOCKED", raising=False)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return complete(locate(checkout(tmp_path_factory.mktemp("whole")), ""))


def test_of_a_whole_environment_nothing_is_due(whole: Place) -> None:
    assert due_steps(locate(whole.root, "")) == []


def test_the_python_that_looks_at_it_does_not_matter(
    whole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/another/python3")
    assert due_steps(locate(whole.root, "")) == []


@pytest.mark.parametrize(
    ("file", "due"),
    [
        ("msg/A.msg", 1),
        ("msg/CMakeLists.txt", 1),
        ("CMakeLists.txt", 1),
        ("tools/interfaces/B.msg", 1),
        ("tools/requirements-core.txt", 3),
        ("tools/constraints-ros.txt", 3),
        ("tools/lock.txt", 0),  # only where it is asked for
        ("tools/requirements-another.txt", 0),
        ("jointseg_ros/a.py", 0),  # a link leads to it
        ("jointseg_ros/b.py", 1),
    ],
)
def test_a_changed_file_makes_what_is_made_from_it_due(whole: Place, file: str, due: int) -> None:
    path = whole.root / file
    before = path.read_text() if path.exists() else None
    path.write_text("changed")
    try:
        assert len(due_steps(locate(whole.root, ""))) == due
    finally:
        path.unlink() if before is None else path.write_text(before)


def test_messages_of_other_files_are_built_beside_those_in_use(whole: Place) -> None:
    (whole.root / "msg/New.msg").touch()
    try:
        place = locate(whole.root, "")
        assert place.venv == whole.venv and place.colcon != whole.colcon
    finally:
        (whole.root / "msg/New.msg").unlink()


def test_exact_versions_make_another_environment(
    whole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOINTSEG_LOCKED", "1")
    assert len(due_steps(locate(whole.root, ""))) == 3


def test_a_sourced_ros_has_an_environment_of_its_own(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    assert len({locate(root, ros).venv for ros in ("", "jazzy", "humble")}) == 3


def test_a_moved_checkout_is_set_up_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    place = complete(locate(checkout(tmp_path / "a"), ""))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = locate(tmp_path / "b", "")
    assert moved.venv.name != place.venv.name
    assert len(due_steps(moved)) == 3


def test_a_python_that_has_gone_or_changed_makes_all_due(tmp_path: Path) -> None:
    place = complete(locate(checkout(tmp_path), ""))
    (packages,) = place.venv.glob("lib/python*/site-packages")
    packages.rename(packages.with_name("of-another-version"))
    assert len(due_steps(place)) == 3
    packages.with_name("of-another-version").rename(packages)
    assert due_steps(place) == []
    place.python.unlink()
    assert len(due_steps(place)) == 3


def test_a_key_changes_with_a_file_that_changes_its_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("x")
    before = digest(["a"], [one])
    one.rename(other)
    assert digest(["a"], [other]) != before


# Being stopped


def test_a_step_that_fails_leaves_the_link_and_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(place: Place) -> None:
        raise SetUpError("no")

    old = complete(locate(checkout(tmp_path), ""))
    lead_to(old)
    (tmp_path / "tools/requirements-core.txt").write_text("y")
    monkeypatch.setattr(environment, "due_steps", lambda place: [Step("", fail)])
    monkeypatch.setattr(environment, "check_machine", lambda ros: None)
    with pytest.raises(SetUpError):
        set_up(tmp_path, "")
    assert old.link.resolve() == old.venv and due_steps(old) == []


def test_an_environment_left_half_made_is_started_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = complete(locate(checkout(tmp_path), ""))
    (place.venv / "made").unlink()
    (place.venv / "half").touch()
    assert len(due_steps(place)) == 3
    monkeypatch.setattr(steps, "run", lambda *_: None)
    make_venv(place)
    assert list(place.venv.iterdir()) == []


def test_messages_that_fail_to_build_leave_those_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SetUpError("no")

    place = complete(locate(checkout(tmp_path), ""))
    (tmp_path / "jointseg_ros/new.py").touch()
    monkeypatch.setattr(steps, "run", fail)
    with pytest.raises(SetUpError):
        steps.build_messages(place)
    assert place.activation.exists() and made(place.colcon)
    assert len(due_steps(place)) == 1


def test_two_set_ups_in_one_checkout_take_turns(tmp_path: Path) -> None:
    code = f"from tools.environment import only_one; only_one({str(tmp_path)!r}).__enter__()"
    command = [sys.executable, "-c", code]
    with only_one(tmp_path):
        other = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert "waiting for another" in other.stderr.readline()
        assert other.poll() is None
    assert other.wait(timeout=30) == 0


# Taking the place of another


def folders(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).mkdir()
    return [root / name for name in names]


def started_in(folder: Path) -> subprocess.Popen:
    """A process as it is after `. env.sh`."""
    variables = {**os.environ, "VIRTUAL_ENV": str(folder), "JOINTSEG_TEST_PATH": f"{folder}/bin"}
    user = subprocess.Popen(["sleep", "60"], env=variables)
    shown = Path(f"/proc/{user.pid}/environ")
    while str(folder).encode() not in shown.read_bytes():  # a moment after it has begun
        time.sleep(0.01)
    return user


def place_in(root: Path) -> Place:
    place = Place(root, "", "a" * 16, "b" * 16)
    place.colcon.mkdir(parents=True)
    return place


def test_what_was_replaced_goes_when_nobody_uses_it(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    old, *others = folders(
        tmp_path, f".venv-pypi-{'c' * 16}", f".venv-jazzy-{'c' * 16}", ".venv-pypi-mine"
    )
    (messages,) = folders(place.venv, f"ros-{'d' * 16}")
    user = started_in(old)
    try:
        tidy(place)
        assert old.exists() and not messages.exists()
    finally:
        user.kill()
        user.wait()
    tidy(place)
    assert not old.exists()
    assert all(folder.exists() for folder in (*others, place.colcon))


def test_a_folder_of_an_earlier_set_up_is_replaced_when_nobody_uses_it(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    folders(tmp_path, ".venv")
    (place.link / "set-up.json").touch()
    user = started_in(place.link)
    try:
        lead_to(place)
        assert not place.link.is_symlink()
    finally:
        user.kill()
        user.wait()
    lead_to(place)
    tidy(place)
    assert place.link.resolve() == place.venv
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".venv", place.venv.name]


def test_a_venv_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    folders(tmp_path, ".venv")
    (place.link / "theirs").touch()
    lead_to(place)
    assert [entry.name for entry in place.link.iterdir()] == ["theirs"]


def test_a_link_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    place.link.symlink_to("/elsewhere")
    lead_to(place)
    assert os.readlink(place.link) == "/elsewhere"


# tools/run, on a checkout that wants no packages and with a colcon that only leaves what is sourced

COLCON = """#!/bin/sh
while [ "$1" != --install-base ]; do shift; done
mkdir -p "$2/lib/site/jointseg_msgs/msg" && touch "$2/lib/site/jointseg_msgs/msg/__init__.py"
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, not yet set up."""
    root = tmp_path_factory.mktemp("small")
    checkout(root)
    for file in (ROOT / "tools").glob("*"):
        if file.suffix == ".py" or file.name == "run":
            (root / "tools" / file.name).write_bytes(file.read_bytes())
    (root / "tools/run").chmod(0o755)
    (root / "bin").mkdir()
    (root / "bin/colcon").write_text(COLCON)
    (root / "bin/colcon").chmod(0o755)
    return root


WHERE = ["python", "-c", "import sys; print(sys.prefix)"]


def run(root: Path, *command: str, first: Sequence[str] = ()) -> subprocess.CompletedProcess:
    found = [f for f in os.environ["PATH"].split(":") if not (Path(f) / "ros2").exists()]
    path = ":".join([*first, str(root / "bin"), *found])
    hidden = ("ROS_DISTRO", "AMENT_PREFIX_PATH", "PYTHONPATH", "VIRTUAL_ENV", "JOINTSEG_LOCKED")
    variables = {name: text for name, text in os.environ.items() if name not in hidden}
    words = [str(root / "tools/run"), *command]
    return subprocess.run(
        words, env={**variables, "PATH": path}, capture_output=True, text=True, timeout=100
    )


def test_help_is_given_without_setting_anything_up(small: Path) -> None:
    assert run(small).returncode == 2
    assert run(small, "--help").stdout.startswith("usage: tools/run COMMAND")
    asked = run(small, "python", "-m", "demo", "--help")
    assert asked.returncode == 1
    assert asked.stderr.startswith("tools/run: no environment yet")
    assert not list(small.glob(".venv*"))


@pytest.fixture(scope="module")
def ready(small: Path) -> Iterator[Path]:
    """The checkout, set up."""
    done = run(small, "true")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("set-up ") == 3
    return small


def prefix(root: Path, first: Sequence[str] = ()) -> Path:
    """The folder of the environment that a command runs in, where nothing needs to be made."""
    done = run(root, *WHERE, first=first)
    assert (done.returncode, done.stderr) == (0, "")
    return Path(done.stdout.strip())


def test_another_python_first_in_the_path_keeps_the_environment(
    ready: Path, tmp_path: Path
) -> None:
    before = prefix(ready)
    stamp = (before / "pyvenv.cfg").stat()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "own"], check=True)
    assert prefix(ready, first=[f"{tmp_path}/own/bin"]) == before
    for name in ("python3", *(f"python3.{minor}" for minor in range(10, 14))):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    assert prefix(ready, first=[str(tmp_path)]) == before == (ready / ".venv").resolve()
    assert (before / "pyvenv.cfg").stat() == stamp


def test_with_an_environment_help_comes_from_the_command(ready: Path) -> None:
    assert "usage: " in run(ready, "python", "-m", "json.tool", "--help").stdout


@pytest.mark.slow
def test_a_failing_rebuild_leaves_the_environment_that_works(ready: Path) -> None:
    before = prefix(ready)
    wanted = ready / "tools/requirements-core.txt"
    wanted.write_text("nothing-of-this-name @ file:///nowhere/nothing-1-py3-none-any.whl")
    failed = run(ready, "true")
    assert failed.returncode == 1
    assert "the step 'packages' failed" in failed.stderr
    assert "What worked before is as it was" in failed.stderr
    script = f". {ready}/.venv/env.sh && python -c 'import sys; print(sys.prefix)'"
    entered = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert entered.stdout.strip() == str(before)
    wanted.write_text("")
    assert prefix(ready) == before


@pytest.mark.slow
def test_other_packages_are_installed_beside_those_in_use(ready: Path) -> None:
    before = prefix(ready)
    user = started_in(before)
    try:
        (ready / "tools/requirements-core.txt").write_text("# other")
        assert run(ready, "true").returncode == 0
        after = prefix(ready)
        assert after != before and (before / "made").exists()
    finally:
        user.kill()
        user.wait()
    assert prefix(ready) == after == (ready / ".venv").resolve()
    assert not before.exists()

"""The set-up does what is due, survives being stopped, and says in one sentence what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment, machine, steps
from tools.activation import message_modules, prefixed
from tools.environment import due_steps, only_one, set_up
from tools.exports import repair
from tools.machine import SetUpError, check_python, check_tools, ros_is_sourced
from tools.place import Place, digest
from tools.steps import Step, all_steps, make_venv, reason, run

ROOT = Path(__file__).parents[2]


def step(name: str, key: str = "new") -> Step:
    return Step(name, name, key, lambda place: None)


STEPS = [step("python"), step("packages"), step("messages")]


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


# What is due


@pytest.mark.parametrize(
    ("stamps", "due"),
    [
        ({}, ["python", "packages", "messages"]),
        ({"python": "new", "packages": "new", "messages": "new"}, []),
        ({"python": "new", "packages": "new"}, ["messages"]),
        ({"python": "new", "packages": "new", "messages": "old"}, ["messages"]),
        ({"python": "new", "packages": "old", "messages": "new"}, ["packages", "messages"]),
        ({"python": "new"}, ["python", "packages", "messages"]),
    ],
    ids=["first", "nothing", "no messages", "messages", "packages", "stopped in packages"],
)
def test_what_changed_is_due_and_all_that_follows(stamps: dict, due: list[str]) -> None:
    assert names(due_steps(STEPS, stamps)) == due


def checkout(root: Path) -> Place:
    """The files that the keys are made from, in a folder of their own."""
    for name in ("package.xml", "CMakeLists.txt"):
        (root / name).write_text(name)
    for folder in ("msg", "tools/interfaces"):
        (root / folder).mkdir(parents=True)
    for file in ("msg/A.msg", "tools/requirements-core.txt", "tools/interfaces/B.msg"):
        (root / file).write_text("x")
    for file in ("exports.py", "steps.py", "activation.py"):
        (root / "tools" / file).write_text("")
    return Place(root, ros=False)


@pytest.mark.parametrize(
    ("file", "due"),
    [
        ("msg/A.msg", ["messages"]),
        ("CMakeLists.txt", ["messages"]),
        ("tools/interfaces/B.msg", ["messages"]),
        ("tools/requirements-core.txt", ["packages", "messages"]),
    ],
)
def test_a_changed_file_makes_its_step_due(file: str, due: list[str], tmp_path: Path) -> None:
    place = checkout(tmp_path)
    stamps = {step.name: step.key for step in all_steps(place)}
    assert names(due_steps(all_steps(place), stamps)) == []
    (tmp_path / file).write_text("y")
    assert names(due_steps(all_steps(place), stamps)) == due


def test_a_new_module_is_linked_and_a_changed_one_is_already(tmp_path: Path) -> None:
    place, module = checkout(tmp_path), tmp_path / "jointseg_ros" / "a.py"
    module.parent.mkdir()
    module.touch()
    stamps = {step.name: step.key for step in all_steps(place)}
    module.write_text("changed")
    assert names(due_steps(all_steps(place), stamps)) == []
    module.with_name("b.py").touch()
    assert names(due_steps(all_steps(place), stamps)) == ["messages"]


def test_a_moved_checkout_is_set_up_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    place = checkout(tmp_path / "a")
    stamps = {step.name: step.key for step in all_steps(place)}
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(due_steps(all_steps(Place(tmp_path / "b", ros=False)), stamps)) == 3


def test_a_key_changes_with_a_file_that_changes_its_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("x")
    before = digest(["a"], [one])
    one.rename(other)
    assert digest(["a"], [other]) != before


# Being stopped


def test_a_step_that_fails_stays_due_and_so_do_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(place: Place) -> None:
        raise SetUpError("no")

    place = Place(tmp_path, ros=False)
    place.venv.mkdir()
    for name in ("python", "packages", "messages"):
        place.remember(name, "old")
    steps = [step("python", "old"), Step("packages", "", "new", fail), step("messages", "old")]
    monkeypatch.setattr(environment, "all_steps", lambda place: steps)
    monkeypatch.setattr(environment, "check_machine", lambda ros: None)
    with pytest.raises(SetUpError):
        set_up(place)
    assert place.stamps() == {"python": "old"}


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    place = Place(tmp_path, ros=False)
    place.venv.mkdir()
    place.record.write_text('{"python": ')
    assert place.stamps() == {}


def test_a_venv_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, ros=False)
    place.venv.mkdir()
    (place.venv / "theirs").touch()
    place.forget(["python"])
    with pytest.raises(SetUpError, match="was not made by this set-up"):
        make_venv(place)
    assert [entry.name for entry in place.venv.iterdir()] == ["theirs"]


def test_two_set_ups_in_one_checkout_take_turns(tmp_path: Path) -> None:
    code = f"from tools.environment import only_one; only_one({str(tmp_path)!r}).__enter__()"
    command = [sys.executable, "-c", code]
    with only_one(tmp_path):
        other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert "waiting for another" in other.stdout.readline()
        assert other.poll() is None
    assert other.wait(timeout=30) == 0


# Saying what is wrong


def test_missing_tools_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "missing_tools", lambda: ["CMake", "a C++ compiler"])
    with pytest.raises(SetUpError) as error:
        check_tools()
    assert "CMake, a C++ compiler not found" in str(error.value)
    assert str(error.value).endswith("apt-get install cmake g++")


def test_an_empty_path_lacks_every_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert machine.missing_tools()[:3] == ["CMake", "make", "a C++ compiler"]


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_a_python_without_wheels_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(SetUpError, match=r"wheels of ROS 2 exist for 3\.10 to 3\.13"):
        check_python(ros=False, version=version)


def test_without_ros2_on_the_path_no_ros_counts_as_sourced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not ros_is_sourced()


def test_a_failed_command_is_reported_with_its_reason_and_its_log(tmp_path: Path) -> None:
    place = Place(tmp_path, ros=False)
    place.venv.mkdir()
    code = "import sys; print('much'); sys.exit('ERROR: it rains')"
    with pytest.raises(SetUpError, match="ERROR: it rains") as error:
        run(place, "packages", [sys.executable, "-c", code])
    assert str(place.log("packages")) in str(error.value)
    assert "much" in place.log("packages").read_text()


def test_a_package_that_cannot_be_fetched_makes_one_look_at_the_network() -> None:
    log = "WARNING: Retrying\nERROR: No matching distribution found for torch>=2.11\n"
    assert "network" in reason(log)
    assert "network" not in reason("CMake Error in CMakeLists.txt:\n  no such file\n")
    assert reason("") == "it said nothing"


# What it writes


EXPORT = """
set(x "/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include")
"""  # noqa: E501


def test_exports_name_the_headers_of_this_python(tmp_path: Path) -> None:
    file = tmp_path / "share/a/cmake/export_a__rosidl_generator_pyExport.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(EXPORT)
    paths = {"include": "/usr/include/python3.11", "purelib": "/env/site-packages"}
    assert repair(tmp_path, paths) == [file]
    inner = "/usr/include/python3.11;/env/site-packages/numpy/_core/include"
    assert file.read_text() == f'\nset(x "{inner}")\n'
    assert repair(tmp_path, paths) == []


def sourced(line: str, **variables: str) -> str:
    command = ["sh", "-euc", f'{line}\nprintf %s "$PATHS"']
    return subprocess.run(command, env=variables, capture_output=True, text=True).stdout


def test_the_activation_puts_folders_in_front_also_with_spaces_and_of_nothing() -> None:
    line = prefixed("PATHS", [Path("/a b"), Path("/c")])
    assert sourced(line, PATHS="/d") == "/a b:/c:/d"
    assert sourced(line, PATHS="") == "/a b:/c"
    assert sourced(line) == "/a b:/c"


def test_an_empty_install_is_not_activated(tmp_path: Path) -> None:
    with pytest.raises(SetUpError, match="colcon left no jointseg_ros/msg"):
        message_modules(Place(tmp_path, ros=False))


def test_the_oracles_alone_come_without_what_they_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str, list[str]] = {}

    def record(place: Place, step: str, command: list[object]) -> None:
        commands[step] = [str(word) for word in command]

    monkeypatch.setattr(steps, "run", record)
    steps.install(Place(tmp_path, ros=True))
    assert "--no-deps" in commands["oracles"] and "--no-deps" not in commands["packages"]
    named = {step for step, words in commands.items() if "oracles.txt" in " ".join(words)}
    assert named == {"oracles"}


def test_what_setup_py_wants_is_what_the_environment_gets() -> None:
    setup = (ROOT / "setup.py").read_text()
    for line in (ROOT / "tools" / "requirements-core.txt").read_text().splitlines():
        assert line.startswith("#") or f'"{line}"' in setup

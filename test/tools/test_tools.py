"""The set-up says in one sentence what is missing, and what it writes is right."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import machine, steps
from tools.activation import message_modules, prefixed
from tools.exports import repair
from tools.machine import SetUpError, check_python, check_tools, sourced_ros
from tools.place import Place
from tools.steps import reason, run

ROOT = Path(__file__).parents[2]


def place_in(root: Path, ros: str = "") -> Place:
    return Place(root, ros, "0" * 16, "1" * 16)


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
        check_python(ros="", version=version)


def test_without_ros2_on_the_path_no_ros_counts_as_sourced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros")
    monkeypatch.setenv("PATH", "/nowhere")
    assert sourced_ros() == ""


def test_a_sourced_ros_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ros2").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert sourced_ros() == "jazzy"
    assert place_in(tmp_path, sourced_ros()).venv.name.startswith(".venv-jazzy-")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros")
    monkeypatch.delenv("ROS_DISTRO")
    assert sourced_ros() == "ros"


def test_a_failed_command_is_reported_with_its_reason_and_its_log(tmp_path: Path) -> None:
    place = place_in(tmp_path)
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
    with pytest.raises(SetUpError, match="colcon left no jointseg_msgs/msg"):
        message_modules(place_in(tmp_path))


def test_the_oracles_alone_come_without_what_they_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str, list[str]] = {}

    def record(place: Place, step: str, command: list[object]) -> None:
        commands[step] = [str(word) for word in command]

    monkeypatch.setattr(steps, "run", record)
    place = place_in(tmp_path, ros="jazzy")
    place.venv.mkdir()
    steps.install(place)
    assert "--no-deps" in commands["oracles"] and "--no-deps" not in commands["packages"]
    named = {step for step, words in commands.items() if "oracles.txt" in " ".join(words)}
    assert named == {"oracles"}


def test_what_setup_py_wants_is_what_the_environment_gets() -> None:
    setup = (ROOT / "setup.py").read_text()
    for line in (ROOT / "tools" / "requirements-core.txt").read_text().splitlines():
        assert line.startswith("#") or f'"{line}"' in setup

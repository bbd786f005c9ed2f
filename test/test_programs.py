"""Every program runs from what colcon or pip has installed, with nothing of this checkout there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from jointseg_core import shipped_weights
from jointseg_eval.__main__ import PROGRAMS
from jointseg_eval.arguments import weights

ROOT = Path(__file__).parents[1]
PACKAGES = ("jointseg_core", "jointseg_objects", "jointseg_eval", "jointseg_ros")
OF_PIP = {"train"}
"""Programs that colcon does not install: nothing is trained on a vehicle."""


def outside(path: Iterable[Path], cwd: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """What Python does with these folders on its path, and no other of this checkout."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    found = [*map(str, path), *(p for p in others if p and Path(p).resolve() != ROOT)]
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(found)},
        capture_output=True,
        text=True,
        timeout=250,
    )


def test_colcon_installs_every_program_by_its_name() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    names = re.search(r"foreach\(program\s+([\w\s]+)\)", cmake)[1].split()
    assert {*names, "perception_node"} == PROGRAMS.keys() - OF_PIP
    for file in ("jointseg_eval/__main__.py", "jointseg_ros/perception_node.py"):
        assert os.access(ROOT / file, os.X_OK), file


def test_the_set_up_has_all_that_cmake_installs() -> None:
    from tools.steps import PACKAGE

    cmake = (ROOT / "CMakeLists.txt").read_text()
    installed = set(re.findall(r"install\(DIRECTORY (\w+) ", cmake))
    installed |= set(re.findall(r"ament_python_install_package\((\w+)\)", cmake))
    python = {"jointseg_core", "jointseg_objects", "jointseg_eval", "jointseg_ros"}
    assert installed == {"launch", "benchmarks", *python} <= set(PACKAGE)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python files and programs where CMakeLists.txt puts them; what rosidl makes stays outside."""
    prefix = tmp_path_factory.mktemp("prefix")
    programs = prefix / "lib" / "jointseg_ros"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, prefix / "python" / name)
    shutil.copytree(ROOT / "benchmarks", programs / "benchmarks")
    for name in PROGRAMS:
        shutil.copy(ROOT / "jointseg_eval" / "__main__.py", programs / name)
    shutil.copy(ROOT / "jointseg_ros" / "perception_node.py", programs / "perception_node")
    return prefix


EACH = """
import os, runpy, sys
import torchvision  # once, and torch with it, and not in each of the forks
for file in sys.argv[1:]:
    print("==", file, flush=True)
    if not (child := os.fork()):
        sys.argv, sys.path[0] = [file, "--help"], os.path.dirname(file)
        os.dup2(1, 2)
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)  # taking torch apart would last another second
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_program_runs_from_the_install_alone(prefix: Path) -> None:
    pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")
    names = [name for name in PROGRAMS if name not in OF_PIP]
    files = [prefix / "lib" / "jointseg_ros" / name for name in names]
    done = outside([prefix / "python"], prefix, "-c", EACH, *files)
    said = dict(zip(names, done.stdout.split("== ")[1:], strict=True))
    for name, text in said.items():
        lines = text.splitlines()
        assert lines[1].startswith("usage: ") and lines[-1] == "ended 0", text
        assert str(ROOT) not in text, name


def test_pip_makes_a_command_of_the_programs(tmp_path: Path) -> None:
    egg = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(egg, cwd=ROOT, check=True, capture_output=True, timeout=100)
    points = (tmp_path / "jointseg.egg-info" / "entry_points.txt").read_text()
    assert "jointseg = jointseg_eval.__main__:program" in points.splitlines()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that pip installs."""
    site = tmp_path_factory.mktemp("site")
    for name in (*PACKAGES[:3], "training"):
        shutil.copytree(ROOT / name, site / name)
    return site


COMMAND = "import sys; from jointseg_eval.__main__ import program; sys.argv[0] = 'jointseg'; "


def jointseg(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The console script as pip writes it."""
    return outside([site], site, "-c", COMMAND + "program()", *words)


def test_the_command_lists_its_programs_and_runs_them(site: Path) -> None:
    shown = jointseg(site)
    assert shown.returncode == 0 and all(f"  {name} " in shown.stdout for name in PROGRAMS)
    train = jointseg(site, "train", "--help")
    assert train.returncode == 0 and "--data" in train.stdout
    salvage = jointseg(site, "salvage", "--help")
    assert salvage.returncode == 0 and "damaged recording" in salvage.stdout


def test_a_program_that_is_not_there_is_said_in_a_sentence(site: Path) -> None:
    wrong = jointseg(site, "predikt")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "no program is called predikt; there is predict\n",
    )
    without = "sys.modules['jointseg_ros'] = None; "
    for name in ("benchmark", "launch"):
        of_ros = outside([site], site, "-c", COMMAND + without + "program()", name)
        assert of_ros.returncode == 5
        assert of_ros.stderr.startswith(f"{name} needs ROS 2, and this package built there by")


def test_an_interrupted_program_says_so_once(site: Path) -> None:
    (site / "jointseg_eval" / "predict.py").write_text(
        "import os\nfrom jointseg_core.command import run_program\n"
        "run_program(lambda: os.kill(os.getpid(), 2))\n"
    )
    done = jointseg(site, "predict")
    assert (done.returncode, done.stderr) == (130, "predict: interrupted.\n")


def test_shipped_weights_are_named_by_their_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights("segrpn") == weights("segrpn_tiny") == shipped_weights("segrpn")
    (tmp_path / "segrpn").mkdir()  # an export, say
    assert [weights(text) for text in ("segrpn", "./joint", "best.safetensors")] == [
        *(Path("segrpn"), Path("./joint"), Path("best.safetensors")),
    ]

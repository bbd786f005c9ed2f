"""What the package is made of: imports, manifests, messages, and what pip installs."""

import ast
import graphlib
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS_PACKAGE = re.compile(
    r"rclpy|cv_bridge|(rcl|ament|rosidl)_\w+|launch\w*|\w+_(msgs|srvs|interfaces|index_python)"
)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The modules that a file imports anywhere, with their packages in front."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


def foreign(package: str) -> dict[str, set[str]]:
    """File to the packages it imports, without its own and the standard library."""
    known = sys.stdlib_module_names | {package}
    return {str(file.relative_to(ROOT)): packages(file) - known for file in sources(package)}


# Imports


ARROWS = {  # who may import whom
    "jointseg_core": set(),
    "jointseg_objects": {"jointseg_core"},
    "jointseg_ros": {"jointseg_core", "jointseg_objects"},
    "jointseg_eval": {"jointseg_core", "jointseg_objects"},
    "training": {"jointseg_core", "jointseg_eval"},
    "demo": {  # it starts the nodes as processes
        *("jointseg_core", "jointseg_objects", "jointseg_eval", "training")
    },
    "benchmarks": {"jointseg_core", "jointseg_ros"},
    "tools": set(),
}


@pytest.mark.parametrize("package", ARROWS)
def test_packages_import_only_those_that_they_stand_on(package: str) -> None:
    forbidden = ARROWS.keys() - ARROWS[package] - {package}
    wrong = {file: names & forbidden for file, names in foreign(package).items()}
    assert sources(package)
    assert {file: names for file, names in wrong.items() if names} == {}


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def run_time_imports(tree: ast.AST) -> Iterator[str]:
    """What code imports, at its top or later; what is imported for types alone left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from run_time_imports(node)


def import_graph() -> dict[str, set[str]]:
    """Module to the modules of the project that it imports: the named one, not its package."""
    files = {module_name(file): file for package in ARROWS for file in sources(package)}
    return {
        name: {
            found if found in files else found.rpartition(".")[0]
            for found in run_time_imports(ast.parse(file.read_text()))
        }
        & files.keys()
        for name, file in files.items()
    }


def test_no_module_needs_itself_however_late() -> None:
    graphlib.TopologicalSorter(import_graph()).prepare()  # raises CycleError


RUNTIMES = {  # imported by those who ask for them, inside functions
    "video.py": {"av"},
    "export/backends.py": {"onnxruntime", "openvino"},
    "export/writers.py": {"onnx", "openvino"},
    "export/quantization.py": {"nncf"},
}


def test_the_core_imports_nothing_but_torch_torchvision_numpy_and_safetensors() -> None:
    allowed = {"torch", "torchvision", "numpy", "safetensors"}
    for file, names in foreign("jointseg_core").items():
        drawing = {"PIL", "cv2"} if file.endswith(("visualize.py", "images.py")) else set()
        kernels = {"triton"} if file.endswith("mask_kernel.py") else set()  # loaded where it works
        runtimes = RUNTIMES.get(file.removeprefix("jointseg_core/"), set())
        assert names <= allowed | drawing | kernels | runtimes, file
    for file, names in RUNTIMES.items():
        assert not names & at_the_top(ROOT / "jointseg_core" / file), file


def test_what_follows_from_results_needs_numpy_alone() -> None:
    for file, names in foreign("jointseg_objects").items():
        assert names <= {"jointseg_core", "numpy"}, file


def at_the_top(file: Path) -> set[str]:
    """The packages that a file imports as soon as it is imported."""
    return set(re.findall(r"^(?:from|import) (\w+)", file.read_text(), re.MULTILINE))


WITHOUT_ROS = ["jointseg_core", "jointseg_objects", "jointseg_eval", "training", "demo"]


@pytest.mark.parametrize("package", WITHOUT_ROS)
def test_only_the_nodes_and_their_benchmarks_import_ros(package: str) -> None:
    for file, names in foreign(package).items():
        assert {name for name in names if ROS_PACKAGE.fullmatch(name)} == set(), file


# Every module of the core stands on those above it or beside it.
LAYERS = (
    {"tensors", "errors", "files", "pickles", "runtime.bf16", "runtime.malloc"},
    {"boxes", "layers", "classes", "letterbox", "predictions", "roi_align", "command"},
    {"panoptic", "preprocessing", "targets", "images", "messages", "video"},
    {"backbone", "refinement", "regions", "runtime.folding", "runtime.winograd", "scale_maps"},
    {"alignment", "correlation", "joint_config", "joint_layers", "rpn", "segmentation"},
    {"exchange", "rdsnet", "rdsnet_s", "segrpn"},
    {"joint", "cuda.fixed_shapes", "cuda.mask_kernel"},
    {"cuda.rdsnet", "cuda.segrpn"},
    {"cuda.joint"},
    {"checkpoint", "cuda.graph", "visualize"},
    {"export.graphs", "export.limits"},
    {"export.backends"},
    {"export.choice"},
    {"predictor"},
    {"export.quantization", "export.self_check"},
    {"export.writers", "model_check"},
    {"export.model"},
    {"export.__main__"},
)


def test_the_layers_of_the_core_point_one_way() -> None:
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    for file in sources("jointseg_core"):
        module = ".".join(file.relative_to(ROOT / "jointseg_core").with_suffix("").parts)
        if module.endswith("__init__"):
            continue
        assert module in height, f"{module} has no layer yet: add it to LAYERS"
        for name in imported(file):
            for other in in_the_core(name) & height.keys():
                assert height[other] <= height[module], f"{file.name} imports {other}"


def in_the_core(name: str) -> set[str]:
    """What `jointseg_core.a.b.c` may mean of the core: a, or a.b."""
    parts = name.removeprefix("jointseg_core.").split(".")
    return {parts[0], ".".join(parts[:2])} if name.startswith("jointseg_core.") else set()


def public_names(file: Path) -> set[str]:
    """What a module defines at its top, without what starts with an underscore or is imported."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            found |= {name.id for name in names}
    return {name for name in found if not name.startswith("_")}


def test_the_core_has_few_public_names() -> None:
    assert 100 < sum(len(public_names(file)) for file in sources("jointseg_core")) <= 221


def read_together(module: str) -> set[str]:
    """The modules that a module imports, directly or not, and itself."""
    graph, found, left = import_graph(), set(), {module}
    while left:
        found.add(name := left.pop())
        left |= graph[name] - found
    return found


def test_rdsnet_is_read_in_nine_files() -> None:
    files = read_together("jointseg_core.rdsnet")
    assert {"jointseg_core.correlation", "jointseg_core.refinement"} <= files
    assert len(files) <= 9


def test_the_models_do_not_import_each_other() -> None:
    for one, other in permutations(("rdsnet", "rdsnet_s", "segrpn"), 2):
        names = imported(ROOT / "jointseg_core" / f"{one}.py")
        assert not any(f"{name}.".startswith(f"jointseg_core.{other}.") for name in names)


def test_no_node_module_hides_one_of_the_standard_library() -> None:
    # an executable's own folder comes first on sys.path, also when it is a link into the sources
    names = {file.stem for file in sources("jointseg_ros")} - {"__init__"}
    reads_mail = {"mailbox"}  # which nothing imports here
    assert names & sys.stdlib_module_names <= reads_mail


# The ROS package


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def texts(tag: str) -> set[str]:
    return {element.text for element in manifest().iter(tag)}


def test_package_xml_is_valid() -> None:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    assert warnings == []
    assert (parsed.name, parsed.get_build_type()) == ("jointseg_ros", "ament_cmake")


def test_the_messages_are_a_package_that_needs_nothing_but_messages() -> None:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT / "msg" / "package.xml"), warnings=warnings)
    assert warnings == []
    assert (parsed.name, parsed.version) == ("jointseg_msgs", manifest().findtext("version"))
    assert "rosidl_interface_packages" in {group.name for group in parsed.member_of_groups}
    needed = {depend.name for depend in parsed.build_depends + parsed.exec_depends}
    assert needed == {"std_msgs", "sensor_msgs", "rosidl_default_runtime"}
    assert "jointseg_msgs" in texts("depend")


def test_colcon_finds_both_packages_in_a_workspace_laid_out_as_the_readme_says(
    tmp_path: Path,
) -> None:
    colcon = shutil.which("colcon") or pytest.skip("colcon is not installed")
    [link] = re.findall(r"^(ln -s .*?) +#", (ROOT / "README.md").read_text(), re.MULTILINE)
    package = tmp_path / "src" / "jointseg"
    (package / "msg").mkdir(parents=True)
    for file in ("package.xml", "CMakeLists.txt", "msg/package.xml", "msg/CMakeLists.txt"):
        shutil.copy(ROOT / file, package / file)
    subprocess.run(link.split(), cwd=tmp_path, check=True)
    variables = os.environ | {"COLCON_HOME": str(tmp_path), "COLCON_LOG_PATH": "/dev/null"}
    found = subprocess.run(
        [colcon, "list"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert found[::3] == ["jointseg_msgs", "jointseg_ros"]
    assert set(found[2::3]) == {"(ros.ament_cmake)"}


def test_package_xml_names_every_ros_package_that_the_nodes_import() -> None:
    declared = texts("depend") | texts("exec_depend")
    names = set().union(*foreign("jointseg_ros").values())
    names |= packages(ROOT / "launch" / "perception.launch.py") - sys.stdlib_module_names
    ros = {
        name for name in names if re.search(r"_msgs$|_srvs$|_interfaces$|^rcl|^launch|^ament", name)
    }
    assert {"rclpy", "vision_msgs", "launch_ros"} <= ros
    assert ros <= declared


def test_package_xml_names_the_programs_that_the_launch_files_start() -> None:
    started = (ROOT / "jointseg_ros/launching/replay.py").read_text()
    verbs = {f"ros2{verb}" for verb in re.findall(r'"ros2", "(\w+)"', started)}
    types = set(re.findall(r'"(\w+_interfaces)/srv', started))
    assert verbs == {"ros2bag", "ros2service"} and types
    assert verbs | types | {"ros2launch"} <= texts("exec_depend")


def test_package_xml_uses_rosdep_keys_for_python_packages() -> None:
    keys = {"numpy": "python3-numpy", "cv2": "python3-opencv", "PIL": "python3-pil"}
    names = set().union(*foreign("jointseg_ros").values(), *foreign("jointseg_core").values())
    for name in names & keys.keys():
        assert keys[name] in texts("exec_depend")


def test_versions_and_licence_agree() -> None:
    setup = (ROOT / "setup.py").read_text()
    version = manifest().findtext("version")
    assert f'version="{version}"' in setup
    assert manifest().findtext("license") == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


# pip


DISTRIBUTIONS = {  # where the name to install is not the name to import
    "PIL": "pillow",
    "cityscapesscripts": "cityscapesScripts",
    "cv2": "opencv-python-headless",
    "mcap_ros2": "mcap-ros2-support",
    "yaml": "pyyaml",
    "_pytest": "pytest",
}


EXTRAS = {"mlflow", "ray", "wandb"}  # imported by those who ask for them, inside functions


def test_pip_and_the_environment_ask_for_the_same() -> None:
    """`pip install ".[eval]"` brings what the set-up brings."""
    setup = ast.parse((ROOT / "setup.py").read_text())
    lines = (ROOT / "tools" / "requirements-eval.txt").read_text().splitlines()
    for node in ast.walk(setup):
        if isinstance(node, ast.Assign) and node.targets[0].id == "EVALUATION":
            asked = set(ast.literal_eval(node.value))
            assert asked - {"opencv-python-headless<5"} == {n for n in lines if n[0] != "#"}


def test_the_environment_brings_all_that_training_and_tests_import() -> None:
    files = sorted((ROOT / "tools").glob("requirements-*.txt"))
    brought = set(re.findall(r"^[\w-]+", "\n".join(file.read_text() for file in files), re.M))
    outside_the_product = ("jointseg_eval", "training", "demo", "benchmarks", "test")
    names = set().union(*(n for package in outside_the_product for n in foreign(package).values()))
    names -= {*ARROWS, *EXTRAS, *(file.stem for file in sources("test"))}
    names -= {"faults"}
    wanted = {DISTRIBUTIONS.get(name, name) for name in names if not ROS_PACKAGE.fullmatch(name)}
    assert {"torch", "rosbags", "pytest"} <= wanted
    assert wanted <= brought


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip installs in `lib`, and its metadata."""
    root = tmp_path_factory.mktemp("pip")
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(root), "build"]
    folders = ["--build-base", str(root / "build"), "--build-lib", str(root / "lib")]
    subprocess.run([*build, *folders], cwd=ROOT, check=True, capture_output=True, timeout=100)
    return root


def data_of(root: Path, package: str) -> set[str]:
    """The files of a package that are no modules."""
    found = (file for file in (root / package).rglob("*.*") if file.is_file())
    return {str(file.relative_to(root)) for file in found if file.suffix not in (".py", ".pyc")}


def test_pip_installs_the_core_and_the_evaluation_with_their_data(installed: Path) -> None:
    lib = installed / "lib"
    packages = {"jointseg_core", "jointseg_objects", "jointseg_eval"}
    assert {entry.name for entry in lib.iterdir()} == packages
    messages = data_of(lib, "jointseg_eval/recordings/msg")
    for package in packages:
        assert data_of(lib, package) - messages == data_of(ROOT, package)
        modules = {str(file.relative_to(ROOT)) for file in sources(package)}
        assert {str(file.relative_to(lib)) for file in (lib / package).rglob("*.py")} == modules


def test_pip_asks_for_no_more_than_the_core_needs(installed: Path) -> None:
    requires = (installed / "jointseg.egg-info" / "requires.txt").read_text().split("\n\n")[0]
    wanted = ["numpy>=1.21", "safetensors>=0.4.3", "torch>=2.11", "torchvision>=0.26"]
    assert sorted(requires.split()) == wanted


def test_what_pip_installed_knows_the_messages(installed: Path) -> None:
    code = (
        "from jointseg_eval.recordings import types; print(types.__file__); "
        "print(sum(n.startswith(('vision_msgs/', 'jointseg_msgs/')) for n in "
        "types.message_types().fielddefs))"
    )
    variables = {**os.environ, "PYTHONPATH": str(installed / "lib"), "AMENT_PREFIX_PATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=installed, env=variables, check=True, capture_output=True, text=True
    )
    file, known = done.stdout.split()
    assert file.startswith(str(installed))
    assert int(known) == 5 + 16


def test_where_colcon_installed_the_messages_are_in_the_share_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = pytest.importorskip("jointseg_eval.recordings.types")
    share = tmp_path / "install" / "share"
    shutil.copytree(ROOT / "msg", share / "jointseg_msgs" / "msg")
    monkeypatch.setattr(types, "ROOT", tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'install'}")
    known = types.message_types.__wrapped__().fielddefs
    assert "jointseg_msgs/msg/InstanceMaskArray" in known
    assert "vision_msgs/msg/LabelInfo" not in known

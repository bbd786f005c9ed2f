"""Kept trainings and scores are those of the code as it is, whatever its comments say."""

from pathlib import Path

import pytest

from training.ablations import code_version
from training.ablations.code_version import (
    DECIDES_NOTHING,
    NETWORKS,
    RECIPES,
    ROOT,
    SCORING,
    TRAINING,
    digest,
    reached,
)

FILES = {
    "start.py": "from parts import one\nimport parts.two as two\n",
    "parts/__init__.py": '"""Parts."""\nimport torch\n',
    "parts/one.py": 'LIMIT = 3\n"""The most."""\ndef f(x):\n    """Doubled."""\n    return 2 * x\n',
    "parts/two.py": "def g():\n    from parts.three import h\n\n    return h\n",
    "parts/three.py": "h = 1\n",
    "other.py": "x = 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def now(root: Path, *left_out: str) -> str:
    return digest(reached("start", left_out, root))


def test_every_import_is_followed_and_nothing_else(root: Path):
    every = {"start", "parts", "parts.one", "parts.two", "parts.three"}
    assert set(reached("start", (), root)) == every
    assert set(reached("start", {"parts.two"}, root)) == every - {"parts.two", "parts.three"}


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "other"),
    [
        ("parts/one.py", "2 * x", "3 * x", True),
        ("parts/one.py", "LIMIT = 3", "LIMIT = 4", True),
        ("parts/three.py", "h = 1", "h = 2", True),
        ("parts/one.py", "Doubled.", "Twice as much.", False),
        ("parts/one.py", "The most.", "At most.", False),
        ("parts/one.py", '    """Doubled."""\n', "", False),
        ("parts/one.py", "return 2 * x", "return (2 * x)  # doubled", False),
        ("other.py", "x = 1", "x = 2", False),
    ],
)
def test_statements_count_and_texts_do_not(root: Path, name: str, old: str, new: str, other: bool):
    before = now(root)
    edit(root, name, old, new)
    assert (now(root) != before) is other


def test_a_new_module_counts_once_it_is_imported(root: Path):
    before = now(root)
    (root / "parts/four.py").write_text("y = 1\n")
    assert now(root) == before
    edit(root, "start.py", "import one", "import four, one")
    assert now(root) != before


def test_what_decides_a_result_is_among_it():
    training = {*reached(TRAINING, DECIDES_NOTHING | NETWORKS)}
    training |= {*reached("jointseg_core.rdsnet", {"jointseg_core"})}
    core = {f"jointseg_core.{name}" for name in ("rdsnet", "losses", "targets", "backbone")}
    loop = {f"training.runs.{name}" for name in ("stages", "run", "average", "schedule")}
    data = {f"jointseg_eval.datasets.{name}" for name in ("augmentation", "loading", "cityscapes")}
    assert core | loop | data | {RECIPES} <= training and "jointseg_core.segrpn" not in training
    scoring = {*reached(SCORING, DECIDES_NOTHING | NETWORKS)}
    assert {
        "jointseg_eval.metrics.average_precision",
        "jointseg_core.refinement",
        SCORING,
    } <= scoring
    assert not any(name.startswith("training.scenes") for name in training | scoring)


def test_modules_that_are_named_exist():
    for name in (*DECIDES_NOTHING, *NETWORKS, TRAINING, SCORING, RECIPES):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()


TREE = {
    "training/train.py": "from jointseg_core import Target\nfrom training import recipes, runs\n",
    "training/recipes.py": "RECIPES = {}\ndef check(): ...\n",
    "training/runs/__init__.py": "from training.runs import records, stages\n",
    "training/runs/records.py": "",
    "training/runs/stages.py": "from jointseg_core.segrpn import SegRPN\n",
    "jointseg_core/__init__.py": "from jointseg_core import checkpoint\n",
    "jointseg_core/checkpoint.py": "from jointseg_core import joint, rdsnet, rdsnet_s, segrpn\n",
    "jointseg_core/rdsnet.py": "from jointseg_core import losses\n",
    "jointseg_core/joint.py": "from jointseg_core import rdsnet\n",
    "jointseg_core/rdsnet_s.py": "from jointseg_core import losses\n",
    "jointseg_core/segrpn.py": "from jointseg_core import losses, scale_maps\n",
    "jointseg_core/losses.py": "",
    "jointseg_core/scale_maps.py": "",
}


@pytest.mark.parametrize(
    ("name", "more", "networks"),
    [
        ("training/recipes.py", "MORE = 3", ""),
        ("training/recipes.py", "def steps_of(): ...", "joint rdsnet rdsnet_s segrpn"),
        ("training/runs/records.py", "x = 3", ""),
        ("training/runs/stages.py", "x = 3", "joint rdsnet rdsnet_s segrpn"),
        ("jointseg_core/rdsnet.py", "x = 3", "joint rdsnet"),
        ("jointseg_core/joint.py", "x = 3", "joint"),
        ("jointseg_core/scale_maps.py", "x = 3", "segrpn"),
        ("jointseg_core/losses.py", "x = 3", "joint rdsnet rdsnet_s segrpn"),
    ],
)
def test_a_change_is_one_to_the_networks_that_it_concerns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: str, networks: str
):
    for file, text in TREE.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.setattr(reached, "__defaults__", (tmp_path,))
    version = code_version.training_code.__wrapped__
    before = {network: version(network) for network in sorted(NETWORKS)}
    edit(tmp_path, name, TREE[name], f"{TREE[name]}\n{more}\n")
    changed = [network for network in before if version(network) != before[network]]
    assert changed == [f"jointseg_core.{network}" for network in networks.split()]

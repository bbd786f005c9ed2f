"""What every test starts with: a ROS domain of its own, one thread, and untrained weights."""

import fcntl
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import pytest
import torch

from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by a shell with `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or no child could be interrupted

EVALUATION = {"av", "cv2", "jinja2", "mcap", "pycocotools", "rich", "rosbags"}
STANDING_ON_IT = {"benchmarks", "demo", "jointseg_eval", "training"}
OPTIONAL = {"hypothesis", "mcap", "mcap_ros2", "rosbags"}
DOMAINS = range(1, 102)  # above these, DDS would take ports that the system gives to others


def lacking(file: Path) -> list[str]:
    """The packages that a test module cannot do without and that are not installed.

    A vehicle has the nodes and the core, and nothing of what all else needs.
    """
    names = set(re.findall(r"^(?:from|import) (\w+)", file.read_text(), re.MULTILINE))
    needed = names & OPTIONAL | (EVALUATION if names & STANDING_ON_IT else set())
    return sorted(name for name in needed if find_spec(name) is None)


HERE = Path(__file__).parent
LEFT_OUT = {str(file.relative_to(HERE)): lacking(file) for file in sorted(HERE.rglob("test_*.py"))}
collect_ignore = [name for name, missing in LEFT_OUT.items() if missing]


def pytest_report_header() -> list[str]:
    return [f"left out: {name}, without {', '.join(LEFT_OUT[name])}" for name in collect_ignore]


@contextmanager
def free_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses meanwhile."""
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"jointseg-test-{os.getuid()}-domain-{domain}"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise RuntimeError(f"every ROS domain from {DOMAINS[0]} to {DOMAINS[-1]} is in use by a test")


@pytest.fixture(scope="session", autouse=True)
def _session_domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A domain for what lives longer than one test, and a folder for the logs of nodes."""
    with free_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros-log")))
        yield


@pytest.fixture(autouse=True)
def ros_domain(_session_domain: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The ROS_DOMAIN_ID of this test, set for it and for the processes that it starts."""
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain


@pytest.fixture(scope="session")
def rdsnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny RDSNet, saved as a checkpoint."""
    return _save_untrained("rdsnet", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def segrpn_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny SegRPN, saved as a checkpoint."""
    return _save_untrained("segrpn", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def joint_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny joint network, saved as a checkpoint."""
    return _save_untrained("joint", tmp_path_factory.mktemp("weights"))


def _save_untrained(model_type: str, folder: Path) -> Path:
    torch.manual_seed(0)
    model = build_model(preset(model_type, "tiny"))
    path = folder / f"{model_type}_untrained.safetensors"
    save_model(model, path, CITYSCAPES, Preprocessing(input_size=(256, 512)))
    return path


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The folder of real pictures named by JOINTSEG_PICTURES; the test is skipped without it."""
    folder = os.environ.get("JOINTSEG_PICTURES")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"JOINTSEG_PICTURES is {folder!r}, and not a folder of pictures")
    return Path(folder)

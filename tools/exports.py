"""Repair the CMake files of the ROS wheels.

Their export files name the headers of Python and NumPy at the place where the wheels were built,
such as `/opt/python/cp311-cp311/include/python3.11`. CMake stops on paths that do not exist, so
these are rewritten to the places of the Python that runs this.
"""

import argparse
import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path

PATTERN = "share/*/cmake/export_*__rosidl_generator_pyExport.cmake"
BUILD_PYTHON = r"/opt/python/cp\w+-cp\w+"
INCLUDE = re.compile(BUILD_PYTHON + r"/include/python3\.\w+")
PACKAGES = re.compile(BUILD_PYTHON + r"/lib/python3\.\w+/site-packages")


def repair(prefix: Path, paths: Mapping[str, str] | None = None) -> list[Path]:
    """Rewrite the export files under `prefix` and return those that changed.

    `paths` has the keys `include` and `purelib`; the default is what sysconfig says.
    """
    paths = paths or sysconfig.get_paths()
    return [file for file in sorted(prefix.glob(PATTERN)) if _rewrite(file, paths)]


def _rewrite(file: Path, paths: Mapping[str, str]) -> bool:
    before = file.read_text()
    after = INCLUDE.sub(lambda _: paths["include"], before)
    after = PACKAGES.sub(lambda _: paths["purelib"], after)
    file.write_text(after)
    return after != before


if __name__ == "__main__":
    argparse.ArgumentParser("tools.exports", description=__doc__.splitlines()[0]).parse_args()
    repair(Path(sysconfig.get_path("data")))

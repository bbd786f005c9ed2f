"""Large images between processes: the Fast DDS profile, and whether an environment wants it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

PROFILE = Path("launch/config/fastdds_large_images.xml")
"""Below the checkout, and below the package's share folder."""

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 (Lyrical) the second."""


def environment(profile: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to an environment so that Fast DDS reads the profile.

    None where the environment has a profile or transports of its own, or names another RMW.
    """
    own = any(given.get(name) for name in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"))
    other = "fastrtps" not in given.get("RMW_IMPLEMENTATION", "fastrtps")
    return {} if own or other else dict.fromkeys(PROFILE_VARIABLES, str(profile))


def profile() -> Path:
    """The profile of this checkout, else the installed one."""
    here = Path(__file__).resolve().parents[1] / PROFILE
    return here if here.is_file() else Path(get_package_share_directory("jointseg_ros")) / PROFILE

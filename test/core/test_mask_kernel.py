"""The Triton kernel gives what the readable crop gives, in Triton's interpreter on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

COMPARE = """
import torch
from jointseg_core import Letterbox
from jointseg_core.cuda import mask_kernel
from jointseg_core.cuda import rdsnet as rdsnet_fixed

torch.manual_seed(0)
frame = Letterbox((50, 150), (64, 128))  # wider than one block of the kernel
windows = torch.tensor([[0, 0, 150, 50], [140, 45, 150, 50], [3, 5, 4, 46], [0, 0, 0, 0]])
logits = torch.randn(4, 16, 32)
for capacity in (8000, 80):
    inputs = logits, windows, frame, torch.tensor(0.2), capacity
    readable, kernel = rdsnet_fixed._crop_masks(*inputs), mask_kernel.crop_masks(*inputs)
    assert kernel[0].dtype == torch.bool and (kernel[0] != readable[0]).sum() <= 1
    if capacity == 8000:
        assert kernel[0].any()
        torch.testing.assert_close(kernel[1:], readable[1:])
"""


@pytest.mark.slow
def test_it_gives_pixels_and_profiles_of_the_readable_crop():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # read when triton is imported
    command = [sys.executable, "-c", COMPARE]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

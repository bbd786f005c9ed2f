"""Every program ends with a sentence and the exit code of what went wrong."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from jointseg_core.command import exit_code
from jointseg_core.errors import (
    BadBag,
    BadCheckpoint,
    BadConfig,
    BadDataset,
    BadImage,
    BadInput,
    ResourceError,
    SegError,
    in_words,
)


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SegError("it failed"), 1),
        (BadConfig("what"), 2),
        (BadInput("what"), 3),
        (BadImage("step", "what"), 3),
        (BadBag("what"), 3),
        (BadDataset("what"), 3),
        (BadCheckpoint("what"), 3),
        (ResourceError("what"), 5),
        (OSError(28, "No space left on device"), 5),
        (OSError(36, "File name too long", "a" * 300), 3),
        (MemoryError(), 5),
        (torch.OutOfMemoryError("CUDA out of memory"), 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5),
        (KeyError("width"), 1),
        (RecursionError("maximum recursion depth\nexceeded"), 1),
    ],
)
def test_an_error_is_one_sentence_and_a_code(error, code, capsys):
    assert exit_code(raising(error)) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    ("raises", "said"),
    [
        (lambda: json.loads('{"a":'), "it is no JSON from line 1, column 6 on"),
        (lambda: json.loads("7" * 5000), "a number in it has thousands of digits"),
        (lambda: b"\xff".decode(), "it is no text in UTF-8"),
        (lambda: {}["width"], "'width' is missing, or not known"),
        (lambda: None.width, "something in it is of another kind than expected"),
        (lambda: BadBag(x=1), "something in it is of another kind than expected"),
        (lambda: os.stat("/none/at/all"), "No such file or directory"),
        (lambda: (lambda *, a: a)(b=1), "it says 'b', which is not known"),
        (lambda: (lambda *, a: a)(), "it lacks 'a'"),
        (lambda: (_ for _ in ()).throw(MemoryError()), "MemoryError"),
    ],
)
def test_what_a_parser_raises_is_said_in_our_words(raises, said):
    with pytest.raises(Exception) as caught:
        raises()
    assert in_words(caught.value) == said


def test_with_debug_the_traceback_comes_before_the_sentence(capsys):
    assert exit_code(raising(BadBag("no recording there")), debug=True) == 3
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and said.endswith("\nno recording there\n")


def test_what_is_returned_is_the_code():
    assert exit_code(lambda: None) == 0 and exit_code(lambda: 4) == 4
    assert exit_code(raising(KeyboardInterrupt())) == 130


def test_errors_cross_from_one_process_to_another():
    copy = pickle.loads(pickle.dumps(BadImage("step", "step is 7")))
    assert (copy.reason, str(copy)) == ("step", "step is 7")


def test_programs_that_see_no_network_start_without_torch():
    code = "import sys, jointseg_eval.salvage; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"

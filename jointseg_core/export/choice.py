"""Backend "auto": the export of a checkpoint that is known to be faster than torch, or torch.

Looked at are the exports beside the checkpoint, W_FORM_PRECISION for W.safetensors; where the
weights are those inside an export's folder, that folder. One fits that was made of these weights,
whose files are whole, whose self-check passed, and that computes in a precision asked for. Of
these, the one is taken whose self-check measured the least time relative to torch, if that was
less than torch's. No network is timed at the start: the same files lead to the same choice, at
once, in the memory of one model. On another kind of CPU than the one that wrote an export
the choice is as correct, but another one may be faster.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from jointseg_core.errors import BadCheckpoint, SegError
from jointseg_core.export.backends import CHECKPOINT, Export, Exported, is_export
from jointseg_core.export.limits import LIMITS, problem

_FORMS = ("openvino", "onnx")
"""What holds data only. An aoti package is code, which runs for those who name it."""


class _Candidate(NamedTuple):
    """An export that is whole, and its time for a call over that of torch."""

    folder: Path
    export: Export
    ratio: float


def fastest_export(
    path: str | Path, allowed: Collection[str], precision: str
) -> tuple[Exported | None, str]:
    """The export to run a checkpoint by on a CPU, ready to run, or None for torch.

    path is the checkpoint's file, or the folder of an export of it. allowed are the precisions that
    an export may have, precision is what torch would compute in. The second value says, for a log,
    what is there and what speaks for and against it. What is damaged, of other weights, or cannot
    be opened is left out with a warning.
    """
    chosen: Exported | None = None
    said = []
    for one in sorted(_candidates(Path(path).resolve(), precision), key=lambda one: one.ratio):
        said.append(f"{one.folder.name} {_what_counts(one, allowed)}")
        if chosen is None and _fits(one, allowed) and one.ratio < 1:
            chosen = _opened(one)
            if chosen is None:
                said[-1] = f"{one.folder.name} cannot be opened"
    return chosen, "; ".join(said) or "no other backend's export can run these weights"


def _candidates(path: Path, precision: str) -> Iterator[_Candidate]:
    for folder in _folders(path):
        try:
            export = Export.read(folder)
            export.check_source(folder, folder / CHECKPOINT if is_export(path) else path)
            if reason := problem(export.self_check, export.precision):
                raise BadCheckpoint(f"it did not pass its self-check: {reason}")
            ratio = float(export.self_check.get("time_to_torch", {}).get(precision, math.inf))
        except Exception as error:  # whatever is wrong with it, torch can run
            _leave_out(folder, error)
        else:
            yield _Candidate(folder, export, ratio if ratio > 0 else math.inf)


def _folders(path: Path) -> list[Path]:
    """Where exports of a checkpoint are looked for, what has no folder left out."""
    if is_export(path):
        return [path]
    named = [Export.folder(path, form, precision) for form in _FORMS for precision in LIMITS]
    return [folder for folder in named if folder.is_dir()]


def _fits(one: _Candidate, allowed: Collection[str]) -> bool:
    export = one.export
    one_image = export.batch == 1  # others fill up their batch for each camera
    data_for_cpus = export.form in _FORMS and export.device == "cpu"
    return one_image and data_for_cpus and export.precision in allowed


def _what_counts(one: _Candidate, allowed: Collection[str]) -> str:
    """What decided about a candidate, as the end of a sentence."""
    if not _fits(one, allowed):
        several = "" if one.export.batch == 1 else f" and takes {one.export.batch} images in a call"
        return (
            f"is for {one.export.form} in {one.export.precision}{several}, which was not asked for"
        )
    if one.ratio == math.inf:
        return "says no time; export again"
    return f"takes {one.ratio:.2f} of torch's time"


def _opened(one: _Candidate) -> Exported | None:
    try:
        return Exported.load(one.folder, one.export)
    except Exception as error:  # a runtime raises what it likes
        _leave_out(one.folder, error)
        return None


def _leave_out(folder: Path, error: Exception) -> None:
    reason = str(error) if isinstance(error, SegError) else repr(error)
    warnings.warn(f"the export {folder} is left out: {reason}", stacklevel=5)

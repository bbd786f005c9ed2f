"""Which cases are of which kind of fault: a fault that was found, and at least ten siblings."""

from __future__ import annotations

import re

from faults.contract import Case

KINDS = {
    "a request kills the node": r"nodes: (a request|.*transitions|requests|.*turns through)",
    "settings that kill": r"again: (watchdog|batch|num_threads|max_|score)|nodes: parameters of",
    "weights that are no file": r"openings: (weights|a manifest|an export)|nodes: .* no file",
    "memory that grows with sizes": r".*(of other sizes|changes of size|sizes that change)",
    "an error without a text": r"again: an error without|nodes: weights that are not there",
    "small file, much memory": (
        r"bombs: .*chunk|bags: a chunk|checkpoints: (a compress|one number|a wide)"
    ),
    "newer is called damaged": r".* (of|in) (format [^-0'N1\[{]|the next format|the future)",
    "peers that stop": r"peers: a (worker|rank)",
    "the same thing twice": (
        r"damage: a (file|link|hard link) (listed|beside)|fleets: .*(five times|at once)"
        r"|datasets: (ids|names).* twice"
    ),
    "clocks": r"again: a clock|nodes: stamps|bags: .*times? ",
    "hangs on files that are none": r"openings: .* (pipe|device|folder|link)",
    "work before a check": r"bombs: (a type|metadata)|.*head_depth",
    "damage that is called sound": r"damage: (?!a (file|link|hard link) (listed|beside))",
    "a state file that is damaged": (
        r"again: a cache (of [^f]|that|cut|nested)|checkpoints: the newest of"
    ),
    "disk full, then again": r"peers: no room|programs: a full disk",
    "small input, large output": r"images: (a frame_id|encoding of)|checkpoints: a class of",
    "weights that are wrong but finite": r"again: weights [^o]",
    "words": r"programs: .* (nan|-\d|0|inf)$|datasets: boxes of 0",
    "two readers, two answers": r"(images|pictures): .*, (node|recording)$",
    "settings without a check": (r"values: a setting|checkpoints: .*(threshold|iou|detections) of"),
    "silence where a user waits": r"signals: |programs: SIG|trainings: SIG",
    "programs without --help": r"programs: .* --help",
    "files of other runtimes": r"runtimes: ",
    "one bad entry hides the rest": r"datasets: one entry",
    "values that parse and mean nothing": (
        r"values: (?!a setting)|checkpoints: (by_sides|keep_ratio|a training of [^at])"
    ),
}
"""Regular expressions for a case as a text, which is its group and its name."""


def of_kind(kind: str, cases: list[Case]) -> list[Case]:
    """Its cases."""
    return [case for case in cases if re.match(KINDS[kind], str(case))]

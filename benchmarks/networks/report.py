"""What a run says on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.networks.outsiders import ALONE
from benchmarks.networks.summary import NOISE

COLUMNS = "objects", "cpu ms", "wall ms", "p95", "p99", "after net", "peak MB", "faults", "GFLOP"


def report(document: dict) -> str:
    """The tables of a run's JSON document."""
    return "\n".join([*_setting(document), *_entries(document), *_comparison(document)])


def _setting(document: dict) -> Iterator[str]:
    settings, machine = document["settings"], document["machine"]
    size, image = ("{}x{}".format(*settings[key]) for key in ("size", "image"))
    regions = document["gate"]["pipeline"].get("regions")
    shown = (
        f"{settings['dets']} planted objects, each crop covers {document['crop_share']:.1%} of it"
    )
    name = settings["preset"]
    if settings["weights"]:
        name, shown = settings["weights"], f"what it finds in {settings['picture']}"
    yield (
        f"{settings['model']} {name}, network {size}, picture {image}, {shown}"
        + (f", {regions} regions" if regions else "")
    )
    loads = document["load_average"]
    yield (
        f"{machine.get('gpu', machine['processor'])}, {settings['threads']} of "
        f"{machine['cores']} cores, torch {machine['torch']}, load {min(loads)} to {max(loads)}"
    )
    yield (
        f"{settings['rounds']} rounds of {settings['frames']} frames; cpu and wall are medians, "
        "p95 and p99 of the wall time"
    )


def _entries(document: dict) -> Iterator[str]:
    width = max(18, *map(len, document["contenders"])) + 2
    yield f"\n{'':{width}}" + "".join(f"{title:>10}" for title in (*COLUMNS, "x floor"))
    for name, one in document["contenders"].items():
        wall, share, floor = one["wall_ms"], one["share_after_net"], one["over_floor"]
        numbers = [one["cpu_ms"]["p50"], wall["p50"], wall["p95"], wall["p99"]]
        cells = [
            "" if one["objects"] is None else str(one["objects"]),
            *(f"{ms:.1f}" for ms in numbers),
            f"{100 * share['value']:.1f} %" if share else "",
            *(f"{one[key]:.0f}" for key in ("memory_mb", "minor_faults")),
            f"{one['gflop']:.1f}" if one["gflop"] else "",
            f"{floor['value']:.2f}" if floor else "",
        ]
        yield f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells)
    if alone := [name for name, one in document["contenders"].items() if one["measured"] == ALONE]:
        yield f"\n{ALONE.capitalize()}: {', '.join(alone)}. All others: from picture to results."
    yield "\nStages, median CPU (wall) ms:"
    for name, one in document["contenders"].items():
        stages = one["stages"].items()
        words = [f"{stage} {ms['cpu_ms']:.1f} ({ms['wall_ms']:.1f})" for stage, ms in stages]
        if "launches" in one:
            words += [f"{one['launches']} launches", f"{one['syncs']} host syncs"]
            words.append(f"{one['device_memory_mb']:.0f} MB on the device")
        yield f"  {name}: {', '.join(words)}"


def _comparison(document: dict) -> Iterator[str]:
    yield "\nTimes faster (in wall time):"
    for pair, ratio in document["ratios"].items():
        yield f"  {pair}: {_told(ratio)} ({_told(ratio['wall'])})"
    for count, one in document["tail"].items():
        yield f"  mask post-processing of {count} objects: {_told(one)}"
    peaks = document["peaks_gflop_per_second"].items()
    yield "\nPeak: " + ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in peaks)


def _told(ratio: dict) -> str:
    """A ratio, or that the machine was too busy to tell."""
    noise = f"cannot tell, spread {ratio['spread']:.0%}, over {NOISE:.0%}"
    return f"{ratio['value']:.2f}" if ratio["can_tell"] else f"{ratio['value']:.2f}: {noise}"

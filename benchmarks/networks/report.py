"""What a run says on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.networks.summary import NOISE

HEADERS = (
    "contender", "objects", "cpu ms", "wall ms", "p95", "p99", "min",
    "after net", "peak MB", "faults", "GFLOP", "x floor",
)  # fmt: skip


def report(document: dict) -> str:
    """The tables of a run's JSON document."""
    parts = [_setting(document), *_tables(document), *_goals(document)]
    return "\n".join(parts)


def _setting(document: dict) -> str:
    settings, machine = document["settings"], document["machine"]
    size, image = ("x".join(map(str, settings[key])) for key in ("size", "image"))
    shares = [c["crop_share"] for c in document["contenders"].values() if "crop_share" in c]
    crops = f", crops cover {100 * shares[0]:.1f} % of the picture each" if shares else ""
    regions = document["gate"]["pipeline"].get("regions")
    crops += f", {regions} regions" if regions else ""
    loads = [load for load in document["load_average"] if load is not None]
    load = f", load {min(loads)} to {max(loads)}" if loads else ""
    return (
        f"{settings['model']} {settings['preset']}, network {size}, picture {image}, "
        f"{settings['dets']} planted objects{crops}\n"
        f"{machine.get('gpu', machine['processor'])}, {settings['threads']} of "
        f"{machine['cores']} cores, torch {machine['torch']}{load}\n"
        f"{settings['rounds']} rounds of {settings['frames']} frames; cpu and wall are medians, "
        "p95, p99 and min of the wall time"
    )


def _tables(document: dict) -> Iterator[str]:
    contenders = document["contenders"]
    yield "\n" + table(HEADERS, [_row(name, one) for name, one in contenders.items()])
    yield "\nStages, median CPU (wall) ms:"
    for name, one in contenders.items():
        stages = (
            f"{stage} {times['cpu_ms']:.1f} ({times['wall_ms']:.1f})"
            for stage, times in one["stages"].items()
            if stage != "rest" or times["cpu_ms"] >= 0.05
        )
        yield f"  {name}: {', '.join(stages)}"
        if "launches" in one:
            yield (
                f"    {one['launches']} launches, {one['syncs']} host syncs, "
                f"{one['device_memory_mb']:.0f} MB on the device"
            )
    if document["ratios"]:
        rows = [
            [pair, *_ratio(ratio), *_ratio(ratio["wall"])]
            for pair, ratio in document["ratios"].items()
        ]
        yield "\n" + table(("ours vs", "times faster", "spread", "in wall time", "spread"), rows)
    if document["tail"]:
        yield "\n" + table(
            ("mask tail", "ours ms", "released ms", "times faster", "spread", "bits", "differ"),
            [_tail_row(count, one, document) for count, one in document["tail"].items()],
        )
    peaks = document["peaks_gflop_per_second"].items()
    yield (
        "\nPeak: "
        + ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in peaks)
        + (" of a CPU second" if document["settings"]["device"] == "cpu" else "")
    )


def _row(name: str, one: dict) -> list[str]:
    wall, share, floor = one["wall_ms"], one["share_after_net"], one["over_floor"]
    return [
        name,
        str(one.get("objects", "")),
        f"{one['cpu_ms']['p50']:.1f}",
        *(f"{wall[key]:.1f}" for key in ("p50", "p95", "p99", "min")),
        f"{100 * share['value']:.1f} %" if share else "",
        f"{one['memory_mb']:.0f}",
        f"{one['minor_faults']:.0f}",
        f"{one['gflop']:.1f}",
        f"{floor['value']:.2f}" if floor else "",
    ]


def _ratio(ratio: dict) -> list[str]:
    """The ratio, or that there is none to tell, and the spread."""
    value = f"{ratio['value']:.2f}" if ratio["can_tell"] else f"({ratio['value']:.2f}: too noisy)"
    return [value, f"{100 * ratio['spread']:.0f} %"]


def _tail_row(count: str, one: dict, document: dict) -> list[str]:
    checked = next(t for t in document["gate"]["tail"] if t["objects"] == int(count))
    times = f"{one['ours_ms']:.1f}", f"{one['released_ms']:.1f}"
    return [
        f"{count} objects", *times, *_ratio(one), str(checked["bits"]),
        str(checked["bits_differing"]),
    ]  # fmt: skip


def _goals(document: dict) -> Iterator[str]:
    if not document["goals"]:
        yield "\nThere are no goals for these settings (R50, 512x1024, 100 objects, 2 threads)."
        return
    rows = [
        [goal["goal"], goal["wanted"], f"{goal['measured']:.3g}", goal["verdict"]]
        for goal in document["goals"]
    ]
    yield "\n" + table(("goal", "wanted", "measured", ""), rows)
    if any(goal["verdict"] == "cannot tell" for goal in document["goals"]):
        yield (
            f"cannot tell: times spread by more than {NOISE:.0%} above their minimum; "
            "the machine was too noisy, run it again when it is idle"
        )


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns as wide as they need; the first to the left, the others to the right."""
    lines = [list(headers), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )

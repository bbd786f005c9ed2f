"""From the frames of all rounds to medians, ratios within rounds, floors, and how noisy it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.networks.contenders import PEAK_REPEATS, TREATED, peak_gflop, precision_of
from benchmarks.networks.settings import Settings
from benchmarks.networks.tail import COUNTS

NOISE = 0.25
"""Where the median is further above the minimum, the machine was too busy to tell."""
BEFORE_DECODING = ("preprocess", "net")


@dataclass
class Measured:
    """What a contender did: its frames of each round, what they found, and what they cost."""

    rounds: list[list[dict]] = field(default_factory=list)
    found: dict = field(default_factory=dict)
    costs: dict = field(default_factory=dict)

    def frames(self) -> list[dict]:
        """Of all rounds, in their order."""
        return [frame for frames in self.rounds for frame in frames]


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest values, as NumPy does it."""
    ordered, position = sorted(values), share * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def statistics(values: Sequence[float]) -> dict[str, float]:
    """min, p50, p95 and p99."""
    quantiles = {f"p{p}": quantile(values, p / 100) for p in (50, 95, 99)}
    return {"min": min(values), **quantiles}


def spread(values: Sequence[float]) -> float:
    """How far the median lies above the minimum, as a share of the minimum."""
    return median(values) / min(values) - 1 if min(values) > 0 else 0.0


@dataclass(frozen=True)
class Ratio:
    """A quotient within each round, its median, and the larger spread of the two times."""

    value: float
    spread: float

    @property
    def can_tell(self) -> bool:
        """Whether the machine was quiet enough."""
        return self.spread <= NOISE


def all_of(rounds: list[list[float]]) -> list[float]:
    """The values of all rounds, in their order."""
    return [value for values in rounds for value in values]


def paired_ratio(numerators: list[list[float]], denominators: list[list[float]]) -> Ratio:
    """Of the times of two contenders, each a list of rounds with the times of their frames."""
    pairs = zip(numerators, denominators, strict=True)
    value = median(median(above) / median(below) for above, below in pairs)
    return Ratio(value, max(spread(all_of(times)) for times in (numerators, denominators)))


class Results:
    """The contenders of a run by name, and what follows from comparing them.

    Times that decide are CPU times, on a GPU wall times.
    """

    def __init__(self, settings: Settings, measured: dict[str, Measured]) -> None:
        self.settings = settings
        self.measured = measured
        self._unit = "wall_ms" if settings.device.startswith("cuda") else "cpu_ms"

    def times(self, name: str, stage: str = "", unit: str = "") -> list[list[float]]:
        """Milliseconds of each frame, round by round: of all stages or of one.

        unit is wall_ms or cpu_ms, by default the one that decides.
        """
        unit = unit or self._unit
        column = ("wall_ms", "cpu_ms").index(unit)

        def of(frame: dict) -> float:
            return frame["stages"][stage][column] if stage else frame[unit]

        return [[of(frame) for frame in frames] for frames in self.measured[name].rounds]

    def faster(self, name: str, than: str, stage: str = "", unit: str = "") -> Ratio | None:
        """How many times faster one contender is than another; None where either is missing."""
        if not {name, than} <= self.measured.keys():
            return None
        return paired_ratio(self.times(than, stage, unit), self.times(name, stage, unit))

    def over_floor(self, name: str) -> Ratio | None:
        """Time against what the contender's FLOPs take at the peak measured in the same round."""
        peak = f"peak-{precision_of(name)}"
        gflop = self.measured[name].costs.get("gflop", 0)
        if peak not in self.measured or not gflop:
            return None
        floors = [[gflop * ms] for ms in self.peak_ms(precision_of(name))]
        return paired_ratio(self.times(name), floors)

    def peak_ms(self, precision: str) -> list[float]:
        """Milliseconds for one GFLOP at the best of each round."""
        name, gflop = f"peak-{precision}", peak_gflop(self.settings.size)
        repeats = [self.times(name, str(repeat)) for repeat in range(PEAK_REPEATS)]
        return [min(map(min, times)) / gflop for times in zip(*repeats, strict=True)]

    def share_after_net(self, name: str) -> Ratio | None:
        """The share of the time that is neither preprocessing nor the network."""
        stages = self.measured[name].frames()[0]["stages"]
        if not set(BEFORE_DECODING) <= stages.keys():
            return None
        before = [self.times(name, stage) for stage in BEFORE_DECODING]
        after = [
            [total - a - b for total, a, b in zip(*times, strict=True)]
            for times in zip(self.times(name), *before, strict=True)
        ]
        share = paired_ratio(after, self.times(name)).value
        return Ratio(share, spread(all_of(self.times(name))))

    @property
    def competitors(self) -> list[str]:
        """Those that go from picture to results."""
        return [name for name in self.measured if not name.startswith(("tail-", "peak-"))]

    def document(self) -> dict:
        """Everything, for JSON."""
        ours = [name for name in self.competitors if name.startswith("ours-")]
        others = [name for name in self.competitors if name not in ours]
        return {
            "contenders": {name: self._contender(name) for name in self.competitors},
            "ratios": {
                f"{name} vs {other}": {
                    **as_json(self.faster(name, other)),
                    "wall": as_json(self.faster(name, other, unit="wall_ms")),
                }
                for name in ours
                for other in others
            },
            "tail": self._tail(),
            "peaks_gflop_per_second": {
                name.partition("-")[2]: 1e3 / min(self.peak_ms(name.partition("-")[2]))
                for name in self.measured
                if name.startswith("peak-")
            },
        }

    def _contender(self, name: str) -> dict:
        measured, frames = self.measured[name], self.measured[name].frames()
        return {
            **measured.found,
            **measured.costs,
            "wall_ms": statistics([frame["wall_ms"] for frame in frames]),
            "cpu_ms": statistics([frame["cpu_ms"] for frame in frames]),
            "spread": spread(all_of(self.times(name))),
            "minor_faults": median(frame["faults"] for frame in frames),
            "stages": _stages(frames),
            "share_after_net": as_json(self.share_after_net(name)),
            "over_floor": as_json(self.over_floor(name)),
            "treated": name.endswith(TREATED),
            "rounds": {
                unit: [[round(frame[unit], 3) for frame in frames] for frames in measured.rounds]
                for unit in ("wall_ms", "cpu_ms")
            },
        }

    def _tail(self) -> dict:
        if "tail-ours" not in self.measured:
            return {}
        return {
            str(count): {
                "ours_ms": median(all_of(self.times("tail-ours", str(count)))),
                "released_ms": median(all_of(self.times("tail-released", str(count)))),
                **as_json(self.faster("tail-ours", "tail-released", str(count))),
            }
            for count in COUNTS
        }


def _stages(frames: list[dict]) -> dict[str, dict[str, float]]:
    return {
        name: {
            unit: median(frame["stages"][name][column] for frame in frames)
            for column, unit in enumerate(("wall_ms", "cpu_ms"))
        }
        for name in frames[0]["stages"]
    }


def as_json(ratio: Ratio | None) -> dict | None:
    """A ratio, and whether the machine was quiet enough to tell."""
    if ratio is None:
        return None
    return {"value": ratio.value, "spread": ratio.spread, "can_tell": ratio.can_tell}

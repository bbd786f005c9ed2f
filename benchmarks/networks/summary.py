"""From the frames of all rounds to medians, ratios within rounds, floors, and how noisy it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.networks.entries import PEAK_REPEATS, peak_gflop
from benchmarks.networks.outsiders import ALONE
from benchmarks.networks.post_processing import COUNTS
from benchmarks.networks.runs import TREATED, Run, kind_of
from benchmarks.networks.settings import Settings

NOISE = 0.25
"""Where the median is further above the minimum, the machine was too busy to tell."""
UNITS = ("wall_ms", "cpu_ms")


def statistics(times: np.ndarray) -> dict[str, float]:
    """min, p50, p95 and p99 of times in any shape."""
    quantiles = {f"p{q}": float(np.quantile(times, q / 100)) for q in (50, 95, 99)}
    return {"min": float(times.min()), **quantiles}


def spread(times: np.ndarray) -> float:
    """How far the median lies above the minimum, as a share of the minimum."""
    return float(np.median(times) / times.min() - 1) if times.min() > 0 else 0.0


def ratio(above: np.ndarray, below: np.ndarray) -> dict:
    """Of two times [rounds, frames]: `value`, the median of the ratios within rounds, the larger
    `spread` of the two, and whether the machine was quiet enough to `can_tell`."""
    value = np.median(np.median(above, 1) / np.median(below, 1))
    noise = max(spread(above), spread(below))
    return {"value": float(value), "spread": noise, "can_tell": noise <= NOISE}


@dataclass(frozen=True)
class Results:
    """What the entries of a run did. Times that decide are CPU times, on a GPU wall times.

    rounds  of each entry, the frames of each round as `measure` tells them
    facts   of each entry, what it found and what it needs beside time
    """

    settings: Settings
    rounds: dict[str, list[list[dict]]]
    facts: dict[str, dict]

    def times(self, name: str, stage: str = "", unit: str = "") -> np.ndarray:
        """Milliseconds [rounds, frames] of an entry: of all stages or of one.

        unit is wall_ms or cpu_ms, by default the one that decides.
        """
        unit = unit or ("wall_ms" if self.settings.device.startswith("cuda") else "cpu_ms")
        column = UNITS.index(unit)
        return np.array(
            [
                [frame["stages"][stage][column] if stage else frame[unit] for frame in frames]
                for frames in self.rounds[name]
            ]
        )

    def faster(self, name: str, than: str, stage: str = "", unit: str = "") -> dict:
        """How many times faster one entry is than another."""
        return ratio(self.times(than, stage, unit), self.times(name, stage, unit))

    def over_floor(self, name: str) -> dict | None:
        """Time against what the entry's FLOPs take at the peak measured in the same round."""
        gflop, peak = self.facts[name].get("gflop", 0), Run.of(name).precision
        if not gflop or f"peak-{peak}" not in self.rounds:
            return None
        return ratio(self.times(name), gflop * self.peak_ms(peak)[:, None])

    def peak_ms(self, precision: str) -> np.ndarray:
        """Milliseconds [rounds] for one GFLOP at the best of each round."""
        repeats = [self.times(f"peak-{precision}", str(n)) for n in range(PEAK_REPEATS)]
        return np.min(repeats, (0, 2)) / peak_gflop(self.settings.size)

    def share_after_net(self, name: str) -> dict | None:
        """The share of the time that is neither preprocessing nor the network."""
        if not {"preprocess", "net"} <= self.rounds[name][0][0]["stages"].keys():
            return None
        total = self.times(name)
        after = total - self.times(name, "preprocess") - self.times(name, "net")
        noise = spread(total)
        return ratio(after, total) | {"spread": noise, "can_tell": noise <= NOISE}

    def document(self) -> dict:
        """Everything, for JSON."""
        peaks = [name for name in self.rounds if kind_of(name) == "peak"]
        entries = [name for name in self.rounds if kind_of(name) not in ("masks", "peak")]
        ours = [name for name in entries if kind_of(name) == "ours"]
        others = [name for name in entries if name not in ours]
        return {
            "contenders": {name: self._entry(name) for name in entries},
            "ratios": {
                f"{name} vs {other}": self.faster(name, other)
                | {"wall": self.faster(name, other, unit="wall_ms")}
                for number, name in enumerate(ours)
                for other in [*ours[:number], *others]
            },
            "tail": self._post_processing(),
            "peaks_gflop_per_second": {
                Run.of(name).precision: 1e3 / float(self.peak_ms(Run.of(name).precision).min())
                for name in peaks
            },
        }

    def _entry(self, name: str) -> dict:
        first = self.rounds[name][0][0]
        faults = [frame["faults"] for frames in self.rounds[name] for frame in frames]
        return {
            "measured": ALONE if kind_of(name) == "file" else "from picture to results",
            **self.facts[name],
            **{unit: statistics(self.times(name, unit=unit)) for unit in UNITS},
            "spread": spread(self.times(name)),
            "minor_faults": float(np.median(faults)),
            "stages": {
                stage: {unit: float(np.median(self.times(name, stage, unit))) for unit in UNITS}
                for stage in first["stages"]
            },
            "share_after_net": self.share_after_net(name),
            "over_floor": self.over_floor(name),
            "treated": name.endswith(TREATED),
            "rounds": {unit: self.times(name, unit=unit).round(3).tolist() for unit in UNITS},
        }

    def _post_processing(self) -> dict:
        if "masks-ours" not in self.rounds:
            return {}
        return {
            stage: {
                "ours_ms": float(np.median(self.times("masks-ours", stage))),
                "released_ms": float(np.median(self.times("masks-released", stage))),
                **self.faster("masks-ours", "masks-released", stage),
            }
            for stage in map(str, COUNTS)
        }

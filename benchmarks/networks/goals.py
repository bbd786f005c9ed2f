"""The numbers to reach, and whether a run reached them.

They hold for R50 at 512x1024, a hundred objects and two threads, as ratios within one run; RDSNet
with 80 classes. Other settings have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.networks.contenders import pictures_of, precision_of
from benchmarks.networks.settings import Settings
from benchmarks.networks.summary import Ratio, Results, all_of, statistics


@dataclass(frozen=True)
class Goal:
    """A number to reach, and what was measured; `sign` is ">=" or "<="."""

    text: str
    sign: str
    wanted: float
    measured: Ratio

    @property
    def verdict(self) -> str:
        """`reached` or `missed`, or `cannot tell` where the machine was too noisy."""
        if not self.measured.can_tell:
            return "cannot tell"
        value = self.measured.value
        reached = value >= self.wanted if self.sign == ">=" else value <= self.wanted
        return "reached" if reached else "missed"

    def document(self) -> dict:
        """For JSON."""
        return {
            "goal": self.text,
            "wanted": f"{self.sign} {self.wanted:g}",
            "measured": self.measured.value,
            "spread": self.measured.spread,
            "verdict": self.verdict,
        }


def goals(results: Results) -> list[Goal]:
    """Those that this run's settings and contenders can tell about."""
    settings = results.settings
    if not _counts(settings):
        return []
    rows = {"rdsnet": _rdsnet, "segrpn": _segrpn, "joint": _joint}[settings.model](results)
    if settings.device.startswith("cuda"):
        rows = _rdsnet_on_gpu(results) if settings.model == "rdsnet" else iter(())
    return [Goal(*row) for row in rows if row[-1] is not None]


def _counts(settings: Settings) -> bool:
    return (
        settings.preset == "r50"
        and settings.size == (512, 1024)
        and settings.image in ((512, 1024), (1080, 1920))
        and settings.dets == 100
        and (settings.threads == 2 or settings.device != "cpu")
        and (settings.model != "rdsnet" or settings.classes == 80)
    )


Row = tuple[str, str, float, Ratio | None]


def _rdsnet(results: Results) -> Iterator[Row]:
    native = results.settings.image == results.settings.size
    faster = results.faster
    bf16 = "ours-bf16" in results.measured
    stock = 3.5 if native else 3.1
    yield "bf16, times faster than Mask R-CNN", ">=", stock, faster("ours-bf16", "maskrcnn")
    if native:
        yield "fp32, times faster than Mask R-CNN", ">=", 1.9, faster("ours-fp32", "maskrcnn")
        yield "int8, times faster than Mask R-CNN", ">=", 5.5, faster("ours-int8", "maskrcnn")
        treated = faster("ours-bf16", "maskrcnn-treated")
        yield "bf16, times faster than Mask R-CNN given our treatment", ">=", 1.4, treated
    if bf16:
        share = results.share_after_net("ours-bf16")
        yield "bf16, share of the time after the net", "<=", 0.08 if native else 0.14, share
    if bf16 and native:
        yield "bf16, time against the floor", "<=", 1.25, results.over_floor("ours-bf16")
    if native:
        tail = faster("tail-ours", "tail-released", "100")
        yield "mask tail of 100 objects, times faster than published", ">=", 25, tail
    yield from _memory(results)


def _segrpn(results: Results) -> Iterator[Row]:
    if results.settings.regions not in (300, 1000):
        return
    pair = "Faster R-CNN, then DeepLabV3"
    faster = results.faster
    yield f"bf16, times faster than {pair}", ">=", 8, faster("ours-bf16", "pair")
    treated = faster("ours-bf16", "pair-treated")
    yield f"bf16, times faster than {pair}, given our treatment", ">=", 2.6, treated
    yield from _memory(results)


def _joint(results: Results) -> Iterator[Row]:
    for precision in results.settings.precisions:
        ours, both = f"ours-{precision}", f"both-{precision}"
        if both in results.measured:
            time = results.faster(both, ours)
            yield f"{precision}, time against RDSNet, then SegRPN", "<=", 0.7, time
            gflop, others = (results.measured[name].costs["gflop"] for name in (ours, both))
            cost = Ratio(gflop / others, 0.0)
            yield f"{precision}, GFLOP against RDSNet, then SegRPN", "<=", 0.7, cost
    yield from _memory(results)


def _memory(results: Results) -> Iterator[Row]:
    for name, measured in results.measured.items():
        alone = name.startswith("ours-") and pictures_of(name) == 1
        if alone and "memory_mb" in measured.costs:
            value = Ratio(measured.costs["memory_mb"], 0.0)
            yield f"{precision_of(name)}, peak memory above import in MB", "<=", 450, value


def _rdsnet_on_gpu(results: Results) -> Iterator[Row]:
    name = f"ours-{results.settings.precisions[0]}"
    wall = statistics([frame["wall_ms"] for frame in results.measured[name].frames()])
    if "net" in results.measured[name].frames()[0]["stages"]:  # else it is inside a CUDA graph
        net = statistics(all_of(results.times(name, "net")))
        yield "net in ms", "<=", 1.5, Ratio(net["p50"], 0.0)
    yield "picture to results in ms, p50", "<=", 2.2, Ratio(wall["p50"], 0.0)
    yield "p99 over p50", "<=", 1.3, Ratio(wall["p99"] / wall["p50"], 0.0)
    yield "times faster than Mask R-CNN", ">=", 10, results.faster(name, "maskrcnn")
    if (eight := f"{name}-x8") in results.measured:
        each = statistics([frame["wall_ms"] for frame in results.measured[eight].frames()])
        yield "pictures in a second, eight at once", ">=", 900, Ratio(1e3 / each["p50"], 0.0)
    if "syncs" in (costs := results.measured[name].costs):
        yield "host syncs a frame", "<=", 1, Ratio(costs["syncs"], 0.0)

// Which lanes the timeline has: what each draws, and what it says about the frame at the cursor.

// Frames are counted as in this run.
const base = runs.find((run) => run.x.length);

const beside = (i) => {
  if (!axis.replayed) return -1;
  const k = nearest(base.x[i], axis.replayed.x);
  return Math.abs(axis.replayed.x[k] - base.x[i]) <= axis.replayed.gap / 2 ? k : -1;
};

function shareLane(title, name, tall) {
  const both = [runs[0], axis.replayed].filter((run) => run && known(run[name]));
  const tones = both.map((run) => (run === axis.replayed ? "orange" : "blue"));
  if (!both.length) return null;
  return {
    title, height: tall, extent: "0 to 1",
    legend: both.length > 1 ? both.map((run, k) => [run.name, tones[k]]) : [],
    draw: (ctx, area) => both.forEach((run, k) => line(ctx, area, run, run[name], 1, axis.colors[tones[k]])),
    value: (i) => both.map((run) => {
      const k = run === base ? i : beside(i);
      return k < 0 ? "-" : fixed(run[name][k]);
    }).join(" / "),
  };
}

function madeLanes() {
  const live = axis.replayed || runs[0];
  const late = [runs[0], axis.replayed].filter((run) => run && known(run.latency));
  const tone = (run) => axis.colors[late.length === 1 ? "violet" : run === axis.replayed ? "orange" : "blue"];
  const drops = [];
  for (const run of axis.replayed ? [runs[0], axis.replayed] : [runs[0]]) {
    run.fates.forEach((name, fate) => {
      if (name === "processed" || !run.fate.includes(fate)) return;
      const color = report.palette[[2, 1, 6, 8, 5, 3][drops.length % 6]];
      drops.push({ run, fate, color, name: axis.replayed ? `${name} (${run.name})` : name });
    });
  }
  const at = (run, i) => (run === base ? i : beside(i));
  return [
    windows.length && {
      title: "scores", height: 64, extent: "0 to 1", draw: steps,
      legend: report.windows.titles.map((t, k) => [t, report.palette[k % report.palette.length]]),
      value: (i) => {
        const here = windows.find((w) => w.from <= base.x[i] && base.x[i] < w.to);
        return here ? here.values.map((v) => fixed(v === null ? NaN : v)).join(" / ") : "-";
      },
    },
    shareLane("quality of a frame", "quality", 52),
    shareLane("confidence", "confidence", 40),
    shareLane("flicker", "flicker", 28),
    {
      title: "frames a second", height: 32, extent: "", draw: (ctx, area) => rates(ctx, area, live),
      legend: [["recorded", "soft"], [axis.replayed ? `processed, ${live.name}` : "processed", "blue"]],
      value: (i) => fixed(rate(live, stretchAt(base.x[i]), base.x[i])[1], 1),
    },
    runs[0].objects.length && {
      title: axis.replayed ? `objects, ${runs[0].name}` : "objects", height: 72, extent: "", legend: [], draw: stacked,
      value: (i) => {
        const k = at(runs[0], i);
        const counts = report.things.map((n, t) => [n, k < 0 ? 0 : runs[0].objects[t][k]]);
        const shown = counts.filter(([n, count]) => count && isShown(n));
        return shown.map(([n, count]) => `${count} ${report.classes[n].name}`).join(", ") || "none";
      },
    },
    late.length && {
      title: "latency", height: 52, extent: "ms", legend: axis.replayed ? late.map((run) => [run.name, tone(run)]) : [],
      draw: (ctx, area) => {
        const max = Math.max(...late.map((run) => largest(run, run.latency)));
        late.forEach((run) => line(ctx, area, run, run.latency, max, tone(run)));
        return max;
      },
      value: (i) => late.map((run) => {
        const k = at(run, i);
        return k >= 0 && run.latency[k] === run.latency[k] ? `${fixed(run.latency[k], 1)} ms` : "-";
      }).join(" / "),
    },
    drops.length && {
      title: "without a result", height: drops.length * MARKS, extent: "",
      legend: drops.map((d) => [d.name, d.color]), draw: (ctx, area) => marks(ctx, area, drops),
      value: (i) => drops.filter((d) => at(d.run, i) >= 0 && d.run.fate[at(d.run, i)] === d.fate).map((d) => d.name).join(", "),
    },
  ].filter(Boolean);
}

"use strict";
// What the page knows of every frame, and the lanes of the timeline that are made from it.

const KINDS = { u1: Uint8Array, u2: Uint16Array, f4: Float32Array, f8: Float64Array, i8: BigInt64Array };
const UNKNOWN = 65535; // among shares
const BRIDGED = 3; // so many frames without a value do not break a line
const POINTS = 600; // of a mean, where more frames than that are seen

function decoded(_, value) {
  if (value === null || value.base64 === undefined) return value;
  const bytes = Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0));
  if (value.kind !== "share") return new KINDS[value.kind](bytes.buffer);
  return Float32Array.from(new Uint16Array(bytes.buffer), (v) => (v === UNKNOWN ? NaN : v / (UNKNOWN - 1)));
}

const report = JSON.parse(document.getElementById("data").textContent, decoded);
const { frames, runs } = report;
const TONES = ["--blue", "--orange", "--green", "--violet"]; // of the runs

// Classes that are looked at; none chosen means all of them.
const chosen = new Set();
const isShown = (number) => chosen.size === 0 || chosen.has(number);

// A colour, or a name of one in the page's style, as a canvas wants it.
const painted = (color) => (color.startsWith("--") ? getComputedStyle(document.documentElement).getPropertyValue(color) : color);

// Values as uPlot draws one line: undefined is passed over, null is a gap.
function joined(values) {
  const found = Array.from(values, (v) => (v === v ? v : undefined));
  let last = -1;
  for (let k = 0; k <= found.length; k++) {
    if (k < found.length && found[k] === undefined) continue;
    if (k - last - 1 > BRIDGED) found.fill(null, last + 1, k);
    last = k;
  }
  return found;
}

// The mean of the known values around each, as many as there are for one of the points seen.
const smooth = (values) => (seen) => {
  const half = Math.floor(seen / POINTS / 2), sums = [0], counts = [0];
  values.forEach((v, k) => { sums.push(sums[k] + (v ?? 0)); counts.push(counts[k] + (v != null)); });
  return values.map((v, k) => {
    const from = Math.max(0, k - half), to = Math.min(values.length, k + half + 1);
    return v == null ? v : (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
};

const series = (label, color, value, more) => ({
  label, color, stroke: () => painted(color), width: 1.4, points: { show: false },
  value: (u, v, s, k) => (k === null ? "" : value(k)), ...more,
});

// Lines of [label, colour, values]: each frame light, and strong the mean of many.
function lines(title, height, drawn, { digits = 2, unit = "" } = {}) {
  const lane = { title, height, series: [], data: [] };
  for (const [label, color, values] of drawn) {
    const line = joined(values), alone = [...line.keys()].filter((k) => line[k] != null && line[k - 1] == null && line[k + 1] == null);
    const points = { show: true, size: 4, width: 0, fill: () => painted(color), filter: () => alone };
    lane.series.push(series(label, color, (k) => (line[k] == null ? "" : line[k].toFixed(digits) + unit), { alpha: 0.25 }));
    lane.series.push(series(label, color, () => "", { class: "mean", points }));
    lane.data.push(() => line, smooth(line));
  }
  return lane;
}

function runLines(title, height, name, more) {
  const drawn = runs.map((run, k) => [run.name, TONES[k % TONES.length], run[name]]);
  return lines(title, height, drawn.filter(([, , values]) => values.some((v) => v === v)), more);
}

// The numbers of objects of each class, one above the other: the highest sum is drawn first.
function objectLane() {
  const lane = { title: `objects${runs[1] ? `, ${runs[0].name}` : ""}`, height: 96, series: [], data: [] };
  let total = Array.from(runs[0].fate, (fate) => (runs[0].fates[fate] === "processed" ? 0 : NaN));
  report.things.forEach((number, k) => {
    if (!isShown(number)) return;
    const { name, color } = report.classes[number], counts = frames.objects[k];
    total = total.map((sum, i) => sum + counts[i]);
    lane.series.unshift(series(name, color, (i) => counts[i] || "", { fill: color, width: 0 }));
    lane.data.unshift(smooth(joined(total)));
  });
  return lane;
}

// A row of bars for each reason why a run has no result for a frame.
function lossLane() {
  const lane = { title: "without a result", series: [], data: [], ticks: [] };
  for (const run of runs) {
    run.fates.forEach((fate, number) => {
      if (fate === "processed" || !run.fate.includes(number)) return;
      const row = lane.series.length, color = report.palette[[2, 1, 6, 8, 5, 3][row % 6]];
      const bars = Array.from(run.fate, (f) => (f === number ? row + 0.8 : row));
      const more = { fill: color, width: 0, fillTo: row, paths: uPlot.paths.bars({ size: [1, 100, 1] }) };
      lane.series.push(series(runs[1] ? `${fate} (${run.name})` : fate, color, (k) => (bars[k] > row ? "lost" : ""), more));
      lane.data.push(() => bars);
    });
  }
  return { ...lane, height: 10 + 14 * lane.series.length, range: [0, lane.series.length] };
}

function madeLanes() {
  const share = { range: [0, 1], ticks: [0, 0.5, 1] };
  const scores = report.scores.map(({ title, values }, k) => [title, report.palette[k % report.palette.length], values]);
  const rates = runs.map((run, k) => [`processed, ${run.name}`, TONES[k % TONES.length], run.rate]);
  return [
    { ...lines("scores", 80, scores), ...share },
    { ...runLines("quality of a frame", 76, "quality"), ...share },
    { ...runLines("confidence", 60, "confidence"), ...share },
    { ...runLines("flicker", 60, "flicker"), ...share },
    lines("frames a second", 60, [["recorded", "--soft", frames.recorded], ...rates], { digits: 1 }),
    objectLane(),
    runLines("latency", 76, "latency", { digits: 1, unit: " ms" }),
    lossLane(),
  ].filter((lane) => lane.series.length);
}

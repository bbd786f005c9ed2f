// Curves, stacks and marks of many frames, drawn column of pixels by column of pixels.

// What is seen: seconds of the time axis, and how wide a second is; `replayed` is the run beside.
const axis = { from: 0, to: axisEnd, width: 0, scale: 1, colors: {}, replayed: runs[1] || null };
const MARKS = 13;

const known = (values) => values.some((v) => v === v);
const fixed = (value, digits = 2) => (value === value ? value.toFixed(digits) : "-");

for (const run of runs) {
  run.gap = gapOf(run.x);
  run.done = new Uint32Array(run.x.length + 1);
  run.fate.forEach((fate, k) => (run.done[k + 1] = run.done[k] + (run.fates[fate] === "processed")));
}
const windows = report.windows.rows.map(([bag, start, end, ...values]) => ({
  from: axisOf(bag, start), to: axisOf(bag, end), values,
}));

const pixel = (x) => (x - axis.from) * axis.scale;

function visible(run, draw) {
  for (const stretch of report.stretches) {
    const end = stretch.at + stretch.end - stretch.start;
    if (end < axis.from || stretch.at > axis.to) continue;
    const first = firstAt(stretch.at, run.x), last = firstAt(end, run.x);
    const from = Math.max(first, firstAt(axis.from, run.x) - 1);
    draw(from, Math.min(last, firstAt(axis.to, run.x) + 1));
  }
}

// Tells of every column of pixels its lowest, highest and mean value.
function byColumn(run, values, from, to, tell) {
  let column = NaN, low = 0, high = 0, sum = 0, count = 0;
  for (let i = from; i < to; i++) {
    const value = values[i];
    if (value !== value) continue;
    const c = Math.round(pixel(run.x[i]));
    if (c !== column) {
      if (count) tell(column, low, high, sum / count);
      column = c; low = high = value; sum = count = 0;
    }
    if (value < low) low = value;
    if (value > high) high = value;
    sum += value;
    count++;
  }
  if (count) tell(column, low, high, sum / count);
}

function line(ctx, area, run, values, max, color) {
  const y = (v) => area.bottom - (Math.min(v, max) / max) * (area.bottom - area.top);
  const jump = Math.max(2.5, 3.5 * run.gap * axis.scale);
  const dots = run.gap * axis.scale > 7;
  ctx.fillStyle = ctx.strokeStyle = color;
  visible(run, (from, to) => {
    const path = new Path2D();
    let before = NaN;
    ctx.globalAlpha = 0.28;
    byColumn(run, values, from, to, (column, low, high, mean) => {
      if (high > low) ctx.fillRect(column - 0.5, y(high), 1, y(low) - y(high));
      if (column - before <= jump) path.lineTo(column, y(mean));
      else { path.moveTo(column - 0.5, y(mean)); path.lineTo(column + 0.5, y(mean)); }
      if (dots) { path.moveTo(column + 1.5, y(mean)); path.arc(column, y(mean), 1.5, 0, 7); path.moveTo(column, y(mean)); }
      before = column;
    });
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1.3;
    ctx.stroke(path);
  });
}

function largest(run, values) {
  let most = 0;
  visible(run, (from, to) => {
    for (let i = Math.max(0, from); i < to; i++) if (values[i] > most) most = values[i];
  });
  return rounded(most);
}

function rounded(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.9999) * power;
}

// The sums of the classes that are looked at, class by class, one above the other.
function stacked(ctx, area) {
  const run = runs[0], places = report.things.map((number, k) => [number, run.objects[k]]).filter(([n]) => isShown(n));
  const columns = [];
  let most = 0;
  visible(run, (from, to) => {
    let column = NaN, sums = null, count = 0;
    const close = () => {
      if (!count) return;
      const means = sums.map((s) => s / count);
      most = Math.max(most, means.reduce((a, b) => a + b, 0));
      columns.push([column, means]);
    };
    for (let i = from; i < to; i++) {
      if (run.fates[run.fate[i]] !== "processed") continue;
      const c = Math.round(pixel(run.x[i]));
      if (c !== column) { close(); column = c; sums = new Array(places.length).fill(0); count = 0; }
      for (let k = 0; k < places.length; k++) sums[k] += places[k][1][i];
      count++;
    }
    close();
  });
  const max = rounded(most), step = (area.bottom - area.top) / max;
  const widest = Math.max(1, Math.ceil(run.gap * axis.scale * 1.5));
  columns.forEach(([column, means], j) => {
    const next = j + 1 < columns.length ? columns[j + 1][0] : column + widest;
    const wide = Math.max(1, Math.min(widest, next - column));
    let y = area.bottom;
    means.forEach((value, k) => {
      if (!value) return;
      ctx.fillStyle = report.classes[places[k][0]].color;
      ctx.fillRect(column, y - value * step, wide, value * step);
      y -= value * step;
    });
  });
  return max;
}

// How many frames a second there are around x and how many of them were processed.
function rate(run, stretch, x) {
  const half = Math.max(1, 2 / axis.scale, 2 * run.gap), end = stretch.at + stretch.end - stretch.start;
  const a = firstAt(Math.max(stretch.at, x - half), run.x), b = firstAt(Math.min(end, x + half), run.x);
  if (b - a < 2) return [NaN, NaN];
  const all = (b - a - 1) / (run.x[b - 1] - run.x[a]);
  return [all, (all * (run.done[b] - run.done[a])) / (b - a)];
}

function rates(ctx, area, run) {
  const samples = [];
  let most = 0;
  for (const stretch of report.stretches) {
    const from = Math.max(0, pixel(stretch.at)), to = Math.min(axis.width, pixel(stretch.at + stretch.end - stretch.start));
    const part = [];
    for (let px = from; px < to; px += 2) {
      const x = axis.from + px / axis.scale;
      const [all, done] = rate(run, stretch, x);
      if (all !== all) continue;
      most = Math.max(most, all);
      part.push([px, all, done]);
    }
    samples.push(part);
  }
  const max = rounded(most * 1.05), y = (v) => area.bottom - (v / max) * (area.bottom - area.top);
  for (const [which, color] of [[1, axis.colors.soft], [2, axis.colors.blue]]) {
    const path = new Path2D();
    for (const part of samples) part.forEach((s, k) => (k ? path.lineTo(s[0], y(s[which])) : path.moveTo(s[0], y(s[which]))));
    ctx.strokeStyle = color;
    ctx.lineWidth = which === 1 ? 1 : 1.4;
    ctx.setLineDash(which === 1 ? [2, 3] : []);
    ctx.stroke(path);
  }
  ctx.setLineDash([]);
  return max;
}

function steps(ctx, area) {
  const y = (v) => area.bottom - v * (area.bottom - area.top);
  report.windows.titles.forEach((_, k) => {
    const path = new Path2D();
    let before = null;
    for (const { from, to, values } of windows) {
      if (to < axis.from || from > axis.to || values[k] === null) { before = null; continue; }
      if (before !== null && Math.abs(before - from) * axis.scale < 1) path.lineTo(pixel(from), y(values[k]));
      else path.moveTo(pixel(from), y(values[k]));
      path.lineTo(pixel(to), y(values[k]));
      before = to;
    }
    ctx.strokeStyle = report.palette[k % report.palette.length];
    ctx.lineWidth = 1.8;
    ctx.stroke(path);
  });
}

function marks(ctx, area, rows) {
  rows.forEach(({ run, fate, color }, row) => {
    const top = area.top + row * MARKS + 1;
    ctx.fillStyle = axis.colors.band;
    ctx.fillRect(0, top, axis.width, MARKS - 2);
    ctx.fillStyle = color;
    visible(run, (from, to) => {
      const drops = Float32Array.from(run.fate.subarray(from, to), (f) => (f === fate ? 1 : 0));
      byColumn({ x: run.x.subarray(from, to) }, drops, 0, drops.length, (column, _, any, share) => {
        if (!any) return;
        ctx.globalAlpha = 0.35 + 0.65 * share;
        ctx.fillRect(column - 0.75, top, 1.5, MARKS - 2);
      });
      ctx.globalAlpha = 1;
    });
  });
}

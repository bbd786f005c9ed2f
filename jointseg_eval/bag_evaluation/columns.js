"use strict";
// What the page knows of every frame, decoded, and where it lies on the time axis.

const report = JSON.parse(document.getElementById("data").textContent);
const KINDS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array, i8: BigInt64Array };
const UNKNOWN = 65535;

function decoded(column) {
  const text = atob(column.base64);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return new KINDS[column.kind](bytes.buffer);
}

function shares(column) {
  return Float32Array.from(decoded(column), (v) => (v === UNKNOWN ? NaN : v / (UNKNOWN - 1)));
}

// Stretches follow each other on the axis, in seconds of what was recorded.
let axisEnd = 0;
for (const stretch of report.stretches) {
  stretch.at = axisEnd;
  axisEnd += stretch.end - stretch.start;
}

function stretchAt(x) {
  const later = report.stretches.findIndex((s) => s.at > x);
  return report.stretches[later < 0 ? report.stretches.length - 1 : Math.max(0, later - 1)];
}

function axisOf(bag, time) {
  let found = null;
  for (const stretch of report.stretches) {
    if (stretch.bag === bag && (!found || stretch.start <= time)) found = stretch;
  }
  if (!found) return NaN;
  return found.at + Math.min(Math.max(time - found.start, 0), found.end - found.start);
}

// Frames come by recording and time, so one pass over the stretches places all of them.
function places(bag, time) {
  const x = new Float64Array(bag.length);
  let k = 0;
  for (let i = 0; i < bag.length; i++) {
    const after = (s) => s && (s.bag < bag[i] || (s.bag === bag[i] && s.start <= time[i]));
    while (after(report.stretches[k + 1])) k++;
    const stretch = report.stretches[k];
    x[i] = stretch.at + time[i] - stretch.start;
  }
  return x;
}

function unpacked(run) {
  const c = run.columns;
  const bag = decoded(c.bag), time = decoded(c.time);
  return {
    name: run.name, fates: run.fates, bag, time, x: places(bag, time),
    stamp: decoded(c.stamp), fate: decoded(c.fate), latency: decoded(c.latency),
    quality: shares(c.quality), confidence: shares(c.confidence), flicker: shares(c.flicker),
    objects: run.objects.map(decoded),
  };
}

const runs = report.runs.map(unpacked);

// The first frame at x or later.
function firstAt(x, values) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < x) low = middle + 1; else high = middle;
  }
  return low;
}

function nearest(x, values) {
  const k = firstAt(x, values);
  if (k === 0) return 0;
  return k === values.length || x - values[k - 1] < values[k] - x ? k - 1 : k;
}

function gapOf(values) {
  const gaps = [];
  const step = Math.max(1, Math.floor(values.length / 500));
  for (let k = step; k < values.length; k += step) gaps.push(values[k] - values[k - 1]);
  gaps.sort((a, b) => a - b);
  return gaps.length ? gaps[gaps.length >> 1] : 0.1;
}

function clock(seconds) {
  const tenths = Math.round(Math.abs(seconds) * 10);
  const minutes = Math.floor(tenths / 600), rest = String(Math.floor(tenths / 10) % 60).padStart(2, "0");
  const hours = Math.floor(minutes / 60);
  const start = hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}` : `${minutes}`;
  return `${seconds < 0 && tenths ? "-" : ""}${start}:${rest}.${tenths % 10}`;
}

// Classes that are looked at; none chosen means all of them.
const chosen = new Set();
const onChosen = [];

function isShown(number) {
  return chosen.size === 0 || chosen.has(number);
}

for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    const number = Number(chip.dataset.class);
    if (chip.dataset.class === "all") chosen.clear();
    else if (!chosen.delete(number)) chosen.add(number);
    for (const one of document.querySelectorAll(".chip")) {
      const on = one.dataset.class === "all" ? chosen.size === 0 : chosen.has(Number(one.dataset.class));
      one.setAttribute("aria-pressed", on);
    }
    for (const listener of onChosen) listener();
  });
}

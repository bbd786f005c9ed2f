// The timeline: lanes over a common axis, drawn again at every change of the view; a second canvas
// above holds the cursor and what it points at.

const LABEL = 18, SPACE = 7, PINS = 16, NAMES = 18, TICKS = 20, MARKS = 13;
const VERY_CLOSE = 0.5; // seconds; the view is never shorter

const known = (values) => values.some((v) => v === v);
const fixed = (value, digits = 2) => (value === value ? value.toFixed(digits) : "-");

function makeTimeline(board) {
  const [back, front] = board.querySelectorAll("canvas");
  const readout = document.getElementById("readout");
  const thumb = document.querySelector("#overview i");
  const base = runs.find((run) => run.x.length);
  const view = { from: 0, to: axisEnd };
  let replayed = runs.length > 1 ? runs[1] : null;
  let cursor = nearest(axisEnd / 2, base.x);
  let drag = null;
  let lanes, width, height, scale, colors, waiting = false;

  for (const run of runs) {
    run.gap = gapOf(run.x);
    run.done = new Uint32Array(run.x.length + 1);
    run.fate.forEach((fate, k) => (run.done[k + 1] = run.done[k] + (run.fates[fate] === "processed")));
  }
  const pins = report.examples.map((e) => ({ x: axisOf(e.bag, e.time), classes: e.classes }));
  const windows = report.windows.rows.map(([bag, start, end, ...values]) => ({
    from: axisOf(bag, start), to: axisOf(bag, end), values,
  }));

  // ---------------------------------------------------------------- drawing by columns of pixels

  const pixel = (x) => (x - view.from) * scale;

  function visible(run, draw) {
    for (const stretch of report.stretches) {
      const end = stretch.at + stretch.end - stretch.start;
      if (end < view.from || stretch.at > view.to) continue;
      const first = firstAt(stretch.at, run.x), last = firstAt(end, run.x);
      const from = Math.max(first, firstAt(view.from, run.x) - 1);
      draw(from, Math.min(last, firstAt(view.to, run.x) + 1));
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
    const jump = Math.max(2.5, 3.5 * run.gap * scale);
    const dots = run.gap * scale > 7;
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
    const widest = Math.max(1, Math.ceil(run.gap * scale * 1.5));
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

  // How many frames a second there are, counted over at least a second.
  function rate(run, counts, stretch, x) {
    const half = Math.max(0.5, 2 / scale, 2 * run.gap), end = stretch.at + stretch.end - stretch.start;
    const from = Math.max(stretch.at, x - half), to = Math.min(end, x + half);
    const a = firstAt(from, run.x), b = firstAt(to, run.x);
    return counts ? (counts[b] - counts[a]) / (to - from) : (b - a) / (to - from);
  }

  function rates(ctx, area, run) {
    const samples = [];
    let most = 0;
    for (const stretch of report.stretches) {
      const from = Math.max(0, pixel(stretch.at)), to = Math.min(width, pixel(stretch.at + stretch.end - stretch.start));
      const part = [];
      for (let px = from; px < to; px += 2) {
        const x = view.from + px / scale;
        const both = [px, rate(run, null, stretch, x), rate(run, run.done, stretch, x)];
        most = Math.max(most, both[1]);
        part.push(both);
      }
      samples.push(part);
    }
    const max = rounded(most * 1.05), y = (v) => area.bottom - (v / max) * (area.bottom - area.top);
    for (const [which, color] of [[1, colors.soft], [2, colors.blue]]) {
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
        if (to < view.from || from > view.to || values[k] === null) { before = null; continue; }
        if (before !== null && Math.abs(before - from) * scale < 1) path.lineTo(pixel(from), y(values[k]));
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
      ctx.fillStyle = colors.band;
      ctx.fillRect(0, top, width, MARKS - 2);
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

  // ------------------------------------------------------------------------------------- the lanes

  const beside = (i) => {
    if (!replayed) return -1;
    const k = nearest(base.x[i], replayed.x);
    return Math.abs(replayed.x[k] - base.x[i]) <= replayed.gap / 2 ? k : -1;
  };

  function shareLane(title, name, tall) {
    const both = [runs[0], replayed].filter((run, k) => run && (k === 0 || name === "quality") && known(run[name]));
    const tones = both.map((run) => (run === replayed ? "orange" : "blue"));
    if (!both.length) return null;
    return {
      title, height: tall, extent: "0 to 1",
      legend: both.length > 1 ? both.map((run, k) => [run.name, tones[k]]) : [],
      draw: (ctx, area) => both.forEach((run, k) => line(ctx, area, run, run[name], 1, colors[tones[k]])),
      value: (i) => both.map((run) => {
        const k = run === base ? i : beside(i);
        return k < 0 ? "-" : fixed(run[name][k]);
      }).join(" / "),
    };
  }

  function madeLanes() {
    const live = replayed || runs[0];
    const late = [replayed, runs[0]].find((run) => run && known(run.latency));
    const drops = [];
    for (const run of replayed ? [runs[0], replayed] : [runs[0]]) {
      run.fates.forEach((name, fate) => {
        if (name === "processed" || !run.fate.includes(fate)) return;
        const color = report.palette[[2, 1, 6, 8, 5, 3][drops.length % 6]];
        drops.push({ run, fate, color, name: replayed ? `${name} (${run.name})` : name });
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
        legend: [["recorded", "soft"], [replayed ? `processed, ${live.name}` : "processed", "blue"]],
        value: (i) => fixed(rate(live, live.done, stretchAt(base.x[i]), base.x[i]), 1),
      },
      runs[0].objects.length && {
        title: "objects", height: 72, extent: "", legend: [], draw: stacked,
        value: (i) => {
          const k = at(runs[0], i);
          const counts = report.things.map((n, t) => [n, k < 0 ? 0 : runs[0].objects[t][k]]);
          const shown = counts.filter(([n, count]) => count && isShown(n));
          return shown.map(([n, count]) => `${count} ${report.classes[n].name}`).join(", ") || "none";
        },
      },
      late && {
        title: "latency", height: 52, extent: "ms", legend: late === replayed ? [[late.name, "violet"]] : [],
        draw: (ctx, area) => {
          const max = largest(late, late.latency);
          line(ctx, area, late, late.latency, max, colors.violet);
          return max;
        },
        value: (i) => (at(late, i) < 0 ? "-" : `${fixed(late.latency[at(late, i)], 1)} ms`),
      },
      drops.length && {
        title: "without a result", height: drops.length * MARKS, extent: "",
        legend: drops.map((d) => [d.name, d.color]), draw: (ctx, area) => marks(ctx, area, drops),
        value: (i) => drops.filter((d) => at(d.run, i) >= 0 && d.run.fate[at(d.run, i)] === d.fate).map((d) => d.name).join(", "),
      },
    ].filter(Boolean);
  }

  // ------------------------------------------------------------------------------- the whole picture

  function themed() {
    const style = getComputedStyle(document.documentElement);
    colors = {};
    for (const name of ["ink", "soft", "line", "sheet", "band", "cursor", "blue", "orange", "violet"]) {
      colors[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  function sized(canvas) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(canvas.width / width, 0, 0, ratio, 0, 0);
    ctx.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textBaseline = "middle";
    return ctx;
  }

  const top = () => (report.bags.length > 1 ? NAMES : 0) + (pins.length ? PINS : 0);

  function draw() {
    waiting = false;
    themed();
    lanes = madeLanes();
    width = Math.max(120, board.clientWidth);
    height = top() + lanes.reduce((sum, lane) => sum + LABEL + lane.height + SPACE, 0) + TICKS;
    scale = width / (view.to - view.from);
    const ctx = sized(back);
    ground(ctx);
    let y = top();
    for (const lane of lanes) {
      lane.top = y;
      const area = { top: y + LABEL, bottom: y + LABEL + lane.height };
      ctx.strokeStyle = colors.line;
      ctx.lineWidth = 1;
      ctx.strokeRect(-1, area.bottom + 0.5, width + 2, 0);
      const max = lane.draw(ctx, area);
      label(ctx, lane, max);
      y = area.bottom + SPACE;
    }
    ticks(ctx, y);
    thumb.style.left = `${(100 * view.from) / axisEnd}%`;
    thumb.style.width = `${(100 * (view.to - view.from)) / axisEnd}%`;
    point();
    performance.mark("drawn");
  }

  function label(ctx, lane, max) {
    const middle = lane.top + LABEL / 2;
    const words = [[lane.title, colors.ink]];
    const extent = max === undefined ? lane.extent : `0 to ${max.toLocaleString("en")} ${lane.extent}`;
    if (extent) words.push([extent, colors.soft]);
    for (const [name, color] of lane.legend) words.push([`■ ${name}`, colors[color] || color]);
    let x = 0;
    for (const [text, color] of words) {
      ctx.fillStyle = color;
      ctx.fillText(text, x, middle);
      x += ctx.measureText(text).width + 10;
    }
  }

  // Recordings in turn light and dark with their names, and the marks of the frames shown.
  function ground(ctx) {
    const named = report.bags.length > 1;
    let shownTo = 0;
    report.stretches.forEach((stretch, k) => {
      const from = Math.max(0, pixel(stretch.at)), to = Math.min(width, pixel(stretch.at + stretch.end - stretch.start));
      if (to <= 0 || from >= width) return;
      if (stretch.bag % 2 && to - from > 1) { ctx.fillStyle = colors.band; ctx.fillRect(from, 0, to - from, height - TICKS); }
      if (k && report.stretches[k - 1].bag === stretch.bag) {
        ctx.fillStyle = colors.soft;
        for (let y = top(); y < height - TICKS; y += 6) ctx.fillRect(from - 1, y, 2, 2);
      }
      if (!named || to - from < 24 || (k && report.stretches[k - 1].bag === stretch.bag && from > shownTo)) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(from, 0, to - from - 6, NAMES);
      ctx.clip();
      ctx.fillStyle = colors.soft;
      ctx.fillText(report.bags[stretch.bag], from + 4, NAMES / 2);
      ctx.restore();
      shownTo = to;
    });
    for (const pin of pins) {
      if (!pinShown(pin)) continue;
      const x = pixel(pin.x), y = top() - 3;
      ctx.fillStyle = colors.orange;
      ctx.beginPath();
      ctx.moveTo(x, y); ctx.lineTo(x - 5, y - 9); ctx.lineTo(x + 5, y - 9);
      ctx.fill();
    }
  }

  const pinShown = (pin) => chosen.size === 0 || pin.classes.some(isShown);

  function ticks(ctx, y) {
    const apart = 90 / scale;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400].find((s) => s >= apart) || 604800;
    let free = -1;
    ctx.fillStyle = colors.soft;
    for (const stretch of report.stretches) {
      const from = Math.max(stretch.start, stretch.start + view.from - stretch.at);
      const to = Math.min(stretch.end, stretch.start + view.to - stretch.at);
      for (let t = Math.ceil(from / step - 1e-6) * step; t < to; t += step) {
        const x = pixel(stretch.at + t - stretch.start);
        const text = step < 1 ? clock(t) : clock(t).slice(0, -2);
        const wide = ctx.measureText(text).width;
        if (x < free || x + wide + 4 > width) continue;
        ctx.fillRect(x, y, 1, 5);
        ctx.fillText(text, x + 3, y + 11);
        free = x + wide + 16;
      }
    }
  }

  // ---------------------------------------------------------------------------- cursor and its words

  function point() {
    const ctx = sized(front);
    if (drag && drag.moved) {
      ctx.fillStyle = colors.blue;
      ctx.globalAlpha = 0.2;
      ctx.fillRect(drag.from, 0, drag.to - drag.from, height - TICKS);
      ctx.globalAlpha = 1;
    }
    const x = pixel(base.x[cursor]);
    if (x >= 0 && x <= width) {
      ctx.fillStyle = colors.cursor;
      ctx.fillRect(Math.round(x), 0, 1, height - TICKS);
    }
    ctx.textAlign = "right";
    for (const lane of lanes) {
      const text = fitted(ctx, lane.value(cursor));
      const wide = ctx.measureText(text).width;
      if (!wide) continue;
      ctx.fillStyle = colors.sheet;
      ctx.fillRect(width - wide - 10, lane.top + 1, wide + 10, LABEL - 2);
      ctx.fillStyle = colors.ink;
      ctx.fillText(text, width - 2, lane.top + LABEL / 2);
    }
    tell();
  }

  function fitted(ctx, text) {
    if (ctx.measureText(text).width < width * 0.7) return text;
    let kept = text.length;
    while (kept && ctx.measureText(text.slice(0, kept)).width > width * 0.65) kept--;
    return `${text.slice(0, kept)}…`;
  }

  function tell() {
    const stamp = base.stamp[cursor], seconds = stamp / 1000000000n;
    const place = [clock(base.time[cursor]), base.fates[base.fate[cursor]], `stamp ${seconds}.${String(stamp % 1000000000n).replace("-", "").padStart(9, "0")}`];
    if (report.bags.length > 1) place.unshift(report.bags[base.bag[cursor]]);
    readout.textContent = place.join(" · ");
    board.setAttribute("aria-valuemin", 1);
    board.setAttribute("aria-valuemax", base.x.length);
    board.setAttribute("aria-valuenow", cursor + 1);
    const values = lanes.map((lane) => `${lane.title} ${lane.value(cursor)}`);
    board.setAttribute("aria-valuetext", [...place.slice(0, -1), ...values].join(", "));
  }

  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  // ------------------------------------------------------------------------------------- moving about

  function look(from, to) {
    const length = Math.min(axisEnd, Math.max(Math.min(VERY_CLOSE, axisEnd), to - from));
    view.from = Math.min(Math.max(0, (from + to - length) / 2), axisEnd - length);
    view.to = view.from + length;
    soon();
  }

  function zoom(factor) {
    const at = base.x[cursor], seen = at >= view.from && at <= view.to;
    const around = seen ? at : (view.from + view.to) / 2;
    look(around - (around - view.from) * factor, around + (view.to - around) * factor);
  }

  function pan(share) {
    const by = share * (view.to - view.from), length = view.to - view.from;
    const from = Math.min(Math.max(0, view.from + by), axisEnd - length);
    look(from, from + length);
  }

  function moveTo(frame) {
    cursor = Math.min(Math.max(0, frame), base.x.length - 1);
    const x = base.x[cursor], length = view.to - view.from;
    if (x < view.from) look(x, x + length);
    else if (x > view.to) look(x - length, x);
    else point();
  }

  function showBag(bag) {
    const own = report.stretches.filter((s) => s.bag === bag);
    const last = own[own.length - 1];
    if (!own.length) return;
    look(own[0].at, last.at + last.end - last.start);
    cursor = Math.min(firstAt(own[0].at, base.x), base.x.length - 1);
  }

  function jump(k) {
    const x = pins[k].x;
    if (view.to - view.from > 60) look(x - 15, x + 15);
    moveTo(nearest(x, base.x));
    board.scrollIntoView({ block: "center" });
    board.focus({ preventScroll: true });
  }

  function pinNear(x, reach) {
    let best = -1;
    pins.forEach((pin, k) => {
      const far = Math.abs(pin.x - x);
      if (pinShown(pin) && far <= reach && (best < 0 || far < Math.abs(pins[best].x - x))) best = k;
    });
    return best;
  }

  const DEEDS = { in: () => zoom(0.5), out: () => zoom(2), whole: () => look(0, axisEnd), earlier: () => pan(-0.5), later: () => pan(0.5) };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", DEEDS[button.dataset.do]);

  const tenth = () => Math.max(1, Math.round((view.to - view.from) / 10 / base.gap));
  const KEYS = {
    ArrowLeft: () => moveTo(cursor - 1), ArrowRight: () => moveTo(cursor + 1),
    ArrowDown: () => moveTo(cursor - 1), ArrowUp: () => moveTo(cursor + 1),
    PageUp: () => moveTo(cursor - tenth()), PageDown: () => moveTo(cursor + tenth()),
    Home: () => moveTo(0), End: () => moveTo(base.x.length - 1),
    "+": DEEDS.in, "=": DEEDS.in, "-": DEEDS.out, 0: DEEDS.whole,
    Enter: () => { const k = pinNear(base.x[cursor], Infinity); if (k >= 0) showFrame(k); },
  };
  board.addEventListener("keydown", (event) => {
    const deed = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
    if (deed) { event.preventDefault(); deed(); }
  });

  const within = (event) => event.clientX - board.getBoundingClientRect().left;
  board.addEventListener("pointermove", (event) => {
    const px = within(event);
    if (drag) {
      drag.to = px;
      drag.moved = drag.moved || Math.abs(px - drag.from) > 5;
      if (drag.moved && !board.hasPointerCapture(event.pointerId)) board.setPointerCapture(event.pointerId);
    }
    cursor = nearest(view.from + px / scale, base.x);
    const onPin = event.clientY - board.getBoundingClientRect().top < top() && pinNear(view.from + px / scale, 7 / scale) >= 0;
    board.style.cursor = onPin ? "pointer" : "";
    point();
  });
  board.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { from: within(event), to: within(event), moved: false };
  });
  board.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done) return;
    const [a, b] = [done.from, within(event)].sort((p, q) => p - q).map((px) => view.from + px / scale);
    if (done.moved) return look(Math.max(a, view.from), Math.min(b, view.to));
    cursor = nearest(a, base.x);
    point();
    const pin = pinNear(a, 7 / scale);
    if (pin >= 0 && event.clientY - board.getBoundingClientRect().top < top()) showFrame(pin);
  });
  board.addEventListener("pointercancel", () => { drag = null; point(); });
  board.addEventListener("dblclick", DEEDS.whole);
  board.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8);
  }, { passive: false });

  const overview = document.getElementById("overview");
  const dragView = (event) => {
    const box = overview.getBoundingClientRect(), length = view.to - view.from;
    const from = Math.min(Math.max(0, ((event.clientX - box.left) / box.width) * axisEnd - length / 2), axisEnd - length);
    look(from, from + length);
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); dragView(event); });
  overview.addEventListener("pointermove", (event) => { if (overview.hasPointerCapture(event.pointerId)) dragView(event); });

  const place = document.getElementById("place"), which = document.getElementById("run");
  place.addEventListener("change", () => (place.value === "all" ? look(0, axisEnd) : showBag(Number(place.value))));
  if (which) which.addEventListener("change", () => { replayed = runs[Number(which.value)]; soon(); });
  for (const button of document.querySelectorAll("[data-bag]")) {
    button.addEventListener("click", () => {
      place.value = button.dataset.bag;
      showBag(Number(button.dataset.bag));
      board.scrollIntoView({ block: "center" });
    });
  }

  onChosen.push(soon);
  new ResizeObserver(() => { if (Math.abs(board.clientWidth - width) > 0.5) soon(); }).observe(board);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  matchMedia("print").addEventListener("change", draw);
  draw();
  return { jump, view, at: () => cursor };
}

const lanesElement = document.getElementById("lanes");
const timeline = lanesElement ? makeTimeline(lanesElement) : null;

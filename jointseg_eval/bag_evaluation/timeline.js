// The timeline: lanes over one time axis, drawn again whenever another part of it is looked at; a
// second canvas above holds the cursor.

const LABEL = 18, SPACE = 9, PINS = 16, NAMES = 18, TICKS = 20;
const SHORTEST = 0.5; // seconds that are seen at least

function makeTimeline(board) {
  const [back, front] = board.querySelectorAll("canvas");
  const readout = document.getElementById("readout");
  const thumb = document.querySelector("#overview i");
  const pins = report.examples.map((e) => ({ x: axisOf(e.bag, e.time), classes: e.classes }));
  let cursor = nearest(axisEnd / 2, base.x);
  let drag = null, waiting = false;
  let lanes, height;

  // ------------------------------------------------------------------------------- the whole picture

  function themed() {
    const style = getComputedStyle(document.documentElement);
    axis.colors = {};
    for (const name of ["ink", "soft", "line", "sheet", "band", "cursor", "blue", "orange", "violet"]) {
      axis.colors[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  function sized(canvas) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(axis.width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(canvas.width / axis.width, 0, 0, ratio, 0, 0);
    ctx.font = font();
    ctx.textBaseline = "middle";
    return ctx;
  }

  const font = () => `12px ${getComputedStyle(document.body).fontFamily}`;
  const title = (lane) => LABEL * (1 + lane.below.length);
  const top = () => (report.bags.length > 1 ? NAMES : 0) + (pins.length ? PINS : 0);

  function draw() {
    waiting = false;
    themed();
    lanes = madeLanes();
    axis.width = Math.max(120, board.clientWidth);
    const ruler = back.getContext("2d");
    ruler.font = font();
    for (const lane of lanes) lane.below = rowsBelow(ruler, lane);
    height = top() + lanes.reduce((sum, lane) => sum + title(lane) + lane.height + SPACE, 0) + TICKS;
    axis.scale = axis.width / (axis.to - axis.from);
    const ctx = sized(back);
    ground(ctx);
    let y = top();
    for (const lane of lanes) {
      lane.top = y;
      const area = { top: y + title(lane), bottom: y + title(lane) + lane.height };
      ctx.strokeStyle = axis.colors.line;
      ctx.lineWidth = 1;
      ctx.strokeRect(-1, area.bottom + 0.5, axis.width + 2, 0);
      const max = lane.draw(ctx, area);
      label(ctx, lane, max);
      y = area.bottom + SPACE;
    }
    ticks(ctx, y);
    thumb.style.left = `${(100 * axis.from) / axisEnd}%`;
    thumb.style.width = `${(100 * (axis.to - axis.from)) / axisEnd}%`;
    point();
    performance.mark("drawn");
  }

  // A legend that does not fit between title and value stands below them, in rows.
  function rowsBelow(ctx, lane) {
    const wide = (text) => ctx.measureText(text).width + 10;
    const names = lane.legend.map(([name, color]) => ({ text: `■ ${name}`, color, at: 0 }));
    const beside = [lane.title, `0 to 0000 ${lane.extent}`, ...names.map((name) => name.text)];
    if (beside.reduce((sum, text) => sum + wide(text), 0) < axis.width * 0.65) return [];
    const rows = [];
    let x = Infinity;
    for (const name of names) {
      if (x + wide(name.text) > axis.width) { rows.push([]); x = 0; }
      rows.at(-1).push({ ...name, at: x });
      x += wide(name.text);
    }
    return rows;
  }

  function label(ctx, lane, max) {
    const middle = lane.top + LABEL / 2;
    const words = [[lane.title, axis.colors.ink]];
    const extent = max === undefined ? lane.extent : `0 to ${max.toLocaleString("en")} ${lane.extent}`;
    if (extent) words.push([extent, axis.colors.soft]);
    if (!lane.below.length) words.push(...lane.legend.map(([name, color]) => [`■ ${name}`, axis.colors[color] || color]));
    lane.below.forEach((row, k) => row.forEach(({ text, color, at }) => {
      ctx.fillStyle = axis.colors[color] || color;
      ctx.fillText(text, at, middle + LABEL * (1 + k));
    }));
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
      const from = Math.max(0, pixel(stretch.at)), to = Math.min(axis.width, pixel(stretch.at + stretch.end - stretch.start));
      if (to <= 0 || from >= axis.width) return;
      if (stretch.bag % 2 && to - from > 1) { ctx.fillStyle = axis.colors.band; ctx.fillRect(from, 0, to - from, height - TICKS); }
      if (k && report.stretches[k - 1].bag === stretch.bag) {
        ctx.fillStyle = axis.colors.soft;
        for (let y = top(); y < height - TICKS; y += 6) ctx.fillRect(from - 1, y, 2, 2);
      }
      if (!named || to - from < 24 || (k && report.stretches[k - 1].bag === stretch.bag && from > shownTo)) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(from, 0, to - from - 6, NAMES);
      ctx.clip();
      ctx.fillStyle = axis.colors.soft;
      ctx.fillText(report.bags[stretch.bag], from + 4, NAMES / 2);
      ctx.restore();
      shownTo = to;
    });
    for (const pin of pins) {
      if (!pinShown(pin)) continue;
      const x = pixel(pin.x), y = top() - 3;
      ctx.fillStyle = axis.colors.orange;
      ctx.beginPath();
      ctx.moveTo(x, y); ctx.lineTo(x - 5, y - 9); ctx.lineTo(x + 5, y - 9);
      ctx.fill();
    }
  }

  const pinShown = (pin) => chosen.size === 0 || pin.classes.some(isShown);

  function ticks(ctx, y) {
    const apart = 90 / axis.scale;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400].find((s) => s >= apart) || 604800;
    let free = -1;
    ctx.fillStyle = axis.colors.soft;
    for (const stretch of report.stretches) {
      const from = Math.max(stretch.start, stretch.start + axis.from - stretch.at);
      const to = Math.min(stretch.end, stretch.start + axis.to - stretch.at);
      for (let t = Math.ceil(from / step - 1e-6) * step; t < to; t += step) {
        const x = pixel(stretch.at + t - stretch.start);
        const text = step < 1 ? clock(t) : clock(t).slice(0, -2);
        const wide = ctx.measureText(text).width;
        if (x < free || x + wide + 4 > axis.width) continue;
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
      ctx.fillStyle = axis.colors.blue;
      ctx.globalAlpha = 0.2;
      ctx.fillRect(drag.from, 0, drag.to - drag.from, height - TICKS);
      ctx.globalAlpha = 1;
    }
    const x = pixel(base.x[cursor]);
    if (x >= 0 && x <= axis.width) {
      ctx.fillStyle = axis.colors.cursor;
      ctx.fillRect(Math.round(x), 0, 1, height - TICKS);
    }
    ctx.textAlign = "right";
    for (const lane of lanes) {
      const text = fitted(ctx, lane.value(cursor));
      const wide = ctx.measureText(text).width;
      if (!wide) continue;
      ctx.fillStyle = axis.colors.sheet;
      ctx.fillRect(axis.width - wide - 10, lane.top + 1, wide + 10, LABEL - 2);
      ctx.fillStyle = axis.colors.ink;
      ctx.fillText(text, axis.width - 2, lane.top + LABEL / 2);
    }
    tell();
  }

  function fitted(ctx, text) {
    if (ctx.measureText(text).width < axis.width * 0.7) return text;
    let kept = text.length;
    while (kept && ctx.measureText(text.slice(0, kept)).width > axis.width * 0.65) kept--;
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
    const length = Math.min(axisEnd, Math.max(Math.min(SHORTEST, axisEnd), to - from));
    axis.from = Math.min(Math.max(0, (from + to - length) / 2), axisEnd - length);
    axis.to = axis.from + length;
    soon();
  }

  function zoom(factor) {
    const at = base.x[cursor], seen = at >= axis.from && at <= axis.to;
    const around = seen ? at : (axis.from + axis.to) / 2;
    look(around - (around - axis.from) * factor, around + (axis.to - around) * factor);
  }

  function pan(share) {
    const by = share * (axis.to - axis.from), length = axis.to - axis.from;
    const from = Math.min(Math.max(0, axis.from + by), axisEnd - length);
    look(from, from + length);
  }

  function moveTo(frame) {
    cursor = Math.min(Math.max(0, frame), base.x.length - 1);
    const x = base.x[cursor], length = axis.to - axis.from;
    if (x < axis.from) look(x, x + length);
    else if (x > axis.to) look(x - length, x);
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
    if (axis.to - axis.from > 60) look(x - 15, x + 15);
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

  const tenth = () => Math.max(1, Math.round((axis.to - axis.from) / 10 / base.gap));
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
    cursor = nearest(axis.from + px / axis.scale, base.x);
    const onPin = event.clientY - board.getBoundingClientRect().top < top() && pinNear(axis.from + px / axis.scale, 7 / axis.scale) >= 0;
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
    const [a, b] = [done.from, within(event)].sort((p, q) => p - q).map((px) => axis.from + px / axis.scale);
    if (done.moved) return look(Math.max(a, axis.from), Math.min(b, axis.to));
    cursor = nearest(a, base.x);
    point();
    const pin = pinNear(a, 7 / axis.scale);
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
    const box = overview.getBoundingClientRect(), length = axis.to - axis.from;
    const from = Math.min(Math.max(0, ((event.clientX - box.left) / box.width) * axisEnd - length / 2), axisEnd - length);
    look(from, from + length);
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); dragView(event); });
  overview.addEventListener("pointermove", (event) => { if (overview.hasPointerCapture(event.pointerId)) dragView(event); });

  const place = document.getElementById("place"), which = document.getElementById("run");
  place.addEventListener("change", () => (place.value === "all" ? look(0, axisEnd) : showBag(Number(place.value))));
  if (which) which.addEventListener("change", () => { axis.replayed = runs[Number(which.value)]; soon(); });
  for (const button of document.querySelectorAll("[data-bag]")) {
    button.addEventListener("click", () => {
      place.value = button.dataset.bag;
      showBag(Number(button.dataset.bag));
      board.scrollIntoView({ block: "center" });
    });
  }

  onChosen.push(soon);
  new ResizeObserver(() => { if (Math.abs(board.clientWidth - axis.width) > 0.5) soon(); }).observe(board);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  matchMedia("print").addEventListener("change", draw);
  draw();
  return { jump };
}

const lanesElement = document.getElementById("lanes");
const timeline = lanesElement ? makeTimeline(lanesElement) : null;

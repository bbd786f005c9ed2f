// The timeline: lanes above each other, which show one part of the time axis and one frame.

const SHORTEST = 0.5; // seconds that are seen at least
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400, 604800];
const stretchAt = (x) => report.stretches.findLast((s) => s.at <= x) || report.stretches[0];

function clockAt(x) {
  const { at, start } = stretchAt(x), seconds = start + x - at + 0.05, hours = Math.floor(seconds / 3600);
  const rest = new Date(seconds * 1000).toISOString().slice(14, 21);
  return hours ? `${hours}:${rest}` : rest.replace(/^0/, "");
}

// Round times of every recording.
function ticks(u, _, from, to) {
  const step = STEPS.find((s) => s * u.over.clientWidth >= 80 * (to - from)) || STEPS.at(-1), found = [];
  for (const { at, start, end } of report.stretches) {
    for (let t = Math.ceil(start / step) * step; t < end; t += step) {
      const x = at + t - start;
      if (x >= from && x < to - step / 4 && (!found.length || x - found.at(-1) > 0.9 * step)) found.push(x);
    }
  }
  return found;
}

function makeTimeline(board) {
  const { end } = report;
  let charts = [], view = [0, end], cursor = 0;

  function chart(lane, number, lanes) {
    const bottom = number === lanes.length - 1;
    const axis = { stroke: () => painted("--soft"), font: "11px system-ui", grid: { stroke: () => painted("--line"), width: 1 }, ticks: { show: false } };
    const options = {
      title: lane.title, width: board.clientWidth, height: lane.height + (bottom ? 24 : 0), padding: [6, 8, bottom ? 0 : 4, 0],
      cursor: {
        y: false, points: { show: false }, hover: { skip: [] }, sync: { key: "timeline" }, drag: { dist: 5, setScale: false },
        bind: { mouseleave: () => null, click: () => null, dblclick: () => whole },
      },
      legend: { markers: { width: 0, fill: (u, s) => u.series[s].color.replace(/^--.*/, "var($&)") } },
      scales: { x: { time: false, range: () => view }, y: { range: lane.range || ((u, low, high) => [0, 1.05 * high || 1]) } },
      axes: [
        { ...axis, show: bottom, size: 24, gap: 2, splits: ticks, values: (u, xs) => xs.map((x) => clockAt(x).slice(0, view[1] - view[0] < 8 ? 9 : -2)) },
        { ...axis, size: 44, gap: 4, space: 22, ...(lane.ticks && { splits: () => lane.ticks }) },
      ],
      series: [{}, ...lane.series],
      hooks: number ? {} : { setSelect: [selected], setSize: [point] },
    };
    return Object.assign(new uPlot(options, [frames.x, ...lane.data.map((made) => made(0))], board), { lane });
  }

  function build() {
    charts.forEach((one) => one.destroy());
    charts = madeLanes().map(chart);
    look(...view);
    performance.mark("drawn");
  }

  function look(from, to) {
    const length = Math.min(end, Math.max(SHORTEST, to - from));
    const start = Math.min(Math.max(0, (from + to - length) / 2), end - length);
    view = [start, start + length];
    const seen = frames.x.filter((x) => x >= start && x <= start + length).length;
    for (const u of charts) u.setData([frames.x, ...u.lane.data.map((made) => made(seen))]);
    ["--from", "--to"].forEach((name, k) => board.style.setProperty(name, view[k]));
    point();
  }

  function point() {
    for (const u of charts) {
      u.setCursor({ left: u.valToPos(frames.x[cursor], "x"), top: 0 }, false);
      u.setLegend({ idx: cursor }, false);
    }
    tell();
  }

  function tell() {
    const stamp = String(frames.stamps[cursor]).padStart(10, "0"), x = frames.x[cursor];
    const words = [clockAt(x), runs[0].fates[runs[0].fate[cursor]]];
    if (report.bags.length > 1) words.unshift(report.bags[stretchAt(x).bag]);
    document.getElementById("readout").textContent = [...words, `stamp ${stamp.slice(0, -9)}.${stamp.slice(-9)}`].join(" · ");
    for (const { lane } of charts) {
      const values = lane.series.map((one) => [one.label, one.value(null, null, null, cursor)]).filter(([, value]) => value);
      words.push([lane.title, ...values.map((pair) => pair.join(" "))].join(" "));
    }
    board.setAttribute("aria-valuemax", frames.x.length);
    board.setAttribute("aria-valuenow", cursor + 1);
    board.setAttribute("aria-valuetext", words.join(", "));
  }

  const nearest = (x) => charts[0].valToIdx(x);
  const whole = () => look(0, end), pan = (by) => look(view[0] + by, view[1] + by);

  function selected(u) {
    const { left, width } = u.select;
    if (!width) return;
    for (const one of charts) one.setSelect({ left: 0, width: 0 }, false);
    look(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
  }

  function zoom(factor) {
    const [from, to] = view, x = frames.x[cursor], around = x >= from && x <= to ? x : (from + to) / 2;
    look(around - (around - from) * factor, around + (to - around) * factor);
  }

  function moveTo(frame) {
    cursor = Math.min(Math.max(0, frame), frames.x.length - 1);
    const x = frames.x[cursor];
    if (x < view[0]) pan(x - view[0]);
    else if (x > view[1]) pan(x - view[1]);
    else point();
  }

  function jump(k) {
    const { x } = report.examples[k];
    if (view[1] - view[0] > 60) look(x - 15, x + 15);
    moveTo(nearest(x));
    board.scrollIntoView({ block: "center" });
    board.focus({ preventScroll: true });
  }

  function showNearest() {
    const far = (figure) => Math.abs(report.examples[figures.indexOf(figure)].x - frames.x[cursor]);
    const [first] = figures.filter((figure) => !figure.hidden).sort((a, b) => far(a) - far(b));
    if (first) showFrame(first);
  }

  const half = () => (view[1] - view[0]) / 2, tenth = () => Math.max(1, Math.round((frames.x.length * half()) / end / 5));
  const DEEDS = { in: () => zoom(0.5), out: () => zoom(2), whole, earlier: () => pan(-half()), later: () => pan(half()) };
  const KEYS = {
    ArrowLeft: () => moveTo(cursor - 1), ArrowRight: () => moveTo(cursor + 1),
    PageUp: () => moveTo(cursor - tenth()), PageDown: () => moveTo(cursor + tenth()),
    Home: () => moveTo(0), End: () => moveTo(frames.x.length - 1),
    "+": DEEDS.in, "=": DEEDS.in, "-": DEEDS.out, 0: whole, Enter: showNearest,
  };
  board.addEventListener("keydown", (event) => onKey(event, KEYS));
  board.addEventListener("mousemove", () => { cursor = charts[0].cursor.idx ?? cursor; tell(); });
  onClick("[data-do]", (button) => DEEDS[button.dataset.do]());
  onClick("[data-jump]", (button) => jump(Number(button.dataset.jump)));
  onClick("[data-bag]", (button) => {
    look(...report.ranges[button.dataset.bag]);
    moveTo(nearest(view[0]));
    board.scrollIntoView({ block: "center" });
  });
  onChosen.push(build);
  new ResizeObserver(() => charts.forEach((u) => u.setSize({ width: board.clientWidth, height: u.height }))).observe(board);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", () => charts.forEach((u) => u.redraw()));
  }
  build();
  moveTo(nearest(end / 2));
}

if (report.stretches.length) makeTimeline(document.getElementById("lanes"));

// The frames shown: chosen by class, enlarged, and found from the timeline.

const figures = [...document.querySelectorAll("figure.frame")];
const viewer = document.getElementById("viewer");
const LAYERS = viewer ? [...viewer.querySelectorAll("[data-layer]")].map((button) => button.dataset.layer) : [];
const imageOf = (k, kind) => [...figures[k].querySelectorAll("[data-layer]")].find((one) => one.dataset.layer === kind);
let open = 0, layer = "";

function showFrame(k) {
  const figure = figures[k];
  for (const one of figures) one.classList.toggle("found-here", one === figure);
  figure.scrollIntoView({ block: "start" });
  figure.querySelector(".layers button").focus({ preventScroll: true });
}

function filterFrames() {
  figures.forEach((figure, k) => {
    figure.hidden = chosen.size > 0 && !report.examples[k].classes.some(isShown);
  });
  const left = figures.filter((figure) => !figure.hidden).length;
  const names = [...chosen].map((number) => report.classes[number].name).join(" or ");
  document.getElementById("shown").textContent = chosen.size
    ? `${left} of ${figures.length} frames have ${names} in them.` : `${figures.length} frames`;
}

function enlarge(k, kind) {
  open = k;
  const found = imageOf(k, kind) || imageOf(k, "picture");
  layer = kind;
  const image = viewer.querySelector("img"), source = found.querySelector("img");
  image.src = source.src;
  image.alt = source.alt;
  document.getElementById("viewer-name").textContent = figures[k].querySelector("b").textContent;
  const quality = figures[k].querySelector(".quality");
  const place = [figures[k].querySelector("[data-jump]").textContent, quality ? quality.textContent : ""];
  document.getElementById("viewer-place").textContent = place.filter(Boolean).join(" · ");
  for (const button of viewer.querySelectorAll("[data-layer]")) {
    button.hidden = !imageOf(k, button.dataset.layer);
    button.setAttribute("aria-pressed", button.dataset.layer === found.dataset.layer);
  }
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const seen = figures.map((_, k) => k).filter((k) => !figures[k].hidden);
  const next = seen[seen.indexOf(open) + by];
  if (next !== undefined) enlarge(next, layer);
}

function turn(by) {
  const there = LAYERS.filter((kind) => imageOf(open, kind));
  const at = Math.max(0, there.indexOf(layer));
  enlarge(open, there[(at + by + there.length) % there.length]);
}

if (viewer) {
  figures.forEach((figure, k) => {
    for (const button of figure.querySelectorAll("[data-layer]")) {
      button.addEventListener("click", () => enlarge(k, button.dataset.layer));
    }
    figure.querySelector("[data-jump]").addEventListener("click", () => timeline && timeline.jump(k));
  });
  for (const button of viewer.querySelectorAll("[data-layer]")) {
    button.addEventListener("click", () => enlarge(open, button.dataset.layer));
  }
  for (const button of viewer.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => (imageOf(open, layer) || imageOf(open, "picture")).focus());
  viewer.addEventListener("keydown", (event) => {
    const deeds = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1) };
    if (deeds[event.key]) { event.preventDefault(); deeds[event.key](); }
  });
  onChosen.push(filterFrames);
  filterFrames();
}

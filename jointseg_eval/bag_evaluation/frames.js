// The frames shown: chosen by class, found from the timeline, enlarged.

const figures = [...document.querySelectorAll("figure.frame")];
const pins = [...document.querySelectorAll(".pin")]; // their marks in the timeline
const viewer = document.getElementById("viewer");
const folded = document.querySelector("details.more"); // all but a few, where there are many
const onChosen = [];
let open = figures[0], layer = "";

function onClick(selector, deed) {
  for (const button of document.querySelectorAll(selector)) button.addEventListener("click", () => deed(button));
}

function onKey(event, deeds) {
  const deed = !event.ctrlKey && !event.metaKey && !event.altKey && deeds[event.key];
  if (deed) { event.preventDefault(); deed(); }
}

onClick(".chip", (chip) => {
  const number = Number(chip.dataset.class);
  if (chip.dataset.class === "all") chosen.clear();
  else if (!chosen.delete(number)) chosen.add(number);
  for (const one of document.querySelectorAll(".chip")) {
    const on = one.dataset.class === "all" ? chosen.size === 0 : chosen.has(Number(one.dataset.class));
    one.setAttribute("aria-pressed", on);
  }
  for (const listener of onChosen) listener();
});

function showFrame(figure) {
  for (const one of figures) one.classList.toggle("found-here", one === figure);
  if (folded?.contains(figure)) folded.open = true;
  figure.scrollIntoView({ block: "start" });
  figure.querySelector("[data-layer]").focus({ preventScroll: true });
}

function filterFrames() {
  figures.forEach((figure, k) => {
    figure.hidden = pins[k].hidden = chosen.size > 0 && !report.examples[k].classes.some(isShown);
  });
  const left = figures.filter((figure) => !figure.hidden).length;
  const names = [...chosen].map((number) => report.classes[number].name).join(" or ");
  if (names && folded) folded.open = true;
  document.getElementById("shown").textContent = names ? `${left} of ${figures.length} frames have ${names} in them.` : `${figures.length} frames`;
}

const layersOf = (figure) => [...figure.querySelectorAll("[data-layer]")];
const imageOf = (figure) => layersOf(figure).find((one) => one.dataset.layer === layer) || layersOf(figure)[0];

function enlarge(figure, kind) {
  open = figure;
  layer = kind;
  const found = imageOf(figure), { src, alt } = found.querySelector("img"), words = figure.querySelectorAll("b, .link, .quality");
  Object.assign(viewer.querySelector("img"), { src, alt });
  document.getElementById("viewer-name").textContent = words[0].textContent;
  document.getElementById("viewer-place").textContent = [...words].slice(1).map((one) => one.textContent).join(" · ");
  for (const button of viewer.querySelectorAll("[data-layer]")) {
    button.hidden = !layersOf(figure).some((one) => one.dataset.layer === button.dataset.layer);
    button.setAttribute("aria-pressed", button.dataset.layer === found.dataset.layer);
  }
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const seen = figures.filter((figure) => !figure.hidden), next = seen[seen.indexOf(open) + by];
  if (next) enlarge(next, layer);
}

function turn(by) {
  const all = layersOf(open), at = all.indexOf(imageOf(open));
  enlarge(open, all[(at + by + all.length) % all.length].dataset.layer);
}

if (viewer) {
  onClick(".frame [data-layer]", (button) => enlarge(button.closest("figure"), button.dataset.layer));
  onClick("#viewer [data-layer]", (button) => enlarge(open, button.dataset.layer));
  onClick(".pin", (pin) => showFrame(figures[pins.indexOf(pin)]));
  onClick("[data-step]", (button) => step(Number(button.dataset.step)));
  onClick("[data-close]", () => viewer.close());
  viewer.addEventListener("close", () => imageOf(open).focus());
  const deeds = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1) };
  viewer.addEventListener("keydown", (event) => onKey(event, deeds));
  onChosen.push(filterFrames);
  filterFrames();
}

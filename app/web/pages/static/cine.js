// Plays a cine, and steps through its kept frames in place: by buttons, keys, slider or a click on a bar.
"use strict";

const root = document.querySelector("[data-cine]");
const bars = [...root.querySelectorAll(".bar-of")];
const slider = root.querySelector("[data-slider]");
const shown = root.querySelector("[data-frame]");
const play = root.querySelector("[data-play]");
const speed = root.querySelector("[data-speed]");
const form = root.querySelector("[data-analyse]");
const loaded = new Map();
let place = Number(slider.value);
let playing = null; // the run that goes on; a new one for each press of Play

const hrefOf = (at) => bars[at].getAttribute("href");

// A frame's picture, asked for once; it resolves when it can be shown without a flicker.
function picture(at) {
  if (!loaded.has(at)) {
    const image = new Image();
    image.src = `${hrefOf(at)}.png`;
    loaded.set(at, image.decode().catch(() => loaded.delete(at)));
  }
  return loaded.get(at);
}

// What changes with every frame; the rest waits until the cine is still.
function draw(at) {
  place = at;
  slider.value = at;
  shown.src = `${hrefOf(at)}.png`;
  root.querySelector("[data-number]").textContent = bars[at].dataset.number;
  for (const other of bars) other.classList.toggle("here", other === bars[at]);
}

function settle() {
  const bar = bars[place];
  const href = hrefOf(place);
  shown.alt = `Frame ${bar.dataset.number} of the uploaded file`;
  root.querySelector("[data-words]").textContent = bar.dataset.words;
  const chosen = bar.classList.contains("chosen");
  root.querySelector("[data-analysed]").hidden = !chosen;
  form.hidden = chosen;
  form.action = `${href}/analyse`;
  for (const [name, to] of [["first", 0], ["prev", place - 1], ["next", place + 1], ["last", bars.length - 1]]) {
    const link = root.querySelector(`a[data-step="${name}"]`);
    link.hidden = !bars[to] || to === place;
    if (bars[to]) link.href = hrefOf(to);
  }
  history.replaceState(null, "", href);
  document.title = `Frame ${bar.dataset.number} · USTri`;
}

function show(at) {
  if (!bars[at]) return;
  stop();
  draw(at);
  settle();
}

function stop() {
  if (!playing) return;
  playing = null;
  play.textContent = "Play";
  settle();
}

async function run() {
  const mine = {};
  playing = mine;
  play.textContent = "Pause";
  while (playing === mine) {
    const next = (place + 1) % bars.length;
    const due = new Promise((resolve) => setTimeout(resolve, 1000 / Number(speed.value)));
    for (let ahead = 1; ahead <= 8; ahead += 1) picture((place + ahead) % bars.length);
    await Promise.all([picture(next), due]);
    if (playing === mine) draw(next);
  }
}

function toggle() {
  if (playing) stop();
  else run();
}

play.addEventListener("click", toggle);
slider.addEventListener("input", () => show(Number(slider.value)));
for (const [at, bar] of bars.entries()) {
  bar.addEventListener("click", (event) => { event.preventDefault(); show(at); });
}
for (const link of root.querySelectorAll("a[data-step]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const to = { first: 0, prev: place - 1, next: place + 1, last: bars.length - 1 };
    show(to[link.dataset.step]);
  });
}
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("input, select, textarea") && event.target !== slider) return;
  const keys = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: bars.length - 1 };
  if (event.key in keys && event.target !== slider) {
    event.preventDefault();
    show(keys[event.key]);
  } else if (event.key === " " && !event.target.closest("a, button, summary")) {
    event.preventDefault();
    toggle();
  }
});
addEventListener("visibilitychange", () => { if (document.hidden) stop(); });

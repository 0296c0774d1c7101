// What the pages do beyond links and forms: follow a running analysis.
"use strict";

document.documentElement.classList.add("js");

function followAnalysis(root) {
  const list = root.querySelector("[data-progress]");
  const events = new EventSource(root.dataset.events);
  let tries = 0;
  // A page that is opened late has the first steps already; the stream tells all of them.
  const known = new Set([...list.querySelectorAll("[data-index]")].map((item) => Number(item.dataset.index)));
  events.addEventListener("step", (event) => {
    tries = 0;
    const step = JSON.parse(event.data);
    if (known.has(step.index)) return;
    known.add(step.index);
    const item = document.createElement("li");
    const action = document.createElement("span");
    action.className = "action";
    action.textContent = step.action;
    item.append(action);
    if (step.reason) {
      const why = document.createElement("small");
      why.textContent = step.reason;
      item.append(why);
    }
    list.append(item);
  });
  events.addEventListener("state", (event) => {
    const screening = JSON.parse(event.data).screening;
    if (!screening) return;
    const part = root.querySelector("[data-screening]");
    part.hidden = false;
    part.querySelector("progress").max = screening.frames;
    part.querySelector("progress").value = screening.screened;
    part.querySelector("[data-screened]").textContent = `${screening.screened} of ${screening.frames} frames screened`;
  });
  events.addEventListener("done", () => { events.close(); location.reload(); });
  events.addEventListener("error", () => {
    tries += 1;
    if (tries > 3) { events.close(); setTimeout(() => location.reload(), 3000); }
  });
}

// Steps through the kept frames in place: by slider, arrow keys or a click on a frame's bar.
function stepFrames(root) {
  const bars = [...root.querySelectorAll(".bar-of")];
  const slider = root.querySelector("[data-slider]");
  const image = root.querySelector("[data-frame]");
  const links = { prev: -1, next: 1 };
  const show = (place) => {
    const bar = bars[place];
    if (!bar) return;
    const href = bar.getAttribute("href");
    slider.value = place;
    image.src = `${href}.png`;
    image.alt = `Frame ${bar.dataset.index} of the uploaded file`;
    root.querySelector("[data-number]").textContent = bar.dataset.index;
    root.querySelector("[data-words]").textContent = bar.dataset.words;
    root.querySelector("[data-analysed]").hidden = !bar.classList.contains("chosen");
    for (const other of bars) other.classList.toggle("here", other === bar);
    for (const [name, step] of Object.entries(links)) {
      const link = root.querySelector(`a[rel="${name}"]`);
      const next = bars[place + step];
      link.hidden = !next;
      if (next) link.href = next.getAttribute("href");
    }
    history.replaceState(null, "", href);
    document.title = `Frame ${bar.dataset.index} · USTri`;
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const [place, bar] of bars.entries()) {
    bar.addEventListener("click", (event) => { event.preventDefault(); show(place); });
  }
  for (const [name, step] of Object.entries(links)) {
    root.querySelector(`a[rel="${name}"]`).addEventListener("click", (event) => {
      event.preventDefault();
      show(Number(slider.value) + step);
    });
  }
  addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target === slider || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(Number(slider.value) + step);
  });
}

function guardUpload(form) {
  const input = form.querySelector("input[type=file]");
  for (const name of ["dragenter", "dragover"]) {
    input.addEventListener(name, () => input.classList.add("over"));
  }
  for (const name of ["dragleave", "drop"]) {
    input.addEventListener(name, () => input.classList.remove("over"));
  }
  input.addEventListener("change", () => {
    const limit = Number(form.dataset.limitBytes);
    const tooLarge = input.files.length > 0 && input.files[0].size > limit;
    input.setCustomValidity(tooLarge ? `The file is larger than ${Math.floor(limit / 1048576)} MB.` : "");
    input.reportValidity();
  });
  const button = form.querySelector("button");
  form.addEventListener("submit", () => { button.disabled = true; button.textContent = "Sending…"; });
  addEventListener("pageshow", () => { button.disabled = false; button.textContent = "Analyse"; });
}

function localTimes() {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time[datetime]:not([data-age], [title])")) {
    const when = new Date(time.dateTime);
    if (!Number.isNaN(when.getTime())) {
      time.title = time.textContent.trim();
      time.textContent = format.format(when);
    }
  }
}

const running = document.querySelector("[data-events]");
if (running) followAnalysis(running);
const cine = document.querySelector("[data-cine]");
if (cine) stepFrames(cine);
const upload = document.querySelector("form[data-upload]");
if (upload) guardUpload(upload);
localTimes();

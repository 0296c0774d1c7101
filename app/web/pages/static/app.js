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
localTimes();

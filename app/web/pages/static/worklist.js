// What the worklist does beyond htmx's search and pages: keys, ages, totals, and asking for changes.
"use strict";

const AGES = [[31536000, "year"], [2592000, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]];
const KEYS = "ustri-keys";
const find = document.getElementById("find");
const query = document.getElementById("find-q");
const stale = document.querySelector("[data-stale]");
const keys = document.querySelector("[data-keys]");
let toFirstRow = false;

const list = () => document.getElementById("list");
const links = () => [...document.querySelectorAll("#list a.open")];

// The same words as app/web/pages/times.py.
function age(stamp) {
  const passed = (Date.now() - new Date(stamp).getTime()) / 1000;
  for (const [length, name] of AGES) {
    const count = Math.floor(passed / length);
    if (count > 0) return `${count} ${name}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

function tellAges() {
  for (const time of document.querySelectorAll("#list time[data-age]")) {
    const text = age(time.dateTime);
    if (time.textContent !== text) time.textContent = text;
  }
}

// The total is told outside the list, so that a screen reader hears it change.
function tellTotal() {
  const total = document.getElementById("total");
  const { totalText: text, narrowed } = list().dataset;
  if (total.textContent !== text) total.textContent = text;
  document.querySelector(".clear").hidden = narrowed === undefined;
}

function tellStale(text) {
  if (stale.textContent !== text) stale.textContent = text;
  stale.hidden = !text;
}

function step(by) {
  const rows = links();
  const at = rows.indexOf(document.activeElement);
  const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1);
  rows[to]?.focus();
  rows[to]?.closest("tr").scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !keys.checked) return;
  if (event.target.closest("input, select, textarea, [contenteditable], dialog")) return;
  const does = { j: () => step(1), k: () => step(-1), "/": () => { query.focus(); query.select(); } }[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

keys.checked = localStorage.getItem(KEYS) !== "off";
keys.addEventListener("change", () => localStorage.setItem(KEYS, keys.checked ? "on" : "off"));

// Enter in the search goes on to the first row that was found.
find.addEventListener("submit", () => { toFirstRow = document.activeElement === query; });

document.body.addEventListener("htmx:configRequest", (event) => {
  const { elt, formData, headers } = event.detail;
  if (elt === list()) headers["If-None-Match"] = elt.dataset.etag;
  if (elt !== find) return;
  // The address is the one that links have: without what is not asked for.
  for (const [name, value] of [...formData.entries()]) {
    if (value === "" || (name === "sort" && value === "newest")) formData.delete(name);
  }
});

document.body.addEventListener("htmx:afterSettle", () => {
  localTimes();
  tellAges();
  tellTotal();
  if (toFirstRow) links()[0]?.focus();
  toFirstRow = false;
});

document.body.addEventListener("htmx:afterRequest", (event) => {
  const { successful, xhr } = event.detail;
  if (successful || xhr.status === 304) tellStale("");
});

document.body.addEventListener("htmx:sendError", () => {
  tellStale("The service does not answer; this list may be out of date.");
});

document.body.addEventListener("htmx:responseError", (event) => {
  const signedOut = event.detail.xhr.status === 401;
  tellStale(signedOut ? "You are signed out. Load this page again to sign in." : "The service could not make this list; it may be out of date.");
});

// Only where it is seen, and one question at a time.
function refresh() {
  if (document.visibilityState === "visible") htmx.trigger(list(), "refresh");
}

function poll() {
  setTimeout(() => { refresh(); poll(); }, 1000 * Number(list().dataset.pollS));
}

document.addEventListener("visibilitychange", refresh);
setInterval(tellAges, 15000);
document.addEventListener("DOMContentLoaded", () => { tellAges(); poll(); });

// Window and level of the displayed image, and its inversion; the stored image stays as it is.
import { press } from "./viewer-view.js";

const SVG = "http://www.w3.org/2000/svg";

export function setLevels(root, view) {
  const panel = root.querySelector("[data-levels]");
  const level = panel.querySelector('[name="level"]');
  const width = panel.querySelector('[name="width"]');
  const invert = root.querySelector('[data-do="invert"]');
  const filter = document.createElementNS(SVG, "filter");
  filter.id = "levels";
  filter.setAttribute("color-interpolation-filters", "sRGB");
  const transfer = document.createElementNS(SVG, "feComponentTransfer");
  const parts = ["R", "G", "B"].map((name) => document.createElementNS(SVG, `feFunc${name}`));
  for (const part of parts) part.setAttribute("type", "linear");
  transfer.append(...parts);
  filter.append(transfer);
  view.frame.prepend(filter);
  const apply = () => {
    // What lies in the window is spread over all grey values: (value - low) / width.
    const inverted = invert.getAttribute("aria-pressed") === "true";
    const slope = 255 / width.value;
    const intercept = 0.5 - level.value / width.value;
    for (const part of parts) {
      part.setAttribute("slope", inverted ? -slope : slope);
      part.setAttribute("intercept", inverted ? 1 - intercept : intercept);
    }
    const plain = !inverted && Number(width.value) === 255 && Number(level.value) === 127.5;
    for (const image of root.querySelectorAll("svg.frame image")) {
      if (plain) image.removeAttribute("filter");
      else image.setAttribute("filter", "url(#levels)");
    }
    for (const input of [level, width]) {
      input.closest("label").querySelector("output").textContent = Math.round(input.value);
    }
  };
  for (const input of [level, width]) input.addEventListener("input", apply);
  invert.addEventListener("click", () => { press(invert); apply(); });
  panel.querySelector('[data-do="levels"]').addEventListener("click", () => {
    level.value = level.defaultValue;
    width.value = width.defaultValue;
    invert.setAttribute("aria-pressed", "false");
    apply();
  });
  view.onChange(apply);
}

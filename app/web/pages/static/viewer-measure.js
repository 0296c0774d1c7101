// The reader's own calipers and angles, and the two points of a calibration. They are kept in this
// page alone: the report does not change by them, but for a calibration that is sent.
import { arrow, press } from "./viewer-view.js";

const SVG = "http://www.w3.org/2000/svg";
const HANDLE_PX = 7;
const KINDS = { distance: 2, angle: 3, calibrate: 2 };
const ENDS = "ABC";

const make = (name, attributes) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

// Return mm per pixel where all points share one stated spacing, else null: as the report measures.
function spacingAt(image, points) {
  if (!image.regions.length) return image.spacing;
  const holds = ({ box }) => points.every(([x, y]) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3]);
  const held = image.regions.filter(holds).map((region) => region.spacing);
  const same = held.every((one) => one && one.join() === held[0].join());
  return held.length && same ? held[0] : null;
}

// Return what a set of points measures, in words; angles are measured in square pixels.
export function valueOf(kind, points, image) {
  const spacing = spacingAt(image, points);
  const [across, down] = spacing || [1, image.aspect];
  const side = ([x, y], [otherX, otherY]) => [(otherX - x) * across, (otherY - y) * down];
  if (kind !== "angle") {
    const length = Math.hypot(...side(points[0], points[1]));
    return `${length.toFixed(1)} ${spacing ? "mm" : "px"}`;
  }
  const [one, other] = [side(points[1], points[0]), side(points[1], points[2])];
  const cross = one[0] * other[1] - one[1] * other[0];
  const degrees = Math.atan2(Math.abs(cross), one[0] * other[0] + one[1] * other[1]) * (180 / Math.PI);
  return `${degrees.toFixed(1)}°`;
}

export function measure(root, view, image) {
  const list = root.querySelector("[data-mine]");
  const said = root.querySelector("[data-said]");
  const layer = make("g", { class: "mine" });
  const cross = make("path", { class: "cross" });
  view.frame.append(layer, cross);
  const state = { marks: [], points: [], counts: {}, cursor: null };
  const buttons = [...root.querySelectorAll("[data-tool]")];
  const say = (text) => { said.textContent = text; };

  const choose = (kind) => {
    view.tool = kind;
    state.points = [];
    state.cursor = null;
    view.frame.classList.toggle("measuring", Boolean(kind));
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.tool === kind);
    if (kind) {
      view.frame.focus({ preventScroll: true });
      view.frame.scrollIntoView({ block: "nearest" });
      say(`Click ${KINDS[kind]} points${kind === "angle" ? ", the vertex second" : ""}; or move the cross with the arrow keys and press Enter. Escape ends.`);
    }
    draw();
  };

  const put = (point) => {
    state.points.push(point);
    const { tool } = view;
    if (state.points.length < KINDS[tool]) { say(`Point ${state.points.length} is placed.`); draw(); return; }
    add(tool, state.points);
    choose(null);
  };

  const add = (kind, points) => {
    if (kind === "calibrate") state.marks = state.marks.filter((mark) => mark.kind !== kind);
    state.counts[kind] = (state.counts[kind] || 0) + 1;
    const name = { distance: "Distance", angle: "Angle", calibrate: "Calibration" }[kind];
    const mark = { kind, points, name: kind === "calibrate" ? name : `${name} ${state.counts[kind]}` };
    state.marks.push(mark);
    rebuild();
    tell(mark);
  };

  const tell = (mark) => {
    if (mark.kind === "calibrate") fillForm(root, mark.points);
    say(`${mark.name}: ${valueOf(mark.kind, mark.points, image)}.`);
  };

  const remove = (mark) => {
    state.marks = state.marks.filter((one) => one !== mark);
    rebuild();
    say(`${mark.name} is deleted.`);
    view.frame.focus({ preventScroll: true });
  };

  const handleOf = (mark, index) => {
    const handle = make("circle", { tabindex: 0, role: "button" });
    const moved = (point) => { mark.points[index] = point; draw(); tell(mark); };
    handle.addEventListener("keydown", (event) => {
      const way = arrow(event);
      if (way) {
        const [x, y] = mark.points[index];
        moved([Math.min(Math.max(x + way[0], 0), image.width), Math.min(Math.max(y + way[1], 0), image.height)]);
      } else if (event.key === "Delete" || event.key === "Backspace") remove(mark);
      else return;
      event.preventDefault();
    });
    handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) moved(view.at(event));
    });
    return handle;
  };

  // Make the elements of every mark and its row in the list; `draw` moves them.
  const rebuild = () => {
    layer.replaceChildren();
    list.replaceChildren();
    for (const mark of state.marks) {
      const group = make("g", { "data-mark": mark.kind, role: "group", "aria-label": `${mark.name}, yours` });
      mark.line = make("polyline", {});
      mark.handles = mark.points.map((_, index) => handleOf(mark, index));
      mark.text = make("text", { class: "tag", "text-anchor": "middle", "aria-hidden": "true" });
      group.append(mark.line, ...mark.handles, mark.text);
      layer.append(group);
      const row = document.createElement("li");
      mark.told = document.createElement("span");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Delete";
      button.setAttribute("aria-label", `Delete ${mark.name}`);
      button.addEventListener("click", () => remove(mark));
      row.append(mark.told, button);
      list.append(row);
    }
    root.querySelector("[data-mine-part]").hidden = !state.marks.length;
    draw();
  };

  const draw = () => {
    const scale = view.scale;
    for (const mark of state.marks) {
      const value = valueOf(mark.kind, mark.points, image);
      mark.line.setAttribute("points", mark.points.map((point) => point.join()).join(" "));
      mark.handles.forEach((handle, index) => {
        const [x, y] = mark.points[index];
        handle.setAttribute("cx", x);
        handle.setAttribute("cy", y);
        handle.setAttribute("r", HANDLE_PX / scale);
        handle.setAttribute("aria-label", `${mark.name}, point ${ENDS[index]} at ${Math.round(x)}, ${Math.round(y)}: ${value}. Arrow keys move it, Delete removes it.`);
      });
      const middle = mark.kind === "angle" ? mark.points[1] : [0, 1].map((axis) => (mark.points[0][axis] + mark.points[1][axis]) / 2);
      mark.text.setAttribute("x", middle[0]);
      mark.text.setAttribute("y", middle[1] - 12 / scale);
      mark.text.setAttribute("font-size", 13 / scale);
      mark.text.textContent = value;
      mark.told.textContent = `${mark.name}: ${value}`;
    }
    const arm = 9 / scale;
    const waiting = [...state.points, ...(state.cursor ? [state.cursor] : [])];
    cross.setAttribute("d", waiting.map(([x, y]) => `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`).join("") || "M0 0");
  };

  for (const button of buttons) {
    button.addEventListener("click", () => choose(press(button) ? button.dataset.tool : null));
  }
  view.frame.addEventListener("click", (event) => {
    if (view.tool) put(view.at(event));
  });
  view.frame.addEventListener("keydown", (event) => {
    if (!view.tool || event.target.closest(".mine [tabindex]")) return;
    const way = arrow(event);
    if (way) {
      const [x, y] = state.cursor || view.centre().map(Math.round);
      state.cursor = [Math.min(Math.max(x + way[0], 0), image.width), Math.min(Math.max(y + way[1], 0), image.height)];
      say(`Cross at ${state.cursor.map(Math.round).join(", ")}.`);
      draw();
    } else if (event.key === "Enter" || event.key === " ") {
      put(state.cursor || view.centre().map(Math.round));
    } else if (event.key === "Escape") {
      choose(null);
      say("");
    } else return;
    event.preventDefault();
  });
  view.onChange(draw);
  sendCalibration(root, view);
}

function fillForm(root, points) {
  const form = root.querySelector("[data-calibration]");
  points.forEach(([x, y], index) => {
    form.elements[`x${index + 1}`].value = x.toFixed(1);
    form.elements[`y${index + 1}`].value = y.toFixed(1);
  });
  form.closest("details").open = true;
  form.elements.distance_mm.focus();
}

// Send the form as JSON, with the size at which the points were marked, and show what is wrong.
function sendCalibration(root, view) {
  const form = root.querySelector("[data-calibration]");
  if (!form) return;
  const wrong = form.querySelector("[data-wrong]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const number = (name) => Number(form.elements[name].value.replace(",", "."));
    const answer = await fetch(form.dataset.calibration, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        points: [[number("x1"), number("y1")], [number("x2"), number("y2")]],
        distance_mm: number("distance_mm"),
        display_scale: Math.min(Math.max(view.scale, 0.01), 100),
      }),
    });
    if (answer.ok) { location.reload(); return; }
    wrong.hidden = false;
    wrong.textContent = (await answer.json()).detail;
  });
}

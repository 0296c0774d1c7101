// Zoom, pan, side by side and full screen. The view is a viewBox in image pixels, so that overlays
// stay exact at every zoom, and a resized window changes nothing of it.

const SVG = "http://www.w3.org/2000/svg";
const MOST = 16;
const STEP = 1.25;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export function openView(root, tools, image) {
  const frame = root.querySelector("svg.frame");
  const [, , width, height] = frame.getAttribute("viewBox").split(" ").map(Number);
  const told = tools.querySelector("[data-zoom]");
  const ruler = tools.querySelector("[data-ruler]");
  const listeners = [];
  const view = {
    frame, zoom: 1, x: 0, y: 0, width, height,
    tool: null, // what takes clicks and arrow keys in place of panning
    onChange(listener) { listeners.push(listener); },
    // Displayed pixels per pixel of the image.
    get scale() { return frame.getScreenCTM().a; },
    at(event) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(frame.getScreenCTM().inverse());
      return [clamp(point.x, 0, image.width), clamp(point.y, 0, image.height)];
    },
    centre() { return [view.x + width / view.zoom / 2, view.y + height / view.zoom / 2]; },
    changed() {
      const box = [view.x, view.y, width / view.zoom, height / view.zoom].join(" ");
      for (const svg of root.querySelectorAll("svg.frame")) svg.setAttribute("viewBox", box);
      frame.classList.toggle("zoomed", view.zoom > 1);
      told.textContent = `${Math.round(100 * view.zoom)} %`;
      measureRuler(ruler, image, view.scale);
      for (const listener of listeners) listener();
    },
    // Zoom by a factor; the point of the image stays where it is on the screen.
    zoomBy(factor, [x, y] = view.centre()) {
      const before = view.zoom;
      view.zoom = clamp(before * factor, 1, MOST);
      const share = before / view.zoom;
      view.moveTo(x - (x - view.x) * share, y - (y - view.y) * share);
    },
    moveTo(x, y) {
      view.x = clamp(x, 0, width - width / view.zoom);
      view.y = clamp(y, 0, height - height / view.zoom);
      view.changed();
    },
    fit() { view.zoom = 1; view.moveTo(0, 0); },
  };
  frame.setAttribute("tabindex", "0");
  // So that a screen reader passes keys on while it still reads the overlays inside.
  frame.setAttribute("aria-roledescription", "zoomable image");
  frame.setAttribute("aria-describedby", "viewer-keys");
  byPointer(view);
  byKeyboard(view);
  byButtons(root, tools, view);
  new ResizeObserver(() => view.changed()).observe(frame);
  return view;
}

function byPointer(view) {
  const { frame } = view;
  const down = new Map();
  let apart = 0;
  frame.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.deltaY < 0 || view.zoom > 1) {
      event.preventDefault();
      view.zoomBy(STEP ** clamp(-event.deltaY / 100, -3, 3), view.at(event));
    }
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => {
    if (view.tool) return;
    if (view.zoom > 6) view.fit();
    else view.zoomBy(2, view.at(event));
  });
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest(".mine [tabindex]")) return;
    down.set(event.pointerId, [event.clientX, event.clientY]);
    if (down.size === 2) apart = distance(...down.values());
  });
  frame.addEventListener("pointermove", (event) => {
    const last = down.get(event.pointerId);
    if (!last) return;
    down.set(event.pointerId, [event.clientX, event.clientY]);
    if (down.size === 2) {
      const now = distance(...down.values());
      const [one, other] = [...down.values()];
      const middle = { clientX: (one[0] + other[0]) / 2, clientY: (one[1] + other[1]) / 2 };
      if (apart) view.zoomBy(now / apart, view.at(middle));
      apart = now;
    } else if (view.zoom > 1 && !view.tool) {
      // Not on pointerdown: a capture would take the double click from what lies under it.
      frame.setPointerCapture(event.pointerId);
      const scale = view.scale;
      view.moveTo(view.x - (event.clientX - last[0]) / scale, view.y - (event.clientY - last[1]) / scale);
    }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "pointerleave"]) {
    frame.addEventListener(name, (event) => down.delete(event.pointerId));
  }
}

const distance = ([x, y], [otherX, otherY]) => Math.hypot(x - otherX, y - otherY);

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Return how far an arrow key moves a point, in image pixels; null for another key.
export function arrow(event) {
  const way = ARROWS[event.key];
  return way ? way.map((part) => part * (event.shiftKey ? 10 : 1)) : null;
}

function byKeyboard(view) {
  view.frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const way = ARROWS[event.key];
    if (event.key === "+" || event.key === "=") view.zoomBy(STEP);
    else if (event.key === "-" || event.key === "_") view.zoomBy(1 / STEP);
    else if (event.key === "0") view.fit();
    else if (way && view.zoom > 1 && !view.tool) {
      const step = view.width / view.zoom / 10;
      view.moveTo(view.x + way[0] * step, view.y + way[1] * step);
    } else return;
    event.preventDefault();
  });
}

function byButtons(root, tools, view) {
  const picture = root.querySelector(".picture");
  const on = (name, act) => tools.querySelector(`[data-do="${name}"]`).addEventListener("click", act);
  on("in", () => view.zoomBy(STEP));
  on("out", () => view.zoomBy(1 / STEP));
  on("fit", () => view.fit());
  on("beside", (event) => {
    const pressed = press(event.currentTarget);
    picture.classList.toggle("two", pressed);
    if (pressed) view.frame.before(original(view.frame));
    else root.querySelector("svg.original").remove();
    view.changed();
  });
  const full = tools.querySelector('[data-do="full"]');
  full.hidden = !document.fullscreenEnabled;
  full.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : picture.requestFullscreen()));
  document.addEventListener("fullscreenchange", () => {
    full.setAttribute("aria-pressed", Boolean(document.fullscreenElement));
    view.changed();
  });
}

// Turn a button's pressed state over and return it.
export function press(button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", pressed);
  return pressed;
}

// Return a second picture with the image alone, which zooms with the first.
function original(frame) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "frame original");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "The analysed image without overlays");
  const picture = frame.querySelector("image").cloneNode();
  picture.setAttribute("aria-hidden", "true");
  svg.append(picture);
  return svg;
}

const NICE = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

// Show a length below the image, where it lies on nothing.
function measureRuler(ruler, image, scale) {
  const spacing = image.spacing || (image.regions.length === 1 ? image.regions[0].spacing : null);
  const unit = spacing ? "mm" : "px";
  const pixels = spacing ? 1 / spacing[0] : 1; // image pixels of one unit
  const length = NICE.filter((one) => one * pixels * scale <= 140).pop() || NICE[0];
  ruler.querySelector("rect").setAttribute("width", length * pixels * scale);
  ruler.querySelector("[data-length]").textContent = `${length} ${unit}`;
}

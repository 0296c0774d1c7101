// Overlays: light what belongs together, show, hide and fade them.

const words = (text) => (text || "").split(" ").filter(Boolean);
const evidenceOf = (element) => words(element.dataset.evidence || element.dataset.lights);

// Whatever has data-lights (a statement, a step, a switch) and the overlay with that data-evidence
// light together. Each structure is one tab stop; it lights all that is drawn of it.
export function linkEvidence(root) {
  const frame = root.querySelector(".frame");
  const overlays = [...root.querySelectorAll(".overlay")];
  const parts = [...root.querySelectorAll("[data-lights]"), ...overlays];
  const light = (source, ids = source ? evidenceOf(source) : []) => {
    // A statement lights what it rests on, not the other statements that rest on the same.
    const says = source?.matches(".statement");
    for (const part of parts) {
      const shares = evidenceOf(part).some((id) => ids.includes(id));
      part.classList.toggle("lit", part === source || (shares && !(says && part.matches(".statement"))));
    }
    frame.classList.toggle("dim", overlays.some((overlay) => overlay.classList.contains("lit")));
  };
  const structures = new Map();
  for (const overlay of overlays) {
    const name = overlay.dataset.structure;
    structures.set(name, [...(structures.get(name) || []), overlay]);
  }
  for (const [name, drawn] of structures) {
    const ids = drawn.map((overlay) => overlay.dataset.evidence);
    drawn.forEach((overlay, index) => {
      overlay.setAttribute("tabindex", index ? "-1" : "0");
      overlay.setAttribute("role", "img");
      const title = overlay.querySelector("title").textContent;
      const all = drawn.map((one) => one.querySelector("title").textContent).join("; ");
      overlay.setAttribute("aria-label", index ? title : `${name}: ${all}`);
      overlay.addEventListener("focus", () => {
        light(overlay, index ? [overlay.dataset.evidence] : ids);
        root.querySelector(`.statement[data-lights~="${overlay.dataset.evidence}"]`)?.scrollIntoView({ block: "nearest" });
      });
    });
  }
  for (const part of parts) {
    part.addEventListener("pointerenter", () => light(part));
    part.addEventListener("pointerleave", () => light(null));
    if (!part.matches(".overlay")) part.addEventListener("focusin", () => light(part));
    part.addEventListener("focusout", () => light(null));
  }
}

export function showLayers(root) {
  const boxes = [...root.querySelectorAll("input[data-shows]")];
  const all = root.querySelector("input[data-shows-all]");
  if (!all) return;
  const overlays = (control) => words(control.dataset.shows || control.dataset.fades)
    .map((id) => root.querySelector(`.overlay[data-evidence="${id}"]`));
  const apply = (box) => {
    for (const overlay of overlays(box)) overlay.classList.toggle("off", !box.checked);
  };
  const sync = () => {
    const shown = boxes.filter((box) => box.checked).length;
    all.checked = shown === boxes.length;
    all.indeterminate = shown > 0 && shown < boxes.length;
  };
  for (const box of boxes) {
    box.addEventListener("change", () => { apply(box); sync(); });
    apply(box); // a reloaded page keeps what was ticked
  }
  all.addEventListener("change", () => {
    for (const box of boxes) { box.checked = all.checked; apply(box); }
    sync();
  });
  for (const slider of root.querySelectorAll("input[data-fades]")) {
    const fade = () => {
      for (const overlay of overlays(slider)) overlay.style.setProperty("--opacity", slider.value / 100);
    };
    slider.addEventListener("input", fade);
    fade();
  }
  sync();
}

// Labels keep their size on the screen at every zoom and are never smaller than can be read.

const LEAST_PX = 12;

export function fitLabels(view) {
  const tags = [...view.frame.querySelectorAll(".overlay .tag")].map((tag) => ({
    tag,
    size: Number(tag.getAttribute("font-size")),
    x: Number(tag.getAttribute("x")),
    // The middle of the letters, above the baseline.
    y: Number(tag.getAttribute("y")) - 0.35 * Number(tag.getAttribute("font-size")),
  }));
  const outlines = [...view.frame.querySelectorAll(".overlay .edge")].map((edge) => {
    const { x, y, width, height } = edge.getBBox();
    return [x, y, x + width, y + height];
  });
  const scales = [...view.frame.querySelectorAll(".scale .tag")].map((tag) => [tag, Number(tag.getAttribute("font-size"))]);
  view.onChange(() => {
    for (const [tag, size] of scales) tag.setAttribute("font-size", Math.max(size, LEAST_PX / view.scale));
    const placed = [];
    for (const one of tags) {
      const drawn = one.size * view.scale; // on the screen, if it were left as it is
      const size = one.size * (Math.max(drawn / view.zoom, LEAST_PX) / drawn);
      one.tag.setAttribute("font-size", size);
      place(one, size, placed, outlines, view);
    }
  });
}

const shared = (one, other) =>
  Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0])) *
  Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1]));

// Put a label where it stood, or as near as it covers no other one, the least of outlines, and
// stays in the picture.
function place(one, size, placed, outlines, view) {
  const wide = one.tag.getComputedTextLength() + 0.4 * size;
  const tall = 1.25 * size;
  const inside = (low, high, value) => Math.max(low, Math.min(value, high));
  const boxAt = ([dx, dy]) => {
    const x = inside(wide / 2, view.width - wide / 2, one.x + dx * wide);
    const y = inside(tall / 2, view.height - tall / 2, one.y + dy * tall);
    return [x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2];
  };
  let best = null;
  let least = Infinity;
  for (const way of AROUND) {
    const box = boxAt(way);
    const labels = placed.reduce((sum, other) => sum + shared(box, other), 0);
    const covered = outlines.reduce((sum, other) => sum + shared(box, other), 0);
    const cost = labels * 100 + (size > one.size ? covered : 0) + Math.hypot(...way) * 0.02 * size * size;
    if (cost < least) [best, least] = [box, cost];
  }
  placed.push(best);
  one.tag.setAttribute("x", (best[0] + best[2]) / 2);
  one.tag.setAttribute("y", (best[1] + best[3]) / 2 + 0.35 * size);
}

// Places around the first one, in widths and heights of the label, near ones first.
const AROUND = [[0, 0]];
for (let ring = 1; ring <= 12; ring += 1) {
  for (const [dx, dy] of [[0, -1], [0, 1], [-1, 0], [1, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]]) {
    AROUND.push([(dx * ring) / 8, (dy * ring) / 2]);
  }
}

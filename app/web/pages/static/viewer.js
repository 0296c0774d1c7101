// The report page as a workplace: look, measure, calibrate. Without it the page reads the same.
import { linkEvidence, showLayers } from "./viewer-layers.js";
import { fitLabels } from "./viewer-labels.js";
import { setLevels } from "./viewer-levels.js";
import { measure } from "./viewer-measure.js";
import { openView } from "./viewer-view.js";

const report = document.querySelector("[data-report]");
const tools = report?.querySelector("[data-viewer]");
if (report) {
  linkEvidence(report);
  showLayers(report);
}
if (tools) {
  const image = JSON.parse(tools.dataset.viewer);
  const view = openView(report, tools, image);
  setLevels(report, view);
  fitLabels(view);
  measure(report, view, image);
  view.changed();
}

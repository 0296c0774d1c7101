// Loads the page of a study again when one more of its images is reported.
"use strict";

const study = document.querySelector("[data-study-state]");

async function look() {
  try {
    const answer = await fetch(study.dataset.studyState, { headers: { Accept: "application/json" } });
    const { images } = await answer.json();
    const waiting = images.filter((image) => image.state === "waiting").length;
    if (waiting !== Number(study.dataset.waiting)) { location.reload(); return; }
  } catch {
    // The service is restarting; the next look finds it again.
  }
  setTimeout(look, 2000);
}

if (study) setTimeout(look, 2000);

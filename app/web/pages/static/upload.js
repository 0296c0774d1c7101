// The form that sends images: files and folders dropped anywhere on the page, each file sent by
// itself with its own progress, result, cancel and retry. Without this script the form sends all
// files in one request.

import { Queue } from "/static/upload-queue.js";

const SKIPPED = /(^|\/)(__MACOSX\/|\._|(\.DS_Store|Thumbs\.db|desktop\.ini|DICOMDIR)$)/i;

// Yields the files of a dropped folder, and of its folders.
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  // readEntries returns some at a time, and none at the end.
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const one of some) found.push(...await filesOf(one));
  }
}

async function dropped(transfer) {
  // The items are gone once the event's handler has returned, their entries are not.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

class UploadForm {
  constructor(form) {
    this.form = form;
    this.input = form.elements.image;
    this.button = form.querySelector("button[type=submit]");
    this.said = document.querySelector("[data-chosen]");
    this.queue = new Queue(document.querySelector("[data-files]"), {
      bytes: Number(form.dataset.limitBytes),
      batchBytes: Number(form.dataset.limitBatchBytes),
    }, {
      marked: (problem) => this.mark(problem.field, problem.detail),
      returned: (files) => this.put([...this.input.files, ...files]),
    });
    this.input.addEventListener("change", () => this.tell());
    this.folder();
    this.drops();
    form.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    form.addEventListener("input", (event) => this.clear(event.target.name));
  }

  // Puts files into the form, so that they are sent with what is entered there.
  choose(files) {
    const kept = files.filter((file) => !SKIPPED.test(file.webkitRelativePath || file.name));
    this.put(kept, files.length - kept.length);
    this.button.focus();
  }

  put(files, skipped = 0) {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    this.input.files = transfer.files;
    this.tell(skipped);
  }

  tell(skipped = 0) {
    const files = [...this.input.files];
    const count = files.length === 1 ? "1 file is chosen." : `${files.length} files are chosen.`;
    const system = skipped === 1 ? " 1 system file is left out." : ` ${skipped} system files are left out.`;
    this.said.textContent = files.length > 1 || skipped ? count + (skipped ? system : "") : "";
    this.clear("image");
  }

  folder() {
    const picker = document.createElement("input");
    picker.type = "file";
    picker.webkitdirectory = true;
    picker.addEventListener("change", () => this.choose([...picker.files]));
    document.querySelector("[data-folder]").addEventListener("click", () => picker.click());
  }

  drops() {
    let depth = 0;
    const over = (event) => event.dataTransfer?.types.includes("Files");
    const show = (on) => document.body.classList.toggle("dropping", on);
    addEventListener("dragenter", (event) => { if (over(event)) { depth += 1; show(true); } });
    addEventListener("dragleave", (event) => { if (over(event)) { depth -= 1; show(depth > 0); } });
    addEventListener("dragover", (event) => { if (over(event)) event.preventDefault(); });
    addEventListener("drop", async (event) => {
      if (!over(event)) return;
      event.preventDefault();
      depth = 0;
      show(false);
      const files = await dropped(event.dataTransfer);
      if (files.length) this.choose(files);
    });
  }

  send() {
    const files = [...this.input.files];
    const fields = [...new FormData(this.form)].filter(([name, value]) => name !== "image" && value !== "");
    for (const [name] of fields) this.clear(name);
    this.input.value = "";
    this.said.textContent = "";
    this.queue.add(files, fields);
  }

  // Says at a field what is wrong with it.
  mark(name, text) {
    const field = this.form.elements[name];
    if (!field || name === "image") return false;
    this.clear(name);
    const note = document.createElement("p");
    note.className = "wrong";
    note.id = `${name}-wrong`;
    note.textContent = text;
    field.closest(".field, .check").append(note);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", note.id);
    const folded = field.closest("details");
    if (folded) folded.open = true;
    field.focus();
    return true;
  }

  clear(name) {
    document.getElementById(`${name}-wrong`)?.remove();
    this.form.elements[name]?.removeAttribute?.("aria-invalid");
  }
}

const upload = document.querySelector("form[data-upload]");
if (upload) new UploadForm(upload);

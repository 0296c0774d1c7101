// The files that are being sent and analysed: a few at a time, each with its row.

const AT_ONCE = 3;
const POLL_MS = 1000;
const POLLED_AT_ONCE = 4;
const ZIP = ["PK\u0003\u0004", "PK\u0005\u0006"];
const OUTCOMES = { reported: "Reported", partial: "Reported in part", refused: "Refused" };
const MB = 1048576;

function made(name, className, text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

// randomUUID exists on encrypted connections only.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Sends a form; `told` gets the share of it that is sent. Resolves to the status and the body.
function post(address, body, headers, told, request = new XMLHttpRequest()) {
  return new Promise((done) => {
    request.open("POST", address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => told(event.total ? event.loaded / event.total : 0));
    request.addEventListener("loadend", () => {
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* No answer, or none of ours. */ }
      const wait = Number(request.getResponseHeader?.("Retry-After")) || 5;
      done({ status: request.status, answer, wait });
    });
    request.send(body);
  });
}

// One file: what is shown of it, and where it stands.
class Row {
  constructor(queue, name, file = null, archive = "") {
    Object.assign(this, { queue, name, file, key: newKey(), request: null, id: null, state: "waiting", settled: null });
    this.item = made("li");
    const title = made("p", "name");
    title.append(made("bdi", "", name));
    if (archive) {
      const inside = made("span", "hint", " in ");
      inside.append(made("bdi", "", archive));
      title.append(inside);
    }
    this.bar = made("progress");
    this.bar.max = 1;
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", `Progress of ${name}`);
    this.text = made("p", "state", "Waiting");
    this.actions = made("p", "actions");
    this.item.append(title, this.bar, this.text, this.actions);
  }

  // Shows a state; `settled` says how it ended, null while it goes on.
  show(state, text, { settled = null, part = null, title = "" } = {}) {
    Object.assign(this, { state, settled });
    this.text.textContent = "";
    if (title) this.text.append(made("strong", "", `${title}. `));
    this.text.append(text);
    this.text.classList.toggle("wrong", settled === "refused" || settled === "failed");
    this.bar.hidden = settled !== null;
    if (part === null) this.bar.removeAttribute("value"); else this.bar.value = part;
    this.offer();
    this.queue.count();
  }

  offer() {
    const offered = [];
    if (this.id && this.settled) offered.push("Open");
    if (!this.settled) offered.push("Cancel");
    if (this.settled === "failed" || this.settled === "cancelled") offered.push("Try again");
    if (offered.join() === this.offered) return;
    const focused = this.actions.contains(document.activeElement);
    this.offered = offered.join();
    this.actions.replaceChildren(...offered.map((word) => this.action(word)));
    if (focused) (this.actions.querySelector("button, a") ?? this.queue.root).focus();
  }

  action(word) {
    const link = word === "Open";
    const control = made(link ? "a" : "button", "", word);
    control.setAttribute("aria-label", `${word}: ${this.name}`);
    if (link) control.href = `/analyses/${this.id}/view`;
    else {
      control.type = "button";
      control.addEventListener("click", () => (word === "Cancel" ? this.cancel() : this.retry()));
    }
    return control;
  }

  refuse(problem, settled) {
    this.show("ended", problem?.detail ?? "The connection was lost. Nothing is lost: try again.",
      { settled, title: problem?.title ?? "Not sent" });
  }

  // Shows where the analysis stands.
  stands(standing) {
    this.id = standing.id;
    this.asked = standing.question_given;
    if (standing.state === "done") {
      this.show("ended", OUTCOMES[standing.outcome] ?? standing.outcome, { settled: "done" });
    } else if (standing.state === "failed") {
      const cancelled = /cancelled/.test(standing.problem);
      this.show("ended", standing.problem, { settled: cancelled ? "cancelled" : "failed" });
    } else {
      const steps = standing.steps === 1 ? "1 step done" : `${standing.steps} steps done`;
      this.show("analysing", standing.state === "queued" ? "Waits to be analysed" : `Analysing, ${steps}`);
    }
  }

  async cancel() {
    if (this.state === "analysing") {
      const { answer, status } = await post(`/analyses/${this.id}/cancel`, null, {}, () => {});
      if (status === 200) this.stands(answer);
      return;
    }
    if (this.whole) { // It has arrived: an analysis may have begun, which is cancelled by its id.
      this.unwanted = true;
      this.text.textContent = "Cancelling";
      return;
    }
    this.show("ended", "Cancelled before it was sent.", { settled: "cancelled" });
    this.request?.abort();
    this.queue.next();
  }

  async retry() {
    if (!this.id) {
      this.show("waiting", "Waiting", { part: 0 });
      this.queue.next();
      return;
    }
    if (this.asked) {
      location.assign(`/analyses/${this.id}/view`); // The question is entered again there.
      return;
    }
    const { answer, status } = await post(`/analyses/${this.id}/retry`, null, {}, () => {});
    if (status === 200) this.stands(answer);
    else this.refuse(answer, "failed");
    this.queue.poll();
  }
}

export class Queue {
  // `marked` says what is wrong with a field, and returns whether it could; `returned` takes the
  // files back that are not sent because of it.
  constructor(root, limits, { marked, returned }) {
    Object.assign(this, { root, limits, marked, returned, rows: [], sending: 0, timer: null, alone: false });
    this.list = root.querySelector("ul");
    this.total = root.querySelector("progress");
    this.words = root.querySelector("[data-total]");
    root.querySelector("[data-cancel-all]").addEventListener("click", () => {
      for (const row of this.rows) if (!row.settled) row.cancel();
    });
    addEventListener("beforeunload", (event) => {
      if (this.rows.some((row) => row.state === "sending" || row.state === "waiting")) event.preventDefault();
    });
  }

  add(files, fields) {
    this.alone = files.length === 1 && this.rows.every((row) => row.settled);
    if (this.alone) { this.rows = []; this.list.replaceChildren(); }
    for (const file of files) {
      const row = new Row(this, file.name, file);
      row.fields = fields;
      this.rows.push(row);
      this.list.append(row.item);
      row.offer();
    }
    this.root.hidden = this.rows.length === 0;
    this.count();
    this.next();
  }

  next() {
    for (const row of this.rows) {
      if (this.sending >= AT_ONCE) return;
      if (row.state === "waiting") { this.sending += 1; this.send(row).finally(() => { this.sending -= 1; this.next(); }); }
    }
  }

  async send(row) {
    row.show("sending", "Sending", { part: 0 });
    const start = await row.file.slice(0, 4).text();
    const packed = ZIP.includes(start);
    const limit = packed ? this.limits.batchBytes : this.limits.bytes;
    if (row.file.size > limit) {
      row.refuse({ title: "File too large", detail: `It is larger than ${Math.floor(limit / MB)} MB.` }, "refused");
      return;
    }
    const body = new FormData();
    for (const [name, value] of row.fields) body.append(name, value);
    body.append("image", row.file, row.file.name);
    row.request = new XMLHttpRequest();
    const headers = { "Idempotency-Key": row.key, Accept: "application/json", Prefer: "respond-async" };
    row.whole = row.unwanted = false;
    const told = (part) => {
      if (row.settled || row.unwanted) return;
      row.whole = part >= 1;
      row.show("sending", part < 1 ? `Sending, ${Math.floor(100 * part)} %` : "Checking the image", part < 1 ? { part } : {});
    };
    const sent = await post(packed ? "/analyses" : "/analyze", body, headers, told, row.request);
    row.request = null;
    row.whole = false;
    if (row.settled) return; // Cancelled meanwhile.
    await this.take(row, sent, packed);
  }

  async take(row, { status, answer, wait }, packed) {
    if (status === 202) {
      row.stands(answer);
      if (row.unwanted) row.cancel();
      else if (this.alone) location.assign(`/analyses/${answer.id}/view`);
      this.poll();
    } else if (status === 207 && packed) {
      this.unpack(row, answer);
    } else if (status === 429) {
      row.show("waiting for room", "The queue is full; it is sent again soon");
      setTimeout(() => { if (!row.settled) { row.show("waiting", "Waiting", { part: 0 }); this.next(); } }, 1000 * wait);
    } else {
      const later = status === 0 || status >= 500 || status === 401;
      if (answer?.field && this.marked(answer)) this.giveBack(row);
      else row.refuse(answer, later ? "failed" : "refused");
    }
  }

  // What is wrong with a field is wrong for all files: the form gets back those that are not sent.
  giveBack(refused) {
    const back = this.rows.filter((row) => row === refused || row.state === "waiting");
    for (const row of back) row.item.remove();
    this.rows = this.rows.filter((row) => !back.includes(row));
    this.root.hidden = this.rows.length === 0;
    this.count();
    this.returned(back.map((row) => row.file));
  }

  unpack(row, { counts, entries }) {
    const parts = [`${counts.accepted} accepted`, `${counts.refused} refused`];
    if (counts.skipped) parts.push(`${counts.skipped} skipped`);
    const whole = entries.length === 1 && entries[0].problem && !entries[0].archive;
    if (whole) { row.refuse(entries[0].problem, "refused"); return; }
    const full = entries.some((entry) => entry.status === 429);
    row.show("ended", `Archive: ${parts.join(", ")}`, { settled: full ? "failed" : "opened" });
    for (const each of row.inner ?? []) {
      each.item.remove();
      this.rows.splice(this.rows.indexOf(each), 1);
    }
    row.inner = entries.map((entry) => {
      const inner = new Row(this, entry.name, null, entry.archive);
      this.rows.push(inner);
      this.list.append(inner.item);
      if (entry.analysis) {
        inner.stands(entry.analysis);
        if (row.unwanted) inner.cancel();
      } else if (entry.problem) inner.refuse(entry.problem, "refused");
      else inner.show("ended", `Skipped: ${entry.skipped}.`, { settled: "skipped" });
      return inner;
    });
    this.poll();
  }

  poll() {
    if (this.timer) return;
    this.timer = setTimeout(async () => {
      // The oldest are analysed first.
      const open = this.rows.filter((row) => row.state === "analysing").slice(0, POLLED_AT_ONCE);
      await Promise.all(open.map(async (row) => {
        try {
          const answer = await fetch(`/analyses/${row.id}`);
          if (answer.ok && row.state === "analysing") row.stands(await answer.json());
        } catch { /* The next poll tries again. */ }
      }));
      this.timer = null;
      if (this.rows.some((row) => row.state === "analysing")) this.poll();
    }, POLL_MS);
  }

  count() {
    const files = this.rows.filter((row) => row.settled !== "opened" && !(row.inner && row.settled));
    const of = (settled) => files.filter((row) => row.settled === settled).length;
    const done = files.filter((row) => row.settled).length;
    this.total.max = Math.max(files.length, 1);
    this.total.value = done;
    const parts = [[of("done"), "with a report"], [of("refused"), "refused"], [of("failed"), "failed"],
      [of("cancelled"), "cancelled"], [of("skipped"), "skipped"]];
    const said = parts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`).join(", ");
    const noun = files.length === 1 ? "file" : "files";
    const words = `${done} of ${files.length} ${noun} done${said ? `: ${said}` : ""}.`;
    if (this.words.textContent !== words) this.words.textContent = words;
    this.root.querySelector("[data-cancel-all]").hidden = done === files.length;
  }
}

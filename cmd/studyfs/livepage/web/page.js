// Asks the mount how it is, again and again, and shows it.
import { addSamples, forgetSamples, redrawOnResize } from "./charts.js";
import { byId, number, set } from "./format.js";
import { onAction, PAGE, showRows } from "./queue.js";
import { decisions, onSwitch, showSources } from "./sources.js";

const EVERY = 1000; // milliseconds between two updates
const EVERY_HIDDEN = 15000; // of a tab that nobody sees
const TYPING = 250;

const token = location.pathname.split("/")[1];
const auth = { Authorization: `Bearer ${token}` };

const wanted = { show: "all", find: "", from: 0 };
let tag = "";
let seen = 0; // samples up to this number are here
let last = null; // the newest queue, for the buttons that turn pages
let timer = 0;
let busy = false;
let again = false;

function gone(text) {
  byId("gone").hidden = text === "";
  set(byId("gone"), text);
}

// update asks once. Only what has changed is sent, and only what differs is drawn.
async function update() {
  const from = wanted.from;
  const ask = new URLSearchParams({ show: wanted.show, find: wanted.find, from, rows: PAGE, since: seen });
  let answer;
  try {
    answer = await fetch(`/api/state?${ask}`, { headers: tag ? { ...auth, "If-None-Match": tag } : auth, cache: "no-store" });
  } catch {
    gone("The mount does not answer: it was unmounted, or its program has ended. studyfs status tells.");
    return;
  }
  if (answer.status === 401) {
    gone("This address belonged to an earlier mount. studyfs status shows the present one.");
    return;
  }
  if (answer.status === 304) return gone("");
  if (!answer.ok) return gone(`The mount cannot tell how it is (${answer.status}).`);
  const text = await answer.text();
  tag = answer.headers.get("ETag") || "";
  performance.mark("update-begins");
  show(JSON.parse(text), from);
  performance.clearMeasures("update");
  performance.measure("update", { start: "update-begins", detail: text.length });
  gone("");
}

function show(state, asked) {
  const now = Date.now();
  const { view, history, queue } = state;
  if (history.seq < seen) forgetSamples(); // another process: its numbers begin anew
  addSamples(history);
  seen = history.seq;
  showSources(view, now);
  const uploads = view.sources.map((s) => s.uploads).filter(Boolean);
  byId("queue").hidden = uploads.length === 0;
  const sum = (f) => uploads.reduce((n, u) => n + f(u), 0);
  const counts = { decide: sum(decisions), moving: sum((u) => u.uploading), waiting: sum((u) => u.staged + u.writing) };
  counts.all = counts.decide + counts.moving + counts.waiting;
  for (const [name, n] of Object.entries(counts)) set(byId(`n-${name}`), number(n));
  last = queue;
  if (wanted.from === asked) wanted.from = queue.from; // else somebody has turned the page meanwhile
  showRows(queue, now);
}

// loop updates, one at a time, as often as somebody looks.
async function loop() {
  clearTimeout(timer);
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  do {
    again = false;
    await update();
  } while (again);
  busy = false;
  timer = setTimeout(loop, document.hidden ? EVERY_HIDDEN : EVERY);
}

function turn(to) {
  wanted.from = Math.max(0, to);
  loop();
}

function say(text, bad) {
  const e = byId("said");
  set(e, text);
  e.classList.toggle("bad", Boolean(bad));
}

// sure asks back where something cannot be undone.
function sure(title, text, yes) {
  const box = byId("sure");
  set(byId("sure-title"), title);
  set(byId("sure-text"), text);
  set(byId("sure-yes"), yes);
  return new Promise((answer) => {
    byId("sure-yes").onclick = () => box.close("yes");
    byId("sure-no").onclick = () => box.close("no");
    // That a box was closed is told later than a quick hand opens it again: the yes to the second question was then taken for no.
    box.onclose = () => box.open || answer(box.returnValue === "yes");
    box.returnValue = "no"; // what Escape means
    box.showModal();
    byId("sure-no").focus();
  });
}

async function act(body, element, what) {
  element.setAttribute("aria-disabled", "true");
  say(`${what}…`);
  let problem = null;
  try {
    const answer = await fetch("/api/act", { method: "POST", headers: { ...auth, "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (answer.status === 200 || answer.status === 409) problem = (await answer.json()).problem || null;
    else problem = { what, why: `the mount refuses it (${answer.status})` };
  } catch {
    problem = { what, why: "the mount does not answer" };
  }
  element.removeAttribute("aria-disabled");
  if (problem) say(`${problem.what}: ${problem.why}${problem.do ? `. ${problem.do}` : ""}`, true);
  else say(`${what}: done.`);
  loop();
}

onAction(async (item, button, element) => {
  if (button.sure && !(await sure(button.sure, item.name, button.yes))) return;
  act({ do: button.do, source: item.source, item: item.id, how: button.how }, element, `${button.text}: ${item.name}`);
});

onSwitch((source, what, element) => {
  if (element.ariaDisabled === "true") return;
  act({ do: what, source: source.id }, element, `${what === "pause" ? "Pause" : "Resume"} the uploads of ${source.name}`);
});

byId("show").addEventListener("change", (event) => {
  wanted.show = event.target.value;
  turn(0);
});

let typing = 0;
byId("find").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    wanted.find = event.target.value;
    turn(0);
  }, TYPING);
});

for (const [id, to] of Object.entries({
  first: () => 0,
  previous: () => last.from - PAGE,
  next: () => last.from + PAGE,
  last: () => Math.floor((last.total - 1) / PAGE) * PAGE,
})) {
  byId(id).addEventListener("click", (event) => event.currentTarget.ariaDisabled !== "true" && last && turn(to()));
}

document.addEventListener("visibilitychange", () => document.hidden || loop());
redrawOnResize();
loop();

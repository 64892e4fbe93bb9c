// The cards of the sources, the list of what is wrong, and the line that sums it all up.
import { age, byId, bytes, files, make, number, set } from "./format.js";

let asked = () => {};

// onSwitch is called with (source, "pause" or "resume", element).
export function onSwitch(f) {
  asked = f;
}

export const decisions = (u) => (u ? u.conflict + u.parked + u.failed + u.orphan + u.quarantined : 0);

const cards = [];

function build() {
  const card = { box: make("article", "card"), name: make("h3"), url: make("p", "quiet"), facts: make("dl"), values: new Map(), buttons: make("p", "buttons") };
  const head = make("div", "head");
  card.bdi = make("bdi");
  card.state = make("span", "state");
  card.name.append(card.bdi);
  head.append(card.name, card.state);
  card.button = make("button");
  card.button.type = "button";
  card.button.addEventListener("click", () => asked(card.source, card.source.uploads.paused ? "resume" : "pause", card.button));
  card.buttons.append(card.button);
  card.box.append(head, card.url, card.facts, card.buttons);
  return card;
}

// fact sets one line of a card; an empty text takes it away.
function fact(card, term, text) {
  let pair = card.values.get(term);
  if (!pair) {
    pair = [make("dt", "", term), make("dd")];
    card.values.set(term, pair);
    card.facts.append(...pair);
  }
  set(pair[1], text);
  for (const e of pair) e.hidden = text === "";
}

function uploadWords(u) {
  const parts = [
    [u.uploading, "uploading"], [u.staged, "waiting"], [u.writing, "open"], [u.conflict, "in conflict"], [u.parked, "kept back"],
    [u.failed, "failed"], [u.orphan, "never closed"], [u.quarantined, "damaged"],
  ].filter(([n]) => n > 0).map(([n, word]) => `${number(n)} ${word}`);
  const left = u.bytes_left > 0 ? `, ${bytes(u.bytes_left)} left` : "";
  return (parts.join(", ") || "all is stored") + left;
}

function update(card, s) {
  card.source = s;
  set(card.bdi, s.name);
  set(card.url, `${s.url} at ${s.dir}`);
  const bad = s.problems.length > 0;
  set(card.state, bad ? "does not work" : s.uploads ? "can be written to" : "read-only");
  card.state.classList.toggle("bad", bad);
  const r = s.requests;
  const reads = s.cache.hits + s.cache.misses;
  fact(card, "on this disk", bytes(s.cache.bytes) + (reads > 0 ? `; ${Math.round((100 * s.cache.hits) / reads)} % of reads came from it` : ""));
  fact(card, "requests", `${number(r.list)} list, ${number(r.get)} get, ${number(r.head)} head` + (s.uploads ? `, ${number(r.put)} put, ${number(r.delete)} delete` : ""));
  fact(card, "repeated", r.retries > 0 ? number(r.retries) : "");
  fact(card, "received", bytes(s.in));
  fact(card, "sent", s.uploads ? bytes(s.out) : "");
  fact(card, "uploads", s.uploads ? uploadWords(s.uploads) : "");
  fact(card, "stored", s.uploads && s.uploads.stored > 0 ? `${files(s.uploads.stored)} since the mount` : "");
  fact(card, "paused", s.uploads?.paused || "");
  fact(card, "on its way", (s.fetching || []).join("; "));
  fact(card, "hidden", s.hidden > 0 ? `${number(s.hidden)} keys that cannot be file names` : "");
  fact(card, "damaged", s.cache.corrupt > 0 ? `${number(s.cache.corrupt)} blocks on this disk, fetched again` : "");
  card.buttons.hidden = !s.uploads;
  const word = s.uploads?.paused ? "Resume uploads" : "Pause uploads";
  set(card.button, word);
  card.button.setAttribute("aria-label", `${word} of ${s.name}`);
}

function showProblems(problems) {
  byId("problems").hidden = problems.length === 0;
  const text = JSON.stringify(problems);
  const list = byId("problem-list");
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...problems.map((p) => {
    const li = make("li");
    li.append(make("strong", "", p.what), make("p", "", p.why));
    if (p.do) li.append(make("p", "do", p.do));
    return li;
  }));
}

function health(view, problems) {
  const sum = (f) => view.sources.reduce((n, s) => n + (s.uploads ? f(s.uploads) : 0), 0);
  const decide = sum(decisions);
  const words = [];
  if (problems.length > 0) words.push(problems.length === 1 ? "One thing is wrong." : `${problems.length} things are wrong.`);
  if (decide > 0) words.push(`${files(decide)} ${decide === 1 ? "needs" : "need"} you.`);
  if (sum((u) => (u.paused ? 1 : 0)) > 0) words.push("Uploads are paused.");
  const bad = words.length > 0;
  if (!bad) words.push("All is well.");
  if (sum((u) => u.uploading + u.staged) > 0) words.push("Files wait for their upload.");
  else if (view.sources.some((s) => s.uploads) && !bad) words.push("All is stored.");
  set(byId("health"), words.join(" "));
  document.title = `${bad ? words[0] : "All is well."} studyfs`;
  byId("health").className = bad ? "bad" : "good";
}

export function showSources(view, now) {
  const problems = view.sources.flatMap((s) => s.problems);
  health(view, problems);
  showProblems(problems);
  set(byId("dir"), view.dir);
  const kept = view.sources.reduce((n, s) => n + s.cache.bytes, 0);
  set(byId("mount-facts"), `Mounted ${age(Date.parse(view.started), now)} ago. ${bytes(kept)} of at most ${bytes(view.cache_limit)} on this disk, ` +
    `${bytes(view.memory)} of ${bytes(view.memory_limit)} in memory. Passthrough is ${view.passthrough ? "on" : "off"}` +
    `${view.passthrough_is ? ` (${view.passthrough_is})` : ""}.`);
  while (cards.length < view.sources.length) {
    cards.push(build());
    byId("sources").append(cards.at(-1).box);
  }
  view.sources.forEach((s, i) => update(cards[i], s));
}

// The part of the queue that is looked at: one page of rows, however many files wait.
import { age, byId, bytes, make, number, set } from "./format.js";

export const PAGE = 50;
const DECIDE = new Set(["conflict", "parked", "failed", "orphan", "quarantined"]);

const WORDS = {
  writing: "open in a program",
  staged: "waiting",
  uploading: "uploading",
  conflict: "in conflict",
  parked: "kept back",
  failed: "failed",
  orphan: "never closed",
  quarantined: "damaged",
};

const HINTS = {
  conflict: "Nothing has been overwritten. Choose which of the two is to be kept.",
  parked: "It is not uploaded. Rename it in the mount, or: studyfs uploads drop",
  failed: "It stays safe on this machine.",
  orphan: "Its program ended without closing it, so it may not be complete. Look at it before you upload it.",
  quarantined: "This disk has failed it: copy it again, then: studyfs uploads drop",
};

const BUTTONS = {
  conflict: [
    { text: "Keep mine", do: "resolve", how: "mine", sure: "Replace what is stored by your file?", yes: "Replace it" },
    { text: "Keep theirs", do: "resolve", how: "theirs", sure: "Delete your file, and keep what is stored?", yes: "Delete mine" },
    { text: "Keep both", do: "resolve", how: "both" },
  ],
  failed: [{ text: "Try again", do: "retry" }],
  orphan: [{ text: "Upload it", do: "retry", sure: "Upload this file as it is?", yes: "Upload it" }],
};

// rows maps a file to its elements, as long as it is on the page.
const rows = new Map();
let asked = () => {};

// onAction is called with (item, button, element) when somebody wants something done.
export function onAction(f) {
  asked = f;
}

function build(item) {
  const li = make("li");
  const line = make("div", "row");
  const row = {
    li,
    item,
    name: make("bdi", "name"),
    state: make("span", "state"),
    amount: make("span", "amount"),
    bar: document.createElement("progress"),
    why: make("p", "why"),
    hint: make("p", "why quiet"),
    warnings: make("p", "why quiet"),
    buttons: make("div", "buttons"),
    buttonsOf: "",
  };
  row.bar.max = 100;
  line.append(row.name, row.state, row.amount);
  li.append(line, row.bar, row.why, row.hint, row.warnings, row.buttons);
  return row;
}

function show(e, text) {
  set(e, text);
  e.hidden = text === "";
}

function update(row, item, now) {
  row.item = item;
  const decide = DECIDE.has(item.state);
  set(row.name, item.name);
  set(row.state, WORDS[item.state] || item.state);
  row.state.classList.toggle("bad", decide);
  const percent = item.size > 0 ? Math.floor((100 * Math.min(item.sent, item.size)) / item.size) : 0;
  const moving = item.state === "uploading";
  set(row.amount, moving ? `${percent} % of ${bytes(item.size)}` : `${bytes(item.size)}, ${age(Date.parse(item.changed), now)} ago`);
  row.bar.hidden = !moving;
  if (moving) {
    row.bar.value = percent;
    row.bar.setAttribute("aria-label", `uploaded of ${item.name}`);
  }
  show(row.why, item.why || "");
  show(row.hint, decide ? HINTS[item.state] : "");
  show(row.warnings, (item.warnings || []).filter((text) => text !== item.why).join("\n"));
  if (row.buttonsOf !== item.state) {
    row.buttonsOf = item.state;
    row.buttons.replaceChildren(...(BUTTONS[item.state] || []).map((b) => {
      const e = make("button", "", b.text);
      e.type = "button";
      e.addEventListener("click", () => e.ariaDisabled !== "true" && asked(row.item, b, e));
      return e;
    }));
  }
  for (const e of row.buttons.children) e.setAttribute("aria-label", `${e.textContent}: ${item.name}`);
}

// reconcile makes the list show these items, keeps the elements of those that it showed already, and the focus.
export function showRows(page, now) {
  const list = byId("rows");
  const focused = document.activeElement;
  const had = list.contains(focused) ? [...list.children].findIndex((li) => li.contains(focused)) : -1;
  const keys = new Set();
  page.rows.forEach((item, i) => {
    const key = `${item.source}:${item.id}`;
    keys.add(key);
    let row = rows.get(key);
    if (!row) rows.set(key, (row = build(item)));
    update(row, item, now);
    if (list.children[i] !== row.li) list.insertBefore(row.li, list.children[i] || null);
  });
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    row.li.remove();
    rows.delete(key);
  }
  if (had >= 0 && document.activeElement !== focused) {
    if (list.contains(focused)) focused.focus({ preventScroll: true });
    else (list.children[Math.min(had, list.children.length - 1)]?.querySelector("button") || byId("queue")).focus();
  }
  byId("empty").hidden = page.total > 0;
  showPages(page);
}

function showPages(page) {
  const last = page.from + page.rows.length;
  byId("pages").hidden = page.total <= PAGE;
  set(byId("where"), `${number(page.from + 1)} to ${number(last)} of ${number(page.total)}`);
  for (const [id, possible] of [["first", page.from > 0], ["previous", page.from > 0], ["next", last < page.total], ["last", last < page.total]]) {
    byId(id).setAttribute("aria-disabled", String(!possible)); // not disabled: the focus would be lost
  }
}

// How figures are written. The units are those of the command line.

export function bytes(n) {
  if (n < 1024) return `${Math.round(n)} B`;
  let unit = -1;
  while (n >= 999.5 && unit < 3) {
    n /= 1024;
    unit++;
  }
  return `${n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)} ${"KMGT"[unit]}iB`;
}

export const speed = (n) => `${bytes(n)}/s`;

export const rate = (n) => (n > 0 && n < 9.95 ? `${n.toFixed(1)}/s` : `${Math.round(n).toLocaleString("en")}/s`);

export const number = (n) => n.toLocaleString("en");

export const files = (n) => `${number(n)} ${n === 1 ? "file" : "files"}`;

export function age(from, now) {
  const s = Math.max(0, (now - from) / 1000);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

// make creates an element. Text goes in as text: names of files are whatever somebody has called them.
export function make(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

// set changes a text only if it differs, so that a screen reader and the layout are left alone otherwise.
export function set(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export const byId = (id) => document.getElementById(id);

// Line charts of two series, drawn as SVG.
import { byId, make, set, speed, rate } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 128;
const LEFT = 4;
const TOP = 16;
const BOTTOM = 18;

const charts = [
  { id: "bytes", keys: ["in", "out"], words: ["received", "sent"], show: speed, least: 1024 },
  { id: "requests", keys: ["reads", "writes"], words: ["reading", "writing"], show: rate, least: 1 },
];

let samples = [];
let keep = 180;
let span = 900000; // milliseconds

function svg(tag, attributes, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

// build makes the parts once; later only their attributes change.
function build(chart) {
  const picture = svg("svg", { role: "img" });
  chart.top = svg("text", { x: LEFT, y: 11 });
  chart.begin = svg("text", { x: LEFT, y: HEIGHT - 4 });
  chart.end = svg("text", { y: HEIGHT - 4, "text-anchor": "end" }, "now");
  chart.grid = [TOP, (TOP + HEIGHT - BOTTOM) / 2, HEIGHT - BOTTOM].map((y) => svg("line", { class: "grid", x1: 0, y1: y, y2: y }));
  chart.lines = ["a", "b"].map((name) => svg("polyline", { class: name }));
  picture.append(...chart.grid, ...chart.lines, chart.top, chart.begin, chart.end);
  chart.picture = picture;
  chart.legend = ["key-a", "key-b"].map((name) => make("span", name));
  byId(`${chart.id}-now`).replaceChildren(...chart.legend);
  chart.place = byId(`${chart.id}-chart`);
  chart.place.replaceChildren(picture);
}

function draw(chart) {
  if (!chart.picture) build(chart);
  const width = Math.max(chart.place.clientWidth, 100);
  const most = Math.max(chart.least, ...samples.map((s) => Math.max(s[chart.keys[0]], s[chart.keys[1]])));
  chart.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  chart.end.setAttribute("x", width - LEFT);
  for (const line of chart.grid) line.setAttribute("x2", width);
  set(chart.top, chart.show(most));
  set(chart.begin, `${Math.round(span / 60000)} minutes ago`);
  const last = samples.at(-1);
  chart.keys.forEach((key, n) => {
    const points = samples.filter((s) => last.at - s.at <= span).map((s) => {
      const x = width - ((last.at - s.at) * width) / span;
      const y = HEIGHT - BOTTOM - (s[key] / most) * (HEIGHT - BOTTOM - TOP);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    chart.lines[n].setAttribute("points", points.join(" "));
  });
  const words = chart.keys.map((key, n) => `${chart.words[n]} ${chart.show(last ? last[key] : 0)}`);
  chart.legend.forEach((e, n) => set(e, words[n]));
  chart.picture.setAttribute("aria-label", `${words.join(", ")} now; at most ${chart.show(most)} in the last quarter of an hour`);
}

export function addSamples(history) {
  keep = history.keep;
  span = history.span_s * 1000;
  if (history.samples.length === 0 && samples.length > 0) return;
  samples = samples.concat(history.samples).slice(-keep);
  charts.forEach(draw);
}

export function forgetSamples() {
  samples = [];
}

export function redrawOnResize() {
  const observer = new ResizeObserver(() => charts.forEach(draw));
  charts.forEach((chart) => observer.observe(byId(`${chart.id}-chart`)));
}

"use strict";
// Curves over the steps of a run, with the time below; drawn anew whenever the width changes.
const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "line", "circle", "text", "rect", "title"]);

function make(parent, tag, attributes = {}, text) {
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

const short = x => Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en")
  : Number(x.toPrecision(3)).toString();

function duration(seconds) {
  if (seconds < 60) return `${short(seconds)} s`;
  if (seconds < 3600) return `${short(seconds / 60)} min`;
  return `${short(seconds / 3600)} h`;
}

// About `n` round numbers between two.
function ticks(low, high, n) {
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    found.push(i * step);
  return found;
}

// The seconds that the steps up to one took, between the [step, seconds] that are known.
function secondsAt(times, step) {
  const i = times.findIndex(([known]) => known >= step);
  if (i < 0) return times.length ? times[times.length - 1][1] : 0;
  const [s0, t0] = i ? times[i - 1] : [0, 0], [s1, t1] = times[i];
  return t0 + (t1 - t0) * (step - s0) / (s1 - s0);
}

const nearest = (points, x) => points.reduce((a, b) =>
  Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);

const STEPS = {name: "step", show: short, whole: true};

// series: [{name, points: [[x, value], ...], colour}]; from: a value that the axis must show; axis:
// what x is; times: [step, seconds], for a second line of numbers below.
function chart(parent, title, series, {times = [], from, axis = STEPS} = {}) {
  series = series.filter(s => s.points.length);
  if (!series.length) return;
  const box = make(parent, "div", {class: "chart"});
  const head = make(box, "div", {class: "head"});
  make(head, "b", {}, title);
  if (series.length > 1) for (const s of series) {
    const key = make(head, "span", {class: "key"});
    make(key, "i", {style: `background:${s.colour}`});
    key.append(s.name);
  }
  const svg = make(box, "svg", {role: "img", tabindex: 0,
    "aria-label": `${title}; the arrow keys go along it`});
  const tip = make(box, "div", {class: "tip", "aria-live": "polite"}, "\u00a0");

  const all = series.flatMap(s => s.points), steps = all.map(p => p[0]);
  const values = all.map(p => p[1]).sort((a, b) => a - b);
  let low = Math.min(values[0], from ?? Infinity);
  let high = values[Math.ceil((values.length - 1) * 0.995)];       // of many a few may stick out
  if (high <= low) { high += 1; low -= 1; }
  const first = Math.min(...steps), last = Math.max(...steps, first + (axis.whole ? 1 : 1e-9));
  const H = 176, left = 48, right = 22, top = 8, bottom = 36;
  let place;

  function draw() {
    const W = Math.max(180, svg.clientWidth);
    const X = x => left + (x - first) / (last - first) * (W - left - right);
    const Y = y => top + (high - Math.min(y, high)) / (high - low) * (H - top - bottom);
    place = {W, X};
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.replaceChildren();
    for (const value of ticks(low, high, 5)) {
      make(svg, "line", {x1: left, x2: W - right, y1: Y(value), y2: Y(value), class: "grid"});
      make(svg, "text", {x: left - 6, y: Y(value) + 4, "text-anchor": "end"}, short(value));
    }
    make(svg, "text", {x: 0, y: H - 20}, axis.name);
    if (times.length) make(svg, "text", {x: 0, y: H - 5}, "time");
    for (const step of ticks(first, last, W < 250 ? 3 : 5)) {
      if (axis.whole && step !== Math.round(step)) continue;
      make(svg, "line", {x1: X(step), x2: X(step), y1: H - bottom, y2: H - bottom + 4,
        class: "grid"});
      make(svg, "text", {x: X(step), y: H - 20, "text-anchor": "middle"}, axis.show(step));
      if (times.length) make(svg, "text", {x: X(step), y: H - 5, "text-anchor": "middle"},
        duration(secondsAt(times, step)));
    }
    for (const s of series) make(svg, "path", {stroke: s.colour,
      d: "M" + s.points.map(p => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join("L")});
    make(svg, "line", {y1: top, y2: H - bottom, class: "cursor", visibility: "hidden"});
  }

  function look(step) {
    const cursor = svg.querySelector(".cursor");
    cursor.setAttribute("x1", place.X(step));
    cursor.setAttribute("x2", place.X(step));
    cursor.setAttribute("visibility", "visible");
    const after = times.length ? `, after ${duration(secondsAt(times, step))}` : "";
    tip.textContent = `${axis.name} ${axis.show(step)}${after}: ` +
      series.map(s => `${s.name} ${short(nearest(s.points, step)[1])}`).join(", ");
  }
  svg.addEventListener("pointermove", event => {
    const share = (event.clientX - svg.getBoundingClientRect().left - left)
      / (place.W - left - right);
    looked = nearest(series[0].points, first + share * (last - first))[0];
    look(looked);
  });
  let looked = first - 1;
  svg.addEventListener("keydown", event => {
    const way = {ArrowRight: 1, ArrowLeft: -1}[event.key], points = series[0].points;
    if (!way) return;
    event.preventDefault();
    const i = points.findIndex(([step]) => step >= looked);
    const next = looked < first ? 0 : Math.max(0, Math.min(points.length - 1, i + way));
    look(looked = points[next][0]);
  });
  const known = [...new Set(all.map(p => p[0]))].sort((a, b) => a - b);
  const at = s => new Map(s.points), maps = series.map(at);
  numbers(box, [axis.name, ...series.map(s => s.name)],
    () => known.map(step => [step, ...maps.map(map => map.get(step) ?? null)]));
  draw();
  addEventListener("resize", draw);
}

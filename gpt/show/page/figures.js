"use strict";
// Figures that are a table of numbers first: [{title, columns, rows, kind, note}]. All text goes in
// as text, so nothing in it can run.

const shown = value => value === null || value === undefined ? ""
  : typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)).toString()
  : typeof value === "number" ? value.toLocaleString("en") : visible(String(value));
const visible = text => text.replace(/\n/g, "\u21b5").replace(/ /g, "\u00b7");
const plainly = value => typeof value === "string" ? value.replace(/\n/g, "\u21b5") : shown(value);

function tableOf(parent, columns, rows) {
  const table = make(make(parent, "div", {class: "scroll", tabindex: 0}), "table");
  const head = make(make(table, "thead"), "tr");
  for (const column of columns) make(head, "th", {scope: "col"}, column);
  const body = make(table, "tbody");
  for (const row of rows) {
    const line = make(body, "tr");
    row.forEach((value, i) => {
      const cell = make(line, i ? "td" : "th", i ? {} : {scope: "row"}, plainly(value));
      if (typeof value === "number") cell.className = "number";
    });
  }
  return table;
}

// The table of a drawing, made when it is opened first; `rows` may be a function.
function numbers(parent, columns, rows) {
  const details = make(parent, "details", {class: "numbers-of"});
  make(details, "summary", {}, "as numbers");
  const fill = () => {
    details.querySelector(".scroll")?.remove();
    tableOf(details, columns, typeof rows === "function" ? rows() : rows);
  };
  details.addEventListener("toggle", () => { if (details.open) fill(); });
  return () => { if (details.open) fill(); };
}

// ---- drawings: rows are [name, value, half of its interval] or as `columns` says ----

function bars(parent, {rows}) {
  const low = Math.min(0, ...rows.map(([, x]) => x));
  const most = Math.max(...rows.map(([, x, half]) => x + (half || 0)), 1e-9);
  const share = x => 100 * (x - low) / (most - low);
  for (const [name, x, half] of rows) {
    const row = make(parent, "div", {class: "bar"});
    make(row, "span", {}, plainly(name));
    const room = make(row, "span", {class: "room"});
    make(room, "i", {style: `width:${share(x)}%`, class: name === "this net" ? "us" : ""});
    const from = Math.max(0, share(x - (half || 0)));            // an interval may begin below 0
    if (half) make(room, "em", {style: `left:${from}%;width:${share(x + half) - from}%`});
    make(row, "span", {}, half ? `${short(x)} \u00b1 ${short(half)}` : short(x));
  }
}

// Rows are [bin, how sure, how often right, tokens].
function reliability(parent, {rows, title}) {
  const size = 260, left = 40, bottom = 34, at = x => left + x * (size - left - 20);
  const up = y => 8 + (1 - y) * (size - bottom - 8);
  const most = Math.max(...rows.map(row => row[3]));
  const svg = make(parent, "svg", {class: "reliability", viewBox: `0 0 ${size} ${size}`,
    role: "img", "aria-label": title});
  for (const x of [0, 0.25, 0.5, 0.75, 1]) {
    make(svg, "line", {x1: at(x), x2: at(x), y1: up(0), y2: up(1), class: "grid"});
    make(svg, "line", {x1: at(0), x2: at(1), y1: up(x), y2: up(x), class: "grid"});
    make(svg, "text", {x: at(x), y: size - 18, "text-anchor": "middle"}, `${100 * x}%`);
    make(svg, "text", {x: left - 5, y: up(x) + 4, "text-anchor": "end"}, `${100 * x}%`);
  }
  make(svg, "line", {x1: at(0), y1: up(0), x2: at(1), y2: up(1), class: "cursor"});
  for (const [bin, sure, right, n] of rows) {
    const dot = make(svg, "circle", {cx: at(sure), cy: up(right), r: 2 + 6 * Math.sqrt(n / most)});
    make(dot, "title", {}, `${bin}: ${(100 * right).toFixed(1)}% right of ${n}`);
  }
  make(svg, "text", {x: at(0.5), y: size - 4, "text-anchor": "middle"}, "how sure it is");
}

const DRAWINGS = {bars, reliability};

function figureOf(parent, found) {
  const figure = make(parent, "figure", {class: "drawn"});
  make(figure, "figcaption", {}, found.title);
  if (found.note) make(figure, "p", {class: "dim"}, found.note);
  const draw = DRAWINGS[found.kind];
  if (draw) {
    draw(figure, found);
    numbers(figure, found.columns, found.rows);
  } else tableOf(figure, found.columns, found.rows);
}

"use strict";
// An array on the page: a number, or a heat map with its sums, read by mouse or by arrow keys.

function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

function arrayView(title, place) {
  const array = arrayAt(place);
  if (!array) return null;
  const figure = html("figure", {class: "array", "data-array": place});
  if (!array.shape.length) {
    figure.append(html("figcaption", {}, title),
                  html("b", {class: "value"}, String(number(array.cells[0]))));
    return figure;
  }
  const sums = `norm ${brief(array.norm)}, min ${brief(array.low)}, max ${brief(array.high)}`;
  const bad = array.bad ? `, ${array.bad} not finite` : "";
  const all = array.cells.length === array.shape.reduce((a, b) => a * b, 1) ? "" : ", sampled";
  figure.append(html("figcaption", {}, `${title}: ${shapeText(array)} ${array.type}${all}`),
                heatMap(title, array, sums + bad),
                html("figcaption", {}, sums + bad));
  return figure;
}

// Blue below zero, white at zero, red above; black on yellow is not finite.
function colour(v, top) {
  if (!Number.isFinite(v)) return "#ffd400";
  const t = top ? Math.max(-1, Math.min(1, v / top)) : 0, fade = Math.round(255 * (1 - Math.abs(t) ** 0.7));
  return t < 0 ? `rgb(${fade},${Math.round(fade * 0.7 + 76)},255)` : `rgb(255,${Math.round(fade * 0.9 + 12)},${fade})`;
}

function heatMap(title, array, sums) {
  const rows = array.rows.length, columns = array.columns.length;
  const size = Math.max(6, Math.min(26, Math.floor(300 / Math.max(rows, columns))));
  const canvas = html("canvas", {width: columns * size, height: rows * size, tabindex: 0, role: "img",
                                 "aria-label": `Heat map of ${title}, ${shapeText(array)}: ${sums}. `
                                               + "Arrow keys read single elements."});
  const pen = canvas.getContext("2d"), values = array.cells.map(number);
  const top = Math.max(...values.map(Math.abs).filter(Number.isFinite), 0);
  let at = -1;
  const draw = () => {
    values.forEach((v, i) => {
      pen.fillStyle = colour(v, top);
      pen.fillRect((i % columns) * size, Math.floor(i / columns) * size, size, size);
    });
    if (at >= 0) {
      pen.strokeStyle = "#000";
      pen.lineWidth = 2;
      pen.strokeRect((at % columns) * size + 1, Math.floor(at / columns) * size + 1, size - 2, size - 2);
    }
  };
  const show = (i, x, y) => {
    at = i;
    draw();
    const text = `[${indexOf(array, i)}] = ${brief(array.cells[i])}${tokenAt(array, i)}`;
    canvas.title = "";
    Object.assign($("tip").style, {left: `${Math.min(x, innerWidth - 200)}px`, top: `${y}px`});
    $("tip").hidden = false;
    $("tip").textContent = text;
    return text;
  };
  const leave = () => { at = -1; draw(); $("tip").hidden = true; };
  canvas.addEventListener("mousemove", event => {
    const frame = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - frame.left) / frame.width * columns);
    const row = Math.floor((event.clientY - frame.top) / frame.height * rows);
    if (row >= 0 && row < rows && column >= 0 && column < columns) {
      show(row * columns + column, event.clientX + 12, event.clientY + 12);
    }
  });
  canvas.addEventListener("mouseleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", event => {
    const move = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns}[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const frame = canvas.getBoundingClientRect();
    const to = Math.max(0, Math.min(values.length - 1, at + (at < 0 ? 1 : move)));
    say(show(to, frame.left, frame.bottom + 4));
  });
  draw();
  return canvas;
}

// What a row of a prompt's array, (1, T, ...), stands for.
function tokenAt(array, i) {
  const rows = array.shape.length === 3 && array.shape[0] === 1 && array.shape[1] === data.tokens.length;
  return rows ? ` at “${data.tokens[array.rows[Math.floor(i / array.columns.length)]]}”` : "";
}

// The index of a sampled cell in the whole array.
function indexOf(array, i) {
  let row = array.rows[Math.floor(i / array.columns.length)];
  const column = array.columns[i % array.columns.length], index = [];
  if (array.shape.length === 1) return String(column);
  for (const n of array.shape.slice(0, -1).reverse()) {
    index.unshift(row % n);
    row = Math.floor(row / n);
  }
  return [...index, column].join(", ");
}

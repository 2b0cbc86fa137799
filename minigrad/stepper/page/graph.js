"use strict";
// The picture: one box for each node or collapsed module, one line for each use.

const SVG = "http://www.w3.org/2000/svg";

let graph = null, picture = null;

function element(name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const FLOW_GAP = 9, CROWD = 30;                        // lines of one box, from which on they are thin

const fit = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);

function layoutChanged() {
  graph = pictureOf(record(), state.collapsed);
  picture = element("svg", {xmlns: SVG, role: "group"});
  const lines = element("g"), boxes = element("g");
  const users = new Map();
  for (const {from, to} of graph.lines) for (const box of [from, to]) users.set(box, (users.get(box) || 0) + 1);
  for (const line of graph.lines) {
    const crowd = Math.max(users.get(line.from), users.get(line.to)) > CROWD ? " crowd" : "";
    line.drawn = element("path", {class: `edge${crowd}`, d: linePath(line)});
    lines.append(line.drawn);
  }
  for (const box of graph.boxes) boxes.append(drawBox(box));
  picture.flow = element("text", {class: "flow"});
  picture.caption = element("text", {x: 16, y: graph.height + 14});
  picture.append(lines, boxes, picture.flow);
  $("canvas").replaceChildren(picture);
  zoom(state.zoom);
}

function drawBox(box) {
  const node = record().nodes[box.nodes[0]], {WIDTH: width, HEIGHT: height} = data.box;
  const x = box.x - width / 2, y = box.y - height / 2, closed = box.module !== null;
  const group = element("g", {class: closed ? "box module" : "box", tabindex: -1, role: "button"});
  box.rect = element("rect", {x, y, width, height, rx: node.op || closed ? 6 : 20});
  const name = closed ? record().modules[box.module] : node.name;
  box.name = element("text", {x: box.x, y: y + 16, "text-anchor": "middle", class: "name"},
                     name);
  box.value = element("text", {x: box.x, y: y + 32, "text-anchor": "middle", class: "small"});
  box.grad = element("text", {x: box.x, y: y + 48, "text-anchor": "middle", class: "small"});
  group.append(element("title", {}, boxTitle(box)), box.rect, box.name, box.value, box.grad);
  group.addEventListener("click", () => pressBox(box));
  group.addEventListener("keydown", event => {
    const to = neighbour(box, event.key);
    if (!to && ![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (to) to.drawn.focus();
    else pressBox(box);
  });
  box.drawn = group;
  return group;
}

// Where an arrow key leads from a box: along a line, or to the next box in its row.
function neighbour(box, key) {
  const row = graph.boxes.filter(other => other.y === box.y).sort((a, b) => a.x - b.x);
  const side = {ArrowLeft: -1, ArrowRight: 1}[key];
  if (side) return row[row.indexOf(box) + side] || box;
  if (key === "ArrowUp") return (graph.lines.find(line => line.to === box) || {from: box}).from;
  if (key === "ArrowDown") return (graph.lines.find(line => line.from === box) || {to: box}).to;
  return null;
}

function boxTitle(box) {
  const node = record().nodes[box.nodes[0]];
  if (box.module !== null) return `${box.module}: ${box.nodes.length} nodes; press to open`;
  return [`${[...node.group, node.label].join(" / ")}`, node.line, node.text].filter(s => s).join("\n");
}

function pressBox(box) {
  if (box.module !== null) return toggleModule(box.module);
  selectNode(box.nodes[0]);
}

function toggleModule(path) {
  if (state.collapsed.has(path)) state.collapsed.delete(path);
  else state.collapsed.add(path);
  layoutChanged();
  render();
}

function updatePicture(now) {
  const e = current(), wants = expected();
  const open = new Map(waiting(now)), search = state.search.toLowerCase(), plain = state.sizes;
  $("sizes").setAttribute("aria-pressed", String(plain));
  $("sizelegend").hidden = !($("legend").hidden = plain);
  for (const box of graph.boxes) {
    const nodes = box.nodes, one = box.module === null;
    const drawn = box.drawn.classList;
    const makers = list => [...new Set(list.map(i => record().nodes[i].maker))];
    const op = makers(nodes.filter(i => record().nodes[i].op));
    const wanted = makers(nodes.filter(i => wants.has(i) || i === record().root));
    const reached = wanted.filter(i => now.done.has(i) || now.acted.has(i));
    drawn.toggle("unmade", !plain && op.length > 0 && !op.some(i => now.made.has(i)));
    drawn.toggle("waiting", !plain && nodes.some(i => open.has(i)));
    drawn.toggle("done", !plain && wanted.length > 0 && reached.length === wanted.length);
    drawn.toggle("now", !plain && e.node !== undefined && nodes.includes(e.node));
    drawn.toggle("to", !plain && e.kind === "send" && nodes.includes(e.to) && !nodes.includes(e.node));
    drawn.toggle("wrong", !plain && run().wrong === state.at && nodes.includes(e.kind === "send" ? e.to : e.node));
    drawn.toggle("selected", nodes.includes(state.selected));
    drawn.toggle("found", search !== "" && nodes.some(i => nodeMentions(i, search)));
    const made = `${op.filter(i => now.made.has(i)).length}/${op.length} made`, all = `${nodes.length} nodes · ${made}`;
    box.value.textContent = one ? valueLine(nodes[0], now) : all.length > 21 ? made : all;
    const focus = e.node !== undefined && nodes.includes(e.node);
    box.drawn.setAttribute("tabindex", focus ? 0 : -1);
    box.grad.textContent = one ? gradLine(box, now, open) : `${reached.length}/${wanted.length} gradients`;
    if (plain) [box.value.textContent, box.grad.textContent] = sizeLines(box);
  }
  for (const box of graph.boxes) {
    const state = ["acts", "receives", "waits", "has all", "not made"];
    const looks = ["now", "to", "waiting", "done", "unmade"].map((name, i) =>
      (box.drawn.classList.contains(name) ? state[i] : ""));
    const texts = [box.name, box.value, box.grad].map(text => text.textContent);
    box.drawn.setAttribute("aria-label", [...texts, ...looks].filter(text => text).join(", "));
  }
  const from = graph.boxOf[e.node], to = e.kind === "send" ? graph.boxOf[e.to] : null;
  picture.flow.textContent = "";
  for (const line of graph.lines) {
    const active = !plain && line.from === to && line.to === from && [null, e.place].includes(line.place);
    line.drawn.classList.toggle("active", active);
    if (active) flowText(line, arrayAt(e.sent));
  }
  picture.setAttribute("aria-label", e.says);
  if (to) keepInSight(to);
  keepInSight(from);                                  // last: there stands what is sent
}

function nodeMentions(i, text) {
  const node = record().nodes[i];
  return [node.label, node.op, node.group.join(" / ")].some(s => s.toLowerCase().includes(text));
}

function valueLine(i, now) {
  const node = record().nodes[i], value = arrayAt(node.value);
  if (!value) return node.shape;
  if (node.op && !now.made.has(i)) return shapeText(value);
  return fit(value.shape.length ? `${shapeText(value)} ${label(value)}` : label(value), 21);
}

function gradLine(box, now, open) {
  if (!record().nodes[box.nodes[0]].needs) return "no gradient";
  const sums = box.nodes.length > 1 ? box.nodes.slice(1) : box.nodes;
  if (!sums.some(i => now.total.has(i))) return now.started ? "–" : "";
  const soFar = i => {
    const part = open.has(i) ? ` (${open.get(i)}/${expected().get(i) || "?"})` : "";
    return now.total.has(i) ? label(arrayAt(now.total.get(i))) + part : "–";
  };
  return fit(`g ${sums.map(soFar).join(" ")}`, 21);
}

// Above the sender, on the side where fewer lines end, clear of its own.
function flowText(line, sent) {
  const [[x0], [x1, y1]] = pointsOf(line).slice(-2), y = y1 - data.box.GAP_Y / 4;
  const left = graph.lines.filter(other => other.to === line.to && other.port < line.port).length;
  const right = graph.lines.filter(other => other.to === line.to && other.port > line.port).length;
  const side = Math.sign(left - right) || (x0 > x1 ? -1 : 1), length = line.drawn.getTotalLength();
  let x = side * x1;
  for (let s = length; s > 0; s -= 2) {
    const point = line.drawn.getPointAtLength(s);
    if (Math.abs(point.y - y + 4) < 9) x = Math.max(x, side * point.x);
  }
  picture.flow.setAttribute("text-anchor", side < 0 ? "end" : "start");
  picture.flow.setAttribute("x", side * x + side * FLOW_GAP);
  picture.flow.setAttribute("y", y);
  picture.flow.textContent = `↑ ${label(sent)}`;
}

// ---- what a box costs ----

function showSizes() {
  state.sizes = !state.sizes;
  render();
}

function count(n) {
  for (const unit of ["", "k", "M", "G", "T"]) {
    if (n < 1000 || unit === "T") return `${unit ? n.toPrecision(3) : n}${unit}`;
    n /= 1000;
  }
}

function shapeOf(i) {
  const value = arrayAt(record().nodes[i].value);
  return value ? shapeText(value) : record().nodes[i].shape;
}

const costOf = box => (box.module !== null ? record().costs[box.module] : record().nodes[box.nodes[0]].cost);

function sizeLines(box) {
  const [parameters, forward, backward, kept] = costOf(box), node = record().nodes[box.nodes[0]];
  const shape = shapeOf(box.nodes[box.nodes.length - 1]);
  if (box.module === null && !node.op) return [shape, parameters ? `${count(parameters)} parameters` : ""];
  return [fit(parameters ? `${shape} · ${count(parameters)}` : shape, 21),
          fit(`${count(forward + backward)}FLOP · ${bytes(kept)}`, 21)];
}

function keepInSight(box) {
  if (!box || state.sizes) return;
  const view = $("canvas"), x = box.x * state.zoom, y = box.y * state.zoom;
  const marginX = Math.min(120, view.clientWidth / 3), marginY = Math.min(110, view.clientHeight / 3);
  if (x < view.scrollLeft + marginX || x > view.scrollLeft + view.clientWidth - marginX) {
    view.scrollLeft = x - view.clientWidth / 2;
  }
  if (y < view.scrollTop + marginY || y > view.scrollTop + view.clientHeight - marginY) {
    view.scrollTop = y - view.clientHeight / 2;
  }
}

function zoom(scale) {
  state.zoom = Math.max(0.02, Math.min(3, scale));
  picture.setAttribute("viewBox", `0 0 ${graph.width} ${graph.height}`);
  picture.setAttribute("width", graph.width * state.zoom);
  picture.setAttribute("height", graph.height * state.zoom);
}

function zoomToFit(least = 0, most = 1.5) {
  const view = $("canvas"), whole = Math.min(view.clientWidth / graph.width, view.clientHeight / graph.height);
  zoom(Math.max(least, Math.min(most, whole)));
}

// The frame as a file: the colours are written out, the sentence stands below.
function frameText() {
  const copy = picture.cloneNode(true), colours = getComputedStyle(document.documentElement);
  copy.prepend(element("style", {}, $("picture").textContent));
  const caption = element("text", {x: 16, y: graph.height + 18}, `${state.at + 1}. ${current().says}`);
  const width = Math.max(graph.width, 32 + 7.3 * caption.textContent.length);
  copy.insertBefore(element("rect", {width, height: graph.height + 30, fill: "var(--page)"}),
                    copy.firstChild.nextSibling);
  copy.append(caption);
  copy.setAttribute("viewBox", `0 0 ${width} ${graph.height + 30}`);
  copy.setAttribute("role", "img");
  copy.setAttribute("width", width);
  copy.setAttribute("height", graph.height + 30);
  const text = new XMLSerializer().serializeToString(copy);
  return text.replace(/var\((--[a-z-]+)\)/g, (_, name) => colours.getPropertyValue(name).trim());
}

function saveFrame() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([frameText()], {type: "image/svg+xml"}));
  link.download = `step-${String(state.at + 1).padStart(4, "0")}.svg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

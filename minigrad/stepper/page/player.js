"use strict";
// The record, where the reader stands in it, and how to move.

const data = JSON.parse(document.getElementById("data").textContent);
const state = {record: 0, run: 0, at: 0, collapsed: new Set(), selected: null, tab: "Step",
               sizes: false, quiz: null, timer: null, zoom: 1, search: ""};

const $ = id => document.getElementById(id);
const record = () => data.records[state.record];
const run = () => record().runs[state.run];
const events = () => run().events;
const current = () => events()[state.at];
const arrayAt = place => (place < 0 || place === undefined ? null : data.arrays[place]);
const number = v => (typeof v === "string" ? {nan: NaN, inf: Infinity, "-inf": -Infinity}[v] : v);

function brief(v) {
  v = number(v);
  return Number.isFinite(v) ? String(Number(v.toPrecision(5))) : String(v);
}

function shapeText(array) {
  return array.shape.length ? array.shape.join("×") : "scalar";
}

// What fits into a box: the number itself, or the norm.
function label(array) {
  if (!array) return "";
  return array.shape.length ? `‖${brief(array.norm)}‖` : brief(array.cells[0]);
}

function peak(array) {
  if (!array) return 0;
  return array.bad ? Infinity : Math.max(Math.abs(number(array.low)), Math.abs(number(array.high)));
}

// Everything that is known after a step: what is made, the sums, and how much of each has come.
function situation(at = state.at) {
  const now = {made: new Set(), total: new Map(), received: new Map(), acted: new Set(),
               done: new Set(), started: false};
  for (let i = 0; i <= at; i++) {
    const e = events()[i];
    if (e.kind === "make") now.made.add(e.node);
    if (e.kind === "start") {
      now.started = true;
      now.total.clear();
      now.received.clear();
      now.acted.clear();
      now.done.clear();
      now.total.set(e.node, e.g);
    }
    if (e.kind === "send") {
      now.acted.add(e.node);
      now.total.set(e.to, e.total);
      now.received.set(e.to, (now.received.get(e.to) || 0) + 1);
    }
    if (e.kind === "leaf") {
      now.done.add(e.node);
      now.total.set(e.node, e.total);
    }
  }
  return now;
}

// How many contributions each node gets in the backward pass of this step; a wrong one is measured
// by the last right one.
function expected() {
  const counts = new Map(), right = record().runs[0].events;
  let begun = false;
  const until = state.run ? right.length : state.at;
  for (const [i, e] of right.entries()) {
    if (e.kind === "start" && begun && i > until) break;
    if (e.kind === "start") {
      begun = true;
      counts.clear();
    }
    if (e.kind === "send") counts.set(e.to, (counts.get(e.to) || 0) + 1);
  }
  return counts;
}

function waiting(now) {
  const passedOn = i => now.acted.has(record().nodes[i].maker) || now.done.has(i);
  return [...now.received].filter(([i]) => !passedOn(i));
}

function go(at) {
  state.at = Math.max(0, Math.min(events().length - 1, at));
  state.selected = null;
  state.sizes = false;
  render();
}

function play(on = state.timer === null) {
  clearInterval(state.timer);
  state.timer = null;
  if (on) {
    if (state.at === events().length - 1) go(0);
    state.timer = setInterval(() => {
      if (state.at === events().length - 1 || stopsAt(state.at + 1)) play(false);
      if (state.at < events().length - 1) go(state.at + 1);
    }, Number($("speed").value));
  }
  $("play").textContent = on ? "❚❚" : "▶▶";
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  $("play").setAttribute("aria-pressed", String(on));
}

// Whether the breakpoint asks for a step.
function stopsAt(at) {
  const e = events()[at], kind = $("stop").value, value = $("stopvalue").value.trim();
  const seen = [e.g, e.sent, e.total].map(arrayAt).filter(x => x);
  if (kind === "bad") {
    return seen.some(x => x.bad) || (e.kind === "make" && !!(arrayAt(record().nodes[e.node].value) || {}).bad);
  }
  if (kind === "peak") return value !== "" && seen.some(x => peak(x) > Number(value));
  return value !== "" && mentions(e, value);
}

function mentions(e, text) {
  const words = text.toLowerCase();
  return [e.node, e.to].filter(i => i !== undefined).some(i => {
    const node = record().nodes[i];
    return [node.label, node.op, node.group.join(" / ")].some(s => s.toLowerCase().includes(words));
  });
}

function runOn() {
  for (let at = state.at + 1; at < events().length; at++) {
    if (stopsAt(at)) return go(at);
  }
  go(events().length - 1);
  say("The breakpoint was not met; this is the last step.");
}

function searchNext() {
  if (!state.search) return;
  const n = events().length;
  for (let i = 1; i <= n; i++) {
    const at = (state.at + i) % n;
    if (mentions(events()[at], state.search)) return go(at);
  }
  say(`Nothing is called “${state.search}”.`);
}

function say(text, bad = false) {
  $("says").textContent = text;
  $("says").classList.toggle("bad", bad);
}

// Another record: stand at the step that does the same.
function openRecord(place, runPlace = 0) {
  const before = current(), from = before && state.record !== place ? record() : null;
  const origin = from && state.record === 0 ? before.node : from ? from.nodes[before.node].origin : -1;
  state.record = place;
  state.run = runPlace;
  state.collapsed = record().many ? overview() : new Set();
  const same = e => e.kind === before.kind
    && (place === 0 ? e.node === origin : record().nodes[e.node].origin === origin);
  const at = from && origin >= 0 ? events().findIndex(same) : 0;
  setUpRun();
  layoutChanged();
  zoomToFit(READABLE, 1);
  go(Math.max(0, at));
}

function openRun(place) {
  play(false);
  state.run = place;
  setUpRun();
  go(run().wrong >= 0 ? run().wrong : place ? events().length - 1 : state.at);
  if (place) openTab("Mistakes");
}

function setUpRun() {
  $("slider").max = $("jump").max = events().length;
  $("count").textContent = events().length;
  $("run").replaceChildren(...record().runs.map((r, i) => new Option(r.title, i)));
  $("run").value = state.run;
  $("record").value = state.record;
}

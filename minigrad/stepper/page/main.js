"use strict";
// Put the page together: controls, keys, and the one function that shows a step.

const [title, about] = data.title.split("\n");
const READABLE = 0.75;                                 // the smallest zoom that a page opens with

function render() {
  const now = situation();
  $("slider").value = state.at + 1;
  $("jump").value = state.at + 1;
  const wrong = state.run > 0 && run().wrong === state.at;
  document.body.classList.toggle("sizes", state.sizes);
  if (state.sizes && about) say(about);
  else say((wrong ? "First wrong number. " : "") + `${state.at + 1}. ${current().says}`, wrong);
  updatePicture(now);
  $("panel").replaceChildren(...VIEWS[state.tab]().filter(part => part));
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  if (graph) render();
}

const KEYS = {
  n: () => go(state.at + 1), ArrowRight: () => go(state.at + 1), p: () => go(state.at - 1),
  ArrowLeft: () => go(state.at - 1), Home: () => go(0), End: () => go(events().length - 1),
  " ": () => play(), j: () => $("jump").select(), b: () => $("stopvalue").select(), c: runOn,
  "/": () => $("search").focus(), q: () => (state.quiz ? stopQuiz() : startQuiz()), e: saveFrame,
  "+": () => zoom(state.zoom * 1.25), "-": () => zoom(state.zoom / 1.25), 0: () => zoomToFit(),
  "?": () => openTab("Keys"), z: showSizes,
};

function press(event) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)
    && event.target.type !== "range" && event.target.type !== "checkbox";
  if (event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key)) return;
  if (event.target.role === "tab" && event.key.startsWith("Arrow")) {
    const names = Object.keys(VIEWS), side = {ArrowLeft: -1, ArrowRight: 1}[event.key] || 0;
    openTab(names.at((names.indexOf(state.tab) + side) % names.length));
    event.preventDefault();
    return;
  }
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  const action = KEYS[event.key] || (/^[1-9]$/.test(event.key) && (() => openTab(Object.keys(VIEWS)[event.key - 1])));
  if (action) {
    event.preventDefault();
    action();
  }
}

function collapse(paths) {
  state.collapsed = paths;
  layoutChanged();
  render();
}

function main() {
  const on = (id, what, event = "click") => $(id).addEventListener(event, what);
  theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  $("record").replaceChildren(...data.records.map((r, i) => new Option(r.title, i)));
  for (const name of Object.keys(VIEWS)) {
    $("tabs").append(html("button", {role: "tab", "aria-controls": "panel", onclick: () => openTab(name)}, name));
  }
  on("first", () => go(0));
  on("back", () => go(state.at - 1));
  on("play", () => play());
  on("next", () => go(state.at + 1));
  on("last", () => go(events().length - 1));
  on("slider", () => go(Number($("slider").value) - 1), "input");
  on("jump", () => go(Number($("jump").value) - 1), "change");
  on("speed", () => state.timer && play(true), "change");
  on("continue", runOn);
  on("stop", () => { $("stopvalue").disabled = $("stop").value === "bad"; }, "change");
  on("stopvalue", event => event.key === "Enter" && runOn(), "keydown");
  on("search", () => { state.search = $("search").value.trim(); render(); }, "input");
  on("search", event => event.key === "Enter" && searchNext(), "keydown");
  on("record", () => openRecord(Number($("record").value)), "change");
  on("run", () => openRun(Number($("run").value)), "change");
  on("theme", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  on("zoomin", () => zoom(state.zoom * 1.25));
  on("zoomout", () => zoom(state.zoom / 1.25));
  on("fit", () => zoomToFit());
  on("collapse", () => collapse(overview()));
  on("expand", () => collapse(new Set()));
  on("sizes", showSizes);
  on("export", saveFrame);
  const example = data.records.findIndex(r => r.title.startsWith("example"));
  $("example").hidden = example < 0;
  on("example", () => { openRecord(example); openRun(1); });
  document.addEventListener("keydown", press);
  if (title) document.title = $("title").textContent = title;
  state.sizes = title !== "";
  state.collapsed = state.sizes || record().many ? overview() : new Set();
  setUpRun();
  layoutChanged();
  openTab(state.sizes ? "Parts" : "Step");
  zoomToFit(READABLE, 1);
  render();
}

main();

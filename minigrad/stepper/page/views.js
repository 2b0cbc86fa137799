"use strict";
// The panels beside the picture.

const VIEWS = {
  Step: stepView, List: listView, Parts: partsView, Mistakes: mistakesView,
  Memory: memoryView, Cost: costView, Levels: levelsView, Quiz: quizView, Keys: keysView,
};

function openTab(name) {
  state.tab = name;
  for (const tab of $("tabs").children) {
    const chosen = tab.textContent === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen && tab.parentNode.contains(document.activeElement)) tab.focus();
  }
  render();
}

const nodeName = i => record().nodes[i].label;

function code(title, text) {
  return text ? html("div", {}, html("h3", {}, title), html("pre", {}, text)) : null;
}

function table(head, rows) {
  const line = (cells, tag) => html("tr", {}, ...cells.map(cell => html(tag, {}, cell)));
  return html("div", {class: "scroll"}, html("table", {}, html("thead", {}, line(head, "th")),
                                              html("tbody", {}, ...rows.map(row => line(row, "td")))));
}

// ---- one step ----

function stepView() {
  const e = current(), now = situation();
  if (state.selected !== null) return nodeView(state.selected, now);
  const node = record().nodes[e.node];
  const parts = [html("h2", {}, `Step ${state.at + 1}`)];
  if (state.run && run().wrong === state.at) parts.push(html("p", {class: "note bad"}, run().verdict));
  if (e.kind === "make") {
    const outputs = record().nodes.filter((other, i) => other.maker === e.node && i !== e.node);
    parts.push(html("div", {class: "pair"}, arrayView(node.label, node.value),
                    ...outputs.map(other => arrayView(other.label, other.value)),
                    ...node.refs.map(i => arrayView(`input ${nodeName(i)}`, record().nodes[i].value))));
  }
  if (e.kind === "start") parts.push(arrayView(`gradient of ${node.label}`, e.g));
  if (e.kind === "send") {
    parts.push(code(`What ${node.op} sends to input ${e.place + 1}, ${nodeName(e.to)}`, e.vjp),
               html("div", {class: "pair"}, arrayView(`g that arrived at ${node.label}`, e.g),
                    arrayView("from the vjp, before broadcasting is undone", e.raw),
                    arrayView(`sent to ${nodeName(e.to)}`, e.sent),
                    arrayView("sum before", e.before), arrayView("sum after", e.total)));
  }
  if (e.kind === "leaf") {
    parts.push(html("div", {class: "pair"}, arrayView("gradient of this pass", e.g),
                    arrayView(".grad before", e.before), arrayView(".grad after", e.total)));
  }
  if (node.op) parts.push(code(`Formula of ${node.op}`, formulaText(node)));
  if (e.kind === "make") parts.push(html("p", {}, node.doc));
  parts.push(code("Line that made it", [node.line, node.text].filter(s => s).join("  ")));
  if (node.inner) parts.push(code("Inside the fused op", node.inner));
  if (e.kind !== "make") parts.push(waitingView(now));
  parts.push(slopeView(e.kind === "send" ? e.to : e.node));
  return parts;
}

function formulaText(node) {
  return [...new Set([node.formula, node.numbers])].filter(s => s).join("\n= ");
}

function waitingView(now) {
  const open = waiting(now), wants = expected();
  const items = open.map(([i, n]) => html("li", {}, `${nodeName(i)}: ${n} of ${wants.get(i)} contributions`
                                          + (n === wants.get(i) ? ", ready" : "")));
  return html("div", {id: "frontier"}, html("h3", {}, "Nodes that wait (the frontier)"),
              items.length ? html("ul", {}, ...items) : "none");
}

function slopeView(i) {
  const found = record().slopes[i], title = html("h3", {}, `Finite difference at ${nodeName(i)}`);
  if (!found) {
    if (!record().nodes[i].needs || state.record) return null;
    return html("div", {}, title, "Not in this page; t.slope(", html("code", {}, String(i)), ", index) computes it.");
  }
  const g = number(found.g), place = found.index.length ? `element [${found.index.join(", ")}] ` : "";
  const rows = found.slopes.map(([h, slope]) => {
    const s = number(slope), off = Math.abs(s - g) / Math.max(Math.abs(g), Math.abs(s), 1e-300);
    return [String(h), String(Number(s.toPrecision(10))), g === s ? "0" : off.toExponential(1)];
  });
  return html("div", {id: "slope"}, title,
              html("p", {}, `Nudge ${place}by h, run the rest again in float64: `
                   + `(L(x + h) − L(x − h)) / 2h beside the gradient `, html("b", {}, String(Number(g.toPrecision(10)))), "."),
              table(["h", "slope", "relative difference"], rows));
}

function nodeView(i, now) {
  const node = record().nodes[i], path = [...node.group, node.label].join(" / ");
  const back = html("button", {onclick: () => { state.selected = null; render(); }}, "Back to the step");
  const close = node.group.length ? html("button", {onclick: () => toggleModule(node.group.join(" / "))},
                                         `Collapse ${node.group[node.group.length - 1]}`) : null;
  const jump = (what, found) => (found < 0 ? null : html("button", {onclick: () => go(found)}, `${what}: step ${found + 1}`));
  const made = jump(node.op ? "It is made" : "Its gradient", events().findIndex(e => e.node === i));
  const sent = node.op ? jump("It sends gradients", events().findIndex(e => e.node === i && e.kind === "send")) : null;
  const [parameters, forward, backward, kept] = node.cost;
  const cost = node.op ? `${forward.toLocaleString("en")} FLOP forward, ${backward.toLocaleString("en")} backward, ${bytes(kept)} kept`
    : `${parameters.toLocaleString("en")} parameters`;
  return [html("h2", {}, path), html("p", {}, back, " ", close, " ", made, " ", sent), html("p", {}, cost),
          code("Line that made it", [node.line, node.text].filter(s => s).join("  ")),
          code("Formula", formulaText(node)), html("p", {}, node.doc),
          arrayView("value", node.value), arrayView("gradient so far", now.total.get(i)), slopeView(i), opPage(node.op)];
}

// What the documentation says of an op, and its two functions.
function opPage(name) {
  const op = data.ops[name];
  if (!op) return null;
  return html("details", {}, html("summary", {}, `The page of ${name}`), html("pre", {}, op.doc),
              code("Forward", op.forward), code("Backward (vjp)", op.vjp));
}

// ---- all steps ----

function listView() {
  const list = html("ol", {id: "list"});
  const last = state.quiz ? state.at : events().length - 1;
  for (let at = 0; at <= last; at++) {
    const e = events()[at];
    const button = html("button", {onclick: () => go(at)}, `${at + 1}. ${e.says}`);
    if (at === state.at) button.setAttribute("aria-current", "step");
    if (at === run().wrong) button.classList.add("wrong");
    if (state.search && mentions(e, state.search)) button.classList.add("found");
    list.append(html("li", {}, button));
  }
  setTimeout(() => {
    const now = list.querySelector("[aria-current]"), box = $("panel");
    if (now) box.scrollTop = now.offsetTop - box.offsetTop - box.clientHeight / 2;
  });
  return [html("h2", {}, "All steps in words"), list];
}

// ---- the parts of the picture, as a table ----

function partsView() {
  const cells = ([parameters, forward, backward, kept]) => [parameters, forward, backward, kept].map(n => n.toLocaleString("en"));
  const indented = (depth, ...inner) => {
    const cell = html("span", {}, ...inner);
    cell.style.paddingLeft = `${depth}em`;
    return cell;
  };
  const rows = [["all", "", ...cells(record().costs[""])]], seen = new Set();
  record().nodes.forEach((node, i) => {
    if (node.maker !== i) return;
    const around = pathsOf(node.group), closed = around.findIndex(path => state.collapsed.has(path));
    const shown = closed < 0 ? around : around.slice(0, closed + 1);
    shown.forEach((path, depth) => {
      if (seen.has(path)) return;
      seen.add(path);
      const box = html("input", {type: "checkbox", onchange: () => toggleModule(path)});
      box.checked = !state.collapsed.has(path);
      rows.push([indented(depth, html("label", {}, box, ` ${node.group[depth]}`)), shapeOf(lastIn(path)),
                 ...cells(record().costs[path])]);
    });
    if (closed >= 0) return;
    const open = html("button", {class: "plain", onclick: () => selectNode(i)}, node.name);
    rows.push([indented(around.length, open), shapeOf(i), ...cells(node.cost)]);
  });
  return [html("h2", {}, "Parts, and what each costs"),
          html("p", {}, "A ticked one shows what is in it; the others are one box each. Parameters count where they are first "
               + "used. FLOP are counted by running the formulas on arrays that count; kept is what lives until the backward pass."),
          table(["part", "shape", "parameters", "FLOP forward", "FLOP backward", "bytes kept"], rows)];
}

function lastIn(path) {
  const n = path.split(" / ").length;
  return record().nodes.findLastIndex(node => node.group.slice(0, n).join(" / ") === path);
}

function selectNode(i) {
  state.selected = i;
  openTab("Step");
}

function mistakesView() {
  const choices = record().runs.map((r, i) => html("p", {}, html("button", {
    "aria-pressed": String(i === state.run), onclick: () => openRun(i)}, i ? `Wrong: ${r.title}` : "Right")));
  const parts = [html("h2", {}, "Wrong on purpose"),
                 html("p", {}, "The same backprop over the same expression, with another order or another way of adding."),
                 ...choices];
  if (record().runs.length === 1) parts.push(html("p", {}, "Choose the first record: only there the mistakes were run."));
  if (state.run) {
    parts.push(html("p", {class: "note"}, run().why),
               html("p", {class: `note${run().wrong >= 0 ? " bad" : ""}`, id: "verdict"}, run().verdict));
    if (run().wrong >= 0) {
      parts.push(html("button", {onclick: () => go(run().wrong)}, `Go to step ${run().wrong + 1}`));
    }
    parts.push(html("h3", {}, "Gradients at the end"), table(["leaf", "right", "this run"], finalRows()));
  }
  return parts;
}

function finalRows() {
  const last = list => {
    const found = new Map();
    for (const e of list) if (e.kind === "leaf") found.set(e.node, e.total);
    return found;
  };
  const right = last(record().runs[0].events), here = last(events());
  return [...right].map(([i, g]) => [nodeName(i), label(arrayAt(g)), here.has(i) ? label(arrayAt(here.get(i))) : "none"]);
}

// ---- memory, cost, levels ----

function bytes(n) {
  for (const unit of ["bytes", "KiB", "MiB"]) {
    if (n < 1024) return `${unit === "bytes" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(2)} GiB`;
}

function memoryView() {
  const m = record().memory, n = m.kept.length, top = m.peak || 1;
  const x = i => 10 + i / Math.max(1, n - 1) * 480, y = v => 150 - v / top * 130;
  const area = values => `M10,150 ${values.map((v, i) => `L${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ")} L490,150 Z`;
  const chart = element("svg", {viewBox: "0 0 500 170", class: "chart", role: "img",
                                "aria-label": `Memory over the steps, peak ${bytes(m.peak)}`});
  chart.append(element("path", {d: area(m.kept.map((k, i) => k + m.waiting[i])), fill: "var(--wait)"}),
               element("path", {d: area(m.kept), fill: "var(--now)"}));
  if (state.run === 0) {
    chart.append(element("line", {x1: x(state.at), x2: x(state.at), y1: 10, y2: 150,
                                  stroke: "var(--ink)", "stroke-dasharray": "4 3"}));
  }
  const at = Math.min(state.at, n - 1);
  const blocks = [...m.blocks].sort((a, b) => b[1] - a[1]).slice(0, 40);
  return [html("h2", {}, "Memory for the backward pass"), chart,
          html("p", {}, html("span", {class: "key now"}, "kept for the vjps"), " ",
               html("span", {class: "key waiting"}, "gradients that wait")),
          html("p", {id: "memory"}, `At this step ${bytes(m.kept[at])} are kept and ${bytes(m.waiting[at])} wait. `
               + `The peak is ${bytes(m.peak)}, at step ${m.place + 1}. Parameters: ${bytes(m.parameters)} more.`),
          table(["kept for", "size", "from step", "freed after"], blocks.map(([node, size, made, freed]) =>
            [nodeName(node), bytes(size), String(made + 1), freed < n ? String(freed + 1) : "never"]))];
}

const COLUMNS = [["node", r => r.name], ["forward ms", r => r.forward], ["backward ms", r => r.backward],
                 ["forward FLOP", r => r.flops[0]], ["backward FLOP", r => r.flops[1]],
                 ["GFLOP/s", r => r.rate]];
let sortBy = 1;

function costView() {
  const rows = record().nodes.filter((node, i) => node.op && node.maker === i).map(node => {
    const [forward, backward] = node.seconds.map(number), [, ...flops] = node.cost, work = flops[0] + flops[1];
    return {name: `${node.label} · ${node.op}`, forward: forward * 1e3, backward: backward * 1e3, flops, rate: forward + backward ? work / (forward + backward) / 1e9 : 0};
  });
  const value = COLUMNS[sortBy][1];
  rows.sort((a, b) => (sortBy ? value(b) - value(a) : a.name.localeCompare(b.name)));
  const total = of => rows.reduce((sum, r) => sum + of(r), 0);
  const head = COLUMNS.map(([title], i) => html("button", {onclick: () => { sortBy = i; render(); }}, title));
  return [html("h2", {}, "Time and work of each node"),
          html("p", {}, `Forward ${total(r => r.forward).toFixed(2)} ms, backward ${total(r => r.backward).toFixed(2)} ms, `
               + `${((total(r => r.flops[0] + r.flops[1])) / 1e6).toFixed(2)} MFLOP. Forward time is that since the node before, `
               + "so it includes the Python between them; the first run of a kernel includes its loading. "
               + "FLOPs are counted by running the formula on arrays that count."),
          table(head, rows.map(r => [r.name, r.forward.toFixed(3), r.backward.toFixed(3), r.flops[0].toLocaleString("en"),
                                     r.flops[1].toLocaleString("en"), r.rate.toFixed(2)]))];
}

function levelsView() {
  const home = data.records[0];
  const parts = [html("h2", {}, "The same at other levels")];
  data.levels.forEach((other, k) => {
    const off = v => (v === null ? "" : number(v) === 0 ? "equal" : number(v).toExponential(1));
    const worst = Math.max(0, ...other.leaves.map(([, v]) => (v === null ? 0 : number(v))));
    parts.push(html("h3", {}, `${home.level} beside ${other.level}`),
               html("p", {}, html("button", {onclick: () => openRecord(k + 1)}, `Open ${other.level}`),
                    ` Gradients of the leaves differ by ${worst.toExponential(1)} of their norm at most.`),
               table(["node", `boxes at ${other.level}`, "value differs", "gradient differs", "ms", `ms at ${other.level}`],
                     other.rows.map(r => [`${home.nodes[r.node].label} · ${home.nodes[r.node].op}`, String(r.boxes),
                                          off(r.value), off(r.gradient),
                                          ...r.seconds.map(s => (number(s) * 1e3).toFixed(3))])));
  });
  if (state.record) parts.push(html("p", {}, html("button", {onclick: () => openRecord(0)}, `Back to ${home.level}`)));
  if (!data.levels.length) parts.push(html("p", {}, "This page holds one level only."));
  return parts;
}

function keysView() {
  const keys = [["n or →", "one step on"], ["p or ←", "one step back"], ["Home, End", "first, last step"],
    ["space", "play or pause"], ["j", "jump to a step"], ["b", "set the breakpoint"], ["c", "continue to it"],
    ["/", "search; Enter goes to the next place"], ["q", "quiz"], ["e", "save the frame as SVG"],
    ["+ − 0", "larger, smaller, fit"], ["z", "what each box costs, or its numbers"], ["1 to 9", "open a view"],
    ["Tab to a box, then arrow keys", "walk through the boxes; Enter opens one"], ["arrow keys on a heat map", "read its elements"],
    ["?", "this list"]];
  return [html("h2", {}, "Keys"), html("ul", {}, ...keys.map(([key, what]) => html("li", {}, html("kbd", {}, key), ` ${what}`))),
          html("h2", {}, "What you see"),
          html("p", {}, "Data flows down, gradients flow up. Forward, each step makes a node. Backward, each step sends one "
               + "contribution along one edge and adds it to the sum of the receiver. A node sends only when all its users "
               + "have sent to it. ‖x‖ is the norm of an array; a plain number is the number itself.")];
}

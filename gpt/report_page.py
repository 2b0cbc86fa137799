"""The page of the report: style, structure and drawing; @DATA@ stands for the run's JSON."""

PAGE = r"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>training report</title>
<style>
:root { color-scheme: light dark; --back: #fbfaf8; --card: #ffffff; --text: #1d1f23;
  --dim: #6a6f78; --line: #e2e0db; --one: #2563a8; --two: #c2571a; --hot: 194, 87, 26; }
@media (prefers-color-scheme: dark) { :root { --back: #16181b; --card: #1f2226; --text: #e6e4df;
  --dim: #9aa0a9; --line: #34383e; --one: #6fb0f2; --two: #f0935a; --hot: 240, 147, 90; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--back);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
.dim { color: var(--dim); font-size: .85rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem; margin: 1rem 0; }
.numbers { display: flex; flex-wrap: wrap; gap: .4rem 2rem; }
.numbers b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr));
  gap: 1rem; }
.chart { position: relative; } .chart svg { width: 100%; height: 11rem; display: block;
  touch-action: pan-y; }
.chart text { fill: var(--dim); font-size: 11px; }
.tip { min-height: 1.3rem; font-size: .8rem; color: var(--dim);
  font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.5 ui-monospace, monospace;
  margin: .5rem 0 0; }
pre.wide { white-space: pre; overflow-x: auto; } #roofline svg { width: 100%; display: block;
  border-radius: 6px; }
input[type=range] { width: 100%; accent-color: var(--one); }
.tokens { font: .95rem/1.9 ui-monospace, monospace; overflow-wrap: anywhere; }
.tokens span { border-radius: 3px; white-space: pre-wrap; padding: 1px 0; }
.tokens span.from { outline: 2px solid var(--one); }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.5rem, 1fr)); gap: .6rem; }
.maps figure { margin: 0; cursor: pointer; } .maps canvas { width: 100%; display: block;
  image-rendering: pixelated; border: 1px solid var(--line); border-radius: 4px; }
.maps figure.on canvas { border-color: var(--one); box-shadow: 0 0 0 2px var(--one); }
figcaption { font-size: .72rem; color: var(--dim); }
.bar { display: grid; grid-template-columns: 8.5rem 1fr 3.2rem; gap: .6rem; align-items: center;
  font-size: .85rem; } .bar i { display: block; height: .8rem; background: var(--line);
  border-radius: 3px; } .bar i.us { background: var(--one); } .bar span:last-child {
  text-align: right; font-variant-numeric: tabular-nums; }
#plane { width: 100%; height: 26rem; display: block; } #plane text { fill: var(--text);
  font: 12px ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; } td { border-top: 1px solid
  var(--line); padding: .25rem .5rem .25rem 0; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { color: var(--dim); white-space: nowrap; width: 1%; }
</style></head><body>
<h1 id="title"></h1><p class="dim" id="about"></p>
<section><h2>Result</h2><div class="numbers" id="numbers"></div></section>
<section id="baselines"><h2>Beside simpler means, in bits per byte of the same text
  (less is better)</h2><div id="bars"></div></section>
<section><h2>Curves over the steps</h2><div class="charts" id="charts"></div></section>
<section id="sample-section"><h2>Samples through time</h2>
  <input type="range" id="when" min="0" value="0" aria-label="step of the sample">
  <div class="dim" id="sample-step"></div><pre id="sample"></pre></section>
<section><h2>Surprise at a passage it never saw</h2>
  <p class="dim">The darker a token, the less the model expected it. Point at or tap one for
  bits; with a head chosen below, the colours show where that token looks instead.</p>
  <div class="tokens" id="passage"></div><div class="tip" id="passage-tip"></div></section>
<section id="attention-section"><h2>Attention on the same passage</h2>
  <p class="dim">One square a head: rows look at columns. Choose a head, then point at a
  token above.</p><div class="maps" id="maps"></div></section>
<section><h2>The most frequent tokens, by their embeddings</h2>
  <p class="dim">Tokens that the model treats alike lie close together (two main axes).</p>
  <svg id="plane"></svg></section>
<section id="profile"><h2>Where the time of a step goes</h2>
  <p class="dim" id="roofline"></p><pre class="wide" id="profile-table"></pre></section>
<section id="pages"><h2>Steps, gradient by gradient</h2></section>
<section><h2>Manifest</h2><table id="manifest"></table></section>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id), SVG = "http://www.w3.org/2000/svg";
const make = (parent, tag, attributes = {}, text) => {
  const node = "svg path line circle text rect".split(" ").includes(tag)
    ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node); return node; };
const visible = text => text.replace(/\n/g, "\u21b5").replace(/ /g, "\u00b7");
const short = x => Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en")
  : Number(x.toPrecision(3)).toString();
const manifest = data.manifest, result = manifest.result || {};
const words = (manifest.config || {}).model || {};

at("title").textContent = data.name;
at("about").textContent = `${manifest.corpus || ""} \u00b7 ${words.n_layer} layers, ` +
  `${words.d_model} wide, ${words.n_head} heads, context ${words.context_length}`;
const exact = x => x >= 1000 ? short(x) : Number(x.toPrecision(4)).toString();
for (const [value, unit] of [[result.bits_per_byte, "bits per byte"],
    [result.nats_per_token, "nats per token"], [result.perplexity, "perplexity per token"],
    [result.steps, "steps"], [(result.peak_bytes || 0) / 1e6, "MB at most"]])
  if (value) make(make(at("numbers"), "div"), "b", {}, exact(value))
    .parentNode.append(unit);

const rivals = {...(manifest.baselines || {})};
if (result.equally_likely_tokens) rivals["equal tokens"] = result.equally_likely_tokens;
if (result.floor_bits_per_byte) rivals["known floor"] = result.floor_bits_per_byte;
if (result.bits_per_byte) rivals["this model"] = result.bits_per_byte;
const widest = Math.max(...Object.values(rivals), 1e-9);
for (const [name, bits] of Object.entries(rivals).sort((a, b) => b[1] - a[1])) {
  const row = make(at("bars"), "div", {class: "bar"});
  make(row, "span", {}, name);
  make(make(row, "span"), "i", {style: `width:${100 * bits / widest}%`,
    class: name === "this model" ? "us" : ""});
  make(row, "span", {}, bits.toFixed(2)); }
if (!Object.keys(rivals).length) at("baselines").remove();

const chart = (title, series) => {
  series = series.filter(s => s.points.length);
  if (!series.length) return;
  const box = make(at("charts"), "div", {class: "chart"});
  make(box, "div", {}, title);
  const W = 400, H = 180, L = 46, R = 8, T = 8, B = 22;
  const svg = make(box, "svg", {viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none",
    role: "img", "aria-label": title});
  const tip = make(box, "div", {class: "tip"});
  const all = series.flatMap(s => s.points), xs = all.map(p => p[0]);
  const sorted = all.map(p => p[1]).sort((a, b) => a - b);
  let low = sorted[0], high = sorted[Math.floor((sorted.length - 1) * 0.995)];
  if (high === low) { high += 1; low -= 1; }
  const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1);
  const X = x => L + (x - x0) / (x1 - x0) * (W - L - R);
  const Y = y => T + (high - Math.min(y, high)) / (high - low) * (H - T - B);
  for (const share of [0, 0.5, 1]) {
    const value = low + share * (high - low);
    make(svg, "line", {x1: L, x2: W - R, y1: Y(value), y2: Y(value), stroke: "var(--line)"});
    make(svg, "text", {x: L - 4, y: Y(value) + 4, "text-anchor": "end"}, short(value)); }
  make(svg, "text", {x: L, y: H - 6}, short(x0));
  make(svg, "text", {x: W - R, y: H - 6, "text-anchor": "end"}, short(x1));
  for (const s of series) make(svg, "path", {fill: "none", stroke: s.colour, "stroke-width": 1.5,
    "vector-effect": "non-scaling-stroke",
    d: "M" + s.points.map(p => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join("L")});
  const cursor = make(svg, "line", {y1: T, y2: H - B, stroke: "var(--dim)", visibility: "hidden"});
  svg.addEventListener("pointermove", event => {
    const frame = svg.getBoundingClientRect();
    const x = x0 + ((event.clientX - frame.left) / frame.width * W - L) / (W - L - R) * (x1 - x0);
    const near = s => s.points.reduce((a, b) =>
      Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
    const first = near(series[0]);
    cursor.setAttribute("x1", X(first[0])); cursor.setAttribute("x2", X(first[0]));
    cursor.setAttribute("visibility", "visible");
    tip.textContent = `step ${first[0]}: ` +
      series.map(s => `${s.name} ${short(near(s)[1])}`).join(", "); });
  tip.textContent = series.map(s => s.name).join(", "); };
const c = data.curves, one = "var(--one)", two = "var(--two)";
chart("loss, nats per token", [{name: "training", points: c.loss, colour: one},
  {name: "validation", points: c.val_loss, colour: two}]);
chart("validation, bits per byte", [{name: "bits per byte", points: c.val_bits, colour: two}]);
chart("learning rate, share of the highest", [{name: "rate", points: c.rate, colour: one}]);
chart("gradient norm", [{name: "norm", points: c.grad_norm, colour: one}]);
chart("speed, tokens per second", [{name: "tokens/s", points: c.tokens_s, colour: one}]);

const when = at("when"), show = () => {
  const sample = data.samples[when.value];
  at("sample-step").textContent = `step ${sample.step}`;
  at("sample").textContent = sample.text.replace(/^\n+/, ""); };
if (data.samples.length) {
  when.max = when.value = data.samples.length - 1;
  when.addEventListener("input", show); show();
} else at("sample-section").remove();

let head = null;
const spans = data.passage.map(token => make(at("passage"), "span", {}, token.text));
const colour = weights => spans.forEach((span, i) => {
  span.style.background = `rgba(var(--hot), ${Math.min(0.9, weights(i)).toFixed(3)})`; });
const surprise = () => { colour(i => (data.passage[i].bits || 0) / 10);
  spans.forEach(span => span.classList.remove("from")); };
spans.forEach((span, i) => span.addEventListener("pointerover", () => {
  const bits = data.passage[i].bits;
  at("passage-tip").textContent = `\u201c${visible(data.passage[i].text)}\u201d: ` +
    (bits === null ? "the first token" : `${bits} bits`);
  if (head && i < head.size) {
    colour(j => j <= i && j < head.size ? (head.bytes[i * head.size + j] / 255) ** 2 : 0);
    spans.forEach((s, j) => s.classList.toggle("from", j === i)); } }));
at("passage").addEventListener("pointerleave", surprise);
surprise();

for (const map of data.attention) {
  map.bytes = Uint8Array.from(atob(map.map), character => character.charCodeAt(0));
  const figure = make(at("maps"), "figure"), n = map.size;
  const canvas = make(figure, "canvas", {width: n, height: n});
  make(figure, "figcaption", {}, `layer ${map.layer}, head ${map.head}`);
  const context = canvas.getContext("2d"), image = context.createImageData(n, n);
  map.bytes.forEach((level, i) => image.data.set([37, 99, 168, level], 4 * i));
  context.putImageData(image, 0, 0);
  figure.addEventListener("click", () => {
    const same = head === map;
    document.querySelectorAll("figure.on").forEach(f => f.classList.remove("on"));
    head = same ? null : map;
    if (!same) figure.classList.add("on"); }); }
if (!data.attention.length) at("attention-section").remove();

const plane = at("plane"), place = () => {
  const {width, height} = plane.getBoundingClientRect();
  plane.replaceChildren();
  for (const token of data.tokens) {
    const text = make(plane, "text", {"text-anchor": "middle",
      x: 24 + (token.x + 1) / 2 * (width - 48), y: 16 + (token.y + 1) / 2 * (height - 32)},
      visible(token.text));
    make(text, "title", {}, `${token.count} times`); } };
place(); addEventListener("resize", place);

if (data.profile["roofline.svg"])
  at("roofline").append(document.importNode(new DOMParser().parseFromString(
    data.profile["roofline.svg"], "image/svg+xml").documentElement, true));
if (data.profile["profile.txt"]) at("profile-table").textContent = data.profile["profile.txt"];
else at("profile").remove();
for (const page of data.pages) make(make(at("pages"), "p"), "a", {href: page}, page);
if (!data.pages.length) at("pages").remove();

const flat = (prefix, value) => value !== null && typeof value === "object" &&
  !Array.isArray(value) ? Object.entries(value).flatMap(([key, inner]) =>
    flat(prefix ? `${prefix}.${key}` : key, inner)) : [[prefix, value]];
for (const [key, value] of flat("", manifest)) {
  if (key === "result.samples") continue;
  const row = make(at("manifest"), "tr");
  make(row, "td", {}, key); make(row, "td", {}, String(value)); }
</script></body></html>
"""

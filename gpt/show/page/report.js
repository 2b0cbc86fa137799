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

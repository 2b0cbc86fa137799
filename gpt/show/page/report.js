const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const manifest = data.manifest, result = manifest.result || {};

// ---- how good it is ----

const shape = (manifest.config || {}).model || {};
at("title").textContent = data.name;
const several = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const net = ((manifest.config || {}).train || {}).net;
at("about").textContent = [manifest.corpus, net, several(shape.n_layer, "layer"),
  shape.n_head && several(shape.n_head, "head"), `${shape.d_model} wide`,
  `context ${shape.context_length}`, manifest.step && `step ${manifest.step}`].filter(Boolean).join(" \u00b7 ");

const classes = result.beside;           // what else tells them apart, and how often it is right
const exact = x => x >= 1000 ? short(x) : Number(x.toPrecision(4)).toString();
for (const [value, unit] of [[result.bits_per_byte, "bits per byte"],
    [100 * (result.accuracy ?? result.right), "% right"],
    [result.nats_per_token, classes ? "nats per text" : "nats per token"],
    [result.perplexity, "perplexity per token"],
    [result.steps, "steps"], [(result.peak_bytes || 0) / 1e6, "MB at most"]])
  if (value) {
    const box = make(at("numbers"), "div");
    make(box, "b", {}, exact(value));
    box.append(unit);
  }

showAnswers(at("answers"), data.answers);
if (data.answers.length) {
  const box = make(at("numbers"), "div", {class: "tally"});
  for (const [verdict, n] of counted(data.answers)) badge(box, verdict).append(` ${n}`);
} else at("legend").remove();

const measured = data.answers.some(section => section.lines.some(
  line => line.figures.some(figure => figure.rows.some(row => row[0] === "this net"))));
const rivals = {...(manifest.baselines || {})};
if (classes) {
  for (const [name, share] of Object.entries(classes)) rivals[name] = 100 * share;
  rivals["this model"] = 100 * result.accuracy;
  at("measure").textContent = "% right of the same texts (more is better)";
}
if (result.equally_likely_tokens) rivals["equal tokens"] = result.equally_likely_tokens;
if (result.floor_bits_per_byte) rivals["known floor"] = result.floor_bits_per_byte;
if (result.bits_per_byte) rivals["this model"] = result.bits_per_byte;
const widest = Math.max(...Object.values(rivals), 1e-9);
for (const [name, x] of Object.entries(rivals).sort((a, b) => b[1] - a[1])) {
  const row = make(at("bars"), "div", {class: "bar"});
  make(row, "span", {}, name);
  make(make(row, "span"), "i", {style: `width:${100 * x / widest}%`,
    class: name === "this model" ? "us" : ""});
  make(row, "span", {}, x.toFixed(2));
}
if (Object.keys(rivals).length) numbers(at("bars"), ["predictor", at("measure").textContent],
  Object.entries(rivals));
if (measured || !Object.keys(rivals).length) at("baselines").remove();   // said above, with intervals

// ---- curves and samples ----

const c = data.curves, one = "var(--one)", two = "var(--two)";
const draw = (title, series, from) => chart(at("charts"), title, series, {times: data.times, from});
draw(classes ? "loss, nats/text" : "loss, nats/token", [
  {name: "training", points: c.loss, colour: one},
  {name: "validation", points: c.val_loss, colour: two}]);
const told = c.val_right.length ? ["% right", c.val_right] : ["bits per byte", c.val_bits];
draw("validation, " + told[0], [{name: "validation", points: told[1], colour: two}]);
draw("learning rate, share of the highest", [{name: "rate", points: c.rate, colour: one}], 0);
draw("gradient norm", [{name: "norm", points: c.grad_norm, colour: one}], 0);
draw("speed, tokens per second", [{name: "tokens/s", points: c.tokens_s, colour: one}], 0);

const when = at("when");
function showSample() {
  const sample = data.samples[when.value];
  at("sample-step").textContent = `step ${sample.step}`;
  at("sample").textContent = sample.text.replace(/^\n+/, "");
}
if (data.samples.length) {
  when.max = when.value = data.samples.length - 1;
  when.addEventListener("input", showSample);
  showSample();
} else at("sample-section").remove();

// ---- surprise and attention on one passage ----

const MOST_BITS = 14;                    // from here on no darker
let head = null;                         // whose attention is shown
const spans = data.passage.map(token => make(at("passage"), "span", {}, token.text));
const sources = data.source.map(text => make(at("source"), "span", {}, text));
const colour = (share, some = spans) => some.forEach((span, i) => {
  span.style.background = `rgba(var(--hot), ${(0.75 * Math.min(1, share(i))).toFixed(3)})`; });
function surprise() {
  colour(i => (data.passage[i].bits || 0) / MOST_BITS);
  colour(() => 0, sources);
  spans.forEach(span => span.classList.remove("from"));
}
let place = 0;                           // the token that is looked at
function look(i) {
  place = i;
  const {text, bits} = data.passage[i];
  at("passage-tip").textContent = `\u201c${visible(text)}\u201d: ` +
    (bits === null ? "the first token" : `${bits} bits`);
  if (head && i < head.rows) {
    const n = head.columns;
    colour(j => j < n ? (head.bytes[i * n + j] / 255) ** 2 : 0, sources.length ? sources : spans);
  } else surprise();
  spans.forEach((s, j) => s.classList.toggle("from", j === i));
}
spans.forEach((span, i) => span.addEventListener("pointerover", () => look(i)));
at("passage").addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!step) return;
  event.preventDefault();
  look(Math.max(0, Math.min(spans.length - 1, place + step)));
});
at("passage").addEventListener("pointerleave", surprise);
surprise();
if (data.passage.length) numbers(at("passage-section"), ["token", "bits"],
  data.passage.map(token => [visible(token.text), token.bits]));

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint(map) {
  const context = map.canvas.getContext("2d"), image = context.createImageData(map.columns, map.rows);
  const ink = dark.matches ? [150, 200, 250] : [37, 99, 168];
  map.bytes.forEach((level, i) => image.data.set([...ink, level], 4 * i));
  context.putImageData(image, 0, 0);
}
for (const map of data.attention) {
  map.bytes = Uint8Array.from(atob(map.map), character => character.charCodeAt(0));
  const name = `layer ${map.layer}, head ${map.head}`;
  const figure = make(at("maps"), "figure", {tabindex: 0, role: "button", "aria-label": name});
  map.canvas = make(figure, "canvas", {width: map.columns, height: map.rows});
  make(figure, "figcaption", {}, name);
  paint(map);
  figure.addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    figure.click();
  });
  figure.addEventListener("click", () => {
    const same = head === map;
    document.querySelectorAll("figure.on").forEach(f => f.classList.remove("on"));
    head = same ? null : map;
    renumber();
    if (!same) figure.classList.add("on");
  });
}
const weightsOf = map => Array.from({length: map.rows}, (_, i) => [
  visible(data.passage[i].text),
  ...Array.from(map.bytes.slice(i * map.columns, (i + 1) * map.columns),
    level => Number(((level / 255) ** 2).toFixed(3)))]);
const columns = data.source.length ? data.source : data.passage.map(token => token.text);
const renumber = data.attention.length ? numbers(at("map-numbers"),
  ["looks at", ...columns.slice(0, data.attention[0].columns).map(visible)],
  () => weightsOf(head || data.attention[0])) : () => 0;
dark.addEventListener("change", () => data.attention.forEach(paint));
if (!data.source.length) at("source-line").remove();
if (!data.passage.length) at("passage-section").remove();
if (!data.attention.length) ["attention-section", "with-head"].forEach(id => at(id)?.remove());

// ---- tokens in a plane: the frequent ones by name, a dot for what would lie on another ----

const plane = at("plane");
const apart = (a, b) => Math.abs(a.x - b.x) > (a.width + b.width) / 2 || Math.abs(a.y - b.y) > 14;
function lay() {
  const {width, height} = plane.getBoundingClientRect(), named = [];
  plane.replaceChildren();
  for (const token of data.tokens) {
    const text = visible(token.text);
    const box = {x: 24 + (token.x + 1) / 2 * (width - 48),
      y: 16 + (token.y + 1) / 2 * (height - 32), width: 7.5 * text.length + 4};
    const free = named.every(other => apart(box, other));
    if (free) named.push(box);
    const node = free
      ? make(plane, "text", {"text-anchor": "middle", x: box.x, y: box.y + 4}, text)
      : make(plane, "circle", {cx: box.x, cy: box.y, r: 2});
    make(node, "title", {}, `${text}, ${token.count} times`);
  }
}
if (data.tokens.length) {
  lay();
  addEventListener("resize", lay);
  numbers(at("plane-section"), ["token", "across", "down", "times"],
    data.tokens.map(token => [visible(token.text), token.x, token.y, token.count]));
} else at("plane-section").remove();

// ---- what else there is ----

if (data.profile["roofline.svg"])
  at("roofline").append(document.importNode(new DOMParser().parseFromString(
    data.profile["roofline.svg"], "image/svg+xml").documentElement, true));
if (data.profile["profile.txt"]) at("profile-table").textContent = data.profile["profile.txt"];
else at("profile").remove();
for (const page of data.pages) make(make(at("pages"), "p"), "a", {href: page}, page);
if (!data.pages.length) at("pages").remove();

function written(value) {
  if (Array.isArray(value))
    return value.map(written).join(Array.isArray(value[0]) ? " / " : " ");
  if (value && typeof value === "object")
    return Object.entries(value).map(([name, x]) => `${name} ${written(x)}`).join(", ");
  if (typeof value !== "number") return String(value ?? "");
  return Number.isInteger(value) ? value.toLocaleString("en")
    : Number(value.toPrecision(5)).toString();
}
function table(title, facts, open) {
  const rows = Object.entries(facts).filter(([, value]) => written(value) !== "");
  if (!rows.length) return;
  const details = make(at("manifest"), "details", open ? {open: ""} : {});
  make(details, "summary", {}, title);
  const list = make(details, "dl");
  for (const [key, value] of rows) {
    make(list, "dt", {}, key.replace(/_/g, " "));
    make(list, "dd", {}, written(value));
  }
}
const {config = {}, machine, result: reach = {}, baselines, command, repeat, ...run} = manifest;
const {samples, ...reached} = reach;
table("commands", {"it was made by": command, "it is repeated by": repeat}, true);
const {preset, ...parts} = config;
table("the run", {preset, ...run});
table("measured", reached);
table("machine", machine || {});
for (const [part, settings] of Object.entries(parts)) table(`settings: ${part}`, settings);

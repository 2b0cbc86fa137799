const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);

at("title").textContent = data.names.join(" \u00b7 ");
for (const said of data.pairs) make(at("pairs"), "li", {}, said);
at("about").textContent = data.about;

const [columns, ...settings] = data.settings;
if (settings.length) tableOf(at("settings"), columns, settings);
else make(at("settings"), "p", {class: "dim"}, "None: they have the same settings.");

const [heads, ...rows] = [...data.numbers, ...data.verdicts];
for (const cell of tableOf(at("table"), heads, rows).querySelectorAll("td"))
  if (CLASSES[cell.textContent]) {
    const verdict = cell.textContent;
    cell.textContent = "";
    badge(cell, verdict);
  }

// ---- curves, over what is chosen ----

const COLOURS = ["var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)"];
const powers = x => x ? Number(x.toPrecision(2)).toExponential().replace("e+", "e") : "0";
const AXES = {steps: [0, {name: "step", show: short, whole: true}],
  time: [1, {name: "time", show: duration}], FLOPs: [2, {name: "FLOPs", show: powers}]};
const TITLES = {val_bits: "validation, bits per byte", val_right: "validation, % right",
  loss: "training loss, nats per token"};

function drawOver(over) {
  const [column, axis] = AXES[over];
  at("charts").replaceChildren();
  for (const [name, title] of Object.entries(TITLES)) {
    const series = data.names.map((run, i) => ({name: run, colour: COLOURS[i % COLOURS.length],
      points: data.curves[i][name].map(point => [point[column], point[3]])}));
    chart(at("charts"), title, series, {axis});
  }
}
for (const over of Object.keys(AXES)) {
  const known = data.curves.some(curve => curve.loss.some(point => point[AXES[over][0]] > 0));
  if (!known) continue;
  const label = make(at("axes"), "label");
  const button = make(label, "input", {type: "radio", name: "over", value: over});
  button.checked = over === "steps";
  button.addEventListener("change", () => drawOver(over));
  label.append(` ${over}`);
}
drawOver("steps");

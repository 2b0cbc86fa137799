"use strict";
// The verdicts: a section for each question that a report asks, with its lines and figures.

const CLASSES = {"ok": "ok", "warning": "warns", "FAIL": "fails", "told": "told",
  "not asked": "none"};

function badge(parent, verdict) {
  return make(parent, "span", {class: `badge ${CLASSES[verdict] || "none"}`}, verdict);
}

function showAnswers(parent, sections) {
  for (const {title, lines} of sections) {
    const section = make(parent, "section", {class: "asked"});
    make(section, "h2", {}, title);
    const list = make(section, "ul", {class: "lines"});
    for (const {question, verdict, said} of lines) {
      const line = make(list, "li");
      badge(line, verdict);
      const words = make(line, "div");
      make(words, "b", {}, question);
      make(words, "div", {}, said);
    }
    const figures = make(section, "div", {class: "figures"});
    for (const {figures: drawn} of lines) for (const found of drawn) figureOf(figures, found);
  }
}

// How many lines have which verdict, in words.
function counted(sections) {
  const all = sections.flatMap(section => section.lines.map(line => line.verdict));
  return Object.keys(CLASSES).map(verdict => [verdict, all.filter(x => x === verdict).length])
    .filter(([, n]) => n);
}

"use strict";
// The quiz hides the next number, asks for it, checks with a tolerance and keeps the score.

const TOLERANCE = 0.01;
const SCORE = "minigrad stepper score";

function startQuiz() {
  play(false);
  state.quiz = state.quiz || {score: loadScore(), question: null, answer: "", verdict: ""};
  state.run = 0;
  setUpRun();
  openTab("Quiz");
  const more = events().some((e, i) => i > state.at && e.kind === "send");
  ask(more ? state.at : -1);
}

function stopQuiz() {
  state.quiz = null;
  openTab("Step");
}

function loadScore() {
  try {
    return JSON.parse(localStorage.getItem(SCORE)) || {right: 0, asked: 0};
  } catch {
    return {right: 0, asked: 0};
  }
}

function keepScore() {
  try {
    localStorage.setItem(SCORE, JSON.stringify(state.quiz.score));
  } catch { /* a page without storage keeps the score while it is open */ }
}

// The next contribution behind a step that makes a question.
function ask(from) {
  const at = events().findIndex((e, i) => i > from && e.kind === "send" && questionAt(i));
  if (at < 0) {
    state.quiz.question = null;
    state.quiz.verdict += " That was the last contribution.";
    return render();
  }
  go(at - 1);
  state.quiz.question = {at, ...questionAt(at)};
  render();
  const field = $("answer");
  if (field) field.focus();
}

// Every question asks for a gradient; null where it cannot be told from a few numbers.
function questionAt(at) {
  const e = events()[at], sent = arrayAt(e.sent), before = arrayAt(e.before), total = arrayAt(e.total);
  const node = record().nodes[e.node], from = nodeName(e.node), to = nodeName(e.to);
  const largest = array => array.cells.reduce((best, v, i) =>
    (Math.abs(number(v)) > Math.abs(number(array.cells[best])) ? i : best), 0);
  if (!total || !total.cells.length || total.bad) return null;
  if (!sent.shape.length) {
    return {text: `${from} sends a contribution to ${to} (input ${e.place + 1} of ${node.op}). What is the sum at ${to} after it?`,
            want: number(total.cells[0])};
  }
  if (before) {
    const i = largest(total);
    return {text: `The gradient of ${to} holds ${brief(before.cells[i])} at [${indexOf(before, i)}]; ${from} sends `
                  + `${brief(sent.cells[i])} there. What is the sum after it?`, want: number(total.cells[i])};
  }
  return elementQuestion(e, node, largest(sent)) || nudgeQuestion(e, at);
}

function elementQuestion(e, node, i) {
  const sent = arrayAt(e.sent), g = arrayAt(e.g), value = arrayAt(node.value);
  if (!node.elementwise || arrayAt(e.raw) || !e.formula || shapeText(g) !== shapeText(sent)) return null;
  const at = array => (array.shape.length ? brief(array.cells[i]) : brief(array.cells[0]));
  const known = [`g = ${at(g)}`, `the result is ${at(value)}`];
  node.refs.forEach((ref, k) => {
    const x = arrayAt(record().nodes[ref].value);
    if (x && [shapeText(sent), "scalar"].includes(shapeText(x))) known.push(`${nodeName(ref)} (input ${k + 1}) is ${at(x)}`);
  });
  return {text: `At [${indexOf(sent, i)}] of ${nodeName(e.node)}: ${known.join(", ")}. ${node.op} sends `
                + `d${node.names[e.place]} = ${e.formula}. What is the gradient that ${nodeName(e.to)} gets there?`,
          want: number(sent.cells[i])};
}

function nudgeQuestion(e, at) {
  const found = record().slopes[e.to], wants = expected().get(e.to);
  if (!found || wants !== 1) return null;
  const [h, slope] = found.slopes.find(([h]) => h < 1e-5), change = brief(2 * h * number(slope));
  return {text: `Element [${found.index.join(", ")}] of ${nodeName(e.to)} is nudged by +${h} and by −${h}: `
                + `the loss differs by ${change} between the two. What is its gradient?`, want: number(found.g)};
}

function checkAnswer(text) {
  const quiz = state.quiz, {want, at} = quiz.question, given = Number(text);
  if (text.trim() === "" || Number.isNaN(given)) {
    quiz.verdict = "Type a number.";
    return render();
  }
  const right = Math.abs(given - want) <= TOLERANCE * Math.abs(want) + 1e-12;
  quiz.score.asked += 1;
  quiz.score.right += right ? 1 : 0;
  quiz.verdict = `${right ? "Right" : "Not quite"}: it is ${String(Number(want.toPrecision(6)))}. `
    + `Step ${at + 1}: ${events()[at].says}. ${events()[at].vjp}`;
  keepScore();
  ask(at);
}

function quizView() {
  const quiz = state.quiz;
  if (!quiz) {
    return [html("h2", {}, "Quiz"), html("p", {}, "Each question hides the next number of the backward pass. One per cent of tolerance."),
            html("button", {id: "startquiz", onclick: startQuiz}, "Start")];
  }
  const field = html("input", {id: "answer", type: "text", inputmode: "decimal", "aria-label": "Answer", autocomplete: "off"});
  const form = html("form", {onsubmit: event => { event.preventDefault(); checkAnswer(field.value); }},
                    field, " ", html("button", {id: "check"}, "Check"));
  const skip = html("button", {id: "skip", onclick: () => { quiz.verdict = "Skipped."; ask(quiz.question.at); }}, "Skip");
  return [html("h2", {}, "Quiz"), html("p", {id: "score"}, `Score: ${quiz.score.right} of ${quiz.score.asked}`),
          quiz.verdict ? html("p", {class: "note", id: "marked"}, quiz.verdict) : null,
          quiz.question ? html("p", {id: "question"}, quiz.question.text) : null,
          quiz.question ? form : null, html("p", {}, quiz.question ? skip : null, " ",
          html("button", {id: "stopquiz", onclick: stopQuiz}, "Stop the quiz"), " ",
          html("button", {id: "resetquiz", onclick: () => { quiz.score = {right: 0, asked: 0}; keepScore(); render(); }}, "Score to 0"))];
}

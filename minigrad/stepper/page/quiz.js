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

// The next contribution behind a step, as a question.
function ask(from) {
  const at = events().findIndex((e, i) => i > from && e.kind === "send");
  if (at < 0) {
    state.quiz.question = null;
    state.quiz.verdict += " That was the last contribution.";
    return render();
  }
  go(at - 1);
  state.quiz.question = questionAt(at);
  render();
  const field = $("answer");
  if (field) field.focus();
}

function questionAt(at) {
  const e = events()[at], sent = arrayAt(e.sent), before = arrayAt(e.before);
  const from = nodeName(e.node), to = nodeName(e.to);
  if (!sent.shape.length) {
    return {at, text: `${from} sends a contribution to ${to} (input ${e.place + 1} of ${record().nodes[e.node].op}). `
                    + `What is the sum at ${to} after it?`, want: number(arrayAt(e.total).cells[0])};
  }
  if (!before) {
    return {at, text: `${from} sends an array to ${to}. How many elements does it have?`,
            want: sent.shape.reduce((a, b) => a * b, 1)};
  }
  const total = arrayAt(e.total), values = total.cells.map(v => Math.abs(number(v)));
  const i = values.indexOf(Math.max(...values));
  return {at, text: `${to} holds ${brief(before.cells[i])} at [${indexOf(before, i)}]; ${from} sends ${brief(sent.cells[i])} there. `
                  + "What is the sum after it?", want: number(total.cells[i])};
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

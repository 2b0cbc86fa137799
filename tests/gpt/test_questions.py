"""Multiple choice: sums of log-probabilities are those of whole texts, files are what they say."""
import json

import numpy as np
import pytest

import bpe
from gpt import evaluate
from gpt.models.nets import net_named
from gpt.opening import Opened
from gpt.questions import (
    Answer, Asked, Question, answers, encoded, log_probabilities, read_questions, score, spread,
    told)
from gpt.settings import ConfigError
from gpt.training.intervals import wilson
from minigrad import no_grad

ROWS = {
    "hellaswag": {"activity_label": "Cooking", "ctx_a": "[header] A pot. [title] Boil", "ctx_b":
                  "she stirs", "endings": ["the  soup.", "a car [step] ."], "label": 1},
    "choices": {"query": "Question: Why?", "choices": ["a", "bc", "d"], "gold": 2},
    "winogrande": {"context_options": ["It is Ann", "It is Bo"], "continuation": "who won.",
                   "gold": 0}}
READ = {
    "hellaswag": Question(["Cooking: A pot.. Boil She stirs"] * 2, ["the soup.", "a car ."], 1),
    "choices": Question(["Question: Why?\nAnswer:"] * 3, ["a", "bc", "d"], 2),
    "winogrande": Question(["It is Ann", "It is Bo"], ["who won."] * 2, 0)}


def opened_net(name, **options):
    rng, net = np.random.default_rng(0), net_named(name)
    config = net.config(vocab_size=256, context_length=64, n_layer=2, d_model=48, **options)
    model = net.module(config, rng)
    for x in model.parameters():
        x.data += (0.2 * rng.standard_normal(x.shape)).astype(np.float32)
    return Opened(model, bpe.Tokenizer([]))


@pytest.fixture(scope="module")
def opened():
    return opened_net("decoder")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ROWS)
def test_a_file_is_known_by_its_fields(tmp_path, name):
    path = write_rows(tmp_path / "rows", [ROWS[name]] * 2)
    assert read_questions(path) == [READ[name]] * 2


WRONG = ["{}", "[]", "3", "{", '{"query": "x", "choices": ["a", "b"], "gold": 2}',
         '{"query": "x", "choices": ["a"], "gold": 0}', '{"query": "x", "choices": 3, "gold": 0}',
         '{"query": "x", "choices": ["a", ""], "gold": 0}', "[" * 9999]


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_is_no_question_is_named(tmp_path, line):
    (tmp_path / "rows").write_text(json.dumps(ROWS["choices"]) + "\n\n" + line)
    with pytest.raises(ConfigError, match="line 3 of .*rows is no question"):
        read_questions(str(tmp_path / "rows"))


def whole_text(model, row, start):
    """Score an ending by the formula: a forward pass over the whole text, in float64."""
    with no_grad():
        z = model(np.array([row[:-1]])).data[0].astype(np.float64)              # (T, V)
    z -= np.log(np.exp(z).sum(-1, keepdims=True))
    return sum(z[i - 1, row[i]] for i in range(start, len(row)))


@pytest.mark.parametrize("name, options", [
    ("decoder", {}), ("decoder", {"position": "learned", "ngram_rows": 50}),
    ("decoder", {"position": "relative", "n_kv_head": 1}), ("decoder", {"window": 7}),
    ("lstm", {})])
def test_sums_are_those_of_whole_texts(name, options):
    rng, opened = np.random.default_rng(0), opened_net(name, **options)
    asked = []
    for n_shared, K in ((1, 2), (30, 4), (0, 3), (9, 2)):
        begin = rng.integers(0, 256, n_shared).tolist()
        rows = [[*begin, *rng.integers(0, 256, n).tolist()] for n in rng.integers(2, 20, K)]
        starts = [max(1, n_shared + k % 2) for k in range(K)]
        asked.append(Asked(None, rows, starts, False))
    found = log_probabilities(opened.model, asked)
    for sums, each in zip(found, asked):
        expected = [whole_text(opened.model, *text) for text in zip(each.rows, each.starts)]
        np.testing.assert_allclose(sums, expected, rtol=2e-5)


def test_questions_are_answered_in_turn_however_many_are_read_at_a_time(opened, monkeypatch):
    questions = [*READ.values()] * 3
    found = [*answers(opened, questions)]
    monkeypatch.setattr("gpt.questions.READ_TOKENS", 1)
    assert [*answers(opened, questions)] == found and len(found) == 9


def test_what_is_scored_is_the_ending_with_the_space_before_it(opened):
    for question in READ.values():
        _, rows, starts, is_cut = encoded(question, opened.tokenizer, opened.model.config)
        assert not is_cut
        for row, start, ending in zip(rows, starts, question.endings):
            assert opened.tokenizer.decode(row[start:]) == " " + ending


def test_of_a_long_context_the_end_counts_and_a_long_ending_is_refused(opened):
    config, endings = opened.model.config, ["one", "three"]
    question = Question(["a" * 99 + "b"] * 2, endings, 0)
    _, rows, starts, is_cut = encoded(question, opened.tokenizer, config)
    assert is_cut and len(rows[1]) == config.context_length + 1
    assert [bytes(row[start - 1:]) for row, start in zip(rows, starts)] == [b"b one", b"b three"]
    with pytest.raises(ConfigError, match="more tokens than the context of 64"):
        encoded(Question(["a"] * 2, ["x" * 70, "y"], 0), opened.tokenizer, config)


def test_a_model_that_knows_the_answer_is_right_by_what_it_knows(opened, monkeypatch):
    sums = np.array([-4.0, -5.0])                     # of 2 bytes and of 5: -2 and -1 a byte
    monkeypatch.setattr("gpt.questions.log_probabilities", lambda _, asked: [sums] * len(asked))
    first, second = (Question(["q"] * 2, ["aa", "bbbbb"], right) for right in (0, 1))
    assert [*answers(opened, [first, second])] == [Answer(True, False, 0.5, False),
                                                   Answer(False, True, 0.5, False)]


def test_scores_are_shares_with_their_interval():
    found = score([Answer(True, False, 0.25, True)] * 43 + [Answer(False, True, 0.25, False)] * 57)
    assert found == (100, 43, 0.25, 43, 57)
    text = "\n".join(told("x", found))
    assert "43.0 % right (33.7 to 52.8), centred 0.240" in text and "43 begin before" in text
    low, high = wilson(0, 20)
    assert low == 0 and 0.1 < high < 0.2              # none right of 20 says little


def test_some_questions_are_taken_from_the_whole_file():
    assert spread([*range(100)], 3) == [0, 50, 99] and spread([1, 2], 5) == [1, 2]


def test_the_command_asks_several_files(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "open_model", lambda *_: opened)
    names = [write_rows(tmp_path / name, [row] * 3) for name, row in ROWS.items()]
    evaluate.main(["MODEL", *names, "--questions", "--items", "2"])
    out = capsys.readouterr().out
    assert out.count("2 questions") == 3 and "choices: 2 questions, by chance 33.3 %" in out
    for args, sentence in ((["--questions"], "needs the files"), (["--items", "2"], "--questions"),
                           (["x", "--questions", "--tokens", "9"], "--items"),
                           (["x", "--questions", "--items", "0"], "items is 0")):
        with pytest.raises(SystemExit) as end:
            evaluate.main(["MODEL", *args])
        assert end.value.code == 2 and sentence in capsys.readouterr().err

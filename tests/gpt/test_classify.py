"""Labelled texts: read, split, learnt, judged and told apart."""
import io
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import bpe
from gpt import classify
from gpt import train as program
from gpt.batch import Batch
from gpt.data.corpora import Corpus, CorpusError
from gpt.data.labelled import encode, prepare_labelled, read_labelled, spans_of, split_by_text
from gpt.data.reading import END_OF_TEXT
from gpt.models.classifier import POOLING
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training import character_ngrams
from gpt.training.classes import intervals, judged
from gpt.training.intervals import wilson
from gpt.training.config import Config, setting_names
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import read
from gpt.training.tasks.classify import (
    PROBE_C, class_scores, classify_batch, classify_loss, features, labelled_batch, weight_of_each)
from minigrad import softmax
from minigrad.kernels import jit

WORDS = "red green blue lamp boat kite drum stone".split()


def some_pairs(n=60, seed=0):
    """Texts of words, with marks that tell the label."""
    rng = np.random.default_rng(seed)
    marks = {"good": "!!!", "bad": "???"}
    return [(label, " ".join([*rng.choice(WORDS, 3), marks[label], rng.choice(WORDS)]))
            for label in rng.choice([*marks], n)]


def corpus_of(text):
    return Corpus("some", [text.encode()], "some.tsv")


def as_tabs(pairs):
    return "".join(f"{label}\t{text}\n" for label, text in pairs)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    settings = Config.make(tokenizer="byte", val_fraction=0.2).data
    return prepare_labelled(corpus_of(as_tabs(some_pairs())), settings,
                            tmp_path_factory.mktemp("data"))


def config_of(labelled, net="decoder", **changes):
    small = dict(n_layer=2, n_head=2, d_model=16, context_length=32, batch_tokens=256, steps=20)
    small = {name: x for name, x in small.items() if name in setting_names(net)}
    return Config.make(net=net, task="classify",
                       **{**small, "carry_state": False, **labelled.settings, **changes})


def test_three_formats_say_the_same():
    lines = '{"label": "a", "text": "one"}\n{"label": "b", "text": "two, three"}\n'
    table = 'id,label,text\n1,a,one\n2,b,"two, three"\n'
    tabs = "a\tone\nb\ttwo, three\na\tone\n"
    for text in tabs, "label\ttext\n" + tabs, lines, table:
        assert read_labelled(corpus_of(text)) == [("a", "one"), ("b", "two, three")]


@pytest.mark.parametrize("text, words", [
    ("nothing\n", "labelled texts are"), ("a\tone\nb two\n", "'b two' has no tab"),
    ('{"label": "a"}\n', "no JSON with label and text"), ("a\tone\na\ttwo\n", "to tell apart"),
    ("a\tone\n", "1 labelled texts to learn from and 0 others"),
    ("\ufeff\n", "the first line is ''"),
    ("label,text\n", "0 labelled texts to learn from"), ("a\tone\0\n", "is not UTF-8 text"),
    ("label,text\na," + 140_000 * "x" + "\n", "CSV cannot be read behind line 1: field"),
    ('{"label": ' + 100_000 * "[", "no JSON with label and text"),
    ("a,b\tone\na\ttwo\nb\tthree\n", "has a comma")])
def test_bad_texts_are_one_sentence(text, words, tmp_path):
    with pytest.raises(CorpusError, match=words):
        prepare_labelled(corpus_of(text), Config.make(tokenizer="byte").data, tmp_path)


def test_no_text_is_left_to_learn_from_that_is_validated_on(tmp_path):
    some = corpus_of("a\tone\nb\ttwo\n")
    settings = Config.make(tokenizer="byte", val="some.tsv").data
    with pytest.raises(CorpusError, match="there are 0 labelled texts to learn from and 2 others"):
        prepare_labelled(some, settings, tmp_path, load=lambda names: some)


def test_a_line_ends_at_a_line_break_alone():
    marks = "one\u2028two\x85three"
    for line in f"a\t{marks}\n", f'{{"label": "a", "text": "{marks}"}}\r\n':
        assert read_labelled(corpus_of(line)) == [("a", marks)]


def test_a_text_stands_between_ends_as_documents_do():
    tokenizer = bpe.Tokenizer([], special_tokens={END_OF_TEXT: 256})
    assert encode(tokenizer, "ab") == [256, *b"ab", 256] and encode(tokenizer, "") == [256, 256]
    assert encode(bpe.Tokenizer([]), "ab") == [*b"ab"]


def test_a_text_without_tokens_has_a_place_like_any_other():
    bare = SimpleNamespace(frame=((), ()), special_tokens={})
    bare.encode_array = lambda text, **_: np.array([*text.encode()])
    rows = [encode(bare, text) for text in ("ab", "", "c")]
    assert sum(rows, []) == [97, 98, 0, 99]
    assert spans_of(rows, [0, 1, 0]).tolist() == [[0, 2, 0], [2, 3, 1], [3, 4, 0]]


def test_a_text_is_on_one_side_in_any_order():
    pairs = read_labelled(corpus_of(as_tabs(some_pairs() + some_pairs())))
    train, val = split_by_text(pairs, 0.2)
    assert len(val) == round(0.2 * len(pairs)) and not {*train} & {*val}
    assert {*split_by_text(pairs[::-1], 0.2)[1]} == {*val}


@pytest.mark.parametrize("pooling", POOLING)
def test_padding_is_not_seen_and_pooling_is_its_formula(labelled, pooling):
    config = config_of(labelled, pooling=pooling)
    model = config.new_net(np.random.default_rng(0), np.float64)
    for x in model.parameters():
        x.data += 0.1 * np.random.default_rng(1).standard_normal(x.shape)
    batch = labelled_batch(labelled.train, np.arange(5), 32)
    found = class_scores(model, batch).data
    for row in range(5):
        ids = batch.ids[row:row + 1, :batch.lengths[row]]
        x = model.stream(Batch(ids)).data[0]                                    # (T, C)
        pooled = {"last": x[-1], "mean": x.mean(axis=0), "max": x.max(axis=0)}
        parts = [pooled[name] for name in (("last", "max", "mean") if pooling == "concat" else
                                           (pooling,))]
        expected = model.classifier.linear(np.concatenate(parts)[None]).data[0]
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
@pytest.mark.parametrize("net", ["decoder", "encoder"])
def test_steps_are_replayed(labelled, net):
    run = Run.start(config_of(labelled, net, d_model=64), labelled, Plan.fixed(12))
    for _ in train_steps(run):
        assert run.obstacle is None


@pytest.mark.parametrize("net", ["decoder", "lstm"])
def test_the_gradient_is_the_slope_and_micro_batches_add_up(labelled, net):
    model = config_of(labelled, net).new_net(np.random.default_rng(0), np.float64)
    for x in model.parameters():
        x.data += 0.1 * np.random.default_rng(1).standard_normal(x.shape)
    batch = labelled_batch(labelled.train, np.arange(4), 32)
    n = np.float64(4)
    classify_loss(model, batch, n).backward()
    whole = {name: x.grad for name, x in model.named_parameters()}
    for x in model.parameters():
        x.grad = None
    for part in batch.parts(3):
        classify_loss(model, part, n).backward()
    for name, x in model.named_parameters():
        if whole[name] is None:
            assert x.grad is None and name.startswith("unembedding")
            continue
        np.testing.assert_allclose(x.grad, whole[name], atol=1e-12)
    w, h = model.classifier.linear.weight, 1e-6
    for model_x, g in ((w, w.grad), (model.blocks[0], None)):
        x = model_x if g is not None else next(iter(model_x.parameters()))
        i = int(np.abs(x.grad).argmax())
        slopes = []
        for way in h, -h:
            x.data.flat[i] += way
            slopes.append(classify_loss(model, batch, n).item() / (2 * way))
            x.data.flat[i] -= way
        assert abs(sum(slopes) - x.grad.flat[i]) < 1e-7 * max(1, abs(x.grad.flat[i]))


def test_labels_count_as_their_weights_say(labelled):
    model = config_of(labelled).new_net(np.random.default_rng(0), np.float64)
    for x in model.parameters():
        x.data += 0.1 * np.random.default_rng(1).standard_normal(x.shape)
    batch = classify_batch(labelled, (9, 32), np.random.default_rng(0), model, "1,3")
    n = np.bincount(labelled.train.spans[:, 2])
    expected = np.array([1, 3]) * n.sum() / (n @ [1, 3])
    np.testing.assert_allclose(batch.weights, expected[batch.targets], rtol=1e-6)
    p = softmax(class_scores(model, batch).data)[np.arange(9), batch.targets]
    assert classify_loss(model, batch, 9.0).item() == pytest.approx(-batch.weights @ np.log(p) / 9)
    np.testing.assert_allclose(n * weight_of_each("balanced", labelled), n.sum() / 2, rtol=1e-6)


@pytest.mark.parametrize("given", ["1", "1,2,3", "1,0", "1,nan", "alike"])
def test_weights_that_are_none_are_refused(labelled, given):
    with pytest.raises(ConfigError, match="number above 0 for each of bad, good"):
        weight_of_each(given, labelled)


@pytest.mark.parametrize("more", [{}, {"hidden": 8, "class_weights": "balanced"}])
def test_it_learns_and_resumes_to_the_same_bytes(labelled, more):
    config = config_of(labelled, steps=60, dropout=0.1, **more)
    run = Run.start(config, labelled, Plan.fixed(60))
    middle = None
    for record in train_steps(run):
        if record.step == 30:
            middle = {name: x.copy() for name, x in run.tensors().items()}
    found = read(run.measures())
    assert found.n_targets == len(labelled.val) and found.right == found.n_targets
    again = Run.resume(middle, run.facts() | {"step": 30}, labelled)
    for _ in train_steps(again):
        pass
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, again.tensors()[name], err_msg=name)


def test_what_is_judged_is_counted():
    targets, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    result = judged(targets, 0.25 + 0.5 * np.eye(2)[found], ("a", "b"))
    assert result["accuracy"] == 0.75 and result["confusion"] == [[2, 1], [0, 1]]
    assert result["balanced_accuracy"][0] == (2 / 3 + 1) / 2
    assert result["f1"]["a"][0] == 0.8 and result["f1"]["b"][0] == 2 / 3
    assert result["surer_than_right"][0] == 0                        # 0.75 sure, 3 of 4 right
    low, high = wilson(5, 10)
    assert math.isclose(low, 0.2366, abs_tol=1e-4) and math.isclose(high, 0.7634, abs_tol=1e-4)


def test_the_program_trains_shares_and_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("some.tsv").write_text(as_tabs(some_pairs()), encoding="utf-8")
    program.main(["some.tsv", "--task", "classify", "--tokenizer", "byte", "--steps", "120",
                  "--n_layer", "1", "--d_model", "16", "--n_head", "2", "--context_length", "32",
                  "--batch_tokens", "256", "--plain", "--name", "some"])
    said = capsys.readouterr().out
    assert "right: 100.0 %" in said and "majority class" in said and "n-grams" in said
    from_run = answers(["runs/some", "red kite ??? lamp"], capsys)
    assert from_run.startswith("bad\t")
    monkeypatch.setattr("sys.stdin", io.StringIO("red kite ??? lamp\nstone !!! boat\n"))
    lines = answers(["runs/some"], capsys).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["bad", "good"]
    program.main(["some.tsv", "--task", "classify", "--base", "runs/some", "--steps", "2",
                  "--plain", "--name", "on"])
    assert open_model(Path("runs/on")).model.classifier.labels == ("bad", "good")


def answers(args, capsys):
    capsys.readouterr()
    classify.main(args)
    return capsys.readouterr().out


def test_a_run_from_a_base_begins_with_logistic_regression_on_frozen_features(labelled):
    config = config_of(labelled)
    base = Run.start(config, labelled, Plan.fixed(1))
    for x in base.model.parameters():
        x.data += 0.1 * np.random.default_rng(1).standard_normal(x.shape).astype(x.dtype)
    run = Run.start(config, labelled, Plan.fixed(1), weights=base.model.state_dict())
    run.task.prepared(run)
    x, others = (features(run.model, part) for part in (labelled.train, labelled.val))
    at_hand, y = np.concatenate([x, others]), labelled.train.spans[:, 2]
    scaled = (x - at_hand.mean(axis=0)) / at_hand.std(axis=0)
    w, bias = character_ngrams.fitted(character_ngrams.Dense(scaled), y, 2, PROBE_C)
    batch = labelled_batch(labelled.train, np.arange(len(y)), 32)
    np.testing.assert_allclose(class_scores(run.model, batch).data, scaled @ w + bias, atol=1e-3)
    p = softmax(scaled @ w + bias)
    slope = PROBE_C * scaled.T @ (p - np.eye(2)[y]) + w                # 0 where the loss is least
    assert np.abs(slope).max() < 2e-3


@pytest.mark.extra("sklearn")
def test_logistic_regression_is_that_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear_model = pytest.importorskip("sklearn.linear_model")
    pairs = some_pairs(80)
    texts, labels = [text for _, text in pairs], [label == "good" for label, _ in pairs]
    X = text.TfidfVectorizer(analyzer="char", ngram_range=(1, 5)).fit_transform(texts)
    model = linear_model.LogisticRegression(C=20.0, tol=1e-8, max_iter=1000).fit(X, labels)
    rows = character_ngrams.tfidf(texts)
    assert rows.shape == X.shape
    w, bias = character_ngrams.fitted(rows, np.array(labels, int), 2, C=10.0)
    ours = rows @ w + bias
    np.testing.assert_allclose(ours[:, 1] - ours[:, 0], model.decision_function(X), atol=2e-2)


@pytest.mark.skipif("MINIGRAD_DATA" not in os.environ, reason="MINIGRAD_DATA names no folder")
def test_n_grams_tell_spam():
    path = Path(os.environ["MINIGRAD_DATA"]) / "finetune" / "SMSSpamCollection.tsv"
    pairs = read_labelled(corpus_of(path.read_text(encoding="utf-8")))
    train, val = split_by_text(pairs[:800], 0.25)
    answers = character_ngrams.predicted([text for _, text in train],
                                         [int(label == "spam") for label, _ in train],
                                         [text for _, text in val], 2)
    assert (answers == [label == "spam" for label, _ in val]).mean() > 0.93


def test_intervals_cover_what_is_true():
    rng, covered, true = np.random.default_rng(0), np.zeros(4), [0.75, 0, 0.68, 0.8]
    for _ in range(8):
        sure = rng.uniform(0.5, 1, 300)
        targets = np.where(rng.random(300) < sure, 1, 0)
        p = np.stack([1 - sure, sure], axis=1)
        p[:100] = p[:100, ::-1]
        targets[:100] = 1 - targets[:100]
        low, high = intervals(targets, p)
        covered += (low <= true) & (true <= high)
    assert (covered >= 6).all(), covered

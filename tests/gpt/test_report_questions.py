"""Each fault that is planted is found by the line that is there for it; healthy nets fail none."""
import functools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpt.data.corpora import Corpus, stories
from gpt.data.documents import prepare
from gpt.models import caches, decoder, trunk
from gpt.opening import Opened
from gpt.training.config import Config, setting_names
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.tasks import TASKS
from gpt.training.tasks.causal import CAUSAL
from gpt.verdicts import heart, learning, rivals
from gpt.verdicts.blocks import Blocks
from gpt.verdicts.case import FAILS, NONE, OK, WARNS, Case
from gpt.verdicts.code import surprise_by_hand
from gpt.verdicts.sections import CODE, SECTIONS, answer, answers, failed
from minigrad import attention, softmax
from minigrad.ops.heads import heads, side_by_side
from minigrad.tensor import detach

QUESTIONS = {question.name: question for section in SECTIONS for question in section.questions}
SLOPE = "the gradient of the whole net is its slope"
SECONDS = {SLOPE: 0.3}             # of what goes on for as long as it may


def case_of(data, tiny, steps=6, **settings):
    """Train a tiny net for a few steps, and ask about it."""
    run = Run.start(tiny(**settings), data, Plan.fixed(steps))
    list(train_steps(run))
    return Case.of_run(run)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A text that says nothing twice: words at random, in lines."""
    rng = np.random.default_rng(0)
    letters = [*"abcdefghijklmnopqrstuvwxyzA,."]
    words = ["".join(rng.choice(letters, n)) for n in rng.integers(1, 8, 400)]
    lines = [" ".join(rng.choice(words, 9)) for _ in range(800)]
    corpus = Corpus("words", ["\n".join(lines).encode()], "words at random")
    settings = Config.make(tokenizer="char").data
    return prepare(corpus, settings, tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def tiny(data):
    def make(preset="fast", **changes):
        settings = dict(vocab_size=data.tokenizer.vocab_size, n_layer=2, n_head=2, d_model=16,
                        context_length=16, batch_tokens=64, steps=20)
        return Config.make(preset, **settings | changes)
    return make


@pytest.fixture
def case(data, tiny):
    return case_of(data, tiny)


def ask(case, name):
    return answer(QUESTIONS[name], case, SECONDS.get(name, 20))


# ---- faults: what is planted, and which line must say so ----

def mask_off_by_one(case, patch):
    def see_the_next(qkv, n_head, n_kv_head, **options):
        q, k, v = heads(qkv, n_head, n_kv_head)
        T = qkv.shape[1]
        return side_by_side(attention(q, k, v, causal=False, mask=np.tri(T, T, 1, dtype=bool)))
    patch.setattr(trunk, "self_attention", see_the_next)


def cache_off_by_one(case, patch):
    advance = caches.KVCache.advance
    patch.setattr(caches.KVCache, "advance", lambda self, ids: (
        advance(self, ids), setattr(self, "place", self.place - (self.place > 4))))


def cached_positions_off_by_one(case, patch):
    rows_at = decoder.rows_at
    patch.setattr(decoder, "rows_at", lambda table, place, n: rows_at(table, place + 1, n))


def positions_all_alike(case, patch):
    for array in case.model.cos, case.model.sin:
        array[:] = array[0]


def detached_layer(case, patch):
    think = trunk.MLP.__call__
    patch.setattr(trunk.MLP, "__call__", lambda self, x: detach(think(self, x)))


def wrong_kernel(case, patch):
    op = trunk.relu_squared
    body, vjp = op.bodies["fast"]
    twice = functools.wraps(vjp)(lambda g, *saved: (2 * vjp(g, *saved)[0],))
    patch.setitem(op.bodies, "fast", [body, twice])


def dropout_left_on(case, patch):
    rng = np.random.default_rng(0)
    patch.setattr(trunk, "dropout", lambda x, rate, _: x * (rng.random(x.shape) > 0.1).astype(
        x.dtype))


def target_shifted_twice(case, patch):
    def batch(data, shape, rng, model):
        found = CAUSAL.batch(data, (shape[0], shape[1] + 1), rng, model)
        return found._replace(ids=found.ids[:, :-1], targets=found.targets[:, 1:])
    patch.setitem(TASKS, "causal", CAUSAL._replace(batch=batch))


def loss_counted_twice(case, patch):
    loss = lambda *args, **kw: 2 * CAUSAL.loss(*args, **kw)
    patch.setitem(TASKS, "causal", CAUSAL._replace(loss=loss))


def test_text_in_the_training_text(case, patch):
    data = case.data
    case.data = replace(data, train=np.concatenate([data.train, data.val]))


def training_text_twice(case, patch):
    data = case.data
    case.data = replace(data, train=np.concatenate([data.train, data.train]))


def frozen_embedding(case, patch):
    case.model.token_embedding.weight.data[:] = case.fresh().token_embedding.weight.data


def loud_beginning(case, patch):
    new_net = Config.new_net

    def loud(self, *args):
        net = new_net(self, *args)
        net.unembedding.weight.data += 0.7 * np.random.default_rng(1).standard_normal(
            net.unembedding.weight.shape).astype(np.float32)
        return net
    patch.setattr(Config, "new_net", loud)


def one_weight_is_nan(case, patch):
    case.model.blocks[0].mlp.expand.weight.data[0, 0] = np.nan


def dead_layer(case, patch):
    case.model.blocks[1].mlp.expand.weight.data[:] = 0


def exploding_layer(case, patch):
    case.model.blocks[1].mlp.projection.weight.data[:] = 1e6


def no_steps_are_taken(case, patch):
    patch.setattr(learning, "STEPS", 30)
    for name in "AdamW", "Muon":
        patch.setattr(f"gpt.training.run.{name}.step", lambda self, rate: None)


def letters_are_lost(case, patch):
    decode = type(case.tokenizer).decode_bytes
    patch.setattr(type(case.tokenizer), "decode_bytes", lambda self, ids: decode(
        self, ids).replace(b"A", b"a"))


def padding_is_read(case, patch):
    seen = decoder.GPT.seen
    patch.setattr(decoder.GPT, "seen", lambda self, T, state, lengths=None: seen(self, T, state))


def rows_see_each_other(case, patch):
    stream = decoder.GPT.stream

    def mixed(self, *args, **kw):
        x = stream(self, *args, **kw)
        return x - x.mean(axis=0, keepdims=True)
    patch.setattr(decoder.GPT, "stream", mixed)


PADDING = "padding and neighbours change nothing"
TOKEN_BY_TOKEN = "read token by token it says the same"
FAULTS = {mask_off_by_one: "no token changes what stands before it",
          cache_off_by_one: TOKEN_BY_TOKEN,
          cached_positions_off_by_one: TOKEN_BY_TOKEN,
          positions_all_alike: "the order of tokens counts",
          detached_layer: SLOPE,
          wrong_kernel: SLOPE,
          dropout_left_on: "the same text gets the same scores twice",
          target_shifted_twice: "the target is the next token",
          loss_counted_twice: "the loss is the surprise at the targets",
          test_text_in_the_training_text: "the held-out text is new",
          training_text_twice: "the training text is said once",
          frozen_embedding: "every parameter has learnt",
          loud_beginning: "a net that has learnt nothing begins at ln V",
          one_weight_is_nan: "all numbers are finite",
          dead_layer: "units are alive",
          exploding_layer: "no layer is out of proportion",
          no_steps_are_taken: "one batch can be learnt by heart",
          letters_are_lost: "encoded text comes back",
          padding_is_read: PADDING,
          rows_see_each_other: PADDING}
test_text_in_the_training_text.__test__ = False
OTHER_NETS = {positions_all_alike: {"n_layer": 1},
              padding_is_read: {"net": "encoder", "vocab_size": 80}}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_by_its_line(fault, data, tiny, monkeypatch):
    case = case_of(data, tiny, **OTHER_NETS.get(fault, {}))
    name = FAULTS[fault]
    assert ask(case, name).verdict == OK
    case.known.clear()
    fault(case, monkeypatch)
    line = ask(case, name)
    assert line.verdict == FAILS, line


# ---- healthy nets ----

def test_a_healthy_net_fails_no_check_of_the_code(case):
    found = [*answers(case, 20, [CODE])]
    assert not failed(found)
    assert sum(each.line.verdict == OK for each in found) == len(CODE.questions)


NETS = ("decoder", "rnn", "lstm", "gru", "mingru", "conv", "encoder")
HEALTHY = [dict(net=net, seed=seed) for net in NETS for seed in (1, 2)] + [
    dict(preset="gpt2"), dict(preset="llama"), dict(n_layer=1, context_length=8),
    dict(position="sinusoidal", mlp="geglu"), dict(position="relative", qk_norm=False),
    dict(n_layer=4, d_model=32, ngram_rows=64, look_back=4),
    dict(norm_position="post", dropout=0.2)]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("settings", HEALTHY, ids=str)
def test_healthy_nets_fail_none(settings, kind, tmp_path):
    known = setting_names(settings.get("net", "decoder"))
    small = dict(n_layer=2, n_head=2, d_model=16, context_length=24, batch_tokens=96, steps=40)
    small = {name: x for name, x in small.items() if name in known}
    config = Config.make(**{**small, "tokenizer": kind, "vocabulary": 280 * (kind == "bpe"),
                            **settings})
    data = prepare(stories(100), config.data, tmp_path)
    V = TASKS[config.train.task].vocab_size(data.tokenizer)
    run = Run.start(config.changed(vocab_size=V), data, Plan.fixed(40))
    list(train_steps(run))
    found = [*answers(Case.of_run(run), 60, [CODE])]
    assert not failed(found), [each.line.said for each in found if each.line.verdict == FAILS]


# ---- what is said of how well it does ----

def test_worse_than_order_five_is_said_exactly_where_it_is_true(case):
    line = ask(case, "better than counting five bytes in a row")
    values = {row[0]: row[1] for row in line.figures[0].rows}
    assert line.verdict == FAILS and values["this net"] > values["Kneser-Ney 5"]
    mine = Blocks(np.arange(1.0, 21), np.full(20, 10))
    better = mine._replace(bits=mine.bits * 0.01)
    beside = {order: (f"Kneser-Ney {order}", mine) for order in (5, 8)}
    assert rivals.verdict_on(better, beside, line.figures[0]).verdict == OK
    beside[8] = "Kneser-Ney 8", better._replace(bits=better.bits * 0.5)
    assert rivals.verdict_on(better, beside, line.figures[0]).verdict == WARNS


def test_a_text_of_documents_is_compared_without_the_marks_between_them(tmp_path):
    rng = np.random.default_rng(0)
    documents = ["".join(rng.choice([*"abc \n"], 300)).encode() for _ in range(40)]
    config = Config.make(tokenizer="byte", n_layer=1, n_head=1, d_model=16, context_length=16,
                         batch_tokens=64)
    data = prepare(Corpus("many", documents, "letters"), config.data, tmp_path)
    run = Run.start(config.changed(vocab_size=data.tokenizer.vocab_size), data, Plan.fixed(2))
    case = Case.of_run(run)
    line = ask(case, "better than counting five bytes in a row")
    assert line.verdict == FAILS and len(line.figures[0].rows) == 7
    assert 255 in case.tokens("val") or 256 in case.tokens("val")


def test_a_head_that_is_too_sure_is_not_calibrated(case):
    case.model.unembedding.weight.data *= 3000
    assert ask(case, "it is as often right as it is sure").verdict == WARNS


def test_what_was_learnt_by_heart_is_continued_word_for_word(data, tiny):
    """A net that has seen one passage a thousand times knows it; it does not know the others."""
    passage = np.asarray(data.train[:40])
    few = replace(data, train=np.tile(passage, 3))
    case = case_of(few, tiny, steps=120, learning_rate=0.02)
    line = ask(case, "passages are not continued word for word")
    assert line.verdict == WARNS and line.figures[0].rows[0][1] > line.figures[0].rows[1][1]
    assert ask(case, "new text is predicted as well as old").verdict == WARNS


def test_the_documents_that_stand_in_the_training_text_are_named():
    words = "the quick brown fox jumps over the lazy dog and runs far away from here today".split()
    new = " ".join(words[::-1])
    text = f"{new}<|endoftext|>{' '.join(words)}".encode()
    keys, starts = heart.windows_of(text)
    known, _ = heart.windows_of((" ".join(words)).encode())
    named = heart.documents(text, starts, np.isin(keys, known))
    assert [row[0] for row in named] == ["document 2 of 2"] and named[0][2].startswith("the quick")


def test_questions_that_make_no_sense_say_why(data, tiny):
    case = case_of(data, tiny, net="encoder", vocab_size=80)
    for name in ("no token changes what stands before it", TOKEN_BY_TOKEN,
                 "better than counting five bytes in a row", "each layer brings the answer nearer"):
        line = ask(case, name)
        assert line.verdict == NONE and len(line.said) > 20


def test_little_time_asks_less_and_ends_in_time(case):
    began = time.monotonic()
    found = [*answers(case, 0.05)]
    assert time.monotonic() - began < 20 and len(found) == len(QUESTIONS)
    assert any("--seconds" in each.line.said for each in found)


def test_softmax_by_hand_is_the_loss():
    scores = np.random.default_rng(0).standard_normal((2, 3, 5))
    targets = np.array([[0, 1, -100], [4, -100, 2]])
    p = softmax(scores)
    asked = [p[0, 0, 0], p[0, 1, 1], p[1, 0, 4], p[1, 2, 2]]
    assert surprise_by_hand(scores, targets) == pytest.approx(-np.log(asked).mean())


@pytest.mark.parametrize("net, task", [("encoder", "masked"), ("decoder", "causal")])
def test_a_net_that_came_without_its_text_is_asked_what_can_be_known(net, task, tiny, data):
    rng = np.random.default_rng(0)
    model = tiny(net=net).new_net(rng)
    for x in model.parameters():
        x.data += rng.normal(0, 0.1, x.shape).astype(x.dtype)
    case = Case.of_opened(Opened(model, data.tokenizer, task))
    verdicts = {each.question.name: each.line for each in answers(case, 20, [CODE])}
    assert not [line.said for line in verdicts.values() if line.verdict == FAILS]
    assert verdicts[SLOPE].verdict == verdicts[PADDING].verdict == OK
    assert "without the text" in verdicts["one batch can be learnt by heart"].said


CORPORA = ("tinyshakespeare.txt", "tinystories_2MB.txt", "books/shakespeare_plays.txt",
           "books/king_james_bible.txt", "books/state_of_the_union.txt")


@pytest.mark.thorough
@pytest.mark.parametrize("name", CORPORA)
def test_no_known_corpus_is_said_to_hold_its_own_test(name):
    folder = os.environ.get("MINIGRAD_DATA")
    if folder is None:
        pytest.skip("MINIGRAD_DATA names no folder of texts")
    text = (Path(folder) / name).read_bytes()
    cut = 9 * len(text) // 10
    known, _ = heart.windows_of(text[:cut])
    keys, _ = heart.windows_of(text[cut:])
    assert np.isin(keys, known).mean() < heart.MOST_OVERLAP / 5
    assert 1 - len(np.unique(known)) / len(known) < heart.MOST_OVERLAP / 2

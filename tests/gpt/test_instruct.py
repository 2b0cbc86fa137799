"""Conversations: read, written as a template says, learnt from their answers alone, answered."""
import io
import json

import numpy as np
import pytest

import bpe
from gpt import chat, evaluate, export, generate
from gpt import train as program
from gpt.batch import IGNORE
from gpt.data.chats import (
    as_chats, messages_of, prepare_chats, read_chats, records, split_by_question, written)
from gpt.data.corpora import Corpus, CorpusError
from gpt.data.templates import TEMPLATES, Message, conversation_ids
from gpt.opening import open_model
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run
from gpt.training.measures import token_loss
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import read
from gpt.training.tasks.instruct import batch_of, instruct_batch
from minigrad import cross_entropy, linear

SPECIALS = {name: 256 + i for i, name in enumerate(["<|im_start|>", "<|im_end|>"])}
TALK = (Message("user", "Hi"), Message("assistant", "Ho"),
        Message("user", "And?"), Message("assistant", "No more."))


def a_tokenizer():
    return bpe.Tokenizer([], special_tokens=SPECIALS)


def corpus_of(text):
    return Corpus("some", [text.encode()], "some.json")


def many(n=40):
    rows = [{"instruction": "Add.", "input": f"{i} and {i}", "output": str(2 * i)}
            for i in range(n)]
    return json.dumps(rows)


def settings(**more):
    return Config.make(**{"template": "chatml", **more}).data


def test_both_kinds_of_records_are_read_whole_or_by_lines():
    talk = {"messages": [{"role": "system", "content": "Be."}, *map(Message._asdict, TALK)]}
    alpaca = {"instruction": "Add.", "input": "", "output": "4", "more": 1}
    for text in (json.dumps([talk, alpaca, alpaca]), f"{json.dumps(talk)}\n{json.dumps(alpaca)}\n",
                 f"\ufeff{json.dumps(talk)}\n\n{json.dumps(alpaca)}"):
        one, other = read_chats(corpus_of(text))
        assert one == (Message("system", "Be."), *TALK)
        assert other == (Message("user", "Add."), Message("assistant", "4"))
    assert records(json.dumps(talk, indent=1)) == [talk]
    said = messages_of({"instruction": "Add.", "input": "2, 2", "output": "4"}, "")
    assert said[0].content == "Add.\n\n2, 2"


@pytest.mark.parametrize("text, words", [
    ("Hello", "'Hello' is no JSON"), ("[1]", "record 1 of some.json is 1, but must hold messages"),
    ('{"messages": []}', "must hold messages"), ('{"instruction": "x"}', "must hold messages"),
    ('{"messages": [{"role": "user", "content": "x"}]}', "must hold messages"),
    ('{"messages": [{"role": "assistant", "content": "x"}]}', "must hold messages"),
    ('{"messages": [{"role": "user", "content": 1}, {"role": "assistant", "content": "x"}]}',
     "must hold messages"),
    ("[" * 100_000, "is no JSON"), ('{"instruction": "a", "output": "b"}', "and 0 others"),
    ("{}\0", "is not UTF-8 text")])
def test_bad_conversations_are_one_sentence(text, words, tmp_path):
    with pytest.raises(CorpusError, match=words):
        prepare_chats(corpus_of(text), settings(), tmp_path, a_tokenizer())


def test_a_template_that_is_not_known_is_refused_and_tokens_that_are_lacking_come_last(tmp_path):
    with pytest.raises(CorpusError, match="is not known here"):
        prepare_chats(corpus_of(many()), settings(template="x"), tmp_path, a_tokenizer())
    known = a_tokenizer()
    data = prepare_chats(corpus_of(many()), settings(template="llama3"), tmp_path, known)
    n = known.vocab_size
    assert data.tokenizer.tokens[:n] == known.tokens
    assert data.tokenizer.special_tokens["<|eot_id|>"] >= n


@pytest.mark.parametrize("name", ["chatml", "plain", "alpaca"])
def test_what_is_asked_are_the_answers_with_their_ends_as_they_are_made(name):
    tokenizer, template = a_tokenizer(), TEMPLATES[name]
    ids, answers = written(template, TALK, tokenizer)
    (b0, e0), (b1, e1) = answers
    first, second = template.said.replace("{}", "Ho"), template.said.replace("{}", "No more.")
    assert tokenizer.decode(ids[b0:e0 - 1]) == first and tokenizer.decode(ids[b1:e1 - 1]) == second
    assert ids[:b0] == conversation_ids(template, TALK[:1], tokenizer)
    heard = [TALK[0], Message("assistant", ids[b0:e0 - 1]), TALK[2]]
    assert ids[:b1] == conversation_ids(template, heard, tokenizer)
    if template.specials:
        assert ids[e0 - 1] == ids[e1 - 1] == SPECIALS["<|im_end|>"]


def test_the_loss_is_the_mean_over_what_is_asked_and_nothing_else_has_a_gradient():
    tokenizer = a_tokenizer()
    chats = as_chats(TEMPLATES["chatml"], [TALK, TALK[:2]], tokenizer, "answers")
    width = int(chats.lengths.max()) - 1
    batch = batch_of(chats, [0, 1], width)
    assert batch.n_targets == sum(len(text) + 1 for text in ("Ho", "No more.", "Ho"))
    config = Config.make(vocab_size=258, n_layer=1, n_head=1, d_model=8, context_length=width)
    model = config.new_net(np.random.default_rng(0), np.float64)
    model.unembedding.weight.data += np.random.default_rng(1).standard_normal((258, 8))
    logits = linear(model.stream(batch), model.head)
    loss = cross_entropy(logits, batch.targets, n=batch.n_targets)
    assert loss.item() == pytest.approx(token_loss(model, batch, batch.n_targets).item(), rel=1e-10)
    z, asked = logits.data, batch.targets != IGNORE
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    right = np.take_along_axis(p, np.maximum(batch.targets, 0)[..., None], -1)[..., 0]
    assert loss.item() == pytest.approx(-np.log(right[asked]).mean(), rel=1e-10)
    leaf = type(logits)(z, requires_grad=True)
    cross_entropy(leaf, batch.targets, n=batch.n_targets).backward()
    expected = (p - np.eye(258)[np.maximum(batch.targets, 0)]) / batch.n_targets
    np.testing.assert_allclose(leaf.grad[asked], expected[asked], rtol=1e-10, atol=1e-16)
    assert (leaf.grad[~asked] == 0).all()
    everything = as_chats(TEMPLATES["chatml"], [TALK], tokenizer, "all")
    assert batch_of(everything, [0], width).n_targets == len(everything.ids) - 1


def test_a_conversation_sees_no_other(tmp_path):
    data = prepare_chats(corpus_of(many()), settings(), tmp_path, a_tokenizer())
    config = Config.make(vocab_size=258, n_layer=1, n_head=1, d_model=8, context_length=64,
                         task="instruct", init="scaled")
    model = config.new_net(np.random.default_rng(0))
    batch = instruct_batch(data, (4, 64), np.random.default_rng(0), model)
    changed = batch.ids.copy()
    changed[0] = (changed[0] + 1) % 256
    one, two = (model.stream(batch._replace(ids=ids)).data for ids in (batch.ids, changed))
    assert (one[1:] == two[1:]).all() and (one[0] != two[0]).any()
    assert batch.ids.size <= 4 * 64 and batch.n_targets > 0


def test_what_is_asked_first_never_stands_in_both_parts():
    rows = [{"instruction": f"What is {i}?", "output": answer}
            for i in range(20) for answer in "ab"]
    chats = read_chats(corpus_of(json.dumps(rows)))
    train, val = split_by_question(chats, 0.1)
    asked = [{said[0].content for said in part} for part in (train, val)]
    assert len(val) == 4 and not asked[0] & asked[1]
    assert split_by_question(chats[::-1], 0.1)[1] == val[::-1]


def test_long_ones_are_refused_or_cut_aloud(tmp_path):
    for how in ("refuse", "cut"):
        data = prepare_chats(corpus_of(many()), settings(too_long=how), tmp_path / how,
                             a_tokenizer())
        assert data.check(data.longest - 1, 64) is None
        if how == "refuse":
            with pytest.raises(CorpusError, match="longer, the longest .* --context_length"):
                data.check(8, 64)
        else:
            assert "the first 9 tokens count" in data.check(8, 64)
            assert data.width(8) == 8 and (data.widths(data.train, 8) == 8).all()


@pytest.mark.parametrize("net", ["decoder", "lstm"])
def test_any_net_learns_it_and_micro_batches_are_equal(tmp_path, net):
    data = prepare_chats(corpus_of(many()), settings(), tmp_path, a_tokenizer())
    losses = []
    for micro_batch in 0, 1:
        shape = dict(n_layer=1, d_model=16) | ({"n_head": 1} if net == "decoder" else {})
        config = Config.make(net=net, task="instruct", **shape, context_length=64,
                             batch_tokens=256, carry_state=False, micro_batch=micro_batch,
                             **data.settings)
        run = Run.start(config, data, Plan.fixed(12))
        before = read(run.measures()).nats_per_token
        losses.append([record.loss for record in train_steps(run)])
        assert read(run.measures()).nats_per_token < before
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_the_program_learns_answers_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats.json").write_text(many())
    program.main(["chats.json", "--task", "instruct", "--n_layer", "1", "--n_head", "1",
                  "--d_model", "16", "--context_length", "64", "--batch_tokens", "256", "--steps",
                  "4", "--eval_every", "2", "--tokenizer", "char", "--plain", "--name", "talks"])
    said = capsys.readouterr().out
    assert "template plain" in said and "wanted: " in said and "nats/token" in said
    run = open_run("runs/talks", 2)
    for _ in train_steps(run):
        pass
    whole, _ = checkpoint.load("runs/talks/checkpoints", 4)
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)
    export.main(["runs/talks", "shared"])
    assert open_model("shared").template == open_model("runs/talks").template == "plain"
    generate.main(["shared", "Add.\n\n1 and 1", "--max_tokens", "4", "--n", "2"])
    monkeypatch.setattr("sys.stdin", io.StringIO("Add.\n"))
    chat.main(["runs/talks", "--max_tokens", "4"])
    evaluate.main(["runs/talks", "chats.json"])
    assert "nats/token" in capsys.readouterr().out

"""The tasks masked and seq2seq, with the nets that learn them in the one trainer."""
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from gpt import evaluate, fill, generate, train
from gpt.batch import IGNORE
from gpt.data.corpora import CorpusError
from gpt.data.documents import prepare
from gpt.data.pairs import Pairs, load_pairs
from gpt.models.masking import fill as filled, mask_id
from gpt.models.sampling import Sampling, write
from gpt.settings import ConfigError
from gpt.training.config import Config
from gpt.training.forecast import sequence_bytes
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import next_batch, train_steps
from gpt.training.task import read
from gpt.training.tasks import TASKS
from gpt.verdicts.case import OK
from gpt.verdicts.code import padding_is_inert
from gpt.verdicts.learning import begins_with_nothing, gradient_is_the_slope
from gpt.verdicts.untrained import small
from minigrad import linear, no_grad
from minigrad.kernels import jit

LEARNT = {"masked": "encoder", "seq2seq": "encoder_decoder"}
SMALL = dict(n_layer=1, n_head=2, d_model=32, context_length=16, batch_tokens=256, steps=20,
             warmup_steps=3, tokenizer="char")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Words and what they are from behind."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    words = ["".join(rng.choice([*"abcd"], n)) for n in rng.integers(2, 14, 300)]
    (folder / "words.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    return prepare(load_pairs([str(folder)]), Config.make(**SMALL).data, folder / "data",
                   load=load_pairs)


@pytest.fixture
def of(data, pairs):
    """Make a small run of a task, no weight of which is zero."""
    def make(task, steps=20, dtype=np.float32, **changes):
        known = {"masked": data, "seq2seq": pairs}[task]
        V = TASKS[task].vocab_size(known.tokenizer)
        config = Config.make(task=task, **SMALL | {"vocab_size": V} | changes)
        run = Run.start(config, known, Plan.fixed(steps), dtype)
        rng = np.random.default_rng(1)
        for x in run.model.parameters():
            x.data += (0.05 * rng.standard_normal(x.shape)).astype(dtype)
        return run
    return make


@pytest.mark.parametrize("task", LEARNT)
def test_a_task_chooses_its_net_and_a_net_its_task_and_the_loss_falls_in_20_steps(task, of):
    run = of(task)
    assert run.config.train.net == LEARNT[task]
    assert Config.make(net=LEARNT[task]).train.task == task
    losses = [record.loss for record in train_steps(run)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.15      # which letters there are: 0.2
    found = read(run.measures())
    assert 0 <= found.right < found.n_asked and found.n_bytes > 0
    assert found == read(run.measures())               # it asks the same each time
    assert "".join(run.task.show(run.model, run.data, 0, 30))


@pytest.mark.parametrize("net, task", [("decoder", "masked"), ("lstm", "seq2seq"),
                                       ("encoder", "causal"), ("encoder_decoder", "masked")])
def test_a_net_that_cannot_learn_a_task_is_refused(net, task, data):
    with pytest.raises(ConfigError, match=f"the task {task} needs .* but this {net} sees"):
        Run.start(Config.make(net=net, task=task), data, Plan.fixed(1))


@pytest.mark.parametrize("task", LEARNT)
def test_a_stopped_run_equals_one_that_was_not(task, of):
    whole, run = of(task, 6), of(task, 6)
    list(train_steps(whole))
    for _ in train_steps(run):
        if run.step == 3:
            break
    again = Run.resume(run.tensors(), run.facts() | {"step": 3}, run.data)
    list(train_steps(again))
    for name, x in whole.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], x, err_msg=name)


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
@pytest.mark.parametrize("task", LEARNT)
def test_steps_are_replayed_to_the_same_bytes(task, of, monkeypatch):
    found = []
    for replayed in (True, False):
        if not replayed:
            monkeypatch.setattr("minigrad.kernels.replay.Replay.possible", lambda self: False)
        run = of(task, 12, d_model=64, batch_tokens=512)
        list(train_steps(run))
        assert run.obstacle is None
        found.append(run.tensors())
    for name, x in found[0].items():
        np.testing.assert_array_equal(found[1][name], x, err_msg=name)


@pytest.mark.parametrize("task", LEARNT)
def test_micro_batches_equal_the_whole(task, of):
    found = []
    for micro in (0, 3):
        run = of(task, 2, np.float64, micro_batch=micro)
        list(train_steps(run))
        found.append(run.tensors())
    for name, x in found[0].items():
        np.testing.assert_allclose(found[1][name], x, atol=1e-9, err_msg=name)


def scores(run, batch):
    with no_grad():
        return linear(run.model.stream(batch), run.model.head).data


def test_padding_of_a_source_and_a_target_is_inert_to_the_bit(of):
    run = of("seq2seq")
    batch, rng = next_batch(run), np.random.default_rng(0)
    padded = np.arange(batch.source.shape[1]) >= batch.source_lengths[:, None]
    asked = batch.targets != IGNORE
    assert padded.any() and not asked.all()
    source = np.where(padded, rng.integers(1, 4, padded.shape), batch.source)
    ids = np.where(asked, batch.ids, 3)
    other = batch._replace(source=source, ids=ids)
    np.testing.assert_array_equal(scores(run, other)[asked], scores(run, batch)[asked])


def test_the_decoder_never_sees_ahead_but_all_of_the_source(of):
    run = of("seq2seq")
    batch = next_batch(run)
    ids = batch.ids.copy()
    ids[:, 4] = (ids[:, 4] + 1) % 4
    changed = np.abs(scores(run, batch._replace(ids=ids)) - scores(run, batch)).max(axis=(0, 2))
    assert (changed[:4] == 0).all() and changed[4] > 0
    source = batch.source.copy()
    source[:, 1] = (source[:, 1] + 1) % 4
    changed = np.abs(scores(run, batch._replace(source=source)) - scores(run, batch))
    assert (changed.max(axis=2) > 0).all()


def test_an_encoder_sees_both_sides_and_nothing_behind_the_length(of):
    run = of("masked")
    batch = next_batch(run)
    ids = batch.ids.copy()
    ids[:, 8] = (ids[:, 8] + 1) % 4
    changed = np.abs(scores(run, batch._replace(ids=ids)) - scores(run, batch)).max(axis=2)
    assert (changed > 0).all()
    short = [x._replace(lengths=np.full(len(ids), 8)) for x in (batch, batch._replace(ids=ids))]
    one, other = (scores(run, x)[:, :8] for x in short)
    np.testing.assert_array_equal(one, other)


def test_exact_matches_are_those_that_writing_finds(of):
    run = of("seq2seq", 60, learning_rate=0.02)
    list(train_steps(run))
    found, tokenizer = Pairs.of(run.data.val, run.data.tokenizer), run.data.tokenizer
    texts = tokenizer.decode(np.asarray(run.data.val)).split("<|endoftext|>")
    greedy = Sampling(temperature=0)
    right = [("".join(write(run.model, tokenizer, source, greedy, max_tokens=15)) == target)
             for source, target in zip(texts[::2], texts[1::2])]
    measured = read(run.measures())
    assert len(right) == len(found.starts) == measured.n_asked
    assert measured.right == sum(right)


def test_pairs_are_what_was_written_and_none_is_both_learnt_and_validated(pairs):
    texts = [pairs.tokenizer.decode(np.asarray(ids)).split("<|endoftext|>")
             for ids in (pairs.train, pairs.val)]
    assert not {*texts[0][::2]} & {*texts[1][::2]} and len(texts[1]) == 60
    for sources, targets in ((x[::2], x[1::2]) for x in texts):
        assert [x[::-1] for x in sources] == targets
    group, widths = Pairs.of(pairs.train, pairs.tokenizer).groups()
    assert (widths % 8 == 0).all() and len(widths) <= 2 and {*group} == {*range(len(widths))}


@pytest.mark.parametrize("line, name", [("no tab", "a.tsv"), ("a\tb\tc", "a.tsv"),
                                        ('{"source": "a"}', "a.jsonl"), ("[1]", "a.jsonl"),
                                        ('{"source": 1, "target": "b"}', "a.jsonl")])
def test_a_line_that_is_no_pair_is_named(line, name, tmp_path):
    (tmp_path / name).write_text(f"\n{line}\n")
    with pytest.raises(CorpusError, match="line 2 of .* must be a source"):
        load_pairs([str(tmp_path / name)])


def test_pairs_of_json_lines_hold_tabs_and_breaks(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"source": "a\\tb", "target": "c\\nd"}\n' * 2)
    assert load_pairs([str(tmp_path)]).documents == [b"a\tb", b"c\nd"] * 2
    with pytest.raises(CorpusError, match="name a .tsv"):
        load_pairs([])


def test_a_pair_longer_than_the_context_is_told(of):
    with pytest.raises(ConfigError, match="use --context_length 14 or|use --context_length 14"):
        next_batch(of("seq2seq", context_length=8))


def test_the_memory_of_one_sequence_is_that_of_its_share_of_the_batch(of):
    run = of("seq2seq")
    batch = next_batch(run)
    assert batch.ids.shape[0] * batch.width <= 256 and sequence_bytes(run) > 0


# ---- [MASK] ----

def test_a_share_of_places_is_asked_anew_each_step_and_most_are_masked(of):
    run = of("masked", batch_tokens=4096)
    batches = []
    for run.step in range(2):
        batches.append(next_batch(run))
    asked = [batch.targets != IGNORE for batch in batches]
    assert abs(asked[0].mean() - 0.15) < 0.03 and (asked[0] != asked[1]).any()
    ids, true = batches[0].ids[asked[0]], batches[0].targets[asked[0]]
    masked = (ids == mask_id(run.data.tokenizer)).mean()
    assert abs(masked - 0.8) < 0.06 and 0.05 < (ids == true).mean() < 0.17


def test_whole_words_are_asked_or_none_of_their_tokens(of):
    run = of("masked", batch_tokens=1024, mask_whole_words=True)
    batch = next_batch(run)
    true = np.where(batch.targets == IGNORE, batch.ids, batch.targets)
    text = [run.data.tokenizer.decode(row) for row in true]
    n_asked = 0
    for row, asked in zip(text, batch.targets != IGNORE):
        for word in re.finditer("[A-Za-z]+", row):
            n_asked += asked[word.start()]
            assert {*asked[slice(*word.span())].tolist()} == {bool(asked[word.start()])}
    assert n_asked > 10
    with pytest.raises(ConfigError, match="mask_whole_words is of the task masked"):
        of("seq2seq", mask_whole_words=True)


def test_the_surprise_of_each_token_in_turn_is_that_of_filling_it_in(of):
    run = of("masked")
    tokenizer, text = run.data.tokenizer, "Ada had a red hat."
    ids = tokenizer.encode(text)
    nats = run.task.in_turn(run.model, run.data, ids)
    assert nats.shape == (len(ids),)
    for i in (0, 3, 9):
        (found,) = filled(run.model, tokenizer, text[:i] + "[MASK]" + text[i + 1:16], 100)
        assert -np.log(dict(found)[text[i]]) == pytest.approx(nats[i], abs=1e-4)


def test_what_is_hidden_is_filled_in_with_probabilities(of):
    run = of("masked")
    list(train_steps(run))
    found = filled(run.model, run.data.tokenizer, "Ada [MASK]ad a re[MASK]", 100)
    assert len(found) == 2
    for tokens in found:
        p = [p for _, p in tokens]
        assert p == sorted(p, reverse=True) and 0.5 < sum(p) <= 1.0001
    with pytest.raises(ConfigError, match=r"has no \[MASK\]"):
        filled(run.model, run.data.tokenizer, "Ada")
    with pytest.raises(ConfigError, match="context_length is 16"):
        filled(run.model, run.data.tokenizer, "Ada" * 9 + "[MASK]")


def test_a_mask_is_known_by_either_name_or_refused(of):
    run, n = of("masked"), len(of("masked").data.tokenizer.tokens)
    robertas = SimpleNamespace(special_tokens={"<mask>": 5}, vocab_size=9)
    assert mask_id(robertas) == 5
    without = SimpleNamespace(special_tokens={}, vocab_size=n + 1)
    with pytest.raises(ConfigError, match=r"no token \[MASK\] or <mask>"):
        filled(run.model, without, "Ada [MASK]")


@pytest.mark.parametrize("task", LEARNT)
def test_the_gradient_of_the_whole_is_its_slope(task, of):
    case = small(of(task))
    for check in (begins_with_nothing, gradient_is_the_slope, padding_is_inert):
        line = check(case, 3)
        assert line.verdict == OK, line.said


# ---- the commands ----

PROGRAM = ["--n_layer", "1", "--n_head", "2", "--d_model", "16", "--batch_tokens", "64", "--steps",
           "3", "--tokenizer", "char", "--plain"]


def test_both_are_trained_evaluated_and_used_by_the_commands(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("".join(f"{n}\t{n}{n}\n" for n in range(100, 200)))
    for task, text in (("seq2seq", str(tmp_path / "a.tsv")), ("masked", "stories")):
        run = str(tmp_path / task)
        train.main([text, *PROGRAM, "--task", task, "--runs", str(tmp_path), "--name", task])
        said = capsys.readouterr().out
        assert "right: " in said and "Kneser-Ney" not in said
        evaluate.main([run])
        said = capsys.readouterr().out
        assert "right: " in said and ("hidden in turn" in said) == (task == "masked")
    generate.main([str(tmp_path / "seq2seq"), "123"])
    assert len(capsys.readouterr().out) <= 201 and not list(tmp_path.glob("*/*.partial"))
    page = (tmp_path / "seq2seq" / "report.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    sizes = [(x["rows"], x["columns"]) for x in facts["attention"]]
    assert sizes == [(len(facts["passage"]), len(facts["source"]))] * 2
    assert facts["passage"][0]["bits"] > 0 and facts["source"][-1] == "<|endoftext|>"
    for width in "1", "3":
        generate.main([str(tmp_path / "seq2seq"), "123", "--beams", width, "--n", width])
        assert len(capsys.readouterr().out.splitlines()) >= 1
    fill.main([str(tmp_path / "masked"), "Ada [MASK]ad", "--n", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("%" in line for line in lines)
    for command, name, words in ((fill.main, "seq2seq", "learnt the task seq2seq"),
                                 (generate.main, "masked", "continues none")):
        with pytest.raises(SystemExit):
            command([str(tmp_path / name), "Ada"])
        assert words in capsys.readouterr().err

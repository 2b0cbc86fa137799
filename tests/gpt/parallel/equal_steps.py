"""On ranks: the steps of every task are those of one process with as many micro-batches."""
import sys
import tempfile
from pathlib import Path

import numpy as np
import test_classify
import test_distil
import test_instruct
import test_masked_and_seq2seq
import test_prefer
import test_reward

from gpt.data.chats import prepare_chats
from gpt.data.corpora import load_corpus, stories
from gpt.data.documents import prepare
from gpt.data.labelled import prepare_labelled
from gpt.data.pairs import load_pairs
from gpt.data.preferences import prepare_preferences
from gpt.data.prompts import prepare_prompts
from gpt.data.tokens.kinds import train_tokenizer
from gpt.training.config import Config
from gpt.training.parallel.data_parallel import DataParallel, Overlapping
from gpt.training.parallel.world import joined
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import OneProcess, train_steps
from gpt.training.tasks import TASKS

SMALL = dict(n_layer=1, n_head=2, d_model=16, context_length=16, batch_tokens=80, warmup_steps=0)


class InParts(OneProcess):
    """One process that takes what N ranks would, one after another."""

    def gradients(self, batch, n, first=0):
        loss = 0.0
        for i in range(world.size):
            part, first = batch.share(i, world.size)
            loss += super().gradients(part, n, first)
        return loss


def some_data(folder):
    return prepare(stories(100), Config.make(tokenizer="char").data, folder)


def causal(folder, dtype=np.float32, **changes):
    data = some_data(folder)
    settings = SMALL | {"vocab_size": data.tokenizer.vocab_size} | changes
    if "net" in changes:
        del settings["n_head"]
    return Run.start(Config.make(settings.pop("preset", "fast"), **settings), data,
                     Plan.fixed(10), dtype)


def masked(folder):
    data = some_data(folder)
    V = TASKS["masked"].vocab_size(data.tokenizer)
    return Run.start(Config.make(task="masked", **SMALL, vocab_size=V), data, Plan.fixed(3))


def seq2seq(folder):
    words = [f"{i}{'ab' * (i % 6)}" for i in range(60)]
    (folder / "words.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    small = test_masked_and_seq2seq.SMALL
    data = prepare(load_pairs([str(folder)]), Config.make(**small).data, folder / "data",
                   load=load_pairs)
    V = TASKS["seq2seq"].vocab_size(data.tokenizer)
    return Run.start(Config.make(task="seq2seq", **small | {"vocab_size": V}), data, Plan.fixed(3))


def classify(folder):
    settings = Config.make(tokenizer="byte", val_fraction=0.2).data
    text = test_classify.as_tabs(test_classify.some_pairs())
    data = prepare_labelled(test_classify.corpus_of(text), settings, folder)
    return Run.start(test_classify.config_of(data), data, Plan.fixed(3))


def instruct(folder):
    settings = test_instruct.settings(tokenizer="byte", val_fraction=0.2)
    data = prepare_chats(test_instruct.corpus_of(test_instruct.many()), settings, folder,
                         test_instruct.a_tokenizer())
    config = Config.make(task="instruct", **{**SMALL, "context_length": 64, "batch_tokens": 320,
                                             **data.settings})
    return Run.start(config, data, Plan.fixed(3))


def prefer(folder):
    settings = Config.make(tokenizer="char", val_fraction=0.2).data
    corpus = test_prefer.corpus_of(test_prefer.some_pairs())
    return test_prefer.begun((prepare_preferences(corpus, settings, folder), folder))


def distil(folder, **changes):
    data = some_data(folder)
    return test_distil.begun((data, folder), test_distil.net(data, 1), **changes)


def reward(folder):
    corpus = load_corpus(["sums"])
    text = corpus.documents[0]
    tokenizer = train_tokenizer("char", 0, [text], [text], ["<|endoftext|>"])
    data = prepare_prompts(corpus, Config.make().data, folder, tokenizer)
    return test_reward.begun((data, folder), reward="random", updates=2, kl=0.1,
                             batch_tokens=256)


def case(make, **changes):
    return lambda folder: make(folder, **changes)


CASES = {
    "muon, five rows": causal,
    "adamw, decay": case(causal, optimizer="adamw", weight_decay=0.1, clip_norm=0.1),
    "tied weights": case(causal, preset="gpt2", dropout=0.1),
    "tables": case(causal, look_back=4, ngram_rows=64, dropout=0.1),
    "frozen": case(causal, freeze="*embedding*,blocks.0.mlp*"),
    "thawed": case(causal, unfreeze=0.5),
    "recompute": case(causal, recompute=True, n_layer=2),
    "ranks without rows": case(causal, batch_tokens=16 * max(1, 3)),
    "a state that is carried": case(causal, net="lstm", carry_state=True),
    "float64": case(causal, dtype=np.float64, clip_norm=0.1),
    "masked": masked, "seq2seq": seq2seq, "classify": classify, "instruct": instruct,
    "prefer": prefer, "distil": distil, "distil beside": case(distil, teacher_beside=True),
    "reward": reward}
PLAIN = {"muon, five rows": 1e-6, "adamw, decay": 1e-6, "float64": 1e-12}


def taken(make, way, steps):
    """Take steps, and return their records and the tensors of the run."""
    with tempfile.TemporaryDirectory() as folder:
        run = make(Path(folder))
        run.way = way(run, world)
        records = [record for record, _ in zip(train_steps(run), range(steps))]
        with run.way.whole():
            return records, {name: x.copy() for name, x in run.tensors().items()}


def check_same(name, found, expected):
    for one, other in zip(found[0], expected[0]):
        assert one._replace(elapsed_s=0) == other._replace(elapsed_s=0), (name, one, other)
    assert found[1].keys() == expected[1].keys()
    for key, x in expected[1].items():
        assert x.tobytes() == found[1][key].tobytes(), (name, key)


def check(name, make, ways):
    steps = 10 if name in PLAIN else 5
    expected = taken(make, InParts, steps)
    for way in ways:
        found = taken(make, way, steps)
        check_same(f"{name}, {way.__name__}", found, expected)
    if name in PLAIN:
        check_near(name, found, taken(make, OneProcess, steps))


def check_near(name, found, plain):
    """Compare with the batch in one piece: in float32, losses and gradients; in float64, all."""
    tolerance = PLAIN[name]
    for one, other in zip(found[0], plain[0]):
        for what in ("loss", "grad_norm"):
            assert abs(getattr(one, what) / getattr(other, what) - 1) < tolerance, (name, one)
    if name == "float64":
        for key, x in plain[1].items():
            assert np.abs(x - found[1][key]).max() < tolerance * max(1, np.abs(x).max()), key


world = joined()

if __name__ == "__main__":
    asked = sys.argv[1:] or CASES
    for name in asked:
        check(name, CASES[name], (DataParallel, Overlapping))
        if world.rank == 0:
            print("equal:", name, flush=True)

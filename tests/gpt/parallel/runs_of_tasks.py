"""A small run of each task, to be trained in one way or another."""
import json

import numpy as np

from gpt.data.corpora import Corpus, load_corpus, stories
from gpt.data.documents import prepare
from gpt.data.labelled import prepare_labelled
from gpt.data.pairs import load_pairs
from gpt.data.preferences import prepare_preferences
from gpt.data.prompts import prepare_prompts
from gpt.data.tokens.kinds import train_tokenizer
from gpt.training.config import Config
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.tasks import TASKS

SMALL = dict(n_layer=2, n_head=2, d_model=16, context_length=16, batch_tokens=64, steps=20,
             warmup_steps=2, tokenizer="char")
MORE = {"classify": dict(batch_tokens=128), "prefer": dict(batch_tokens=192),
        "instruct": dict(context_length=48, batch_tokens=192),
        "distil": dict(teacher="somewhere"),
        "reward": dict(batch_tokens=512, answer_tokens=3, samples=4, learning_rate=1e-2)}


def corpus_of(rows):
    return Corpus("some", [json.dumps(rows).encode()], "some.json")


def texts(folder, settings):
    return prepare(stories(60), settings, folder)


def pairs(folder, settings):
    (folder / "numbers.tsv").write_text("".join(f"{i}\t{i * 7}\n" for i in range(200)))
    return prepare(load_pairs([str(folder / "numbers.tsv")]), settings, folder / "data",
                   load=load_pairs)


def labelled(folder, settings):
    rows = "".join(f"{'ab'[i % 2]}\t{i} is {'odd' if i % 2 else 'even'}\n" for i in range(60))
    return prepare_labelled(Corpus("some", [rows.encode()], "some.tsv"), settings, folder)


def talks(folder, settings):
    rows = [{"instruction": "Add.", "input": f"{i}", "output": str(2 * i)} for i in range(40)]
    return TASKS["instruct"].prepare(corpus_of(rows), settings, folder, None,
                                     TASKS["instruct"].corpus, str)


def preferences(folder, settings):
    rows = [{"prompt": f"{i:02d}", "chosen": f" is {i:02d}", "rejected": " is?"}
            for i in range(60)]
    return prepare_preferences(corpus_of(rows), settings, folder)


def prompts(folder, settings):
    corpus = load_corpus(["sums"])
    text = corpus.documents[0]
    tokenizer = train_tokenizer("char", 0, [text], [text], ["<|endoftext|>"])
    return prepare_prompts(corpus, settings, folder, tokenizer)


DATA = {"causal": texts, "masked": texts, "seq2seq": pairs, "classify": labelled,
        "instruct": talks, "prefer": preferences, "distil": texts, "reward": prompts}


class Made:
    """Makes equal runs of a task, again and again."""

    def __init__(self, task, folder, **changes):
        settings = {**SMALL, **MORE.get(task, {}), **changes}
        self.folder = folder
        self.data = DATA[task](folder, Config.make(task=task, **settings).data)
        V = TASKS[task].vocab_size(self.data.tokenizer)
        self.config = Config.make(task=task, **{**settings, **self.data.settings,
                                                "vocab_size": V})

    def net(self, config, dtype):
        """Make a net in which no weight is zero."""
        rng = np.random.default_rng(1)
        net = config.changed(lora_rank=0).new_net(rng, dtype)
        for x in net.parameters():
            x.data += (0.05 * rng.standard_normal(x.shape)).astype(dtype)
        return net

    def run(self, dtype=np.float32, **changes):
        config = self.config.changed(**changes)
        weights = self.net(config, dtype).state_dict()
        run = Run.start(config, self.data, Plan.fixed(20), dtype, weights)
        if config.train.task == "distil":
            run.beside = self.net(config, dtype)
        if config.train.task in ("distil", "prefer"):
            run.task.prepared(run, self.folder)
        return run

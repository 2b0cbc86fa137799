"""The texts of `tuning.py`: general text, messages without labels, and a test for each base."""
import json
import os
from pathlib import Path

import numpy as np

END_OF_TEXT = "<|endoftext|>"
DATA = Path(os.environ.get("MINIGRAD_DATA", "data"))
N_TEST = 300                       # of each label


def messages(seed=0):
    """Return (labelled texts to draw from, those of the test): lists of (label, text), no text
    twice. Each seed has a test of its own."""
    found = {}
    for line in read("finetune/SMSSpamCollection.tsv").splitlines():
        label, _, text = line.partition("\t")
        found.setdefault(text.strip(), label)
    pairs = [(label, text) for text, label in found.items()]
    order = np.random.default_rng(seed).permutation(len(pairs))
    left, test, count = [], [], dict.fromkeys(found.values(), 0)
    for i in order:
        label, _ = pairs[i]
        count[label] += 1
        into = test if count[label] <= N_TEST else left
        into.append(pairs[i])
    return left, test


def draw(pairs, n, seed):
    """Draw n labelled texts, as many of each label."""
    rng, chosen = np.random.default_rng(seed), []
    labels = sorted({label for label, _ in pairs})
    for label in labels:
        of_it = [pair for pair in pairs if pair[0] == label]
        places = rng.choice(len(of_it), n // len(labels), replace=False)
        chosen += [of_it[i] for i in places]
    return chosen


def general():
    """Return 3 MB: stories, the right answers of multiple-choice questions, instructions."""
    parts = [read("tinystories_2MB.txt")]
    for row in rows("multiple_choice/hellaswag_sample.jsonl"):
        parts.append(f"{row['ctx']} {row['endings'][row['label']]}")
    for name in "arc_easy", "piqa":
        for row in rows(f"multiple_choice/{name}.jsonl"):
            parts.append(f"{row['query']}\nAnswer: {row['choices'][row['gold']]}")
    for row in rows("multiple_choice/winogrande.jsonl"):
        parts.append(f"{row['context_options'][row['gold']]} {row['continuation']}")
    for row in json.loads(read("finetune/instruction-data.json")):
        parts.append("\n".join(filter(None, row.values())))
    return as_documents(parts)


def as_documents(texts):
    return "".join(f"{text}{END_OF_TEXT}" for text in texts)


def read(name):
    return (DATA / name).read_text(encoding="utf-8")


def rows(name):
    return map(json.loads, read(name).splitlines())

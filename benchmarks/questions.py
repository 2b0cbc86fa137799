"""Answer questions of HellaSwag by a published model, against transformers in float32.

    python benchmarks/questions.py MODEL.gguf hellaswag.jsonl [--items 30] [--rounds 3]

Both answer the same questions, spread over the file, in turns, on one thread; counted is CPU time.
transformers reads what lm-eval gives it: whole texts, sorted by length and padded, several at a
time, by the fastest of several sizes. Said is also what it takes where its head is asked at the
scored places only. Needs transformers, gguf, accelerate and torch.
"""
import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ |= {"MINIGRAD_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from results import HELP, verdict  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from gpt.opening import open_model  # noqa: E402
from gpt.questions import encoded, groups, log_probabilities, read_questions, spread  # noqa: E402

SIZES = 4, 16                      # texts at a time
MOST = 1 / 3                       # of transformers' time
NEAR = 0.05                        # nats between both sums


def ours(model, asked):
    return np.concatenate([sums for group in groups(asked)
                           for sums in log_probabilities(model, group)])


@torch.inference_mode()
def theirs(model, texts, size, head_everywhere=True):
    """Sum the log-probabilities of the endings of texts, (row, start) each: (N,)."""
    sums = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda k: -len(texts[k][0]))
    for first in range(0, len(order), size):
        part = order[first:first + size]
        ids, mask = padded([texts[k][0][:-1] for k in part])
        if head_everywhere:
            scores = model(input_ids=ids, attention_mask=mask).logits           # (B, T, V)
        else:
            x = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        for b, k in enumerate(part):
            row, start = texts[k]
            places = slice(start - 1, len(row) - 1)
            z = scores[b, places] if head_everywhere else model.lm_head(x[b, places])
            targets = torch.tensor(row[start:])[:, None]
            sums[k] = torch.log_softmax(z, -1).gather(1, targets).sum().item()
    return sums


def padded(rows):
    shape = len(rows), max(map(len, rows))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for b, row in enumerate(rows):
        ids[b, :len(row)] = torch.tensor(row)
        mask[b, :len(row)] = 1
    return ids, mask


def timed(what, *args):
    """Return what comes of it, and the seconds of CPU time."""
    began = time.process_time()
    found = what(*args)
    return found, time.process_time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("model", type=Path)
    parser.add_argument("questions")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    opened = open_model(str(args.model))
    model = AutoModelForCausalLM.from_pretrained(
        args.model.parent, gguf_file=args.model.name, dtype=torch.float32).eval()
    questions = spread(read_questions(args.questions), args.items)
    asked = [encoded(each, opened.tokenizer, opened.model.config) for each in questions]
    texts = [text for each in asked for text in zip(each.rows, each.starts)]
    rivals = {size: (theirs, model, texts, size) for size in SIZES}
    runs = {"ours": (ours, opened.model, asked), **rivals,
            "few scores": (theirs, model, texts, SIZES[0], False)}
    expected, _ = timed(*runs["ours"])                 # kernels are compiled
    seconds = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            found, took = timed(*run)
            seconds[name].append(took)
            print(f"{name}: {took / len(asked):.3f} CPU-seconds a question", flush=True)
            assert abs(found - expected).max() < NEAR, (name, found, expected)
    taken = {name: float(np.median(each)) / len(asked) for name, each in seconds.items()}
    verdict("questions-transformers", taken["ours"] / min(taken[size] for size in SIZES), MOST,
            at_most=True)
    print(f"of its time with scores at few places: {taken['ours'] / taken['few scores']:.3f}")


if __name__ == "__main__":
    main()

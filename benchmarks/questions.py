"""Answer questions of HellaSwag by a published model, against transformers in float32.

    python benchmarks/questions.py MODEL.gguf hellaswag.jsonl [--items 30] [--rounds 3]
                                   [--threads 1,2]

Each side is a process of its own. They answer the same questions, spread over the file, in turns;
the verdict is the median of the rounds, of one thread in seconds of the processor, of more by the
clock. transformers reads what lm-eval gives it: whole texts, sorted by length and padded, several
at a time, by that of two sizes which is faster in the first round. Said is also what it takes
where its head is asked at the scored places only. Fewer questions than are read at a time, about
30, tell less of us. Needs transformers, gguf, accelerate and torch.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]

# ruff: noqa: E402
import processes  # (sets how threads wait, before a library that has them is loaded)
from processes import Side, serve

import argparse
import functools
import statistics
from pathlib import Path

import numpy as np
from results import HELP, THREADS, verdict

SIZES = "4", "16"                  # texts at a time
FEW = f"{SIZES[0]} few"            # with scores at few places
MOST = 1 / 3                       # of transformers' time
NEAR = 0.05                        # nats between both sums, with all bits
ROUNDED = 0.5                      # the median between sums with all bits and with rounded rows


def asked_of(args):
    """Return the model here and the questions as tokens."""
    from gpt.opening import open_model
    from gpt.questions import encoded, read_questions, spread
    opened = open_model(str(args.model))
    questions = spread(read_questions(args.questions), args.items)
    return opened.model, [encoded(each, opened.tokenizer, opened.model.config)
                          for each in questions]


def ours(args):
    """Make what this side does."""
    from gpt.questions import groups, log_probabilities
    from minigrad import use
    model, asked = asked_of(args)

    def answer(precision):
        with use(precision=precision):                    # "int8" is what `--questions` takes
            return np.concatenate([sums for group in groups(asked)
                                   for sums in log_probabilities(model, group)])
    made = {"sums": ("float32", 0), "rounded": ("int8", 0), "here": ("int8", len(asked))}

    def asked_for(what):
        precision, n = made[what]
        return functools.partial(answer, precision), n
    return asked_for


def theirs(args):
    """Make what transformers does, so many texts at a time: "sums", "4", "16", "4 few"."""
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(int(THREADS))
    _, asked = asked_of(args)
    model = AutoModelForCausalLM.from_pretrained(
        args.model.parent, gguf_file=args.model.name, dtype=torch.float32).eval()
    texts = [text for each in asked for text in zip(each.rows, each.starts)]

    def made(what):
        size = SIZES[0] if what == "sums" else what.split()[0]
        answer = functools.partial(sums_of, model, texts, int(size), what != FEW)
        return answer, 0 if what == "sums" else len(asked)
    return made


def sums_of(model, texts, size, head_everywhere):
    """Sum the log-probabilities of the endings of texts, (row, start) each: (N,)."""
    import torch
    sums = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda k: -len(texts[k][0]))
    with torch.inference_mode():
        for first in range(0, len(order), size):
            part = order[first:first + size]
            ids, mask = padded([texts[k][0][:-1] for k in part])
            if head_everywhere:
                scores = model(input_ids=ids, attention_mask=mask).logits       # (B, T, V)
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
    import torch
    shape = len(rows), max(map(len, rows))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for b, row in enumerate(rows):
        ids[b, :len(row)] = torch.tensor(row)
        mask[b, :len(row)] = 1
    return ids, mask


def compare(args):
    """Let both take turns, and judge our time by theirs."""
    here, there = (Side(sys.executable, *sys.argv, "--side", name) for name in SIDES)
    found, expected = (side.take("sums") for side in (here, there))
    assert np.abs(np.subtract(found, expected)).max() < NEAR, (found, expected)
    moved = np.median(np.abs(np.subtract(here.take("rounded"), found)))
    print(f"sums with rounded rows differ by {moved:.2f} nats, the median")
    assert moved < ROUNDED
    first = {name: timed(name, side) for name, side in
             {"here": here, **dict.fromkeys((*SIZES, FEW), there)}.items()}
    size = min(SIZES, key=first.get)
    ratios = [first["here"] / first[size]]
    for _ in range(args.rounds - 1):
        ratios.append(timed("here", here) / timed(size, there))
    verdict("questions-transformers", statistics.median(ratios), MOST, at_most=True)
    print(f"of its time with scores at few places: {first['here'] / first[FEW]:.3f}")


def timed(name, side):
    """Return the seconds that count, of one question."""
    wall, cpu = side.take(name)
    print(f"{name}: {wall:.3f} s a question, {cpu:.3f} of the processor", flush=True)
    return cpu if THREADS == "1" else wall


SIDES = {"ours": ours, "theirs": theirs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("model", type=Path)
    parser.add_argument("questions")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not THREADS:
        raise SystemExit(processes.run_each(args.threads))
    if args.side:
        serve(SIDES[args.side](args))
    else:
        compare(args)


if __name__ == "__main__":
    main()

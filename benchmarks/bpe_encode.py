"""How fast text of any script becomes ids, against tiktoken and gigatoken, with equal ids.

Every round runs each competitor once, one after the other, since a machine's speed drifts; a ratio
is the median of the rounds'. All encode the same string with the same ranks: GPT-2's from the
folder MINIGRAD_DATA where it is set, else ranks trained on the spot. "cold" starts with an empty
cache of words, "warm" has seen the text once. Needs the `bench` extra.

    python benchmarks/bpe_encode.py [MEGABYTES] [ROUNDS] [TEXT ...]

Texts are those of `bpe_texts.py`, by default all of them.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # gigatoken's; tiktoken's batch takes a number

import gigatoken  # noqa: E402
import numpy as np  # noqa: E402
import tiktoken  # noqa: E402

import bpe  # noqa: E402
from bpe_texts import DATA, TEXTS, sources  # noqa: E402

RANKS = DATA and DATA / "tiktoken" / "r50k_base.tiktoken"
ROWS = [("cold-against-tiktoken", "tiktoken", "cold"),
        ("warm-against-tiktoken", "tiktoken", "warm"),
        ("all-threads-against-tiktoken", "tiktoken_batch", "batch"),
        ("cold-against-gigatoken", "giga_cold", "cold"),
        ("warm-against-gigatoken", "giga_warm", "warm")]
WANTED = dict.fromkeys(["english", "python"], (6, 10, 6, 0.6, 0.6))
WANTED_ELSEWHERE = 4, 6, 4, 0.5, 0.5
FIRST = """
import time; start = time.perf_counter()
import sys, bpe
tokenizer = bpe.Tokenizer.load(sys.argv[1], "gpt2", {})
tokenizer.encode(" word and another, 1234 more;" * int(sys.argv[2]))
print(time.perf_counter() - start)
"""


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def forget(ours):
    """Empty the caches of words; what the vocabulary's tables hold stays."""
    ours._encoder._idle.clear()


def throughput(name, text, path, rounds):
    """Compare on one text; return rows (competitor, seconds by round)."""
    ours = bpe.Tokenizer.load(path, "gpt2", {})
    ranks = {token: i for i, token in enumerate(ours.tokens) if token is not None}
    theirs = tiktoken.Encoding("ours", pat_str=bpe.PATTERNS["gpt2"], mergeable_ranks=ranks,
                               special_tokens={})
    ours.encode_array(text[:100_000] * 2)  # compile
    documents = [text[i:i + 10_000] for i in range(0, len(text), 10_000)]
    n_cores = os.cpu_count()

    def cold():
        forget(ours)
        return ours.encode_array(text, threads=1)

    def batch():
        forget(ours)
        return ours.encode_batch(documents, threads=n_cores)

    fresh = [None]

    def giga_cold():
        return fresh[0].encode(text)

    runs = dict(tiktoken=lambda: theirs.encode_ordinary(text), cold=cold,
                warm=lambda: ours.encode_array(text, threads=1),
                warm_list=lambda: ours.encode(text, threads=1), giga_cold=giga_cold,
                giga_warm=lambda: fresh[0].encode(text),
                tiktoken_batch=lambda: theirs.encode_ordinary_batch(documents,
                                                                    num_threads=n_cores),
                batch=batch)
    times = {key: [] for key in runs}
    for _ in range(rounds):
        fresh[0] = gigatoken.Tokenizer.from_tiktoken(path, "gpt2", {})
        results = {}
        for key, run in runs.items():
            seconds, results[key] = timed(run)
            times[key].append(seconds)
        assert np.array_equal(results["tiktoken"], results["cold"])
        assert np.array_equal(results["giga_cold"], results["warm"])
        assert all(np.array_equal(a, b) for a, b in zip(results["tiktoken_batch"],
                                                        results["batch"]))
    megabytes = len(text.encode()) / 1e6
    for key, seconds in times.items():
        print(f"{name:8} {key:15} {megabytes / min(seconds):7.1f} MB/s at best, "
              f"{megabytes / statistics.median(seconds):7.1f} in the median")
    return times


def ratio(times, theirs, ours):
    return statistics.median(a / b for a, b in zip(times[theirs], times[ours]))


def one_letter(path, rounds):
    """Encode a million equal letters."""
    ours = bpe.Tokenizer.load(path, "gpt2", {})
    ranks = {token: i for i, token in enumerate(ours.tokens) if token is not None}
    theirs = tiktoken.Encoding("ours", pat_str=bpe.PATTERNS["gpt2"], mergeable_ranks=ranks,
                               special_tokens={})
    text = "a" * 10**6
    ours.encode_array(text)
    pairs = []
    for _ in range(rounds):
        (there, expected), (here, ids) = (timed(lambda: theirs.encode_ordinary(text)),
                                          timed(lambda: ours.encode_array(text)))
        assert np.array_equal(expected, ids)
        pairs.append((there, here))
    print(f"1 MB of one letter: here {min(h for _, h in pairs):.3f} s, "
          f"tiktoken {min(t for t, _ in pairs):.3f} s")
    return statistics.median(there / here for there, here in pairs)


def first_encode(path, repeat, cache):
    """Seconds from `import bpe` to the first ids, in a new process."""
    run = subprocess.run([sys.executable, "-c", FIRST, str(path), str(repeat)], check=True,
                         capture_output=True, text=True,
                         env=os.environ | {"BPE_CACHE_DIR": str(cache)})
    return float(run.stdout)


def main():
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    names = sys.argv[3:]
    lines = []

    def target(name, value, wanted, at_most=False):
        good = value <= wanted if at_most else value >= wanted
        lines.append(f"{name} {value:.2f} target {wanted:g} {'ok' if good else 'short'}")

    with tempfile.TemporaryDirectory() as folder:
        path = RANKS
        if path is None:
            path = Path(folder) / "trained.tiktoken"
            bpe.train(sources(5_000_000), 8192, pattern="gpt2").save(path)
        for name in names or TEXTS:
            try:
                text = TEXTS[name](int(megabytes * 1e6))
            except ImportError as error:
                print(f"{name}: left out, since {error}")
                continue
            times = throughput(name, text, path, rounds)
            for (row, theirs, ours), wanted in zip(ROWS, WANTED.get(name, WANTED_ELSEWHERE)):
                target(f"encode-{name}-{row}", ratio(times, theirs, ours), wanted)
        if names:
            return print("\n".join(lines))
        target("one-letter-against-tiktoken", one_letter(path, rounds), 1)
        cache = Path(folder) / "cache"
        target("first-encode-cold-s", first_encode(path, 10_000, cache), 8, at_most=True)
        warm = min(first_encode(path, 10_000, cache) for _ in range(3))
        target("first-encode-warm-s", warm, 0.8, at_most=True)
        sentence = min(first_encode(path, 1, cache) for _ in range(3))
        target("first-sentence-s", sentence, 0.8, at_most=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()

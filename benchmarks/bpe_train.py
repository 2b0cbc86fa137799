"""Training a tokenizer: the same work here and in the Rust libraries, interleaved in one process.

    python benchmarks/bpe_train.py [section ...] [--mb 50] [--rounds 3] [--file TEXT]

Sections are the functions below whose name begins with `section_`. Needs the `bench` extra. The
text is this machine's: the folder named by MINIGRAD_DATA where set, then the sources of the
standard library and of site-packages. A ratio is the median over rounds of (their time / our time).
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # the peers' threads, as many as ours
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import bpe
from bpe.pretokenize import PATTERNS

PATTERN = "gpt2"
TARGETS = []  # (name, ratio, target)


def text_files():
    """Real data first, then Python sources, in a fixed order."""
    if "MINIGRAD_DATA" in os.environ:
        yield from sorted(Path(os.environ["MINIGRAD_DATA"]).rglob("*.txt"))
    for folder in ("stdlib", "purelib"):
        yield from sorted(Path(sysconfig.get_paths()[folder]).rglob("*.py"))


def documents(n_bytes):
    """Files as strings, cut where they are long, until there are n_bytes."""
    texts, size = [], 0
    for path in text_files():
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        for part in text.split("\n<|endoftext|>\n"):
            if part:
                texts.append(part)
                size += len(part.encode())
            if size >= n_bytes:
                return texts
    return texts


def target(name, ratio, aim):
    """Keep a ratio for the summary."""
    TARGETS.append((name, ratio, aim))


def compare(ours, theirs, rounds):
    """Time functions in turn; return our best, and for each peer (its best, the median ratio)."""
    times = {name: [] for name in ("ours", *theirs)}
    for _ in range(rounds):
        for name, work in (("ours", ours), *theirs.items()):
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    ratio = {name: statistics.median(t / o for t, o in zip(times[name], times["ours"]))
             for name in theirs}
    return min(times["ours"]), {name: (min(times[name]), ratio[name]) for name in theirs}


# ---- training ----

def train_ours(texts, vocab_size, threads=1):
    """Return the tokens, in order."""
    steps = bpe.train_steps(texts, vocab_size - 256, pattern=PATTERN, threads=threads)
    return [step.token for step in steps]


def train_rustbpe(texts, vocab_size):
    """Return the tokens, in order."""
    import rustbpe
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=PATTERNS[PATTERN])
    ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])
    return [bytes(token) for token, _ in ranks][256:]


def train_tokenizers(texts, vocab_size):
    """Return nothing: ids follow another order of bytes; `tests/bpe` compares the merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))


TRAINERS = {"ours": train_ours, "tokenizers": train_tokenizers, "rustbpe": train_rustbpe}


def section_train(args):
    """Seconds to train, one thread, vocabulary of 8,000 and 32,000."""
    texts = documents(args.mb * 10**6)
    train_ours(texts[:1], 300)
    for vocab_size, aims in ((8000, {"tokenizers": 15, "rustbpe": 6}),
                             (32000, {"tokenizers": 15, "rustbpe": 5})):
        assert train_ours(texts, vocab_size) == train_rustbpe(texts, vocab_size)
        peers = {name: partial(TRAINERS[name], texts, vocab_size) for name in aims}
        ours, found = compare(partial(train_ours, texts, vocab_size), peers, args.rounds)
        print(f"train {args.mb} MB, vocab {vocab_size}: {ours:.2f} s, the same tokens as rustbpe")
        for name, (theirs, ratio) in found.items():
            print(f"  {name}: {theirs:.2f} s")
            target(f"train, vocab {vocab_size}, against {name}", ratio, aims[name])


def section_file(args):
    """Vocabulary of 32,000 from a file, one thread, against gigabpe, which reads files alone."""
    import gigabpe
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "text"
        if not args.file:
            path.write_text("\n".join(documents(args.mb * 10**6)), "utf-8")
        ours, found = compare(
            lambda: bpe.train(path, 32000, pattern=PATTERN, threads=1),
            {"gigabpe": lambda: gigabpe.train_bpe([str(path)], 32000, pretokenizer="bytelevel",
                                                  threads=1)}, args.rounds)
        theirs, ratio = found["gigabpe"]
        print(f"train {path.stat().st_size / 1e6:.0f} MB, vocab 32000: {ours:.2f} s, "
              f"gigabpe {theirs:.2f} s")
    target("train a file, vocab 32000, against gigabpe", ratio, 2)


def section_threads(args):
    """The same with all cores for counting."""
    texts = documents(args.mb * 10**6)
    for threads in (1, os.cpu_count()):
        work = partial(train_ours, texts, 8000, threads)
        best = min(timed(work) for _ in range(args.rounds))
        print(f"train {args.mb} MB, vocab 8000, {threads} threads: {best:.2f} s")


def timed(work):
    """Seconds that a function takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def section_memory(args):
    """Peak memory of training above that of the text, each in a process of its own."""
    for vocab_size in (8000, 32000):
        used = {name: memory_of(name, args.mb, vocab_size) for name in TRAINERS}
        print(f"memory above the text, vocab {vocab_size}: "
              + ", ".join(f"{name} {mb:.0f} MB" for name, mb in used.items()))
        for name, aim in (("rustbpe", 0.4), ("tokenizers", 0.3)):
            target(f"memory, vocab {vocab_size}, against {name}", used["ours"] / used[name], -aim)


def memory_of(name, mb, vocab_size):
    """Start this file again to measure one trainer."""
    done = subprocess.run([sys.executable, __file__, "--measure", name, str(vocab_size), "--mb",
                           str(mb)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(name, vocab_size, mb):
    """Print by how many MB the peak of this process rises while it trains.

    The text is held before; every trainer has done a small run before, so code is loaded.
    """
    texts = documents(mb * 10**6)
    TRAINERS[name](texts[:1], 300)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    reset = Path("/proc/self/clear_refs")
    reset.write_text("5")  # the peak starts again from here
    TRAINERS[name](texts, vocab_size)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps((peak - before) / 1e6))


def section_course(args):
    """Vocabulary of 500 on the CS336 course's corpus of 133 KB, warm."""
    path = Path(os.environ.get("MINIGRAD_DATA", ".")) / "cs336/corpus.en"
    if not path.exists():
        print("course: MINIGRAD_DATA is not set, or has no cs336/corpus.en")
        return
    text = path.read_text()
    best = min(timed(lambda: bpe.train(text, 500, pattern=PATTERN, ties="greatest",
                                       special_tokens=["<|endoftext|>"], threads=1))
               for _ in range(10))
    print(f"course corpus, vocab 500: {best * 1000:.1f} ms")
    target("course corpus, vocab 500, seconds", best, -0.02)


def main():
    sections = {name[8:]: work for name, work in globals().items() if name.startswith("section_")}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(sections))
    parser.add_argument("--mb", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="for `file`: a text, in place of --mb")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], int(args.measure[1]), args.mb)
        return
    unknown = set(args.sections) - set(sections)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(sections)}")
    for name in args.sections or sections:
        sections[name](args)
    for name, ratio, aim in TARGETS:  # a negative target is one to stay below
        met = ratio >= aim if aim > 0 else ratio <= -aim
        print(f"{name} {ratio:.3g} target {abs(aim):g} {'ok' if met else 'short'}")


if __name__ == "__main__":
    main()

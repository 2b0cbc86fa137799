"""What `minigrad corpus` keeps of a real dump, how fast, in what memory, killed and not.

    python benchmarks/corpus.py enwiki-pages-articles.xml.bz2
    python benchmarks/corpus.py enwiki-pages-articles.xml.bz2 --made_mb 1000 --kills 10

A slice of a few megabytes is enough. With --made_mb a dump of that size is made of its pages, with
words changed in each, and cleaned by one process, by two, and by two that are killed again and
again; that takes about a second a megabyte and a process.
"""
import argparse
import hashlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]
from results import HELP, verdict  # noqa: E402

from gpt.data.cleaning import sources  # noqa: E402
from gpt.data.cleaning.duplicates import band_keys, minhashes  # noqa: E402
from gpt.data.cleaning.pipeline import Settings, make_corpus  # noqa: E402
from gpt.data.cleaning.stages import USUAL, stages_of  # noqa: E402
from gpt.data.reading import opened  # noqa: E402

ROUNDS, PAIRS, JUNK = 3, 500, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", help="a MediaWiki dump, or a slice of one")
    parser.add_argument("--made_mb", type=int, default=0, help="size of a made dump [none]")
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    raw, texts = articles(args.dump)
    print(f"{len(texts)} articles, {sum(map(len, raw)) / 1e6:.1f} MB of wikitext, "
          f"{sum(map(len, texts)) / 1e6:.1f} MB of text")
    stripping(raw)
    with tempfile.TemporaryDirectory() as folder:
        whole_pipeline(args.dump, len(texts), Path(folder))
    planted(texts)
    junk(texts)
    if args.made_mb:
        with tempfile.TemporaryDirectory() as folder:
            made_dump(args.dump, args.made_mb, args.kills, Path(folder))


def articles(dump):
    """Return the articles of a dump as wikitext, and what is left of each."""
    raw, strip = [], sources.strip_wikitext

    def noted(text):
        raw.append(text)
        return strip(text)
    sources.strip_wikitext = noted
    found = [*sources.read_unit(sources.Unit(dump))]
    sources.strip_wikitext = strip
    return raw, [each.text for each in found if isinstance(each, sources.Document)]


def fastest_s(work):
    """Return the CPU-seconds of the fastest of some rounds, and what the last one returned."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        result = work()
        seconds.append(time.process_time() - began)
    return min(seconds), result


def stripping(raw):
    seconds, texts = fastest_s(lambda: [*map(sources.strip_wikitext, raw)])
    verdict("corpus-strip-mb-per-s", sum(map(len, raw)) / 1e6 / seconds, 10)
    lines = [line for text in texts for line in text.split("\n")]
    marked = sum(any(mark in line for mark in ("{{", "[[", "<ref")) for line in lines)
    verdict("corpus-lines-with-marks", marked / len(lines), 0.001, at_most=True)


def whole_pipeline(dump, n, folder):
    """All stages on the dump, unpacking included: of text, and how many articles it drops."""
    tried = iter(range(ROUNDS))

    def work():
        settings = Settings(f"{USUAL}{language()}", ("lines", "exact", "minhash"), True)
        return make_corpus([dump], folder / str(next(tried)), settings, say=str)
    seconds, facts = fastest_s(work)
    text = facts["counts"]["characters read"]
    verdict("corpus-pipeline-mb-per-s", text / 1e6 / seconds, 1.0)
    kept = sum(shard["documents"] for shard in facts["shards"])
    verdict("corpus-articles-dropped", n - kept, 0, at_most=True)


def language():
    """Return the filter for languages, where its package is installed."""
    try:
        import py3langid  # noqa: F401
    except ImportError:
        print("without the filter language: py3langid is not installed")
        return ""
    return ",language=en"


# ---- planted copies and pages ----

def planted(texts):
    """Share of planted pairs that MinHash finds: exact ones, near ones, and others it must not."""
    rng, known = random.Random(0), [word for text in texts for word in text.split()]
    for name, share, target, at_most in (("exact", 0, 1, False), ("near", 0.03, 0.97, False),
                                         ("far", 0.3, 0.02, True)):
        pairs = [pair(texts, known, share, rng) for _ in range(PAIRS)]
        found = sum(meet(a, b) for a, b in pairs)
        verdict(f"corpus-duplicates-{name}", found / PAIRS, target, at_most)


def pair(texts, known, share, rng):
    words = rng.choice(texts).split()
    start = rng.randrange(max(1, len(words) - 300))
    words = words[start:start + 300]
    return " ".join(words), " ".join(changed(words, known, share, rng))


def changed(words, known, share, rng):
    return [rng.choice(known) if rng.random() < share else word for word in words]


def meet(a, b):
    return bool((band_keys(minhashes(a)) == band_keys(minhashes(b))).any())


def junk(texts):
    """Share of planted menus, lists of keywords and repeated lines that the usual filters drop."""
    rng, known = random.Random(0), [word for text in texts for word in text.split()]
    some = partial(rng.choices, known)
    stages = stages_of().values()
    dropped = 0
    for i in range(JUNK):
        page = (lambda: "\n".join(" ".join(some(k=rng.randrange(1, 4))) for _ in range(60)),
                lambda: " ".join(some(k=3) * 40),
                lambda: "\n".join([" ".join(some(k=12)) + "."] * 20))[i % 3]()
        dropped += any(stage.drop(page) for stage in stages)
    verdict("corpus-junk-dropped", dropped / JUNK, 0.95)


# ---- a dump of any size ----

def made_dump(dump, size_mb, kills, folder):
    path = folder / "made.xml"
    write_dump(dump, path, size_mb * 1_000_000)
    alone, two, killed = (folder / name for name in ("alone", "two", "killed"))
    for out, workers in (alone, 1), (two, 2):
        began = time.monotonic()
        subprocess.run(command(path, out, workers), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        print(f"{workers} workers: {time.monotonic() - began:.0f} s", flush=True)
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    verdict("corpus-peak-mb", kilobytes / (1000 if sys.platform != "darwin" else 1e6), 400, True)
    verdict("corpus-same-for-two", same(alone, two), 1)
    kill_again_and_again(command(path, killed, 2), kills, killed, time.monotonic() - began)
    verdict("corpus-same-after-kills", same(alone, killed), 1)


def write_dump(dump, path, n_bytes):
    """Repeat the pages of a dump, a fifth of the words of each changed, up to a size."""
    rng = random.Random(0)
    with opened(dump) as file:
        head, *pages = file.read().decode("utf-8", "replace").split("<page>")
    known = " ".join(pages[:20]).split(" ")
    known = [word for word in known if word.isalpha()]
    with open(path, "w", encoding="utf-8") as file:
        file.write(head)
        while file.tell() < n_bytes:
            words = rng.choice(pages).partition("</mediawiki>")[0].split(" ")
            new = [rng.choice(known) if word.isalpha() and rng.random() < 0.2 else word
                   for word in words]
            file.write("<page>" + " ".join(new))
        file.write("</mediawiki>\n")


def command(path, out, workers):
    return [sys.executable, "-m", "gpt", "corpus", str(path), "--out", str(out), "--workers",
            str(workers)]


def kill_again_and_again(command, kills, out, seconds):
    rng = random.Random(0)
    for killed in range(kills):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            child.wait(rng.uniform(0.05, 0.15) * seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if (out / "corpus.json").exists():
            return print(f"it was done after {killed} kills")
    print(f"killed {kills} times")
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def same(a, b):
    """Return 1 if two folders hold the same files with the same bytes, else 0."""
    return int(digests(a) == digests(b))


def digests(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    main()

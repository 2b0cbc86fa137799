"""Make a clean corpus of dumps, crawls and files.

    minigrad corpus enwiki-latest-pages-articles.xml.bz2 --out wiki/ --workers 2
    minigrad corpus crawl/*.warc.gz posts.jsonl.zst --out mixed/ --filters gopher,c4,language=en
    python train.py wiki/ --minutes 60

Killed? The same command goes on where it stopped, and writes the same bytes.
"""
from functools import partial
from pathlib import Path

from bpe.console import whole
from gpt import called
from gpt.classify import number_of, probability
from gpt.command import make_parser, report_errors
from gpt.data.cleaning.pipeline import DEDUP, Settings, make_corpus
from gpt.data.cleaning.stages import USUAL
from gpt.show.corpus_page import corpus_page


def main(args=None):
    parser = make_parser("corpus", "Make a clean corpus of dumps, crawls and files.")
    parser.add_argument("input", nargs="+", help="files, folders and globs: MediaWiki .xml, "
                        ".warc, .wet, .html, .jsonl and .csv with text, else plain text; packed "
                        "as .gz, .bz2, .xz or .zst")
    parser.add_argument("--out", required=True, help="a folder for the corpus")
    parser.add_argument("--workers", type=whole, default=1, help="processes [1]")
    parser.add_argument("--filters", default=USUAL, help="what drops documents: gopher, "
                        f"repetition, menu, fineweb, c4, language=en; '' for none [{USUAL}]")
    parser.add_argument("--dedup", default="exact,minhash", help="what is there before is "
                        f"dropped: {', '.join(DEDUP)}; '' for none [exact,minhash]")
    parser.add_argument("--mask_pii", action="store_true", help="mask e-mail addresses, IP "
                        "addresses and phone numbers")
    parser.add_argument("--held_out", default=[], action="append", metavar="TEXT", help="drop "
                        "what has 13 words in a row in common with this text; may be said again")
    parser.add_argument("--quality", metavar="RUN=LABEL", help="drop what a run of the task "
                        "classify does not take for a label, such as runs/good=wanted")
    parser.add_argument("--share", metavar="I/N", help="clean one of N shares of the files, as on "
                        "one of N machines with one folder; without it the whole is finished")
    args = parser.parse_args(args)
    for sentence in contradictions(args):
        parser.error(sentence)
    with report_errors(parser.prog):
        settings = Settings(args.filters, kinds(args.dedup), args.mask_pii, tuple(args.held_out),
                            args.quality or "")
        folder = Path(args.out)
        facts = make_corpus(args.input, folder, settings, args.workers, page=corpus_page,
                            share=numbers(args.share), score=scored_by(args.quality))
        for line in told(facts, folder) if facts else waiting(args.share):
            print(line)


def kinds(dedup):
    return tuple(filter(None, map(str.strip, dedup.split(","))))


def numbers(share):
    """Return (i, n) of I/N, (1, 1) of nothing; None if it is no such thing."""
    i, slash, n = (share or "1/1").partition("/")
    good = slash and i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)
    return (int(i), int(n)) if good else None


def scored_by(quality):
    """Return what tells how likely a text is wanted, by RUN=LABEL; None of nothing."""
    if not quality:
        return None
    run, _, label = quality.rpartition("=")
    number_of(run, label)                             # which says what is wrong with them
    return partial(probability, run, label)


def waiting(share):
    yield f"share {share} is cleaned"
    yield "when all are: the same command without --share finds duplicates and writes the corpus"


def contradictions(args):
    """Yield a sentence for everything that cannot be meant as it was said."""
    if args.workers < 1:
        yield f"workers is {args.workers}, but must be at least 1"
    if not args.out.strip():
        yield "--out is empty: name a folder"
    if not numbers(args.share):
        yield f"--share is {args.share}: say such as 2/20, the second of twenty"
    if args.quality and not all(args.quality.rpartition("=")):
        yield f"--quality is {args.quality}: say RUN=LABEL, a run of the task classify and a label"
    for kind in kinds(args.dedup):
        if kind not in DEDUP:
            yield f"there is no {kind!r} to drop duplicates by: choose {', '.join(DEDUP)}"


def told(facts, folder):
    """Yield what is said at the end."""
    counts, shards = facts["counts"], facts["shards"]
    yield (f"read: {counts.get('documents read', 0):,} documents, "
           f"{counts.get('characters read', 0) / 1e6:,.1f} million characters")
    for stage, reasons in facts["stages"].items():
        most = max(reasons, key=reasons.get)
        yield f"dropped by {stage}: {sum(reasons.values()):,}, most often: {most}"
    for kind in DEDUP:
        if kind in facts["duplicates"]:
            what = "lines" if kind == "lines" else "documents"
            yield f"duplicates, {kind}: {facts['duplicates'][kind]:,} {what}"
    for name, n in counts.items():
        if name.endswith("masked"):
            yield f"{name}: {n:,}"
    for source, place, reason in facts["losses"][:5]:
        yield f"not read: {source} {place}: {reason}"
    if len(facts["losses"]) > 5:
        yield f"not read: {len(facts['losses']) - 5:,} more, in corpus.json"
    yield (f"kept: {sum(each['documents'] for each in shards):,} documents, "
           f"{sum(each['bytes'] for each in shards) / 1e6:,.1f} MB in {len(shards):,} shards")
    yield f"look at: {folder / 'report.html'}"
    yield f"learn it with: {called('train', folder)}"


if __name__ == "__main__":
    main()

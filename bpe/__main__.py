"""The command line: python -m bpe train | encode | decode | show | explain."""
import argparse
import os
import sys
import time
from pathlib import Path

from bpe import view
from bpe.formats import FORMATS
from bpe.merges import DEFAULT_PATTERN, ORDERS, TIES, train
from bpe.stream import SpecialTokenFound
from bpe.tokenfile import load_tokens
from bpe.tokenizer import Tokenizer

_EXAMPLES = """examples:
  python -m bpe train book.txt --vocab-size 8192 --special '<|endoftext|>' --output tokenizer.json
  python -m bpe encode tokenizer.json book.txt --output book.npy
  echo 'hello world' | python -m bpe encode tokenizer.json
  python -m bpe decode tokenizer.json book.npy
  python -m bpe show tokenizer.json book.txt --html book.html
  python -m bpe explain tokenizer.json lowest"""


def main(arguments=None):
    """Run one command; a mistake is one sentence on standard error and exit status 2."""
    options = _parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal may not have every character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options.run(options)
        sys.stdout.flush()
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, say `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"bpe: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bpe: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _sentence(error):
    if isinstance(error, SpecialTokenFound):
        return f"the text contains the special token {error.name!r}: allow it with --allow-special"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m bpe", description=__doc__, epilog=_EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="command")

    add = _command(commands, "train", _train, "learn a tokenizer from files and folders")
    add("sources", nargs="+", metavar="FILE", help="files and folders of text")
    add("--vocab-size", type=int, required=True, help="bytes, merges and special tokens together")
    add("--output", required=True, help="the file to write")
    add("--format", choices=FORMATS, help="of that file; by default by its name")
    add("--pattern", default=DEFAULT_PATTERN, help="gpt2, cl100k, o200k or a regular expression")
    add("--special", action="append", default=[], metavar="TOKEN", help="a special token")
    add("--ties", choices=TIES, default=TIES[0], help="which of equally frequent pairs")
    add("--order", choices=sorted(ORDERS), default="bytes", help="ids of the bytes")
    add("--min-count", type=int, default=1, help="stop at rarer pairs")
    add("--threads", type=int, help="by default one for each core")

    add = _command(commands, "encode", _encode, "turn text into ids")
    _add_tokenizer(add)
    add("files", nargs="*", metavar="FILE", help="text; standard input without one")
    add("--output", help="a token file to write; without it ids go to standard output")
    add("--allow-special", action="store_true", help="recognise special tokens in the text")
    add("--end-token", metavar="TOKEN", help="a special token to write behind each file")
    add("--threads", type=int, help="by default one for each core")

    add = _command(commands, "decode", _decode, "turn ids into text")
    _add_tokenizer(add)
    add("file", nargs="?", help="a token file or ids as text; standard input without one")

    add = _command(commands, "show", _show, "see the tokens of a text")
    _add_tokenizer(add)
    add("files", nargs="*", metavar="FILE", help="text; standard input without one")
    add("--text", help="the text itself")
    add("--html", metavar="FILE", help="write a page there")
    add("--report", action="store_true", help="only numbers: compression, unused tokens")
    add("--limit", type=int, default=4000, help="bytes to show of each file (default 4000)")

    add = _command(commands, "explain", _explain, "see the merges of words, one after the other")
    _add_tokenizer(add)
    add("words", nargs="+", metavar="TEXT")
    return parser


def _command(commands, name, run, text):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser.add_argument


def _add_tokenizer(add):
    add("tokenizer", help="tokenizer.json, a .tiktoken file, or a folder of vocab.json, merges.txt")
    add("--pattern", help="for a .tiktoken file of a name that is not known")


def _load(options):
    return Tokenizer.load(options.tokenizer, pattern=options.pattern)


# ---- the commands ----

def _train(options):
    tokenizer = train([Path(source) for source in options.sources], options.vocab_size,
                      pattern=options.pattern, special_tokens=options.special, ties=options.ties,
                      order=options.order, min_count=options.min_count, threads=options.threads,
                      progress=sys.stderr.isatty())
    tokenizer.save(options.output, options.format)
    _say(f"{options.output}: {tokenizer.vocab_size} tokens, fingerprint {tokenizer.fingerprint()}")


def _encode(options):
    tokenizer = _load(options)
    special = dict(allowed_special="all" if options.allow_special else ())
    if options.output is None:
        for _, data in _texts(options):
            ids = tokenizer.encode(data, threads=options.threads, **special)
            print(*ids, *_end_ids(tokenizer, options))
        return
    if not options.files:
        raise ValueError("--output needs files to encode")
    start = time.perf_counter()
    n_tokens = tokenizer.encode_file(options.files, options.output, threads=options.threads,
                                     end_token=options.end_token, **special)
    n_bytes = sum(os.path.getsize(path) for path in options.files)
    elapsed_s = time.perf_counter() - start
    _say(f"{options.output}: {n_tokens:,} tokens of {n_bytes:,} bytes in {elapsed_s:.1f} s")


def _end_ids(tokenizer, options):
    if options.end_token is None:
        return []
    return tokenizer.encode(options.end_token, allowed_special={options.end_token})


def _decode(options):
    tokenizer = _load(options)
    if options.file is not None and Path(options.file).read_bytes()[:6] == b"\x93NUMPY":
        ids = load_tokens(options.file, tokenizer)
    else:
        data = sys.stdin.buffer.read() if options.file is None else Path(options.file).read_bytes()
        ids = [_id(word) for word in data.replace(b",", b" ").split()]
    for start in range(0, len(ids), 1 << 20):
        sys.stdout.buffer.write(tokenizer.decode_bytes(ids[start:start + (1 << 20)]))


def _id(word):
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word.decode('utf-8', 'replace')!r:.40} is no id") from None


def _show(options):
    tokenizer = _load(options)
    documents = {}
    for name, data in _texts(options):
        shown = data if options.report else _head(data, options.limit)
        documents[name] = tokenizer.encode(shown, allowed_special="all")
        if len(shown) < len(data):
            _say(f"{name}: the first {len(shown)} of {len(data)} bytes (--limit shows more)")
    if options.html:
        Path(options.html).write_text(view.as_html(tokenizer, documents), "utf-8")
        _say(f"{options.html}: {len(documents)} documents")
    if options.report:
        print(*view.report(tokenizer, documents), sep="\n")
    elif not options.html:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for name, ids in documents.items():
            if len(documents) > 1:
                print(f"---- {name}")
            print(view.in_terminal(tokenizer, ids, colour))
        print(*view.report(tokenizer, documents, n_longest=0), sep="\n")


def _head(data, limit):
    """At most `limit` bytes, without a part of a character at the end."""
    stop = max(0, limit)
    while 0 < stop < len(data) and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return data[:stop]


def _explain(options):
    tokenizer = _load(options)
    for word in options.words:
        print(*view.explain(tokenizer, word), sep="\n")


def _texts(options):
    """Yield (name, bytes) of every text that was asked for."""
    if getattr(options, "text", None) is not None:
        yield "text", options.text.encode("utf-8", "surrogateescape")
    elif options.files:
        for path in options.files:
            yield path, Path(path).read_bytes()
    else:
        yield "standard input", sys.stdin.buffer.read()


def _say(sentence):
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

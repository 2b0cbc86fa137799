"""The command line: python -m bpe train | encode | decode | show | explain."""
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bpe import view
from bpe.console import (
    Parser, accept_any_encoding, check_writable, is_stream, read_stream, typed, visible,
    whole)
from bpe.formats import FORMATS
from bpe.merges import DEFAULT_PATTERN, ORDERS, TIES, train
from bpe.stream import SpecialTokenFound
from bpe.tokenfile import load_tokens
from bpe.tokenizer import Tokenizer

_HELP = """usage: python -m bpe COMMAND ...

    train      learn a tokenizer from files and folders
    encode     turn text into ids
    decode     turn ids into text
    show       see the tokens of a text
    explain    see the merges of words, one after the other

Each says with --help what it takes. Examples:

    python -m bpe train book.txt --vocab_size 8192 --special '<|endoftext|>' --output tok.json
    python -m bpe encode tok.json book.txt --output book.npy
    echo 'hello world' | python -m bpe encode tok.json
    python -m bpe decode tok.json book.npy
    python -m bpe show tok.json book.txt --html book.html
    python -m bpe explain tok.json lowest"""


def main(arguments=None):
    """Run one command; a mistake is one sentence on standard error and exit status 2."""
    accept_any_encoding()
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        return print(_HELP)
    if name not in COMMANDS:
        Parser(prog="python -m bpe").error(f"there is no command {name!r}: choose "
                                           f"{', '.join(COMMANDS)}")
    add_arguments, run = COMMANDS[name]
    parser = Parser(prog=f"python -m bpe {name}", description=run.__doc__)
    add_arguments(parser.add_argument)
    try:
        run(parser.parse_args(rest))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError) as error:
        parser.error(_sentence(error))
    except KeyboardInterrupt:
        print("bpe: interrupted; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def _sentence(error):
    if isinstance(error, SpecialTokenFound):
        return f"the text contains the special token {error.name!r}: allow it with --allow_special"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "the memory is full: take less text"
    return str(error)


# ---- what each command takes ----

def _train_arguments(add):
    add("sources", nargs="+", metavar="FILE", help="files and folders of text, - for stdin")
    add("--vocab_size", type=whole, required=True, help="bytes, merges and special tokens together")
    add("--output", required=True, help="the file to write")
    add("--format", choices=FORMATS, help="of that file; by default by its name")
    add("--pattern", default=DEFAULT_PATTERN, help="gpt2, cl100k, o200k or a regular expression")
    add("--special", action="append", default=[], metavar="TOKEN", help="a special token")
    add("--ties", choices=TIES, default=TIES[0], help="which of equally frequent pairs")
    add("--order", choices=sorted(ORDERS), default="bytes", help="ids of the bytes")
    add("--min_count", type=whole, default=1, help="stop at rarer pairs")
    _add_threads(add)


def _encode_arguments(add):
    _add_tokenizer(add)
    _add_files(add)
    add("--output", help="a token file to write; without it ids go to standard output")
    add("--allow_special", action="store_true", help="recognise special tokens in the text")
    add("--end_token", metavar="TOKEN", help="a special token to write behind each file")
    _add_threads(add)


def _decode_arguments(add):
    _add_tokenizer(add)
    add("file", nargs="?", help="a token file or ids as text; standard input without one")


def _show_arguments(add):
    _add_tokenizer(add)
    _add_files(add)
    add("--text", help="the text itself")
    add("--html", metavar="FILE", help="write a page there")
    add("--report", action="store_true", help="only numbers: compression, unused tokens")
    add("--limit", type=whole, default=4000, help="bytes to show of each file (default 4000)")


def _explain_arguments(add):
    _add_tokenizer(add)
    add("words", nargs="+", metavar="TEXT")


def _add_tokenizer(add):
    add("tokenizer", help="tokenizer.json, a .tiktoken file, or a folder of vocab.json, merges.txt")
    add("--pattern", help="for a .tiktoken file of a name that is not known")


def _add_files(add):
    add("files", nargs="*", default=[], metavar="FILE", help="text; without one, or for -, stdin")


def _add_threads(add):
    add("--threads", type=whole, help="by default one for each core")


def _load(options):
    return Tokenizer.load(options.tokenizer, pattern=options.pattern)


@contextmanager
def _files(names):
    """Paths that can be measured and read again: what is piped in is written to a file first."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        paths = []
        for k, name in enumerate(names):
            if not name.strip():
                raise ValueError("the name of a file is empty: name one")
            path = Path(folder, str(k)) if is_stream(name) else Path(name)
            if is_stream(name):
                path.write_bytes(read_stream(name))
            paths.append(path)
        yield paths


# ---- the commands ----

def _train(options):
    """Learn a tokenizer from files and folders."""
    _check_output(options.output, options.sources)
    with _files(options.sources) as paths:
        _check_vocab_size(options, sum(map(_size_bytes, paths)))
        tokenizer = train(paths, options.vocab_size, pattern=options.pattern,
                          special_tokens=options.special, ties=options.ties, order=options.order,
                          min_count=options.min_count, threads=options.threads,
                          progress=sys.stderr.isatty())
    tokenizer.save(options.output, options.format)
    _say(f"{options.output}: {tokenizer.vocab_size} tokens, fingerprint {tokenizer.fingerprint()}")


def _check_output(output, sources):
    """Refuse what cannot be written, or would be read and written at once."""
    check_writable(output)
    if any(Path(source).resolve() == Path(output).resolve() for source in sources):
        raise ValueError(f"{output} is both source and target")


def _size_bytes(path):
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    if not path.exists():
        raise ValueError(f"there is no file or folder {str(path)!r} to train on")
    return path.stat().st_size


def _check_vocab_size(options, n_bytes):
    """Refuse more tokens than the text can have: each that is learnt joins two of those in it."""
    most = 256 + len(options.special) + n_bytes
    if options.vocab_size > most:
        raise ValueError(f"vocab_size is {options.vocab_size:,}, but {n_bytes:,} bytes of text "
                         f"have at most {most:,} tokens")


def _encode(options):
    """Turn text into ids."""
    tokenizer = _load(options)
    special = dict(allowed_special="all" if options.allow_special else ())
    if options.output is None:
        end = _end_ids(tokenizer, options)
        for _, data in _texts(options):
            ids = tokenizer.encode(data, threads=options.threads, **special)
            print(*ids, *end)
        return
    _check_output(options.output, options.files)
    start = time.perf_counter()
    with _files(options.files or ["-"]) as paths:
        n_tokens = tokenizer.encode_file(paths, options.output, threads=options.threads,
                                         end_token=options.end_token, **special)
        n_bytes = sum(map(os.path.getsize, paths))
    elapsed_s = time.perf_counter() - start
    _say(f"{options.output}: {n_tokens:,} tokens of {n_bytes:,} bytes in {elapsed_s:.1f} s")


def _end_ids(tokenizer, options):
    if options.end_token is None:
        return []
    if options.end_token not in tokenizer.special_tokens:
        raise ValueError(f"end_token is {options.end_token!r}, which is none of the special tokens "
                         f"{sorted(tokenizer.special_tokens)}")
    return tokenizer.encode(options.end_token, allowed_special={options.end_token})


def _decode(options):
    """Turn ids into text."""
    tokenizer = _load(options)
    write = _write_visibly if sys.stdout.isatty() else sys.stdout.buffer.write
    with _files([options.file or "-"]) as [path]:
        ids = _ids_in(path, tokenizer)
        for start in range(0, len(ids), 1 << 20):
            write(tokenizer.decode_bytes(ids[start:start + (1 << 20)]))


def _write_visibly(data):
    sys.stdout.write(visible(data.decode("utf-8", "replace")))


def _ids_in(path, tokenizer):
    """Open a token file, or read ids as text."""
    with open(path, "rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return load_tokens(path, tokenizer)
    return [_id(word) for word in path.read_bytes().replace(b",", b" ").split()]


def _id(word):
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word.decode('utf-8', 'replace')!r:.40} is no id") from None


def _show(options):
    """See the tokens of a text."""
    if options.limit < 1:
        raise ValueError(f"limit is {options.limit}, but must be at least 1")
    if options.text is not None and options.files:
        raise ValueError(f"--text is a text, and {options.files[0]} another: leave one of them out")
    if options.html:
        check_writable(options.html)
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
    while 0 < limit < len(data) and data[limit] & 0xC0 == 0x80:
        limit -= 1
    return data[:limit]


def _explain(options):
    """See the merges of words, one after the other."""
    tokenizer = _load(options)
    for word in options.words:
        print(*view.explain(tokenizer, typed(word)), sep="\n")


def _texts(options):
    """Yield (name, bytes) of every text that was asked for."""
    if getattr(options, "text", None) is not None:
        yield "text", options.text.encode("utf-8", "surrogateescape")
        return
    for name in options.files or ["-"]:
        data = read_stream(name) if is_stream(name) else Path(name).read_bytes()
        yield "standard input" if name == "-" else name, data


def _say(sentence):
    print(sentence, file=sys.stderr)


COMMANDS = {"train": (_train_arguments, _train), "encode": (_encode_arguments, _encode),
            "decode": (_decode_arguments, _decode), "show": (_show_arguments, _show),
            "explain": (_explain_arguments, _explain)}


if __name__ == "__main__":
    main()

"""Let a model write: token by token, with a cache of keys and values.

    python -m gpt generate runs/NAME "Once upon a time" --temperature 0.8 --top_p 0.95 --n 3
    python -m gpt generate runs/NAME --prompts prompts.jsonl --out texts.jsonl
    python -m gpt generate runs/NAME "a source" --beams 4

Several texts of one prompt are written together. The first is shown while it is written, and those
behind it when it has ended. Beside weights that are numbers, each is what its seed alone writes.
"""
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from bpe.console import check_writable, finite, typed, visible, whole
from bpe.files import write_text
from gpt.command import add_base, find_run, make_parser, report_errors
from gpt.conversation import Conversation
from gpt.data.templates import choose_template
from gpt.models.beams import ALPHA, best_texts
from gpt.models.sampling import Sampling, encode_prompt, reads_source, write_each
from gpt.opening import open_model
from gpt.prompts import continue_all, cut, read_prompts
from gpt.settings import ConfigError

ROWS = 8                           # texts of one prompt that are written together
USUAL = 0.8                        # temperature of a text; of an answer 0


def parse(args):
    """Read the command line."""
    parser = make_parser("generate", "Let a trained model write.")
    parser.add_argument("run", help="the folder of a run, or last for the newest")
    parser.add_argument("prompt", nargs="?", help="the text to continue, or the source to answer "
                        "to [a line break]")
    parser.add_argument("--prompts", metavar="FILE", help="continue each line of a file; of .jsonl "
                        'a string or {"prompt": ...}')
    parser.add_argument("--out", metavar="FILE", help="write the prompts and texts there, as JSON "
                        "lines")
    parser.add_argument("--n", type=whole, default=1, help="number of continuations, of this "
                        "seed and those behind it, written together [1]")
    parser.add_argument("--max_tokens", type=whole, default=200, help="tokens of each [200]")
    add_sampling(parser)
    parser.add_argument("--beams", type=whole, metavar="N", help="search for the likeliest text, "
                        "N candidates at a time (beam search), rather than draw one")
    parser.add_argument("--length_penalty", type=finite, metavar="ALPHA", help="of that: above 0 "
                        f"for longer texts (arXiv:1609.08144, equation 14) [{ALPHA}]")
    parser.add_argument("--stop", action="append", default=[], help="text to end before")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    add_base(parser)
    args = parser.parse_args(args)
    for name, least in (("n", 1), ("max_tokens", 0)):
        if getattr(args, name) < least:
            parser.error(f"{name} is {getattr(args, name)}, but must be at least {least}")
    if "" in args.stop:
        parser.error("--stop is empty: name the text to end before")
    args.stop = [*map(typed, args.stop)]
    if args.prompts is not None and args.prompt is not None:
        parser.error(f"--prompts is {args.prompts!r}, but {args.prompt!r} is a prompt, too: leave "
                     "one of them out")
    if args.out is not None and args.prompts is None:
        parser.error(f"--out is {args.out!r}, but writes what --prompts FILE asks for: say that, "
                     "too, or leave it out")
    if args.beams is None and args.length_penalty is not None:
        parser.error(f"length_penalty is {args.length_penalty:g}, but is of a search: say --beams "
                     "N, too, or leave it out")
    if args.beams is not None and args.n > max(1, args.beams):
        parser.error(f"n is {args.n}, but {args.beams} beams find no more than {args.beams} "
                     f"texts: use --beams {args.n}")
    return parser, args


def add_sampling(parser):
    """Add the flags by which the next token is chosen; `sampling_of` reads them."""
    parser.add_argument("--temperature", type=finite, help="0 for the likeliest [0.8; 0 of a "
                        "model that answers to a source]")
    parser.add_argument("--top_k", type=whole, default=0, help="among the k likeliest tokens")
    parser.add_argument("--top_p", type=finite, default=1.0, help="among those that reach p [1]")
    parser.add_argument("--min_p", type=finite, default=0.0,
                        help="at least p of the likeliest [0]")
    parser.add_argument("--repetition_penalty", type=finite, default=1.0, help="above 1 to avoid")
    parser.add_argument("--seed", type=whole, default=0, help="the same seed, the same text [0]")


def sampling_of(args):
    """Return the `Sampling` that was asked for.

    Raises
    ------
    ConfigError
        If there is no such way to choose.
    """
    if args.seed < 0:
        raise ConfigError(f"seed is {args.seed}, but must be at least 0")
    temperature = USUAL if args.temperature is None else args.temperature
    return Sampling(args.repetition_penalty, temperature, args.top_k, args.top_p, args.min_p)


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        sampling = sampling_of(args)
        if args.beams is not None and sampling != Sampling():
            raise ConfigError("--beams finds the likeliest text, and draws none: leave out "
                              "--temperature, --top_k, --top_p, --min_p, --repetition_penalty")
        rows = read_prompts(args.prompts) if args.prompts is not None else []
        if args.out is not None:
            check_writable(args.out)
        opened = open_model(find_run(args.run), args.from_step, args.base)
        if args.temperature is None and answers(opened):
            sampling = replace(sampling, temperature=0)
        if rows:
            write_rows(rows, opened, sampling, args)
        else:
            print_texts(opened, sampling, args)


def print_texts(opened, sampling, args):
    """Print the continuations of one prompt while they are made."""
    prompt = typed(args.prompt or "")
    tell_cut([prompt], opened)                        # and refuse it, before it is printed
    show = visible if sys.stdout.isatty() else str
    begins = "" if answers(opened) else show(prompt)
    for i, pieces in enumerate(texts_of(prompt, opened, sampling, args), 1):
        first = next(pieces, "")                      # before the prompt: a net may refuse
        if args.n > 1:
            print(f"---- {i} ----")
        sys.stdout.write(begins + show(first))
        for piece in pieces:
            sys.stdout.write(show(piece))
            sys.stdout.flush()
        print()


def answers(opened):
    """Whether a model answers to a prompt, rather than continue it."""
    return opened.talks or reads_source(opened.model)


def texts_of(prompt, opened, sampling, args):
    """Yield the texts that are asked for, each as an iterator of its pieces."""
    if args.beams is not None:
        for text in searched(prompt, opened, args):
            yield iter([text])
        return
    seeds = range(args.seed, args.seed + args.n)
    for first in range(0, args.n, ROWS):
        yield from continued(opened, prompt, sampling, seeds[first:first + ROWS], args)


def continued(opened, prompt, sampling, seeds, args):
    """Return the texts of some seeds: a model that learnt to answer is asked as it learnt."""
    tokenizer, write = opened.tokenizer, partial(write_each, opened.model, opened.tokenizer)
    if not opened.talks:
        ids = encode_prompt(tokenizer, prompt)
        return write(ids, seeds, sampling, args.max_tokens, args.stop)
    _, template = choose_template(None, opened.template)
    chat = Conversation(opened, template, sampling, None, args.max_tokens)
    stops = *template.stops, *args.stop
    return write(chat.asked(prompt), seeds, sampling, chat.max_tokens, stops, chat.ends)


def searched(prompt, opened, args):
    """Return the n likeliest texts that a beam search finds, the likeliest first.

    Raises
    ------
    ConfigError
        If the model answers in a conversation, where nothing is searched.
    """
    if opened.talks:
        raise ConfigError("this model learnt to answer, and beams search for how a text goes on: "
                          "leave out --beams")
    alpha = ALPHA if args.length_penalty is None else args.length_penalty
    found = best_texts(opened.model, opened.tokenizer, prompt, args.beams, args.max_tokens, alpha)
    return [cut(text, args.stop) for text in found[:args.n]]


def tell_cut(prompts, opened):
    """Say which prompts are longer than the context, and so not read whole."""
    context = opened.model.config.context_length
    for prompt in prompts:
        n = len(encode_prompt(opened.tokenizer, prompt))
        if n > context:
            print(f"the prompt {prompt!r:.40}... has {n:,} tokens, of which the last {context:,} "
                  "count: the context of this model is no longer", file=sys.stderr)


def write_rows(rows, opened, sampling, args):
    """Continue the prompts of a file, and write a line of JSON for each continuation."""
    prompts, lines = [row["prompt"] for row in rows], []
    tell_cut(prompts, opened)
    if args.beams is not None:
        lines = [json.dumps({**row, "text": text}) for row in rows
                 for text in searched(row["prompt"], opened, args)]
    seeds = range(args.seed, args.seed + args.n) if args.beams is None else ()
    for seed in seeds:
        texts = written(opened, prompts, sampling, seed, args)
        lines += [json.dumps({**row, "text": text, "seed": seed}) for row, text in zip(rows, texts)]
    if args.out:
        write_text(Path(args.out), "\n".join(lines) + "\n")
        print(f"{args.out}: {len(lines):,} texts")
    else:
        print(*lines, sep="\n")


def written(opened, prompts, sampling, seed, args):
    """Return what a model writes to each of some prompts."""
    if opened.talks:
        texts = [next(continued(opened, prompt, sampling, [seed], args)) for prompt in prompts]
        return [*map("".join, texts)]
    return continue_all(opened.model, opened.tokenizer, prompts, sampling, seed, args.max_tokens,
                        args.stop)


if __name__ == "__main__":
    main()

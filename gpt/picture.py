"""Draw a net with what each part costs, forward and backward, and the numbers that flow in it.

    minigrad picture RUN --html net.html
    minigrad picture --preset gpt2 --n_layer 12 --prompt "To be"
"""
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpe.console import whole
from bpe.files import write_text
from gpt.batch import IGNORE, Batch
from gpt.command import find_run, make_parser, report_errors
from gpt.flags import add_settings, given_settings
from gpt.models.sampling import encode_prompt
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.config import PRESETS, Config
from gpt.training.forecast import check_size
from gpt.training.tasks import task_named
from minigrad.stepper import html_page, trace
from minigrad.stepper.command import check_page
from minigrad.stepper.cost import of_modules
from minigrad.stepper.parts import tree

MOST_TOKENS = 1024                 # of a sequence, unless more are asked for


class Drawn(NamedTuple):
    """A net to be drawn."""

    name: str
    model: object
    task: str
    tokenizer: object = None
    data: object = None            # of what it learns from, where that is known


def main(args=None):
    parser = make_parser("picture", "Draw a net, and say what each part costs.")
    parser.add_argument("model", nargs="?", help="a run (or last), a shared or published folder, a "
                        "GGUF; without it the net of --preset and of the settings below")
    parser.add_argument("--preset", choices=PRESETS, help="settings to begin with [fast]")
    parser.add_argument("--html", metavar="PAGE.html", help="write a page, to open in a browser")
    parser.add_argument("--prompt", help="a text whose numbers flow through the net")
    parser.add_argument("--tokens", type=whole, help="length of the sequence that is counted "
                        f"[the context, at most {MOST_TOKENS}]")
    add_settings(parser)
    args = parser.parse_args(args)
    given = given_settings(args)
    with report_errors(parser.prog):
        check_page_is_new(args.html)
        net = opened(args.model, args.preset, given)
        t, batch = traced(net, args.prompt, args.tokens)
        told = summary(net, t, batch, args.prompt)
        print(told, tree(t), sep="\n\n")
        if args.html:
            tokens = [] if args.prompt is None else texts(net, batch.ids[0])
            page = html_page.page(t, (t.level,), title=told, tokens=tokens)
            write_text(Path(args.html), page)
            print(f"\nthe page: {args.html}")


def check_page_is_new(path):
    try:
        check_page(path)
    except ValueError as error:
        raise ConfigError(str(error)) from None


# ---- the net ----

def opened(place, preset, given):
    """Open the net at a place, or make the one that settings describe: Drawn."""
    if place is None:
        config = Config.make(preset or "fast", **given)
        config = config.changed(vocab_size=config.data.vocabulary or 256)
        check_size(config)
        model = config.new_net(np.random.default_rng(config.train.seed))
        return Drawn(config.train.net, model, config.train.task)
    for name in ["preset"] * bool(preset) + [*given]:
        raise ConfigError(f"--{name} describes a new net, and {place} is there already: leave one "
                          "of them out")
    found = open_model(find_run(place))
    data = found.text and found.data()
    return Drawn(str(place), found.model, found.task, found.tokenizer, data)


# ---- what it reads ----

def batch_for(net, prompt, n_tokens):
    """Return a sequence for a net: of its prompt, else of its text, else of any tokens."""
    room = net.model.config.context_length
    T = min(room, MOST_TOKENS) if n_tokens is None else n_tokens
    if not 0 < T <= room:
        raise ConfigError(f"tokens is {T}, but context_length is {room}: use 1 to {room}")
    rng = np.random.default_rng(0)
    if prompt is not None:
        return asked(net.task, tokens_of(net, prompt, room)[None])
    if net.data is not None:
        return task_named(net.task).batch(net.data, (1, T), rng, net.model).widened(T)
    ids = rng.integers(net.model.config.vocab_size, size=(1, T))
    return asked(net.task, ids)


def tokens_of(net, prompt, room):
    """Return the tokens of a prompt, its bytes where a net has no tokenizer: (T,)."""
    if net.tokenizer is not None:
        ids = encode_prompt(net.tokenizer, prompt)
    else:
        ids = np.frombuffer(prompt.encode(), np.uint8).astype(np.int64)
    if not 2 <= len(ids) <= room:
        raise ConfigError(f"the prompt has {len(ids)} tokens, but 2 to {room} are needed: use "
                          f"a {'longer' if len(ids) < 2 else 'shorter'} one")
    if max(ids) >= net.model.config.vocab_size:
        raise ConfigError(f"the prompt has a token {max(ids)}, but the net knows "
                          f"{net.model.config.vocab_size}: use --vocabulary 256")
    return np.asarray(ids)


def texts(net, ids):
    """Return the text of each token."""
    if net.tokenizer is None:
        return [*map(chr, ids)]
    return [net.tokenizer.decode([int(i)]) for i in ids]


def asked(task, ids):
    """Return a batch that asks what a task asks of (1, T) ids."""
    after = np.full_like(ids, IGNORE)                                           # (1, T)
    after[:, :-1] = ids[:, 1:]
    lengths = np.array([ids.shape[1]])
    if task == "classify":
        return Batch(ids, np.zeros(1, np.int64), lengths)
    if task == "seq2seq":
        return Batch(ids, after, source=ids, source_lengths=lengths)
    return Batch(ids, ids if task == "masked" else after)


# ---- what happens in it ----

def traced(net, prompt=None, n_tokens=None):
    """Record the loss of one sequence, and its gradients: (Trace, Batch)."""
    batch = batch_for(net, prompt, n_tokens)
    rng = np.random.default_rng(0) if prompt is None else None      # of dropout, as in training
    with trace() as t:
        loss = task_named(net.task).loss(net.model, batch, 1.0, rng)
        loss.backward()
    return t, batch


def summary(net, t, batch, prompt=None):
    """Say what all parts cost together: the first line is the title of the page."""
    B, T = batch.ids.shape
    cost, n = of_modules(t)[""], sum(x.size for x in net.model.parameters())
    read = "" if prompt is None else f"{prompt!r:.60}, "
    flops = cost.forward + cost.backward
    title = f"{net.name}: {n:,} parameters, {flops // T:,} FLOP a token"
    if n > cost.parameters:
        title += f" ({n - cost.parameters:,} parameters are not used here)"
    return (f"{title}\n{read}{B} x {T} tokens, task {net.task}: {flops:,} FLOP in all, "
            f"{cost.forward:,} of them forward; {cost.kept:,} bytes are kept until the backward "
            "pass")


if __name__ == "__main__":
    main()

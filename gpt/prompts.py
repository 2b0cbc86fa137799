"""Prompts from a file: read, continued in batches, written as JSON lines."""
import json

import numpy as np

from gpt.data.corpora import read_text
from gpt.models.sampling import begun, encode_prompt, ends_of, generate
from gpt.settings import ConfigError

AT_ONCE = 32                       # prompts of one length that are continued together
LOOK_EVERY = 16                    # tokens, after which it is asked whether all have ended


def read_records(name, make, kind, fields):
    """Make something of each line of JSON in a file.

    Parameters
    ----------
    name : str
        A file, `-` for standard input; empty lines do not count.
    make : callable
        From the record of a line.
    kind, fields : str
        What it makes and what the record must hold, for the errors.

    Returns
    -------
    list

    Raises
    ------
    ConfigError, CorpusError
        Naming the line that `make` cannot use; or if there is none, or no such file.
    """
    found = []
    for number, line in enumerate(read_text(name).split("\n"), 1):
        if line.strip():
            try:
                found.append(make(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ConfigError(f"line {number} of {name} is no {kind} with the fields {fields} "
                                  f"({line!r:.50})") from error
    if not found:
        raise ConfigError(f"there is no {kind} in {name}: write one on each line, as JSON")
    return found


def read_prompts(name):
    """Read prompts: JSON lines (a string each, or an object with `prompt`) or plain lines.

    Parameters
    ----------
    name : str
        A file, `-` for standard input; JSON if it ends in .jsonl.

    Returns
    -------
    rows : list of dict
        Each with `prompt`, and with what else the line says.

    Raises
    ------
    ConfigError, CorpusError
        Naming the line that holds no prompt; or if the file holds none, or cannot be read.
    """
    read = from_json if name.endswith(".jsonl") else plain
    rows = []
    for number, line in enumerate(read_text(name).split("\n"), 1):
        if not line.strip():
            continue
        row = read(line.removesuffix("\r"))
        if not isinstance(row.get("prompt"), str):
            raise ConfigError(f"line {number} of {name} is {line!r:.60}, but must be a string or "
                              'an object with one, as {"prompt": "Once"}')
        rows.append(row)
    if not rows:
        raise ConfigError(f"there is no prompt in {name}: write one on each line")
    return rows


def plain(line):
    return {"prompt": line}


def from_json(line):
    """Read a row from a line; without a prompt, if it holds none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {"prompt": found}


def continue_all(model, tokenizer, prompts, sampling, seed, max_tokens, stop=()):
    """Continue many prompts, those of one length in tokens together.

    They share one stream of random numbers, so what one gets depends on the others with it.

    Parameters
    ----------
    model : Module
        With `config`, `stream`, `head`, `start`.
    tokenizer : tokenizer of the model
    prompts : list of str
    sampling : Sampling
    seed, max_tokens : int
        `max_tokens` is of each.
    stop : sequence of str
        Texts before which to end.

    Returns
    -------
    texts : list of str
        In the order of the prompts, which they do not repeat.
    """
    ids = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    rng, texts = np.random.default_rng(seed), [""] * len(ids)
    text_of = lambda row: ended_text(row, tokenizer, ends_of(model, tokenizer), stop)
    for places in together(ids):
        begin, source = begun(model, tokenizer, [ids[i] for i in places])
        tokens = generate(model, begin, sampling, rng, max_tokens, source)
        made = until_ended(tokens, len(places), text_of)
        for i, text in zip(places, made):
            texts[i] = text
    return texts


def together(ids):
    """Yield the places of ids of one length, at most so many that they fit into one batch."""
    places = {}                                       # length -> where it is found
    for i, row in enumerate(ids):
        places.setdefault(len(row), []).append(i)
    for same in places.values():
        for first in range(0, len(same), AT_ONCE):
            yield same[first:first + AT_ONCE]


def until_ended(tokens, B, text_of):
    """Read tokens, (B,) at a time, until every text has ended; return the texts.

    `text_of` gives the text of (n,) ids, and whether something ended it.
    """
    made = np.zeros((B, 0), np.int64)
    for n, chosen in enumerate(tokens, 1):
        made = np.c_[made, chosen]                                              # (B, n)
        if n % LOOK_EVERY == 0:
            if all(ended for _, ended in map(text_of, made)):
                break
    return [text for text, _ in map(text_of, made)]


def ended_text(ids, tokenizer, ends, stop):
    """Decode ids up to what ends them: (text, whether something did)."""
    at_end = np.isin(ids, [*ends])
    n = int(at_end.argmax()) if at_end.any() else len(ids)
    text = tokenizer.decode(ids[:n])
    before = cut(text, stop)
    return before, len(before) < len(text) or n < len(ids)


def cut(text, stop):
    """Return what stands before the first of the texts to stop at."""
    found = [text.index(word) for word in stop if word in text]
    return text[:min(found, default=len(text))]

"""The token that stands for a hidden one, and what a net makes of it."""
import numpy as np

from gpt.batch import Batch
from gpt.settings import ConfigError
from minigrad import linear, no_grad, softmax

MASK = "[MASK]"                    # as it is written in a text
NAMES = (MASK, "<mask>")           # in a tokenizer: of BERT, of RoBERTa


def mask_id(tokenizer):
    """Return the id of [MASK]: that of the tokenizer, or one more than it has."""
    known = tokenizer.special_tokens
    found = [known[name] for name in NAMES if name in known]
    return found[0] if found else tokenizer.vocab_size


def hidden(model, tokenizer, ids):
    """Return how likely every token but [MASK] is at every place of (B, T) ids: (B, T, V)."""
    with no_grad():
        x = model.stream(Batch(ids))                                            # (B, T, C)
        p = softmax(linear(x, model.head).data)
    p[..., mask_id(tokenizer)] = 0
    return p[..., :tokenizer.vocab_size]


def fill(model, tokenizer, text, n=5):
    """Fill in every [MASK] of a text.

    Parameters
    ----------
    model : Encoder
    tokenizer : tokenizer
    text : str
    n : int

    Returns
    -------
    list of list of (str, float)
        For each, the n likeliest tokens and how likely they are.

    Raises
    ------
    ConfigError
        If the text or the model has none, the text has characters that the model does not know,
        or it is too long.
    """
    if mask_id(tokenizer) >= model.config.vocab_size:
        raise ConfigError(f"this model has no token {' or '.join(NAMES)}: name one that learnt to "
                          "fill in")
    ids = masked_ids(tokenizer, text)                                           # (T,)
    room = model.config.context_length
    if len(ids) > room:
        raise ConfigError(f"the text has {len(ids)} tokens, but context_length is {room}: shorten "
                          "it")
    places = np.flatnonzero(ids == mask_id(tokenizer))
    p = hidden(model, tokenizer, ids[None])[0, places]                          # (masks, V)
    found = []
    for row in p:
        best = np.argsort(-row, kind="stable")[:n]
        found.append([(tokenizer.decode([int(i)]), float(row[i])) for i in best])
    return found


def masked_ids(tokenizer, text):
    """Encode a text with a [MASK], within what the model expects around one: (T,) int64."""
    parts = text.split(MASK)
    if len(parts) == 1:
        raise ConfigError(f"the text {text!r:.60} has no {MASK}: write it where a token is wanted")
    if any(token and len(token) > 1 and token[:1] == b" " for token in tokenizer.tokens):
        parts[:-1] = [part.removesuffix(" ") for part in parts[:-1]]   # a token brings its space
    before, after = tokenizer.frame
    try:
        encoded = [tokenizer.encode(part, disallowed_special=()) for part in parts]
    except ValueError as error:
        raise ConfigError(f"the text {text!r:.60} cannot be encoded: {error}") from error
    ids = encoded[0]
    for more in encoded[1:]:
        ids = [*ids, mask_id(tokenizer), *more]
    return np.array([*before, *ids, *after])

"""From pieces of text to tokens, on all cores, and how far it is."""
import time

import numpy as np

import bpe
from gpt.data.reading import END_OF_TEXT

BATCH_BYTES = 1 << 23              # encoded at a time


def encoded_sources(sources, tokenizer, told, firsts):
    """Yield the ids of sources; where those of each begin goes into `firsts`, and the end."""
    n = 0
    for pieces in sources:
        firsts.append(n)
        for ids in encoded(told(pieces()), tokenizer):
            n += len(ids)
            yield ids
    firsts.append(n)


def encoded(pieces, tokenizer):
    """Yield the ids of documents in pieces, with the end-of-text token between two documents."""
    end, ended = tokenizer.special_tokens.get(END_OF_TEXT), False
    for together in batches(pieces):
        texts, ends = zip(*together)
        for ids, ends_here in zip(encoded_batch(texts, tokenizer), ends):
            if ended and end is not None:
                yield np.array([end])
            yield ids
            ended = ends_here


def batches(pieces, n_bytes=BATCH_BYTES):
    """Put pieces into lists of about so many bytes."""
    together, size = [], 0
    for piece in pieces:
        together.append(piece)
        size += len(piece.text)
        if size >= n_bytes:
            yield together
            together, size = [], 0
    if together:
        yield together


def encoded_batch(texts, tokenizer):
    """Return the ids of each text, on all cores if the tokenizer can."""
    if isinstance(tokenizer, bpe.Tokenizer):
        return tokenizer.encode_batch(texts, disallowed_special=())
    return (tokenizer.encode_array(text, disallowed_special=()) for text in texts)


SAY_S = 10                         # between two words on how far it is


def telling(n_bytes, say):
    """Return a function that passes pieces on, and says now and then how much of a text they were.
    """
    done, said_s = 0, time.monotonic()

    def told(pieces):
        nonlocal done, said_s
        for piece in pieces:
            yield piece
            done += len(piece.text)
            if say and time.monotonic() > said_s + SAY_S:
                said_s = time.monotonic()
                say(f"tokens: {min(1, done / n_bytes):.0%} of the text is encoded")
    return told

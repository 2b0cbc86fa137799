"""Decode ids as they come."""
import codecs

import numpy as np


class StreamDecoder:
    """Decode ids as they come, holding back only the bytes of a character that is not complete.

    Examples
    --------
    >>> from bpe import Tokenizer
    >>> decoder = Tokenizer([]).decoder()
    >>> [decoder.feed([i]) for i in "\u00fc!".encode()], decoder.close()
    (['', '\u00fc', '!'], '')
    """

    def __init__(self, tokenizer, errors="replace"):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(checked_errors(errors))

    def feed(self, ids):
        """Return the text that is complete after these ids, an int or several."""
        ids = [ids] if isinstance(ids, (int, np.integer)) else ids
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def close(self):
        """Return what was held back, treated as `errors` says; the decoder is then as new."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def bytes_of(ids, tokens):
    """Join the bytes of ids.

    Parameters
    ----------
    ids : sequence of int
    tokens : list of bytes
        By id; None for an id that stands for nothing.

    Raises
    ------
    ValueError
        Naming the first of `ids` that is no token: negative, too large, or no int at all.
    """
    ids = ids.tolist() if isinstance(ids, np.ndarray) else ids
    is_text = isinstance(ids, (str, bytes, bytearray))
    if is_text or not hasattr(ids, "__iter__"):
        raise TypeError(f"ids must be a sequence of ints, not {ids!r:.50}")
    ids = list(ids)
    if not {int}.issuperset(map(type, ids)):
        ids = [int(i) if isinstance(i, np.integer) else i for i in ids]
    all_ints = {int}.issuperset(map(type, ids))
    try:
        if all_ints and min(ids, default=0) >= 0:
            return b"".join(map(tokens.__getitem__, ids))
    except (IndexError, TypeError):
        pass  # an id is wrong: which?
    known = range(len(tokens))
    at = next(k for k, i in enumerate(ids)
              if type(i) is not int or i not in known or tokens[i] is None)
    raise ValueError(f"id {ids[at]!r:.50} at position {at} is no token: the ids of this tokenizer "
                     f"are 0 to {len(tokens) - 1}")


def checked_errors(errors):
    """Return `errors`, or say which there are."""
    try:
        codecs.lookup_error(errors)
    except LookupError:
        raise ValueError(f"errors is {errors!r}, but must be 'strict', 'replace', 'ignore', "
                         f"'backslashreplace' or 'surrogateescape'") from None
    return errors

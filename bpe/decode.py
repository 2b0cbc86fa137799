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


def checked_errors(errors):
    """Return `errors`, or say which there are."""
    try:
        codecs.lookup_error(errors)
    except LookupError:
        raise ValueError(f"errors is {errors!r}, but must be 'strict', 'replace', 'ignore', "
                         f"'backslashreplace' or 'surrogateescape'") from None
    return errors

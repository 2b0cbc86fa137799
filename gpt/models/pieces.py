"""From tokens to pieces of text: whole characters only, and up to a text to stop at."""


def pieces_of(tokens, tokenizer, stop=()):
    """Decode tokens as they come, in pieces that hold whole characters, up to a text to stop at."""
    pieces = Pieces(tokenizer, stop)
    for token in tokens:
        if piece := pieces.feed(token):
            yield piece
        if pieces.stopped:
            return
    yield pieces.close()


class Pieces:
    """Tokens in, pieces of text out, up to a text to stop at.

    Parameters
    ----------
    tokenizer : tokenizer
    stop : sequence of str

    Attributes
    ----------
    stopped : bool
        Whether one of these came.
    """

    def __init__(self, tokenizer, stop=()):
        self.decoder, self.stop = tokenizer.decoder(), stop
        self.longest = max(map(len, stop), default=1) - 1   # of a part of one, not seen whole
        self.held = ""             # decoded, and not told yet
        self.stopped = False

    def feed(self, token):
        """Return what is sure after one more token: whole characters, maybe none."""
        self.held += self.decoder.feed([token])
        held = self.held
        found = [held.index(text) for text in self.stop if text in held]
        self.stopped = bool(found)
        # Without one, what is held back may be the beginning of one.
        sure = min(found, default=max(0, len(held) - self.longest))
        self.held = held[sure:]
        return held[:sure]

    def close(self):
        """Return what was held back; nothing behind a text that stopped it."""
        return "" if self.stopped else self.held + self.decoder.close()

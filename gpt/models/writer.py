"""Several texts at once, each at a place of its own: where one ends, the next begins.

    row 0   Once upon a ti|me          a step reads the last token of every row
    row 1   The king |
    reader  Dear Sir, I am wri...      and a piece of the next prompt, which then gets a row

What becomes of a text does not depend on the others. Kernels treat each of few rows by itself, and
prompts are read alone, in pieces that are cut at the same places always.
"""
import numpy as np

from gpt.models.sampling import NextScores, begin_alike, choose

PIECE = 128                # tokens of a prompt that are read while others wait for their next one


class Text:
    """A text that is to be written.

    Parameters
    ----------
    ids : list of int
        What it begins with, at least one.
    sampling : Sampling
    rng : numpy.random.Generator
    """

    def __init__(self, ids, sampling, rng):
        self.ids, self.n_prompt = [*ids], len(ids)
        self.sampling, self.rng = sampling, rng

    @property
    def n_made(self):
        """How many tokens were written behind the prompt."""
        return len(self.ids) - self.n_prompt

    def go_on(self, scores):
        """Choose the next token by scores, (V,), and add it."""
        token = choose(scores, self.ids, self.sampling, self.rng)
        self.ids.append(token)
        return token


class Writer:
    """A net that reads what several texts need next.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes and reads no source.
    n_rows : int
        Texts at once.
    """

    def __init__(self, model, n_rows):
        self.rows = NextScores(model, n_rows)
        self.reader = NextScores(model, 1)
        self.n_rows, self.texts = n_rows, []           # a text of each row that is in use
        self.next, self.read = None, []                # whose prompt is read, and how far
        self.scores = None                             # of what follows what was read

    @property
    def has_room(self):
        """Whether one more text can begin."""
        return self.next is None and len(self.texts) < self.n_rows

    @property
    def all(self):
        """The texts that have begun, a list."""
        return self.texts + ([self.next] if self.next else [])

    def begin(self, text):
        """Take a text whose prompt is to be read; there must be room.

        Of the prompt that was read last, the pieces that are the same are kept.
        """
        self.next = text
        if self.read == text.ids:                      # another answer to the same prompt
            return
        alike = begin_alike(self.read, text.ids[:-1])  # the last is read: it has the scores
        known = text.ids[:alike // PIECE * PIECE]
        n = self.reader.state.keep(np.array([known], np.int64))
        self.read = known[:n]

    def end(self, text):
        """Let a text go; the one of the last row moves to where it was."""
        if text is self.next:
            self.next = None
        if text in self.texts:
            state, row = self.rows.state, self.texts.index(text)
            last = self.texts.pop()
            if last is not text:
                state.adopt(row, state, len(self.texts))
                self.texts[row] = last

    def step(self):
        """Read a token of each text and a piece of the next prompt.

        Returns
        -------
        found : list of (Text, (V,) float)
            The texts that are to go on, and the scores of their next tokens; each must have gone
            on, or have ended, before the next step.
        """
        found = []
        if self.texts:
            last = [text.ids[-1:] for text in self.texts]
            found += zip(self.texts, self.rows(np.array(last)))                 # of (B, 1): (B, V)
        if self.next:
            if len(self.read) < len(self.next.ids):
                self.read_piece()
            if len(self.read) == len(self.next.ids):
                found.append((self.next, self.scores))
                self.rows.state.adopt(len(self.texts), self.reader.state)
                self.texts.append(self.next)
                self.next = None
        return found

    def read_piece(self):
        """Read a piece of the next prompt."""
        n = len(self.read)
        piece = self.next.ids[n:n + PIECE]
        self.scores, = self.reader(np.array([piece]))                           # (V,)
        self.read = self.next.ids[:n + PIECE]

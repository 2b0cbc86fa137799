"""Who waits, who is being answered, who has left: one thread that decodes for all.

    batcher = Batcher(model, tokenizer)
    batcher.submit([Answer(ids, sampling, rng, 20, tell)])     # from any thread
    tell(Piece("Once upon"))                                   # from the one that decodes
    tell(Piece(" a time", "stop"))
"""
import sys
import threading
from collections import deque
from typing import NamedTuple

from gpt.models.pieces import Pieces
from gpt.models.writer import Text, Writer


class Full(Exception):
    """As many wait as may."""


class Piece(NamedTuple):
    """What is new of an answer."""

    text: str
    finish: str | None = None      # why it ends: stop, length or error


class Answer(Text):
    """A text for somebody who waits for it.

    Parameters
    ----------
    ids, sampling, rng
        As for `Text`.
    max_tokens : int
        At least 1.
    tell : callable
        Takes each `Piece`, where `Batcher.hand_over` calls it: it must be quick.
    stop : sequence of str
        Texts before which to end.
    """

    def __init__(self, ids, sampling, rng, max_tokens, tell, stop=()):
        super().__init__(ids, sampling, rng)
        self.max_tokens, self.tell, self.stop = max_tokens, tell, stop
        self.has_left = False      # whether nobody waits any more


def tell_each(told):
    """Tell what is new of each answer, a list of (Answer, Piece)."""
    for answer, piece in told:
        answer.tell(piece)


class Batcher:
    """A queue, and a thread that writes several answers at once.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes and reads no source.
    tokenizer : tokenizer
    ends : set of int, optional
        Tokens that end an answer; the special ones unless given.
    n_rows, n_waiting : int
        Answers at once, and how many more may wait.

    Attributes
    ----------
    n_tokens : int
        Written so far.
    hand_over : callable
        Takes all that is new after a step, a list of (Answer, Piece), in the thread that decodes.
    """

    hand_over = staticmethod(tell_each)

    def __init__(self, model, tokenizer, ends=None, n_rows=8, n_waiting=64):
        self.model, self.tokenizer = model, tokenizer
        self.ends = {*tokenizer.special_tokens.values()} if ends is None else ends
        self.n_rows, self.n_waiting, self.n_tokens = n_rows, n_waiting, 0
        self.waiting, self.changed = deque(), threading.Condition()
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="decoder", daemon=True)
        self.thread.start()

    # ---- from other threads ----

    def submit(self, answers):
        """Let answers wait for their turn, all or none.

        Raises
        ------
        Full
            If there are more than may wait.
        """
        with self.changed:
            if self.closed or len(self.waiting) + len(answers) > self.n_waiting:
                raise Full
            for answer in answers:
                answer.pieces = Pieces(self.tokenizer, answer.stop)
            self.waiting += answers
            self.changed.notify()

    def cancel(self, answers):
        """Write no more of answers for which nobody waits."""
        with self.changed:
            for answer in answers:
                answer.has_left = True
            self.waiting = deque(x for x in self.waiting if not x.has_left)

    def close(self):
        """End all answers where they are, and the thread."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    # ---- the thread that decodes ----

    def run(self):
        writer = None
        while not self.closed:
            writer = writer or Writer(self.model, self.n_rows)
            try:
                self.admit(writer)
                self.advance(writer)
            except Exception as error:                 # such as a full memory: the next may do
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                self.drop(writer.all)
                writer = None
        self.drop([*(writer.all if writer else ()), *self.waiting])

    def admit(self, writer):
        """Let the next one begin if there is room; where nothing is to be done, wait for one."""
        for answer in writer.all:
            if answer.has_left:
                writer.end(answer)
        with self.changed:
            while not (self.waiting or writer.all or self.closed):
                self.changed.wait()
            if self.waiting and writer.has_room:
                writer.begin(self.waiting.popleft())

    def advance(self, writer):
        """Write one token more of each answer that has read its prompt."""
        told = []
        for answer, scores in writer.step():
            try:
                piece = self.next_piece(answer, scores)
            except (FloatingPointError, ValueError) as error:    # of weights, of no token
                piece = Piece(str(error), "error")
            if piece.finish:
                writer.end(answer)
            if piece.text or piece.finish:
                told.append((answer, piece))
        self.hand_over(told)

    def next_piece(self, answer, scores):
        """Choose the next token by scores, (V,), and return what is known of the text by it."""
        token = answer.go_on(scores)
        self.n_tokens += 1
        if token in self.ends:
            answer.ids.pop()
            return Piece(answer.pieces.close(), "stop")
        text = answer.pieces.feed(token)
        if answer.pieces.stopped:
            return Piece(text, "stop")
        if answer.n_made == answer.max_tokens:
            return Piece(text + answer.pieces.close(), "length")
        return Piece(text)

    def drop(self, answers):
        piece = Piece("the server has stopped writing: ask again", "error")
        self.hand_over([(answer, piece) for answer in answers])

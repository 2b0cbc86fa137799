"""Beam search: of all answers, the likeliest that a few candidates at a time lead to."""
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.models.sampling import NextScores, begun, check_scores, encode_prompt, ends_of
from gpt.settings import ConfigError
from minigrad import log_softmax

ALPHA = 0.6                        # as Vaswani et al. 2017 take it, 6.1


class Candidate(NamedTuple):
    """The beginning of an answer, or a whole one."""

    log_p: float                   # nats
    ids: list
    row: int                       # of the state that has read all but the last of them

    @property
    def last(self):
        return self.ids[-1]

    def score(self, alpha):
        """Return log_p / lp(n), by which answers of n tokens are compared.

        lp(n) = ((5 + n) / 6) ** alpha: each token more makes an answer less likely, and that makes
        up for a part of it (Wu et al. 2016, arXiv:1609.08144, equation 14).
        """
        n = len(self.ids)
        return self.log_p / ((5 + n) / 6) ** alpha


def beam_search(model, begin, ends, width, max_tokens, alpha=ALPHA, source=None):
    """Find likely answers: greedy search with a width of 1, all answers with one that is endless.

    Each candidate is continued by every token, and the `width` likeliest that have not ended go on.
    Those that end among the first `width` are kept; when there are as many, the search is over.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes.
    begin : (1, T) int
        What is continued.
    ends : collection of int
        The tokens that end an answer.
    width : int
    max_tokens : int
        Of an answer; what the state has room for is another limit.
    alpha : float
        Of `Candidate.score`; 0 for the plain probability.
    source : Batch of one sequence, optional
        What an encoder-decoder answers to.

    Returns
    -------
    answers : list of Candidate
        At most `width`, best first; those that have not ended are behind those that have.

    Raises
    ------
    FloatingPointError
        As for `sampling.choose`.
    """
    unread = np.repeat(begin, width, axis=0)                                    # (width, T)
    next_scores = NextScores(model, width, source and repeated(source, width))
    room = next_scores.state.capacity - unread.shape[1]
    alive, ended = [Candidate(0.0, [], 0)], []        # every row has read the same
    most = width * (1 + len(ends))                    # of which at least `width` do not end
    for _ in range(int(min(max_tokens, room + 1))):   # the last is not read
        ranked = likeliest(alive, next_scores(unread), most)
        whole = [x.last in ends for x in ranked]
        ended += [x for x, is_whole in zip(ranked[:width], whole) if is_whole]
        alive = [x for x, is_whole in zip(ranked, whole) if not is_whole]
        alive = alive[:width]
        if len(ended) >= width or not alive:
            break
        rows = [x.row for x in alive]
        last = [x.last for x in alive]
        rows = np.resize(rows, width)                 # those to spare repeat others
        next_scores.state.take(rows)
        unread = np.resize(last, (width, 1))
    by_score = lambda x: -x.score(alpha)
    found = sorted(ended, key=by_score) + sorted(alive, key=by_score)
    return found[:width]


def repeated(source, width):
    """Return a batch of one sequence as one of `width` equal ones."""
    arrays = []
    for x in source:
        arrays.append(x if x is None else np.repeat(x, width, axis=0))
    return Batch(*arrays)


def likeliest(alive, logits, n):
    """Return the n likeliest continuations of candidates by one token, the likeliest first."""
    logits = logits[:len(alive)].astype(np.float64)                             # (alive, V)
    for row in logits:
        check_scores(row)
    so_far = np.array([x.log_p for x in alive])
    log_p = so_far[:, None] + log_softmax(logits)
    V, log_p = log_p.shape[1], log_p.ravel()
    n = min(n, np.count_nonzero(log_p > -np.inf))
    least = np.partition(log_p, -n)[-n]
    best = np.flatnonzero(log_p >= least)
    order = np.argsort(-log_p[best], kind="stable")
    found = []
    for i in best[order][:n].tolist():
        row, token = divmod(i, V)
        ids = [*alive[row].ids, token]
        found.append(Candidate(float(log_p[i]), ids, row))
    return found


def best_texts(model, tokenizer, prompt, width, max_tokens, alpha=ALPHA):
    """Return the answers to a prompt as texts, at most `width`, best first.

    Raises
    ------
    ConfigError
        If the prompt cannot be encoded, or there is no such search.
    FloatingPointError
        As for `sampling.choose`.
    """
    if width < 1 or not 0 <= alpha <= 1e6:
        raise ConfigError(f"beams is {width} and length_penalty is {alpha:g}, but they must be at "
                          "least 1 and 0")
    begin, source = begun(model, tokenizer, [encode_prompt(tokenizer, prompt)])
    ends = ends_of(model, tokenizer)
    limit = model.config.context_length
    found = beam_search(model, begin[:, -limit:], ends, width, max_tokens, alpha, source)
    texts = []
    for answer in found:
        ids = [i for i in answer.ids if i not in ends]
        texts.append(tokenizer.decode(ids))
    return texts

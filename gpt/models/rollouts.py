"""Answers of a net to prompts of one length, drawn together as it writes them."""
import numpy as np

from gpt.models.sampling import Sampling, generate
from gpt.settings import ConfigError

AS_IT_IS = Sampling(temperature=1.0)


def rollouts(model, prompts, max_tokens, ends, rng, sampling=AS_IT_IS):
    """Let a net answer prompts, each up to a token that ends, which is a part of the answer.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes.
    prompts : (B, P) int
    max_tokens : int
    ends : collection of int
    rng : numpy.random.Generator
    sampling : Sampling
        As the probabilities are, unless told.

    Returns
    -------
    answers : (B, max_tokens) int64, padded with 0
    lengths : (B,) int64

    Raises
    ------
    ConfigError
        If there is no room for both in the context.
    """
    B, P = prompts.shape                              # all of one length: none is padded
    limit = model.config.context_length
    if P + max_tokens > limit + 1:                    # the last token is not read
        raise ConfigError(f"context_length is {limit}, but a prompt of {P} tokens with an answer "
                          f"of {max_tokens} takes {P + max_tokens - 1}: use fewer --answer_tokens")
    answers = np.zeros((B, max_tokens), np.int64)
    lengths = np.zeros(B, np.int64)
    alive, ends = np.ones(B, bool), [*ends]           # who has not ended
    drawn = generate(model, prompts, sampling, rng, max_tokens)
    for t, chosen in enumerate(drawn):
        answers[alive, t] = chosen[alive]
        lengths += alive
        alive &= ~np.isin(chosen, ends)
        if not alive.any():
            break
    return answers, lengths

"""Losses of preferences and of rewards: formulas on the surprise at each token, with their slopes.

A formula is given the surprise x, (B, T), as `cross_entropy` gives it with reduction "none", 0
where nothing is asked, and constants; it returns the loss and its gradient in x.
"""
import numpy as np

from gpt.models.heads import SMALL_VOCABULARY
from minigrad import cross_entropy, linear, linear_cross_entropy
from minigrad.kernels import jit
from minigrad.kernels.memory import empty_like
from minigrad.tensor import Op


def token_nats(model, batch, targets, rng=None):
    """Return the surprise at each of (B, T) targets, in nats: (B, T); 0 where none is asked."""
    x = model.stream(batch, rng=rng)                                            # (B, T, C)
    if len(model.head) <= SMALL_VOCABULARY:
        return cross_entropy(linear(x, model.head), targets, reduction="none")
    return linear_cross_entropy(x, model.head, targets, reduction="none")


def loss_by(formula):
    """Make an operation of a formula, (x, **constants) -> (loss, dx).

    What it does is one call for whoever records a step, so that it can be replayed.
    """
    def write(x, constants, loss, dx):
        loss[...], dx[...] = formula(x, **constants)

    def forward(x, **constants):
        loss, dx = np.empty((), x.dtype), empty_like(x)
        jit.run(write, x, constants, loss, dx)
        return loss, (dx,)

    def vjp(g, dx):
        scaled = empty_like(dx)
        jit.run(np.multiply, dx, g, scaled)
        return scaled,
    forward.__name__, forward.__doc__ = formula.__name__, formula.__doc__
    loss = Op(forward, replayed=True)
    loss.vjp(vjp)
    return loss


def margins(nats, reference):
    """Return how much likelier the chosen answers became than the rejected ones, in nats: (P,).

    Parameters
    ----------
    nats, reference : (2 P, T)
        As for `preference`.
    """
    change = -(nats + reference).sum(axis=1)                                    # (2 P,)
    return change[::2] - change[1::2]


def preference(nats, reference, beta=0.1, label_smoothing=0.0, n=1):
    r"""How surprising it is that of two answers the chosen one was preferred, in nats (DPO).

    .. math:: \text{loss} = \frac{1}{n} \sum -\log \sigma(m), \quad m = \beta \left[
              \log \frac{p(\text{chosen})}{p_0(\text{chosen})} -
              \log \frac{p(\text{rejected})}{p_0(\text{rejected})} \right]

    The slope in m is -sigmoid(-m): a pair that is told apart already moves nothing. Each token of
    an answer has it, times -beta in the chosen one, beta in the rejected one.

    Parameters
    ----------
    nats : (2 P, T)
        Of a chosen and a rejected answer in turn.
    reference : (2 P, T)
        Log-probabilities of the same tokens by the frozen model p0; 0 where nothing is asked.
    beta : float
        How dear it is to leave p0.
    label_smoothing : float
        How often the pairs are taken to be the wrong way around (Mitchell 2023, "cDPO").
    n : float or () array
        The pairs of the whole step.

    References
    ----------
    Rafailov et al. 2023, arXiv:2305.18290, equation 7.
    """
    m = beta * margins(nats, reference)                                         # (P,)
    losses = np.logaddexp(0, -m) + label_smoothing * m
    slope = label_smoothing - 1 / (1 + np.exp(m))
    gradient = np.empty_like(nats)
    gradient[::2] = -beta / n * slope[:, None]        # of all tokens of a chosen answer
    gradient[1::2] = beta / n * slope[:, None]
    return losses.sum() / n, gradient


def policy(nats, old, advantages, limit=0.2, start=None, kl=0.0, n=1):
    r"""Minus what is won by making rewarded answers likelier, in small steps (GRPO).

    .. math:: \text{loss} = \frac{1}{n} \sum_t -\min(r_t A_t,\,
              \text{clip}(r_t, 1 - c, 1 + c) A_t) + \lambda (e^{d_t} - d_t - 1), \quad
              r = p / p_\text{old}, \quad d = \log p_\text{start} - \log p

    The slope of r in the surprise is -r: where nothing is clipped, each token has A r. What is
    clipped has gained enough and moves nothing. The last term is never below 0, and in the mean
    over what p writes it is the divergence of p from the start.

    Parameters
    ----------
    nats : (B, T)
    old : (B, T)
        Log-probabilities when the answers were drawn.
    advantages : (B, T)
        How much better the answer was than others; 0 where nothing is asked.
    limit : float
        c: by how much of itself a probability may change.
    start : (B, T), optional
        Log-probabilities by the model that training began with.
    kl : float
        How dear it is to leave that.
    n : float or () array
        The tokens of the whole step.

    References
    ----------
    Schulman et al. 2017, arXiv:1707.06347, equation 7; Shao et al. 2024, arXiv:2402.03300, 3, 4.
    """
    ratio = np.exp(-nats - old)                                                 # (B, T)
    free = ratio * advantages
    held = np.clip(ratio, 1 - limit, 1 + limit) * advantages
    losses = -np.minimum(free, held)
    slope = np.where(free <= held, free, 0)
    if kl:
        d = start + nats
        losses = losses + kl * (np.expm1(d) - d)
        slope = slope + kl * np.expm1(d)
    return losses.sum() / n, slope / n


preference_loss, policy_loss = map(loss_by, (preference, policy))

"""What is computed from the residual stream at its end."""
from gpt.batch import Batch
from minigrad import cross_entropy, linear, linear_cross_entropy

SMALL_VOCABULARY = 4096    # whose scores are stored, not made a second time on the way back


def surprise(x, head, targets, n=None):
    """Return the surprise at the next tokens, in nats: the mean, or the sum divided by n.

    Parameters
    ----------
    x : (B, T, C)
    head : (V, C)
    targets : (B, T) int
        One of -100 does not count.
    n : float or () array, optional
        How many targets a whole step has, of which these are a part.

    Returns
    -------
    loss : Tensor, ()
    """
    if len(head) <= SMALL_VOCABULARY:
        return cross_entropy(linear(x, head), targets, n=n)
    return linear_cross_entropy(x, head, targets, n=n)


# ---- what every net can do that has `stream` and `head`: methods of theirs ----

def scores(net, ids, state=None):
    """Score every token as the next one.

    Parameters
    ----------
    net : Module
    ids : (B, T) int
    state : optional
        Of what came before, made by `net.start`: ids are read behind it and counted there.

    Returns
    -------
    logits : (B, T, V)
    """
    x = net.stream(Batch(ids), state)                                           # (B, T, C)
    if state:
        state.advance(ids)
    return linear(x, net.head)


def mean_loss(net, ids, targets):
    """Return the mean surprise at targets, (B, T), in nats; one of -100 does not count."""
    return surprise(net.stream(Batch(ids)), net.head, targets)

"""How surprised a model is at each token of a passage."""
import numpy as np

from minigrad import log_softmax, no_grad


def token_surprise(model, ids):
    """Return the surprise at each token but the first of a passage, in nats.

    Parameters
    ----------
    ids : (T + 1,) int, at most context_length + 1

    Returns
    -------
    nats : (T,)
    """
    ids = np.asarray(ids, np.int64)
    inputs, targets = ids[:-1], ids[1:]
    with no_grad():
        logits = model(inputs[None]).data[0]                                    # (T, V)
        log_p = log_softmax(logits)
    return -log_p[np.arange(len(targets)), targets]

"""To predict the next token."""
import math

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.windows import following_windows, random_windows, spread_windows, stream_windows
from gpt.models.states import rows_at
from gpt.settings import ConfigError
from gpt.training.measures import MEASURED_TOKENS, token_loss
from gpt.training.task import Measure, Task
from minigrad import no_grad


def causal_batch(data, shape, rng, model):
    """Take windows of the text at random places; the targets are one place later."""
    windows = random_windows(data.train, *shape, rng, data.sources)             # (B, T + 1)
    return Batch(windows[:, :-1], windows[:, 1:])


def carried_batch(data, shape, step):
    """Take windows behind those of the step before, whose state they go on with."""
    windows = following_windows(data.train, *shape, step)                       # (B, T + 1)
    rows = rows_at(step, shape[0])
    return Batch(windows[:, :-1], windows[:, 1:], rows=rows)


def causal_measure(model, data, ids):
    """Yield the surprise at every token of `ids`, (N,), but the first, some windows at a time.

    The windows are of the context length, one behind the other, so a token sees from none to all
    of the context before it (the usual way, and a little pessimistic). They come in an order that
    is spread evenly over the text wherever one stops. A net whose state has no end reads some
    streams of the text, and each window with the state of the one before.
    """
    T = min(model.config.context_length, max(1, len(ids) - 1))
    token_bytes = np.asarray(data.tokenizer.token_bytes)
    endless, state = has_no_end(model), None
    cut = stream_windows if endless else spread_windows
    for windows, counts in cut(ids, T, max(1, MEASURED_TOKENS // T)):
        ids, following = windows[:, :-1], windows[:, 1:]                            # (B, T)
        batch = Batch(ids, np.where(counts, following, IGNORE))
        if endless:
            state = state or model.start(batch)
        with no_grad():
            loss = token_loss(model, batch, 1.0, state=state)
        if endless:
            state.advance(batch.ids)
        counted = following[counts]
        n_bytes = int(token_bytes[counted].sum())
        yield Measure(loss.item(), len(counted), n_bytes)


def has_no_end(model):
    """Whether the state of a net has room for any number of tokens; not if it has no state."""
    one = np.zeros((1, 1), np.int64)
    try:
        state = model.start(Batch(one, source=one))
    except ConfigError:
        return False
    return math.isinf(state.capacity)


CAUSAL = Task(causal_batch, token_loss, causal_measure, carried=carried_batch)

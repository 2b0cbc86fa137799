"""Heads that begin by looking at the last tokens: the first one place back, the next two, and on.

A transformer has to find earlier tokens by attention, which it learns late. Rotary positions turn
a query and a key by their places times the frequency f of each pair of features. So where both
have biases, these alone score a key d places back by its distance:

    q = a (cos m f, -sin m f),  k = a (1, 0)  in each pair    =>    q . k = a^2 sum_f cos((d - m) f)

which is largest at d = m. What is said of such an attention in other programs: biases of its
queries and keys.
"""
import numpy as np

from gpt.models.rope import frequencies

PAIRS = 8            # of the highest frequencies, by which neighbours are told apart
MARGIN = 4           # nats, by which the places beside the one looked at score less


def begin_looking(attention, config):
    """Set the biases of queries and keys so that head i looks i + 1 places back.

    Parameters
    ----------
    attention : Attention
        Whose `query_key_value` has a bias, ((H + 2 G) D,).
    config : ModelConfig
        With rotary positions, and queries and keys that are not normalised.
    """
    H, G, D = config.n_head, config.kv_heads, config.head_width
    f = frequencies(config)[:PAIRS]
    drop = np.sum(1 - np.cos(f))                           # of the sum, one place beside
    size = (MARGIN * D ** 0.5 / drop) ** 0.5
    angles = f * np.arange(1, H + 1)[:, None]                                   # (H, n)
    bias = attention.query_key_value.bias.data
    rows = bias.reshape(-1, D)                                                  # (H + 2 G, D)
    first, second = np.split(rows[:, :2 * (D // 2)], 2, axis=1)                 # views
    n = len(f)
    first[:H, :n] = size * np.cos(angles)
    second[:H, :n] = -size * np.sin(angles)
    first[H:H + G, :n] = size

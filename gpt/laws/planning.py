"""Plan runs of equal FLOPs: budgets, for each some sizes around the one that is likely best."""
import math
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from gpt.models.config import ModelConfig
from gpt.models.decoder import block_weights

TOKENS_A_PARAMETER = 20            # where the best size is looked for (arXiv:2203.15556)
APART = 1.6                        # factor between sizes
ASPECT = 32                        # width for each layer
WIDTHS = range(32, 1025, 8)            # narrower ones bend the law: they are mostly head
FEWEST_LAYERS = 2
HEAD = 32                          # width of one, about
RATED_WIDTH, RATED_STEPS = 192, 1000      # at which the rate of adamw is as in the preset
SLOWER = 0.25                      # it falls as the steps to this power (docs/learn/scale/how_big)
FEWEST_STEPS = 200                 # with fewer, no rate brings a net to where a law could see it
EPOCHS = 4                         # passes over a text that are about as good as new text


class Size(NamedTuple):
    """A net of the family, and what it counts for."""

    n_layer: int
    d_model: int
    n: int                         # weights of its matrices, the head included


def matrices(model):
    """Count the weights of a decoder's matrices with its head: the N of a scaling law.

    Embeddings and tables are looked up, not multiplied with, and count for nothing.
    """
    return model.n_layer * block_weights(model) + model.d_model * model.vocab_size


def family(vocab_size):
    """Return the nets that a law goes through: one of each width, as deep as suits it."""
    found = []
    for width in WIDTHS:
        n_layer = max(FEWEST_LAYERS, round(width / ASPECT))
        model = ModelConfig(vocab_size, n_layer=n_layer, d_model=width, n_head=heads(width))
        found.append(Size(n_layer, width, matrices(model)))
    return found


def heads(width):
    """Return how many heads a width has: of even widths, about as wide as they should be."""
    numbers = np.arange(1, width)
    whole = numbers[width % (2 * numbers) == 0]
    far = np.abs(np.log(width / whole / HEAD))
    return int(whole[far.argmin()])


def budgets_of(total, n_budgets, n_sizes):
    """Return budgets, each twice the one before, whose runs take so many FLOPs together.

    >>> budgets_of(70, 3, 1)
    [10.0, 20.0, 40.0]
    """
    lowest = total / n_sizes / (2 ** n_budgets - 1)
    return [lowest * 2 ** i for i in range(n_budgets)]


def sizes_for(C, vocab_size, n_sizes, apart=APART):
    """Return nets around the size that is likely best for a budget, about `apart` from each other.

    They are closer together where the narrowest net is wider than the likely ones.
    """
    likely = math.sqrt(C / 6 / TOKENS_A_PARAMETER)
    nets = family(vocab_size)
    far_off = apart ** ((n_sizes - 1) / 2)
    lowest = max(nets[0].n, likely / far_off)
    highest = max(nets[n_sizes - 1].n, likely * far_off)
    chosen = []
    for n in np.geomspace(lowest, highest, n_sizes):
        far = lambda net: abs(math.log(net.n / n))    # noqa: B023
        chosen.append(min(nets, key=far))
        nets.remove(chosen[-1])
    return sorted(chosen, key=attrgetter("n"))


def settings_of(size, C, batch_tokens, learning_rate):
    """Return the settings of the run of a net with a budget.

    The rate of adamw falls with the width, so that nets of any width take steps alike (Yang et al.
    2022, arXiv:2203.03466), and with the steps, since what few have to reach, many reach in smaller
    ones (Bjorck et al. 2024, arXiv:2409.19913); that of muon depends on neither.
    """
    of_a_step = 6 * size.n * batch_tokens
    steps = max(1, round(C / of_a_step))
    rate = learning_rate * RATED_WIDTH / size.d_model
    rate *= (RATED_STEPS / steps) ** SLOWER
    return {"n_layer": size.n_layer,
            "d_model": size.d_model,
            "n_head": heads(size.d_model),
            "learning_rate": float(f"{rate:.4g}"),
            "steps": steps}

"""What training on many ranks costs, by the published formulas: memory, traffic, bubble, failures.

Sizes are in bytes or in numbers (elements), as each says; a traffic is what one rank sends.
"""
import math
from typing import NamedTuple

from gpt.settings import ConfigError


class Widths(NamedTuple):
    """Bytes that each parameter takes."""

    weight: int
    gradient: int
    state: int                     # of the optimizer, with a master copy where there is one

    @property
    def kept(self):
        """What a checkpoint holds: the weights that are learnt, and the state."""
        return self.state + (self.weight if self.weight == 4 else 0)


FLOAT32 = Widths(4, 4, 8)          # Adam's two moments
MIXED = Widths(2, 2, 12)           # 16 bits, beside them weights and both moments of 32
ZERO = 0, 1, 2, 3                  # stages; 0 for none


# ---- memory ----

def state_bytes(psi, ranks=1, zero=0, widths=FLOAT32):
    """Return what weights, gradients and optimizer state take on one rank.

    Parameters
    ----------
    psi : float
        Parameters.
    ranks : int
        Over which ZeRO cuts.
    zero : int
        1 cuts the state of the optimizer, 2 the gradients, too, 3 the weights, too.
    widths : Widths

    References
    ----------
    Rajbhandari et al. 2020, arXiv:1910.02054, sections 5.1 to 5.3 and Table 1.

    Examples
    --------
    >>> [f"{state_bytes(7.5e9, 64, zero, MIXED) / 1e9:.1f}" for zero in ZERO]
    ['120.0', '31.4', '16.6', '1.9']
    """
    cut = [zero >= 3, zero >= 2, zero >= 1]
    return psi * sum(width / (ranks if is_cut else 1) for width, is_cut in zip(widths, cut))


ACTIVATIONS = 16                   # numbers for each token, layer and feature


def activation_numbers(n_tokens, n_layer, d_model):
    """Return how many numbers the backward pass needs, where scores are not kept.

    References
    ----------
    Korthikanti et al. 2022, arXiv:2205.05198, equation 2, without dropout and without the scores,
    which are computed again.
    """
    return ACTIVATIONS * n_tokens * n_layer * d_model


# ---- traffic ----

def reduce_scatter(size, ranks):
    """Return what a rank sends so that each has its share of a sum.

    References
    ----------
    Thakur et al. 2005, doi:10.1177/1094342005051521.
    """
    return size * (ranks - 1) / ranks


all_gather = reduce_scatter        # the same the other way round


def all_reduce(size, ranks):
    """Return what a rank sends so that all have the whole sum: a share summed, then gathered.

    References
    ----------
    Patarasuk & Yuan 2009, doi:10.1016/j.jpdc.2008.09.002: no way sends less.
    """
    return reduce_scatter(size, ranks) + all_gather(size, ranks)


def step_traffic(psi, ranks, zero=0, width=4, micro_batches=1, shards=None):
    """Return what a rank sends in a step of data parallelism, in bytes of `width` a number.

    Plain, ZeRO 1 and ZeRO 2 send 2 psi numbers; ZeRO 3 sends psi each for the weights on the
    way forward, the weights on the way back, and the gradients. What is not kept whole is sent for
    each micro-batch: gradients in ZeRO 2, all in ZeRO 3. Where fewer ranks share out a copy, all
    that is sent among these; and sums of a share go to those with the same one of other copies.

    References
    ----------
    Rajbhandari et al. 2020, arXiv:1910.02054, section 7; Zhang et al. 2022, arXiv:2205.00119.
    """
    shards = shards or ranks
    sums = micro_batches if zero >= 2 else 1
    near = {2: 1 + sums, 3: 3 * sums}.get(zero, 2) * reduce_scatter(width * psi, shards)
    return near + across(width * psi / shards, ranks // shards, sums)


def across(size, copies, sums=1):
    """Return what a rank sends of a share to other copies: sums go one way, the last one back."""
    return (sums + 1) * reduce_scatter(size, copies)


def border_traffic(size, micro_batches, stage, stages):
    """Return what a stage sends to its neighbours in a step: activations of `size` bytes a
    micro-batch to the next, their gradients to the one before."""
    borders = (stage > 0) + (stage < stages - 1)
    return borders * micro_batches * size


def tensor_parallel_traffic(n_tokens, d_model, n_layer, ranks, width=4):
    """Return what a rank sends in a step: two all-reduces a layer forward, and two backward.

    References
    ----------
    Shoeybi et al. 2019, arXiv:1909.08053, section 3 and Figure 4.
    """
    return 4 * n_layer * all_reduce(width * n_tokens * d_model, ranks)


# ---- pipelines ----

class Times(NamedTuple):
    """Seconds that a stage takes for a micro-batch."""

    forward: float = 1.0
    input_gradient: float = 1.0
    weight_gradient: float = 1.0


EVEN = Times()
PIPELINES = "gpipe", "1f1b", "interleaved", "zero_bubble"


def bubble(pipeline, stages, micro_batches, chunks=1, times=EVEN):
    """Return the share of a step's time in which a stage waits.

    GPipe and 1F1B wait for p - 1 whole passes; with v chunks of layers a stage, these are v
    times shorter. Where the gradients of weights are put off (ZB-H1) they fill all of it but
    (p - 1)(F + B - W).

    Parameters
    ----------
    pipeline : {"gpipe", "1f1b", "interleaved", "zero_bubble"}
    stages : int, p
    micro_batches : int, m
    chunks : int, v
        Of interleaved.
    times : Times, (F, B, W)

    References
    ----------
    Huang et al. 2019, arXiv:1811.06965, section 2.3; Narayanan et al. 2021, arXiv:2104.04473,
    sections 2.2.1 and 2.2.2; Qi et al. 2024, arXiv:2401.10241, Table 2.

    Examples
    --------
    >>> [f"{bubble(name, 4, 8, chunks=2):.3f}" for name in PIPELINES]
    ['0.273', '0.273', '0.158', '0.111']
    """
    whole = sum(times)
    waits = {"gpipe": whole, "1f1b": whole, "interleaved": whole / chunks,
             "zero_bubble": times.forward + times.input_gradient - times.weight_gradient}
    idle_s = (stages - 1) * waits[pipeline]
    return idle_s / (micro_batches * whole + idle_s)


def activations_alive(pipeline, stages, micro_batches, stage, chunks=1):
    """Return of how many micro-batches a stage keeps what its backward pass needs, at most.

    Parameters
    ----------
    stage : int
        Counted from 0.

    References
    ----------
    Narayanan et al. 2021, arXiv:2104.04473, section 2.2; Korthikanti et al. 2022,
    arXiv:2205.05198, section 4.2.3 (interleaved); Qi et al. 2024, arXiv:2401.10241, section 2.1:
    ZB-H1 never has more than 1F1B's first stage.
    """
    m, left = micro_batches, stages - stage
    alive = {"gpipe": m, "1f1b": left, "zero_bubble": stages,
             "interleaved": left + (stages - 1) / chunks}
    return min(m, alive[pipeline])


# ---- failures ----

def best_interval(cost_s, mtbf_s):
    """Return after how many seconds of work a checkpoint is best written: sqrt(2 C M).

    References
    ----------
    Young 1974, doi:10.1145/361147.361115.

    Examples
    --------
    >>> best_interval(5 * 60, 24 * 3600) / 60              # of 5 minutes, a failure a day
    120.0
    """
    return math.sqrt(2 * cost_s * mtbf_s)


def lost_share(interval_s, cost_s, mtbf_s, restart_s=0.0):
    """Return which share of the time checkpoints and failures take, to first order.

    Each interval writes a checkpoint; each failure loses half an interval, and the restart.

    References
    ----------
    Young 1974, doi:10.1145/361147.361115; Daly 2006, doi:10.1016/j.future.2004.11.016.
    """
    return cost_s / interval_s + (interval_s / 2 + restart_s) / mtbf_s


# ---- networks ----

class Network(NamedTuple):
    """What lies between two ranks."""

    bytes_s: float
    latency_s: float

    def ring_s(self, sent, ranks):
        """Return how long a reduce-scatter or an all-gather takes, of which each rank sends."""
        return sent / self.bytes_s + (ranks - 1) * self.latency_s

    def message_s(self, size):
        return size / self.bytes_s + self.latency_s


BITS = {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12}
SECONDS = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def read_network(text):
    """Read a network as it is written: rate and latency.

    Raises
    ------
    ConfigError
        That names what cannot be read.

    Examples
    --------
    >>> read_network("10Gbit/s,2ms")
    Network(bytes_s=1250000000.0, latency_s=0.002)
    """
    rate, _, latency = text.partition(",")
    bits, seconds = amount(rate, BITS), amount(latency or "0s", SECONDS)
    if not bits or seconds is None:
        raise ConfigError(f"network is {text!r}, but must be a rate and a latency, as in "
                          "10Gbit/s,20us")
    return Network(bits / 8, seconds)


def amount(text, units):
    """Read a number with a unit; None if it is none."""
    number = text.rstrip("/abcdefghijklmnopqrstuvwxyzGMT")
    try:
        value = float(number)
    except ValueError:
        return None
    unit = units.get(text[len(number):])
    return value * unit if unit and 0 <= value < math.inf else None

"""What a student loses to its teacher: cross-entropy with targets, mixed with a divergence."""
import numpy as np

from minigrad.kernels import jit, vmath
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.ops.elementwise import where
from minigrad.ops.linear import rows
from minigrad.ops.loss import IGNORE, check_targets, counted, cross_entropy, loss_of, suits
from minigrad.ops.places import gather
from minigrad.ops.reduce import sum
from minigrad.ops.shape import concatenate
from minigrad.ops.softmax import log_softmax, logsumexp
from minigrad.tensor import op

TINY, NEVER = 1e-30, -1e4          # a share of nothing; the logarithm of one, e**NEVER being 0


def distillation_inputs(draw):
    shape = draw.shape(min_dims=1, max_dims=2, min_side=1)
    V = max(2, draw.side(2, 6))
    targets = draw.indices(shape, V)
    targets.flat[1:2] = IGNORE
    log_p = log_softmax(draw.array((*shape, V)))
    options = {"log_p": log_p, "targets": targets}
    if draw.boolean():
        options |= {"temperature": 2.0, "mix": 0.5, "n": 3}
    if draw.boolean():
        most = 1 + draw.side(1, V - 1) % (V - 1)
        likeliest = np.argsort(-log_p)
        options["ids"] = ids = likeliest[..., :most]
        options["log_p"] = np.take_along_axis(log_p, ids, -1)
    return (draw.array((*shape, V)),), options

@op(inputs=distillation_inputs, replayed=True)
def distillation_loss(logits, log_p, targets, ids=None, mix=0.9, temperature=1.0, n=1):
    r"""Surprise at the targets, mixed with how far one is from a teacher's probabilities.

    .. math:: \text{loss} = \frac{1}{n} \sum (1 - a) (-\log q_t) + a \tau^2 \sum_k p_k
              \log \frac{p_k}{q^\tau_k}, \quad q^\tau = \text{softmax}(z / \tau)

    The slope of the second sum in z is (q - p) / tau: as with targets, but all of p is wanted; the
    square keeps both sums of one size. Of a teacher that names its likeliest tokens alone, all
    others are one more outcome, so that the sum is never below 0, and 0 where q is p.

    Parameters
    ----------
    logits : (..., V)
    log_p : (..., V), or (..., K) with `ids`
        Log-probabilities by the teacher, at this temperature.
    targets : (...) int
        -100 where nothing counts, of the teacher neither.
    ids : (..., K) int, optional
        Of which tokens, K < V and none twice.
    mix : float, 0 to 1
        a, the share of the teacher.
    temperature : float
        tau: above 1, what is less likely counts more.
    n : float or () array
        What the sum is divided by: the targets of a whole step.

    Returns
    -------
    loss : (), in nats

    References
    ----------
    Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    z = rows(logits)                                      # (N, V)
    t, counts = check_targets(logits, targets, IGNORE)
    log_q = log_softmax.forward(z / temperature)[0]
    log_p = completed(rows(log_p).astype(z.dtype), ids, log_q)                 # (N, V)
    p, q = np.exp(log_p), np.exp(log_q)
    away = (p * (log_p - log_q)).sum(axis=1)              # (N,)
    slope = p.sum(axis=1, keepdims=True) * q - p
    surprise, (log_p1, one_hot, *_) = cross_entropy.forward(z, t, reduction="none")
    hard, soft = 1 - mix, mix * temperature
    losses = hard * surprise + soft * temperature * away
    dz = hard * (np.exp(log_p1) - one_hot) + soft * slope
    share = (counts / np.float64(n)).astype(z.dtype)      # (N,)
    dz *= share[:, None]
    return (share * losses).sum(), (dz.reshape(logits.shape),)

@distillation_loss.vjp
def distillation_loss_vjp(g, dz):
    return g * dz,

@distillation_loss.parts
def distillation_loss_parts(logits, log_p, targets, ids=None, mix=0.9, temperature=1.0, n=1):
    z, t = rows(logits), np.reshape(targets, -1)
    log_p = rows(log_p).astype(z.dtype)
    log_q = log_softmax(z / temperature)
    if ids is not None:                                   # all others are one outcome
        others = where(is_other(ids, z.shape), log_q, -np.inf)
        rest = logsumexp(others, axis=1, keepdims=True)
        known = gather(log_q, 1, rows(ids))
        log_q = concatenate([known, rest], axis=1)        # (N, K + 1)
        left = left_over(log_p)
        log_p = np.concatenate([log_p, left], axis=1)
    log_p = np.maximum(log_p, NEVER)
    away = sum(np.exp(log_p) * (log_p - log_q), axis=1)   # (N,)
    soft = sum(where(t != IGNORE, away, 0.0))
    hard = cross_entropy(z, t, reduction="sum")
    return ((1 - mix) * hard + mix * temperature ** 2 * soft) / n


def is_other(ids, shape):
    """Return which tokens are not named, (N, V)."""
    others = np.ones(shape, bool)
    np.put_along_axis(others, rows(ids), False, axis=1)
    return others

def left_over(log_p):
    """Return the logarithm of what a teacher leaves to tokens that it does not name, (N, 1)."""
    named = np.exp(log_p).sum(axis=1, keepdims=True)
    left = np.maximum(1 - named, TINY)
    return np.log(left)

def completed(log_p, ids, log_q):
    """Let a teacher say of tokens that it does not name what the student says: (N, V).

    So the divergence is that of the named ones, and of the rest as one.
    """
    whole = log_p
    if ids is not None:
        others = np.where(is_other(ids, log_q.shape), log_q, -np.inf)
        rest, _ = logsumexp.forward(others, axis=1, keepdims=True)
        whole = log_q + (left_over(log_p) - rest)
        np.put_along_axis(whole, rows(ids), log_p, axis=1)
    return np.maximum(whole, NEVER)


# ---- fast path -------------------------------------------------------------------------------

# The gradient is made along with the loss, and is all that is saved.

def fit_together(logits, log_p=None, targets=None, **options):
    return type(log_p) is np.ndarray and suits(logits, targets, logits.size)

@distillation_loss.fast(when=fit_together)
def distillation_loss_fast(logits, log_p, targets, ids=None, mix=0.9, temperature=1.0, n=1):
    z = rows(plain(logits))                               # (N, V)
    t, share = counted(z, targets, IGNORE, "mean", n, z.shape[1])
    theirs = as_rows(log_p, z.dtype)
    named = np.empty((len(z), 0), np.int64)
    if ids is not None:
        named = as_rows(ids, np.int64)
    settings = np.array([IGNORE, mix, temperature], z.dtype)
    losses, dz = empty(t.shape, z.dtype), empty_like(logits)
    distil_rows(len(z), z, t, theirs, named, settings, share, losses, rows(dz))
    return loss_of(losses, "mean", t.shape), (dz,)

@distillation_loss.fast_vjp
def distillation_loss_fast_vjp(g, dz):
    if g == 1:                                            # backward begins here
        return dz,
    scaled = empty_like(dz)
    jit.run(np.multiply, dz, g, scaled)
    return scaled,

def as_rows(x, dtype):
    return plain(rows(x).astype(dtype, copy=False))

@row_kernel
def distil_rows(start, stop, z, t, log_p, ids, settings, share, losses, dz):
    """Write the loss of each row and its gradient, both times `share`."""
    widest_vectors()
    ignored, mix, tau = settings
    for i in range(start, stop):
        target = t[i]
        losses[i] = 0
        if target == ignored:
            dz[i, :] = 0
            continue
        loss = distil_row(z[i], target, log_p[i], ids[i], mix, tau, dz[i])
        losses[i] = share[0] * loss
        for j in range(z.shape[1]):
            dz[i, j] *= share[0]

@jit.helper
def distil_row(z, target, log_p, ids, mix, tau, dz):
    """Return the loss of one row, and write its gradient."""
    one = z.dtype.type(1)
    never = z.dtype.type(NEVER)
    m = vmath.peak_of(z)
    log_total = vmath.log_total(z, m)
    lowest = m + tau * log_tempered(z, m, tau)            # log q = (z - lowest) / tau
    if ids.size:
        complete(z, lowest, tau, log_p, ids, dz)
    else:
        dz[:] = log_p
    away, mass = one - one, one - one
    for j in range(z.size):
        known = max(dz[j], never)
        p = vmath.exp(known)
        apart = known - (z[j] - lowest) / tau
        away += p * apart
        mass += p
    hard, soft = one - mix, mix * tau
    for j in range(z.size):
        q = vmath.exp((z[j] - lowest) / tau)
        slope = mass * q - vmath.exp(dz[j])
        p = vmath.exp(z[j] - m - log_total)
        dz[j] = soft * slope + hard * p
    dz[target] -= hard
    surprise = m + log_total - z[target]
    return hard * surprise + soft * tau * away

@jit.helper
def log_tempered(z, m, tau):
    """log(sum(e**((z - m) / tau)))."""
    total = z.dtype.type(0)
    for j in range(z.size):
        total += vmath.exp((z[j] - m) / tau)
    return vmath.log(total)

@jit.helper
def complete(z, lowest, tau, log_p, ids, out):
    """Write what a teacher says, and of tokens that it does not name what the student does."""
    one, zero = z.dtype.type(1), z.dtype.type(0)
    named, rest, peak = zero, zero, z.dtype.type(-np.inf)
    out[:] = one
    for k in range(ids.size):
        named += vmath.exp(log_p[k])
        out[ids[k]] = zero
    for j in range(z.size):
        if out[j] > 0:
            peak = max(peak, z[j])
    for j in range(z.size):
        if out[j] > 0:
            rest += vmath.exp((z[j] - peak) / tau)
    left = max(one - named, z.dtype.type(TINY))
    shift = vmath.log(left) - vmath.log(rest)
    for j in range(z.size):
        out[j] = (z[j] - peak) / tau + shift
    for k in range(ids.size):
        out[ids[k]] = log_p[k]

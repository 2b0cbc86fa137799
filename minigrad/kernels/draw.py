"""Draw a number by scores, without an array of what each is drawn with."""
import numpy as np

from minigrad.kernels import vmath
from minigrad.kernels.jit import kernel
from minigrad.kernels.llvm import widest_vectors

PART = 64                        # scores that are added up first


@kernel
def draw(z, temperature, share, sums, out):
    """Write the first place up to which softmax(z / temperature) adds up to more than a share.

    sums : (V / 64,) float64
        What is added up, in two steps.
    """
    widest_vectors()
    peak, whole = vmath.peak_of(z), 0.0
    for part in range(sums.size):
        total = z.dtype.type(0)
        for j in range(part * PART, min(part * PART + PART, z.size)):
            total += vmath.exp((z[j] - peak) / temperature)
        sums[part] = total
        whole += sums[part]
    reached, wanted = 0.0, share * whole
    first = before = 0
    for part in range(sums.size):
        if sums[part] > 0 and reached <= wanted:
            first, before = part * PART, reached
            reached += sums[part]
    reached = before
    for j in range(first, min(first + PART, z.size)):
        e = vmath.exp((z[j] - peak) / temperature)
        if e > 0 and reached <= wanted:
            out[0] = j
            reached += e


def drawn(z, temperature, share):
    """Return where the sum of softmax(z / temperature), z (V,), exceeds a share: an int."""
    sums = np.empty(-(-z.size // PART))
    out = np.empty(1, np.int64)
    draw(z, z.dtype.type(temperature), share, sums, out)
    return int(out[0])

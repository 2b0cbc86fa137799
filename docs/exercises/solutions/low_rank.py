"""An adapter of low rank: what learns beside a matrix that is frozen.

x is (n, in), a is (r, in), b is (out, r). The adapter adds SCALE x a^T b^T to what the frozen
matrix makes of x. Of three gradients, two are the adapter's; dx goes to the layers below.
"""
SCALE = 2.0                                 # alpha / r


def forward(x, a, b):
    low = x @ a.T                           # (n, r)
    return SCALE * low @ b.T                # (n, out)


def vjp(g, x, a, b):
    g = SCALE * g
    low = x @ a.T                           # (n, r)
    dlow = g @ b                            # (n, r)
    return dlow @ a, dlow.T @ x, g.T @ low

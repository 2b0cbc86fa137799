"""A matrix product.

a is (m, k), b is (k, n) and g is (m, n). Mind the shapes, but do not trust them: what happens to
fit for square matrices need not be right.
"""


def forward(a, b):
    return a @ b


def vjp(g, a, b):
    m, k = a.shape
    n = b.shape[1]
    da = g @ b.T
    return da, a.T @ g

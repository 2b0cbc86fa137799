"""A matrix product.

a is (m, k), b is (k, n) and g is (m, n). Mind the shapes, but do not trust them: what happens to
fit for square matrices need not be right.
"""


def forward(a, b):
    return a @ b


def vjp(g, a, b):
    return g @ b.T, a.T @ g

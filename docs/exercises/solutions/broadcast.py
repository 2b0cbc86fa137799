"""Adding a row to every row of a matrix.

x is (n, m) and bias is (m,): NumPy stretches bias over the rows.
"""


def forward(x, bias):
    return x + bias


def vjp(g, x, bias):
    return g, g.sum(axis=0)

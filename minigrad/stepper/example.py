"""The smallest expression on which naive backpropagation goes wrong."""


def doubled(a=1.0):
    """Use a twice, and the result twice: the gradient is 4."""
    b = a + a
    c = b + b
    return c

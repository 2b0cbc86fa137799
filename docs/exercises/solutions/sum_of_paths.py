"""The square, whose input is used twice.

f(x) = x * x. Both factors are x, so x moves the result on two paths.
"""


def forward(x):
    return x * x


def vjp(g, x):
    return 2 * g * x,

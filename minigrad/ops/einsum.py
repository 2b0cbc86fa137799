"""Sums of products over any axes: dot and einsum."""
import math
from string import ascii_letters

import numpy as np

from minigrad.ops.linear import matmul
from minigrad.ops.shape import getitem, transpose
from minigrad.tensor import op, sum_to_shape


def dot(x, y):
    """Sum over the last axis of x and the last but one of y, as NumPy does (torch: only 1-d)."""
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim <= 2:
        return matmul(x, y)
    *others, k, n = y.shape
    columns = transpose(y, (-2, *range(len(others)), -1))     # (k, ..., n)
    columns = columns.reshape(k, math.prod(others) * n)
    y = matmul(x, columns)
    return y.reshape(*x.shape[:-1], *others, n)               # (..., ..., n)


def einsum_inputs(draw):
    subscripts = draw.choice(["ij,jk->ik", "bij,bjk->bik", "i,i->", "ij->ji", "ij->j", "i,j->ij",
                              "ij,jk,kb->ib", "ij,i->j", "ij,ij->i"])
    sizes = {letter: draw.integer(1, 3) for letter in "bijk"}
    terms = subscripts.split("->")[0].split(",")
    shapes = [tuple(sizes[letter] for letter in term) for term in terms]
    arrays = tuple(map(draw.array, shapes))
    return arrays, {"subscripts": subscripts}

@op(inputs=einsum_inputs)
def _einsum(*arrays, subscripts):
    """Sums of products in Einstein's notation, every letter written out and once in each term."""
    y = np.einsum(subscripts, *arrays, optimize=True)
    return y, (subscripts, *arrays)

@_einsum.vjp
def _einsum_vjp(g, subscripts, *arrays):
    inputs, out = subscripts.split("->")
    terms = inputs.split(",")
    factors = [(g, out), *zip(arrays, terms)]
    return tuple(einsum_gradient(factors, i) for i in range(1, len(factors)))


def einsum_gradient(factors, i):
    """Contract g with all inputs but i; a letter that only input i has was summed: repeat it.

    Parameters
    ----------
    factors : list of (array, str)
        g and its letters, then each input and its letters.
    i : int
    """
    g, _ = factors[0]
    x, term = factors[i]
    rest = factors[:i] + factors[i + 1:]
    sizes = {}                                                # str -> int
    for other, letters in rest:
        for letter, n in zip(letters, other.shape):
            if sizes.get(letter, 1) == 1:                     # the others broadcast against it
                sizes[letter] = n
    for letter, n in zip(term, x.shape):
        if letter not in sizes or sizes[letter] == 1 != n:
            rest.append((np.ones(n, g.dtype), letter))
    return sum_to_shape(contract(rest, term), x.shape)


def contract(factors, out):
    """Run `_einsum` on (array, letters) pairs."""
    arrays, terms = zip(*factors)
    return _einsum(*arrays, subscripts=f"{','.join(terms)}->{out}")


def einsum(subscripts, *arrays):
    """Sum products over the letters that the result lacks: einsum("ij,jk->ik", a, b) is a @ b.

    Parameters
    ----------
    subscripts : str
        Letters for the axes of each array, "..." for any axes that broadcast; without "->" the
        result has the letters that occur once, in alphabetical order.
    *arrays : (...)

    Returns
    -------
    (...)
    """
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"{subscripts!r} names {len(terms)} arrays, but got {len(arrays)}")
    if not arrow:
        letters = inputs.replace(".", "").replace(",", "")
        once = [c for c in sorted(set(letters)) if letters.count(c) == 1]
        out = "..." * ("..." in inputs) + "".join(once)
    spare = "".join(c for c in ascii_letters if c not in subscripts)
    n_named = [len(term.replace("...", "")) for term in terms]
    n_leading = [x.ndim - n for x, n in zip(arrays, n_named)]
    terms = [fill_ellipsis(term, spare, n) for term, n in zip(terms, n_leading)]
    out = fill_ellipsis(out, spare, max(n_leading))
    return contract(map(take_diagonals, arrays, terms), out)


def fill_ellipsis(term, spare, n):
    """Write "..." as n letters, the last axis always as the same one."""
    return term.replace("...", spare[len(spare) - n:])


def take_diagonals(x, term):
    """Merge axes that have the same letter into their diagonal: "iij" becomes "ij"."""
    for letter in set(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            others = [k for k in range(x.ndim) if k not in (i, j)]
            diagonal = np.arange(x.shape[i])                  # (n,)
            x = transpose(x, (i, j, *others))                 # (n, n, ...)
            x = getitem(x, (diagonal, diagonal))              # (n, ...)
            term = letter + "".join(term[k] for k in others)
    return x, term

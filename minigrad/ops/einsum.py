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
    rest = (*y.shape[:-2], y.shape[-1])
    columns = transpose(y, (-2, *range(y.ndim - 2), -1)).reshape(y.shape[-2], math.prod(rest))
    return matmul(x, columns).reshape(*x.shape[:-1], *rest)


def einsum_inputs(draw):
    subscripts = draw.choice(["ij,jk->ik", "bij,bjk->bik", "i,i->", "ij->ji", "ij->j", "i,j->ij",
                              "ij,jk,kb->ib", "ij,i->j", "ij,ij->i"])
    sizes = {letter: draw.integer(1, 3) for letter in "bijk"}
    terms = subscripts.split("->")[0].split(",")
    shapes = [tuple(sizes[letter] for letter in term) for term in terms]
    return tuple(draw.array(shape) for shape in shapes), {"subscripts": subscripts}

@op(inputs=einsum_inputs)
def _einsum(*arrays, subscripts):
    """Sums of products in Einstein's notation, every letter written out and once in each term."""
    return np.einsum(subscripts, *arrays, optimize=True), (subscripts, *arrays)

@_einsum.vjp
def _einsum_vjp(g, subscripts, *arrays):
    inputs, out = subscripts.split("->")
    terms = inputs.split(",")
    return tuple(einsum_gradient(g, out, terms, arrays, i) for i in range(len(arrays)))


def einsum_gradient(g, out, terms, arrays, i):
    """Contract g with all inputs but i; a letter that only input i has was summed: repeat it."""
    rest = [(g, out), *((x, term) for j, (x, term) in enumerate(zip(arrays, terms)) if j != i)]
    sizes = {}                                                # str -> int
    for x, term in rest:
        for letter, n in zip(term, x.shape):
            sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]
    for letter, n in zip(terms[i], arrays[i].shape):
        if letter not in sizes or sizes[letter] == 1 != n:
            rest.append((np.ones(n, g.dtype), letter))
    subscripts = ",".join(term for _, term in rest) + "->" + terms[i]
    dx = _einsum(*(x for x, _ in rest), subscripts=subscripts)
    return sum_to_shape(dx, arrays[i].shape)


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
        out = "..." * ("..." in inputs) + "".join(
            c for c in sorted(set(letters)) if letters.count(c) == 1)
    spare = [c for c in ascii_letters if c not in subscripts]
    leading = [x.ndim - len(term.replace("...", "")) for x, term in zip(arrays, terms)]
    terms = [fill_ellipsis(term, spare, n) for term, n in zip(terms, leading)]
    out = fill_ellipsis(out, spare, sorted(leading)[-1])
    pairs = [take_diagonals(x, term) for x, term in zip(arrays, terms)]
    inputs = ",".join(term for _, term in pairs)
    return _einsum(*(x for x, _ in pairs), subscripts=f"{inputs}->{out}")


def fill_ellipsis(term, spare, n):
    """Write "..." as n letters, the last axis always as the same one."""
    return term.replace("...", "".join(spare[len(spare) - n:]))


def take_diagonals(x, term):
    """Merge axes that have the same letter into their diagonal: "iij" becomes "ij"."""
    for letter in set(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            others = [k for k in range(x.ndim) if k not in (i, j)]
            diagonal = np.arange(x.shape[i])
            x = getitem(transpose(x, (i, j, *others)), (diagonal, diagonal))
            term = letter + "".join(term[k] for k in others)
    return x, term

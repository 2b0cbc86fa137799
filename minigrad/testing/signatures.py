"""What a signature such as "(m?,k),(k,2h)->(m?)" says: which axes inputs and outputs have."""
import re

import numpy as np


def parse_signature(signature):
    """Split "(m?,k),(k,2h)->(m?)" into inputs and outputs, lists of lists of axis names.

    Returns
    -------
    inputs, outputs : list of list of str
        A name may begin with a factor ("2h") and end with "?" (the axis may be missing).
    """
    text = signature.replace(" ", "")
    if not re.fullmatch(r"(\([\w?,]*\),?)*->(\([\w?,]*\),?)+", text):
        raise ValueError(f'the signature is {signature!r}, but must look like "(m,k),(k)->(m)": '
                         "one pair of parentheses for each input and output")
    def cores(side):
        inside = re.findall(r"\((.*?)\)", side)        # "(m,k),()" -> ["m,k", ""]
        return [core.split(",") if core else [] for core in inside]
    return list(map(cores, text.split("->")))


def axis_names(signature):
    """Return the distinct names of axes in a signature, without factors and question marks."""
    inputs, _ = parse_signature(signature)
    plain = [factor_and_name(name)[1] for core in inputs for name in core]
    return [name for name in dict.fromkeys(plain) if name]


def factor_and_name(name):
    """Split "2n" or "2n?" into 2 and "n"; there may be no factor, or no name."""
    factor, plain = re.fullmatch(r"(\d*)(\w*)\??", name).groups()
    return int(factor or 1), plain


def axis_size(name, sizes):
    """Return the size of "n", "n?", "2n" or "3"; None if that is not known."""
    factor, plain = factor_and_name(name)
    n = sizes.get(plain) if plain else 1
    return None if n is None else factor * n


def declared_shapes(signature, arrays, batched=None):
    """Return what a signature says about the outputs for some inputs.

    Parameters
    ----------
    signature : str
    arrays : sequence of ndarray or None
    batched : sequence of bool, optional
        Which of the inputs take leading axes; all unless told.

    Returns
    -------
    list of tuple or None
        For each output the sizes of its axes, None for an axis that no input has. None if these
        inputs do not fit the signature themselves.
    """
    inputs, outputs = parse_signature(signature)
    sizes, missing, leading = {}, set(), []
    for i, (core, x) in enumerate(zip(inputs, arrays)):
        if not isinstance(x, np.ndarray):
            continue
        may_miss = [name for name in core if name.endswith("?")]
        n_missing = max(0, len(core) - x.ndim)
        missing.update(may_miss[:n_missing])
        core = [name for name in core if name not in missing]
        n = x.ndim - len(core)                         # leading axes
        if n < 0:
            return None
        is_batched = batched is None or batched[i]
        leading.append(x.shape[:n] if is_batched else ())
        for name, size in zip(core, x.shape[n:]):
            factor, plain = factor_and_name(name)
            sizes.setdefault(plain, size // factor)
            if axis_size(name, sizes) != size:
                return None
    try:
        first = np.broadcast_shapes(*leading)
    except ValueError:
        return None
    present = [[name for name in core if name not in missing] for core in outputs]
    return [(*first, *(axis_size(name, sizes) for name in core)) for core in present]

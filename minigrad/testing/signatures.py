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
    return [[[name for name in core.split(",") if name] for core in re.findall(r"\((.*?)\)", side)]
            for side in text.split("->")]


def axis_names(signature):
    """Return the distinct names of axes in a signature, without factors and question marks."""
    inputs, _ = parse_signature(signature)
    plain = [re.sub(r"^\d+|\?$", "", name) for core in inputs for name in core]
    return [name for name in dict.fromkeys(plain) if name]


def axis_size(name, sizes):
    """Return the size of "n", "n?", "2n" or "3"."""
    factor, name = re.fullmatch(r"(\d*)(\w*)\??", name).groups()
    return int(factor or 1) * (sizes[name] if name else 1)


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
        missing |= {*may_miss[:max(0, len(core) - x.ndim)]}
        core = [name for name in core if name not in missing]
        if x.ndim < len(core):
            return None
        n = x.ndim - len(core)
        leading.append(x.shape[:n] if batched is None or batched[i] else ())
        for name, size in zip(core, x.shape[n:]):
            factor, plain = re.fullmatch(r"(\d*)(\w*?)\??", name).groups()
            sizes.setdefault(plain, size // int(factor or 1))
            if axis_size(name, sizes) != size:
                return None
    try:
        first = np.broadcast_shapes(*leading)
    except ValueError:
        return None
    known = {name: None for core in outputs for name in core} | {
        name: axis_size(name, sizes) for core in outputs for name in core
        if re.sub(r"^\d+|\?$", "", name) in {"", *sizes}}
    return [(*first, *(known[name] for name in core if name not in missing)) for core in outputs]

"""Weights of others: how the names and settings of a family of models become ours, and back.

A family is two tables. One names tensors, theirs: ours, with {i} for the number of a layer; behind
our name stands how they store it:

    mlp.projection.weight              as ours
    mlp.projection.weight.T            transposed
    query_key_value.weight[q]          as some rows of ours: q, k, v; keys, values; of gated MLPs
                                       gate, value; of others whole
    query_key_value.weight[q:interleaved]    with the two halves of each head's rows interleaved
    norm1.gain+1                       as what is added to 1

The other table does the same for settings. The tables of all families are in families.py.
"""
import re
from collections.abc import Callable
from dataclasses import fields
from itertools import count
from typing import NamedTuple

import numpy as np

from gpt.settings import ConfigError


class Family(NamedTuple):
    """How a kind of published model is spelled."""

    names: dict                     # their tensor -> ours
    settings: dict                  # their setting -> ours, or (ours, {their value: ours})
    always: dict                    # our setting -> its value, where their settings do not say
    known: dict = {}                # their setting -> the one value that is understood
    copies: dict = {}               # their tensor -> ours that it repeats, where it is there at
                                    # all; None for zeros
    left_out: tuple = ()            # patterns of tensors that follow from settings, or that no
                                    # net of ours has
    signs: dict = {}                # our setting -> the tensor by whose presence it is on
    prepare: Callable = lambda theirs: {}    # what to change in settings before they are looked up
    finish: Callable = lambda config: {}     # and after they have been written
    prefixes: tuple = ()            # what may stand before all names of a file
    net: str = "decoder"            # which of our nets it is
    architecture: str = ""          # the class of transformers that we export to


class Place(NamedTuple):
    """Where a tensor of theirs lies in ours, as a table has it."""

    name: str
    transposed: bool
    rows: str
    interleaved: bool
    plus_one: bool


PLACE = re.compile(r"([\w.]+?)(\.T)?(?:\[(\w+)(:interleaved)?\])?(\+1)?")


def read_place(text):
    """Read what stands on the right of a table.

    Examples
    --------
    >>> read_place("attention.query_key_value.weight[q]")
    Place(name='attention.query_key_value.weight', transposed=False, rows='q', \
interleaved=False, plus_one=False)
    """
    name, transposed, rows, interleaved, plus_one = PLACE.fullmatch(text).groups()
    return Place(name, bool(transposed), rows, bool(interleaved), bool(plus_one))


def places(family, model):
    """Yield (their name, Place) of all that this model has."""
    arrays = model.state_dict()
    for theirs, ours in family.names.items():
        for i in count() if "{i}" in ours else [0]:
            place = read_place(ours.replace("{i}", str(i)))
            if place.name not in arrays:
                break
            if rows_of(place, arrays[place.name], model.config) is not None:
                yield theirs.replace("{i}", str(i)), place


def rows_of(place, array, config):
    """Return which rows of ours a place names, as a slice; None if such a model has none."""
    n, D = len(array), config.head_width
    end_of_q = config.n_head * D
    end_of_k = end_of_q + config.kv_heads * D
    all_of_it, first, second = slice(0, n), slice(0, n // 2), slice(n // 2, n)
    named = {None: all_of_it, "keys": first, "values": second,
             "q": slice(0, end_of_q), "k": slice(end_of_q, end_of_k), "v": slice(end_of_k, n)}
    of_mlp = {"gate": first, "value": second} if config.gated else {"whole": all_of_it}
    return (named | of_mlp).get(place.rows)


# ---- tensors, in and out ----

def load_weights(model, weights, family, blocks=None):
    """Fill a model with the tensors of others.

    Parameters
    ----------
    model : Module
        With the settings that `config_of` read.
    weights : mapping of str to array
    family : Family
    blocks : dict of str to array, optional
        What is to be filled as it is stored, by our names, in place of the model's own arrays.

    Raises
    ------
    ConfigError
        If a tensor of theirs is not used, one of ours not filled, or a shape is another.
    """
    blocks = blocks or {}
    arrays, prefix = model.state_dict() | blocks, prefix_of(weights, family)
    unused, filled = set(weights), dict.fromkeys(arrays, 0)
    for theirs, place in places(family, model):
        theirs = prefix + theirs if prefix + theirs in unused else theirs
        if theirs not in unused:
            raise ConfigError(f"there is no tensor {theirs}, which holds {place.name}")
        rows = rows_of(place, arrays[place.name], model.config)
        into = arrays[place.name][rows]
        x = weights.raw(theirs) if place.name in blocks else np.asarray(weights[theirs])
        x = as_ours(x, place, model.config)
        if x.shape != into.shape:
            raise ConfigError(f"tensor {theirs} has shape {x.shape}, but {place.name} takes "
                              f"{into.shape} of it: the settings are those of another model")
        into[...] = x
        if blocks:
            weights.let_go()
        filled[place.name] += len(into)
        unused.discard(theirs)
    for name, n in filled.items():
        if n != len(arrays[name]):
            raise ConfigError(f"{name} has {len(arrays[name])} rows, but {n} are filled: the "
                              "table of this family is not that of the model")
    check_all_used({name.removeprefix(prefix): weights[name] for name in unused}, family, arrays)


def check_all_used(rest, family, arrays):
    """Refuse tensors that no row of the table names, but for copies and what can be computed."""
    for name, x in rest.items():
        if any(re.fullmatch(pattern, name) for pattern in family.left_out):
            continue
        if name not in family.copies:
            raise ConfigError(f"tensor {name} has no place in this model: its family is known "
                              "here without it")
        ours = family.copies[name]
        if ours is None and not np.any(x):
            continue
        if ours is None:
            raise ConfigError(f"tensor {name} is not all zeros, as models of its family have it: "
                              "it has no place here")
        if not np.array_equal(x, arrays[ours]):
            raise ConfigError(f"tensor {name} should be the same as the one that it is tied to, "
                              f"{ours}, but is another")


def stored_parts(model, weights, family):
    """Return what each of our matrices is made of, as it lies in a file: name -> list of array.

    Those that are stored transposed or otherwise changed are left out.
    """
    prefix, found = prefix_of(weights, family), {}
    for theirs, place in places(family, model):
        theirs = prefix + theirs if prefix + theirs in weights else theirs
        if theirs in weights and not place.transposed and not place.plus_one:
            found.setdefault(place.name, []).append(weights.raw(theirs))
    return found


def prefix_of(weights, family):
    """Return what stands before the names of the tables in a file."""
    for prefix in family.prefixes:
        if any(name.startswith(prefix) for name in weights):
            return prefix
    return ""


def save_weights(model, family):
    """Return the tensors of a model as others store them, by their names: copies of ours."""
    arrays, found = model.state_dict(), {}
    for theirs, place in places(family, model):
        x = arrays[place.name]
        x = x[rows_of(place, x, model.config)]
        found[theirs] = np.ascontiguousarray(as_theirs(x, place, model.config))
    return found


def as_ours(x, place, config):
    """Return what they store as we do."""
    if place.transposed:
        x = x.T
    if place.interleaved:
        x = woven(x, (config.head_width // 2, 2))
    return x + x.dtype.type(1) if place.plus_one else x


def as_theirs(x, place, config):
    """Undo `as_ours`."""
    if place.plus_one:
        x = x - x.dtype.type(1)
    if place.interleaved:
        x = woven(x, (2, config.head_width // 2))
    return x.T if place.transposed else x.copy()


def woven(x, cut):
    """Cut the rows of each head into a grid and read it by columns: (heads D, ...) as before."""
    grid = x.reshape(-1, *cut, *x.shape[1:])                                    # (heads, a, b, ...)
    return grid.swapaxes(1, 2).reshape(x.shape)


# ---- settings, in and out ----

def settings_from(family, theirs, tensors, kind):
    """Translate settings of theirs, a dict, into ours.

    Parameters
    ----------
    family : Family
    theirs : dict
    tensors : collection of str
        The names of those that there are.
    kind : type
        Of our settings: `ModelConfig`.

    Returns
    -------
    config : of that kind

    Raises
    ------
    ConfigError
        If one has a value that is not known here.
    """
    for name, value in family.known.items():
        if theirs.get(name, value) != value:
            raise ConfigError(f"{name} is {theirs[name]!r:.60}, but what is known here is "
                              f"{value!r}")
    ours = family.always | said(family, theirs | family.prepare(theirs))
    for name, sign in family.signs.items():
        ours[name] = sign in tensors
    check_types(ours, kind)
    return kind(**ours)


def said(family, theirs):
    """Look up what settings of theirs say of ours: our setting -> value."""
    found = {}
    for name, place in family.settings.items():
        value = theirs.get(name)
        if value is None:
            continue
        place, meanings = entry(place)
        if meanings and value not in list(meanings):
            raise ConfigError(f"{name} is {value!r:.60}, but what is known here is "
                              f"{' or '.join(map(repr, meanings))}")
        value = meanings[value] if meanings else value
        if found.setdefault(place, value) != value:
            raise ConfigError(f"{name} is {value!r:.60}, but another setting of the same meaning "
                              f"is {found[place]!r:.60}: what is known here has them equal")
    return found


def entry(place):
    """Return (our setting, {their value: ours} or None) of an entry of a table."""
    return place if isinstance(place, tuple) else (place, None)


def check_types(values, kind):
    """Refuse what is no value of a field."""
    for f in fields(kind):
        value = values.get(f.name, f.default)
        fits = (int, float) if f.type is float else f.type
        if not isinstance(value, fits) or isinstance(value, bool) != (f.type is bool):
            raise ConfigError(f"{f.name} is {value!r:.60}, but must be of type {f.type.__name__}")


def settings_to(family, config):
    """Translate our settings into a dict of theirs.

    Parameters
    ----------
    family : Family
    config : ModelConfig

    Returns
    -------
    theirs : dict

    Raises
    ------
    ConfigError
        If the family cannot be set to one of ours.
    """
    theirs = dict(family.known)
    ours = resolved(config)
    expected = {f.name: family.always.get(f.name, f.default) for f in fields(config)}
    expected.update(n_kv_head=config.n_head, d_head=config.d_model // config.n_head)
    for name, place in family.settings.items():
        place, meanings = entry(place)
        value = ours.pop(place)
        if meanings and value not in meanings.values():
            raise ConfigError(misfit(family, place, value, *meanings.values()))
        theirs[name] = value
        if meanings:
            theirs[name] = next(each for each, mine in meanings.items() if mine == value)
    for name in OF_TRAINING:
        del ours[name]
    for name, value in ours.items():
        if value != expected[name]:
            raise ConfigError(misfit(family, name, value, expected[name]))
    return theirs | family.finish(config)


OF_TRAINING = ("init", "dropout")                 # settings that change nothing of a trained net


def resolved(config):
    """Return all settings by name, with what follows from others in the place of 0."""
    return vars(config) | {"d_head": config.head_width, "n_kv_head": config.kv_heads,
                           "d_mlp": config.mlp_width}


def misfit(family, name, value, *fitting):
    known = " or ".join(dict.fromkeys(map(repr, fitting)))
    return (f"{name} is {value!r}, but {family.architecture} has {known}: no other program could "
            "run this model")

"""Duplicates over all units of a corpus, by the keys that were written beside each."""
from functools import partial

import numpy as np

from bpe.files import write_whole
from gpt.data.cleaning.duplicates import N_BANDS, Groups, exact_duplicates, join_equal


def at(folder, i, kind):
    """Return where something of a unit is."""
    return folder / f"{i:05d}.{kind}"


def save_array(work, i, name, array):
    """Write an array of a unit."""
    def write(path):
        with open(path, "wb") as file:
            np.save(file, array)
    write_whole(at(work, i, f"{name}.npy"), write)


def load_array(work, i, name, mmap_mode=None):
    """Return an array of a unit; None if there is none."""
    path = at(work, i, f"{name}.npy")
    return np.load(path, mmap_mode=mmap_mode) if path.exists() else None


def find_duplicates(work, n_units, dedup):
    """Find what is there before, and write which documents and lines of each unit are kept.

    Returns
    -------
    found : dict
        How many there are of each kind, and the sizes of the largest clusters.
    """
    if not dedup:
        return {}
    parts = partial(of_all, work, n_units)
    hashes = np.concatenate(parts("exact"))
    groups, everyone, found = Groups(len(hashes)), np.arange(len(hashes)), {}
    if "exact" in dedup:
        groups.parent = exact_duplicates(hashes)
        found["exact"] = int((groups.parent != everyone).sum())
    if "minhash" in dedup:
        join_near(groups, parts("minhash"))
        n = int((groups.firsts() != everyone).sum())
        found["minhash"] = n - found.get("exact", 0)
    firsts = groups.firsts()
    sizes = np.bincount(firsts, minlength=1)
    largest = -np.sort(-sizes[sizes > 1])[:10]
    kept = firsts == everyone
    write_parts(work, "kept", kept, parts("exact"))
    if "lines" in dedup:
        found["lines"] = find_lines(work, kept, parts("lines"), parts("n_lines"))
    return found | {"largest clusters": largest.tolist()}


def of_all(work, n_units, name):
    return [load_array(work, i, name, "r") for i in range(n_units)]


def join_near(groups, parts):
    """Join documents that meet in a band, those that are copies of others aside.

    parts : list of (n, ) keys, N_BANDS of each document; one band of all is in memory at a time.
    """
    left = np.flatnonzero(groups.firsts() == np.arange(len(groups.parent)))
    for b in range(N_BANDS):
        keys = np.concatenate([part[b::N_BANDS] for part in parts])
        join_equal(groups, keys[left], left)


def find_lines(work, kept, parts, n_lines):
    """Write which lines are the first of their kind in documents that are kept; count the others.
    """
    counts = np.concatenate(n_lines).astype(np.int64)
    places = np.flatnonzero(np.repeat(kept, counts))
    hashes = np.concatenate(parts)
    _, begins = np.unique(hashes[places], return_index=True)
    first = np.zeros(len(hashes), bool)
    first[places[begins]] = True
    write_parts(work, "first", first, parts)
    return len(places) - len(begins)


def write_parts(work, name, array, parts):
    """Cut an array as the parts are, and write each part."""
    start = 0
    for i, part in enumerate(parts):
        save_array(work, i, name, array[start:start + len(part)])
        start += len(part)

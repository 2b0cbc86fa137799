"""A text with what a teacher says of each place of it: kept on disk, and read where it is asked."""
import json
import shutil
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from bpe.files import write_text
from gpt.data.documents import TOKEN_FILES, Dataset, opened
from gpt.data.reading import CorpusError
from gpt.data.token_files import Tokens
from gpt.data.windows import rows_from

SAID, NAMED, FACTS = "teacher.npy", "teacher_ids.npy", "teacher.json"
DTYPE = np.float16                 # of log-probabilities on disk: to 0.1 % of themselves


class Said(NamedTuple):
    """What a teacher says of the windows of a text, W one behind the other, of T places each."""

    log_p: np.ndarray              # (W, T, K) float16, on disk
    named: np.ndarray | None = None       # (W, T, K) of which tokens; None for all in order


@dataclass(frozen=True)
class Taught(Dataset):
    """Tokens with what a teacher says of them, if that is kept, and what is known of it."""

    said: Said | None = None
    teacher: dict = field(default_factory=dict)


def n_windows(ids, T):
    """Return how many windows of T places, one behind the other, have a target at each."""
    return (len(ids) - 1) // T


def windows(ids, chosen, T):
    """Return some windows of T places, with the token behind each: (B, T + 1) int64."""
    return rows_from(ids, T * chosen, T + 1)


def keep_said(folder, ids, T, K, V, ask, at_once):
    """Write what a teacher says of a whole text, a few windows at a time.

    Parameters
    ----------
    folder : path
    ids : (N,)
    T : int
    K : int
        How many tokens it names; V for all.
    V : int
    ask : callable
        (ids (B, T)) -> (log_p (B, T, K), named (B, T, K) or None).
    at_once : int
        Windows.

    Raises
    ------
    CorpusError
        If there is no room.
    """
    W, whole = n_windows(ids, T), K == V
    shape, width = (W, T, K), 2 if whole else 6                # bytes
    needed, free = W * T * K * width, shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(f"what the teacher says takes {needed / 1e6:,.0f} MB, but "
                          f"{free / 1e6:,.0f} MB are free in {folder}: use --teacher_top 32, or "
                          "--teacher_beside")
    log_p = open_memmap(folder / SAID, "w+", DTYPE, shape)
    named = None
    if not whole:
        named = open_memmap(folder / NAMED, "w+", np.uint32, shape)
    for chosen in np.array_split(np.arange(W), -(-W // at_once)):
        rows = windows(ids, chosen, T)                                          # (B, T + 1)
        some, of_them = ask(rows[:, :-1])
        log_p[chosen] = some
        if not whole:
            named[chosen] = of_them
    log_p.flush()


def save_facts(folder, facts):
    write_text(folder / FACTS, json.dumps(facts))


def load_taught(folder, sealed=None):
    """Open a text, with what a teacher says where that is there; the arguments are those of
    `load_dataset`."""
    there = {name for name in (FACTS, SAID, NAMED) if (folder / name).exists()}
    mapped = lambda folder, name: np.load(folder / name, "r") if name in there else None

    def read(folder, tokenizer, sha256):
        parts = [Tokens(folder / name, tokenizer) for name in TOKEN_FILES]
        said, facts = None, {}
        if SAID in there:
            said = Said(mapped(folder, SAID), mapped(folder, NAMED))
        if FACTS in there:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return Taught(tokenizer, *parts, sha256, said=said, teacher=facts)
    return opened(folder, [*TOKEN_FILES, *sorted(there)], sealed, read)

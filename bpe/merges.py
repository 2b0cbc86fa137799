"""Learn merges from text of any size."""
import os
from dataclasses import dataclass

from bpe import reference

DEFAULT_PATTERN = "cl100k"


@dataclass(frozen=True)
class Merge:
    """One step of training: tokens `left` and `right` become token `id`."""

    id: int
    left: int
    right: int
    token: bytes
    count: int  # how often the pair stood in the text


def train(source, vocab_size, *, pattern=DEFAULT_PATTERN, special_tokens=(), ties="smallest",
          order="bytes", min_count=1, max_token_bytes=None, initial_merges=(), forbid=None,
          threads=None, progress=False):
    """Learn a tokenizer from text.

    Parameters
    ----------
    source : str, bytes, Path, list of Paths, or iterable of str or bytes
        Text itself; a file; a folder (all its files, sorted); several of them; documents.
    vocab_size : int
        256 bytes, merges and special tokens together.
    pattern : str
        "gpt2", "cl100k", "o200k" or a regular expression.
    special_tokens : sequence of str
        They cut the text, and get the ids behind the last merge.
    ties : {"smallest", "greatest", "first"}
        Among pairs of equal count: the smallest pair of ids, the greatest pair of byte strings, or
        the first one in the text.
    order : {"bytes", "hf"}
        Which byte is which id below 256: its value, or GPT-2's table ("!" is 0), as Hugging Face.
    min_count : int
        Stop when no pair stands at least so often.
    max_token_bytes : int, optional
    initial_merges : sequence of (int, int)
        Merges made first, whatever their count; training goes on from there.
    forbid : callable of bytes -> bool, optional
        Tokens for which it is true are not made.
    threads : int, optional
        For counting words; all cores by default. The result does not depend on it.
    progress : bool
        Show how far it is, on standard error.

    Returns
    -------
    tokenizer : bpe.tokenizer.Tokenizer
    """


def train_steps(source, n_merges, **options):
    """Yield a `Merge` for each merge, as it is learnt. Options as for `train`, but special tokens
    only cut the text and take no id."""

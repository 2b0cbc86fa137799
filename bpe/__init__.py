"""A byte-level BPE trainer and tokenizer. Begin with `bpe.reference`, the book version."""
from bpe.merges import Merge, train, train_steps
from bpe.pretokenize import PATTERNS, split_offsets

__all__ = ["PATTERNS", "Merge", "split_offsets", "train", "train_steps"]

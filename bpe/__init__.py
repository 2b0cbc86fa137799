"""A byte-level BPE trainer and tokenizer. Begin with `bpe.reference`, the book version."""
from bpe.decode import StreamDecoder
from bpe.merges import Merge, train, train_steps
from bpe.pretokenize import PATTERNS, split_offsets
from bpe.tokenfile import load_tokens, token_file_facts
from bpe.tokenizer import Tokenizer

__all__ = ["PATTERNS", "Merge", "StreamDecoder", "Tokenizer", "load_tokens", "split_offsets",
           "token_file_facts", "train", "train_steps"]

"""Say a tokenizer of bytes as the metadata of a GGUF."""
import numpy as np

import bpe
from bpe.huggingface import facts_of
from bpe.pretokenize import pattern_name
from gpt.data.tokens.gguf import ADDED, KEY, SPECIAL, USUAL

# The pattern of a tokenizer -> what llama.cpp calls the same way to cut a text.
CUTS = {"gpt2": "gpt-2", "cl100k": "dbrx"}


def gguf_metadata(tokenizer):
    """Return the facts `tokenizer.ggml.*` by name.

    Raises
    ------
    ValueError
        If it is no byte-level BPE, or cuts text in a way that GGUF has no name for.
    """
    if not isinstance(tokenizer, bpe.Tokenizer):
        raise ValueError("a GGUF can be written with tokenizers of bytes and bpe alone: train "
                         "with --tokenizer bpe or byte to take a model elsewhere")
    cut = CUTS.get(pattern_name(tokenizer.pattern))
    if cut is None or tokenizer.vocabulary.whole_words:
        raise ValueError(f"a GGUF has no name for the way in which this tokenizer cuts text: "
                         f"{' and '.join(CUTS)} have one")
    facts = facts_of(tokenizer)
    spelling = {i: text for text, i in facts["model"]["vocab"].items()}
    kinds = dict.fromkeys(spelling, USUAL)
    for token in facts["added_tokens"]:
        spelling[token["id"]] = token["content"]
        kinds[token["id"]] = SPECIAL if token["special"] else ADDED
    merges = [merge if isinstance(merge, str) else " ".join(merge)
              for merge in facts["model"]["merges"]]
    types = [kinds[i] for i in sorted(kinds)]
    said = {"model": "gpt2", "pre": cut,
            "tokens": [spelling[i] for i in sorted(spelling)],
            "token_type": np.array(types, np.int32),   # llama.cpp takes no other numbers
            "merges": merges, "add_bos_token": False}
    ends = list(tokenizer.special_tokens.values())
    if ends:
        said["eos_token_id"] = ends[0]
    return {KEY + name: x for name, x in said.items()}

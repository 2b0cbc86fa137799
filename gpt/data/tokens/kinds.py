"""Choose, train and read the tokenizer of a run."""
from pathlib import Path

import bpe
from bpe.files import read_json
from bpe.huggingface import arguments_of
from gpt.data.tokens.characters import CharTokenizer, characters_of
from gpt.data.tokens.gguf import facts_of_gguf
from gpt.data.tokens.published import PublishedTokenizer
from gpt.files.gguf import open_gguf


def train_tokenizer(kind, vocabulary, texts, train_texts, specials=()):
    """Make the tokenizer that the settings ask for.

    Parameters
    ----------
    kind : str
        "char", "byte", "bpe", or the path of a tokenizer file.
    vocabulary : int
        Of bpe.
    texts, train_texts : iterable of bytes
        All (their characters must be known), and those to learn merges from.
    specials : sequence of str
        Special tokens that it has besides.

    Returns
    -------
    tokenizer
        As the package's docstring describes it.

    Raises
    ------
    OSError, ValueError
        If text cannot be learnt from, or a file is not that of a tokenizer.
    """
    if kind == "char":
        characters = set().union(*(text.decode("utf-8") for text in texts))
        return CharTokenizer(characters, specials)
    if kind == "byte":
        return bpe.Tokenizer([], special_tokens={name: 256 for name in specials})
    if kind == "bpe":
        return bpe.train(train_texts, vocabulary, special_tokens=specials)
    return load_tokenizer(kind)


def load_tokenizer(path):
    """Read a tokenizer of any kind from its file, a GGUF, or the folder of a published model.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or is damaged or of a kind that is not known here.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        return tokenizer_of_gguf(open_gguf(path).metadata, path)
    if (path / "tokenizer.json").is_file():
        path = path / "tokenizer.json"
    if path.suffix == ".json" and path.is_file():
        facts = read_json(path)
        if isinstance(facts, dict) and facts.get("kind") == "characters":
            return characters_of(path, facts)
        if isinstance(facts, dict) and "model" in facts:
            return tokenizer_of(facts, path)
    return bpe.Tokenizer.load(path)


def tokenizer_of(facts, path="tokenizer.json"):
    """Make a tokenizer of the JSON of a `tokenizer.json`: by `bpe` alone if it can, else step by
    step."""
    try:
        return bpe.Tokenizer(**arguments_of(path, facts))
    except ValueError:
        return PublishedTokenizer(facts, path)


def tokenizer_of_gguf(metadata, path="the GGUF"):
    """Make the tokenizer that the metadata of a GGUF, a dict of its keys, describes."""
    return tokenizer_of(facts_of_gguf(metadata, path), path)


def with_specials(tokenizer, names):
    """Return a tokenizer that knows these special tokens: those that it lacks come last."""
    known = {**getattr(tokenizer, "added_tokens", {}), **tokenizer.special_tokens}
    missing = [name for name in names if name not in known]
    return tokenizer.with_more(missing) if missing else tokenizer


def framed(tokenizer, ids):
    """Put around the ids of a text what the model expects there, as a list."""
    before, after = tokenizer.frame
    return [*before, *ids, *after]

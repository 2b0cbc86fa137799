"""Tokens written in GPT-2's characters, as `vocab.json` and Hugging Face's files have them."""


def _characters():
    """GPT-2's character for each byte: itself if it is printable, else the next from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


CHARACTERS = _characters()
_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


def spell(token):
    """Write bytes as GPT-2's characters."""
    return "".join(CHARACTERS[byte] for byte in token)


def spelled(text):
    """Whether a text is bytes written as GPT-2's characters."""
    return _BYTES.keys() >= set(text)


def unspell(text):
    """Read bytes written as GPT-2's characters."""
    return bytes(map(_BYTES.__getitem__, text))


def spelled_arguments(path, vocab, merges, where, texts):
    """Turn tokens written in GPT-2's characters into ids and bytes; `where(k)` is merge k's place.

    `texts` are those, text -> id, that are no such spelling.

    Returns
    -------
    arguments : dict
        Of `Tokenizer`.
    others : dict of str -> int
        What is neither a byte, nor made by a merge, nor among `texts`.
    """
    ids = vocab.values() if isinstance(vocab, dict) else [None]
    if not {int}.issuperset(map(type, ids)):
        raise ValueError(f"{path}: the vocabulary must map tokens to ids")
    byte_ids = []
    for character in CHARACTERS:
        if character not in vocab:
            raise ValueError(f"{path}: there is no token {character!r} for the byte "
                             f"{_BYTES[character]}; only byte-level vocabularies can be read")
        byte_ids.append(vocab[character])
    pairs, merge_ids = {}, []  # (int, int) -> its place
    for k, pair in enumerate(merges):
        try:
            left, right = pair
            pair = vocab[left], vocab[right]
            made = vocab[left + right]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{where(k)}: {' '.join(map(str, pair))!r:.60} is not two tokens that "
                             f"make a third of the vocabulary") from None
        if pair in pairs:
            raise ValueError(f"{where(k)}: {left} {right} comes a second time")
        pairs[pair] = k
        merge_ids.append(made)
    made = {*byte_ids, *merge_ids, *texts.values()}
    others = {text: i for text, i in vocab.items() if i not in made}
    ids = dict(byte_ids=byte_ids, merge_ids=merge_ids)
    return dict(merges=list(pairs), more_tokens={}, **ids), others


def vocab_and_merges(tokenizer):
    """Write the tokens and merges in GPT-2's characters: text -> id; lines."""
    tokens = tokenizer.vocabulary.tokens
    in_order = sorted(tokens.items())
    vocab = {spell(token): i for i, token in in_order}
    if len(vocab) < len(tokens):
        raise ValueError("this tokenizer has two ids for one token, which only the format bpe "
                         "can say")
    merges = [f"{spell(tokens[left])} {spell(tokens[right])}"
              for left, right in tokenizer.vocabulary.merges.tolist()]
    return vocab, list(dict.fromkeys(merges))  # of equal pairs the first counts

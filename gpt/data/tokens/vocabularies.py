"""The vocabulary of a `tokenizer.json`, checked."""
MAX_ID = 1 << 24
LONGEST_PIECE = 256  # characters, where all beginnings of tokens are kept, or all cuts in two
FALLBACK = tuple(f"<0x{byte:02X}>" for byte in range(256))  # how a byte that has no text is named


def checked_vocab(part):
    """Read the tokens of a model, str -> int; memory follows their number, not their ids."""
    vocab = part("vocab", dict)
    right = {int}.issuperset(map(type, vocab.values()))
    part.check("vocab", vocab, right, "an object of texts and ids")
    check_ids(part, vocab.values())
    return vocab


def check_ids(part, ids):
    """Refuse ids that are negative, or so large that most below them stand for nothing."""
    most = min(MAX_ID, 4 * len(ids) + 1024)
    for i in (min(ids, default=0), max(ids, default=0)):
        part.check("vocab", i, 0 <= i < most, f"an id from 0 to {most - 1}")


def fallback_ids(vocab):
    """The id of each byte's token, (256,) list of int or None."""
    return [vocab.get(name) for name in FALLBACK]

"""From a word to ids, without learning: whole words, and WordPiece."""
from bpe.files import check
from gpt.data.tokens.merges import Merges
from gpt.data.tokens.parts import Part
from gpt.data.tokens.unigram import Unigram
from gpt.data.tokens.vocabularies import checked_vocab


def model_of(path, facts):
    """Make what turns a word into a list of ids; `vocab` is its tokens, str -> int."""
    model = facts.get("model")
    check(path, "model", model, isinstance(model, dict), "an object")
    kind = model.get("type") or _guessed(model)
    return Part(path, "model", model | {"type": kind}).made_by(MODELS)


def _guessed(model):
    """Say which kind an old file means, which does not say so."""
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in model else "Unigram"


class WordPiece:
    """Greedy: the longest token that a word begins with, and so on; else the whole is unknown.

    References
    ----------
    Devlin et al. 2019 (BERT), arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144.
    """

    def __init__(self, part):
        self.vocab = checked_vocab(part)
        self.prefix = part("continuing_subword_prefix", str)
        self.unknown = unknown_id(part, self.vocab)
        self.longest_word = part("max_input_chars_per_word", int)
        self.longest = max(map(len, self.vocab), default=0)

    def __call__(self, word):
        ids, start = [], 0
        while start < len(word) <= self.longest_word:
            prefix = self.prefix if start else ""
            stop = min(len(word), start + self.longest)
            while stop > start and prefix + word[start:stop] not in self.vocab:
                stop -= 1
            if stop == start:
                return [self.unknown]
            ids.append(self.vocab[prefix + word[start:stop]])
            start = stop
        return ids or [self.unknown]


class WordLevel:
    """A token for each word."""

    def __init__(self, part):
        self.vocab = checked_vocab(part)
        self.unknown = unknown_id(part, self.vocab)

    def __call__(self, word):
        return [self.vocab.get(word, self.unknown)]


def unknown_id(part, vocab):
    """The id of the token for unknown words, which must be there."""
    text = part("unk_token", str)
    part.check("unk_token", text, text in vocab, "in the vocabulary")
    return vocab[text]


MODELS = {"BPE": Merges, "WordPiece": WordPiece, "Unigram": Unigram, "WordLevel": WordLevel}

"""Added tokens: texts that are one token each, looked for before anything is cut."""
import re
from collections import defaultdict
from typing import NamedTuple

from bpe.files import check
from bpe.huggingface import numbered
from gpt.data.tokens.parts import Part
from gpt.data.tokens.unicode_classes import WORD, set_of, white

OPTIONS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Added(NamedTuple):
    """An added token and its options."""

    text: str
    id: int
    single_word: bool    # only where no letter or digit stands beside it
    lstrip: bool         # takes the white space before it
    rstrip: bool         # takes the white space behind it
    normalized: bool     # looked for in the normalized text, itself normalized
    special: bool


def added_tokens(path, facts, vocab):
    """Read the added tokens of a `tokenizer.json`, with the ids that Hugging Face gives them."""
    given = facts.get("added_tokens") or []
    check(path, "added_tokens", given, isinstance(given, list), "a list")
    tokens = []
    for k, token in enumerate(given):
        part = Part(path, f"added_tokens[{k}]", token)
        text, i = part("content", str), part("id", int)
        options = [part(name, bool) for name in OPTIONS]
        for name in sorted(token.keys() - part.asked):
            part.check(name, token[name], False, "left out: it is not known here")
        tokens.append(Added(text, i, *options))
    tokens = [token for token in tokens if token.text]  # they are never found
    ids = numbered([token.text for token in tokens], vocab)
    for token, i in zip(tokens, ids):
        where = f"the id of the added token {token.text!r:.60}"
        check(path, where, token.id, token.id == i, f"{i}, as Hugging Face would number it")
    return list({token.text: token for token in reversed(tokens)}.values())[::-1]


class Finder:
    """Find some texts in another: the leftmost first, and there the longest."""

    def __init__(self, texts):
        self.texts = set(texts)
        lengths = defaultdict(set)
        for text in self.texts:
            lengths[text[0]].add(len(text))
        self.lengths = {c: sorted(n, reverse=True) for c, n in lengths.items()}
        firsts = "".join(map(re.escape, self.lengths))
        self.first = re.compile(f"[{firsts}]" if firsts else "(?!)")

    def __call__(self, text):
        """Yield (start, stop) of each text that is found; none overlaps the one before."""
        done = 0
        for match in self.first.finditer(text):
            start = match.start()
            if start < done:
                continue
            for n in self.lengths[text[start]]:
                if text[start:start + n] in self.texts:
                    done = start + n
                    yield start, done
                    break


class Cutter:
    """Cut a text at some added tokens, by their options.

    Parameters
    ----------
    tokens : dict of str -> Added
        By the text to look for.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.find = Finder(tokens)
        self.word = re.compile(f"[{set_of(WORD)}]")

    def __call__(self, text):
        """Yield (start, what is between, None) and (start, None, id), in the order of the text."""
        done = 0
        for start, stop in self.find(text):
            token = self.tokens[text[start:stop]]
            if token.single_word and self._joins_a_word(text, start, stop):
                continue
            if token.lstrip:
                start = max(done, len(text[:start].rstrip(white())))
            if token.rstrip:
                stop = len(text) - len(text[stop:].lstrip(white()))
            if done < start:
                yield done, text[done:start], None
            yield start, None, token.id
            done = stop
        if done < len(text):
            yield done, text[done:], None

    def _joins_a_word(self, text, start, stop):
        beside = text[start - 1:start] + text[stop:stop + 1]
        return bool(self.word.search(beside))

"""Rules that tell text from what is none: each returns why a text is dropped, or nothing.

They look at words alone: a mark between two words is no word without a letter.
"""
import math
import re

import numpy as np

from gpt.data.cleaning import look

# ---- Gopher: Rae et al. 2021, arXiv:2112.11446, table A1 ----

STOP_WORDS = look.Look("the be to of and that have with").word_hashes
BULLETS, ELLIPSES = ("-", "*", "•", "‣", "●"), ("...", "…")


def gopher_quality(text):
    """Tell why a text has not the words and lines of prose; English, for its stop words."""
    seen = look.of(text)
    words, lines, n = seen.words, seen.lines, len(seen.words)
    if not 50 <= n <= 100_000:
        return "fewer than 50 words" if n < 50 else "more than 100,000 words"
    if not 3 <= seen.lengths.mean() <= 10:
        return "words of less than 3 or more than 10 characters on average"
    for symbol in ("#", "…"):
        if text.count(symbol) > 0.1 * n:
            return f"more than one {symbol} to ten words"
    if text.count("...") > 0.1 * n:
        return "more than one ... to ten words"
    if share(lines, lambda line: line.startswith(BULLETS)) > 0.9:
        return "more than 90 % of the lines begin with a bullet"
    if share(lines, lambda line: line.endswith(ELLIPSES)) > 0.3:
        return "more than 30 % of the lines end with an ellipsis"
    if (share(words, str.isalpha) < 0.8               # which is soon asked
            and share(words, has_letter) < 0.8):
        return "fewer than 80 % of the words have a letter"
    if np.isin(STOP_WORDS, seen.word_hashes).sum() < 2:
        return "fewer than 2 of the stop words"
    return ""


def gopher_quality_filter(text):
    """Tell whether a text passes Gopher's rules of quality."""
    return not gopher_quality(text)


def share(items, holds):
    return sum(map(holds, items)) / max(1, len(items))


def has_letter(word):
    return any(map(str.isalpha, word))


REPEATED, REPEATED_CHARACTERS = 0.3, 0.2              # of the lines, and of the paragraphs
TOP_N_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_N_GRAMS = {5: 0.15, 6: 0.14, 7: 0.13,
                     8: 0.12, 9: 0.11, 10: 0.10}
FEW_CHARACTERS = 500               # of repeated n-grams any text may have: lists of places do


def gopher_repetition(text):
    """Tell why a text repeats itself too much."""
    seen = look.of(text)
    paragraphs = [*filter(None, map(str.strip, text.split("\n\n")))]
    for name, parts in {"lines": seen.lines, "paragraphs": paragraphs}.items():
        again, characters = repeated(parts)
        if again > REPEATED * len(parts) or characters > REPEATED_CHARACTERS * len(text):
            return f"too many repeated {name}"
    return repeated_n_grams(seen, len(text))


def repeated_n_grams(seen, n_characters, few=FEW_CHARACTERS):
    """Tell which sequences of words are too much of a text.

    What stands there twice is looked for among what was there twice with a word less.
    """
    twice = np.arange(len(seen.words))                # places
    longer = look.longer_and_longer(seen.word_hashes, max(DUPLICATE_N_GRAMS))
    for n, keys in enumerate(longer, 1):
        twice = twice[twice < len(keys)]
        _, first, which, counts = np.unique(keys[twice], True, True, True)
        most = TOP_N_GRAMS.get(n, math.inf) * n_characters
        if top_n_gram(twice[first], counts, seen.lengths, n) > most:
            return f"one sequence of {n} words is too much of it"
        again = np.delete(twice, first)
        most = max(few, DUPLICATE_N_GRAMS.get(n, math.inf) * n_characters)
        if covered(again, seen.lengths, n) > most:
            return f"too many repeated sequences of {n} words"
        twice = twice[counts[which] > 1]
    return ""


def repeated(parts):
    """Return how many parts stand before them already, and how many characters those have."""
    known, again, characters = set(), 0, 0
    for part in parts:
        if part in known:
            again += 1
            characters += len(part)
        known.add(part)
    return again, characters


def top_n_gram(first, counts, lengths, n):
    """Return the characters of the most frequent n-gram, all its occurrences together."""
    if not len(counts) or counts.max() == 1:
        return 0
    place = first[counts.argmax()]
    return int(counts.max() * lengths[place:place + n].sum())


def covered(places, lengths, n):
    """Return the characters of the n words from each place on, each counted once."""
    begins = np.zeros(len(lengths) + 1, np.int64)
    begins[places] += 1                               # each place once
    begins[places + n] -= 1
    return int(lengths[begins.cumsum()[:-1] > 0].sum())


# ---- C4: Raffel et al. 2019, arXiv:1910.10683, section 2.2; without its list of bad words ----

SENTENCE = re.compile(r"[.!?。！？][\"”]?(?:\s|$)")
OF_SITES = "javascript", "cookie policy", "privacy policy", "terms of use"
TERMINAL = (".", "!", "?", '"', "”", "。", "！", "？")


def c4_lines(text):
    """Keep the lines of at least five words that end as sentences do."""
    lines = map(str.strip, text.split("\n"))
    kept = [line for line in lines if not line or is_sentence(line)]
    return "\n".join(kept).strip()


def is_sentence(line):
    small = line.lower()
    return (line.endswith(TERMINAL) and not line.endswith("...") and len(line.split()) >= 5
            and not any(phrase in small for phrase in OF_SITES))


def c4_page(text):
    """Tell why a page is none of sentences."""
    if "lorem ipsum" in text.lower():
        return "lorem ipsum"
    if "{" in text:
        return "a curly bracket"
    sentences = len(SENTENCE.findall(text))
    return "fewer than 3 sentences" if sentences < 3 else ""


# ---- FineWeb: Penedo et al. 2024, arXiv:2406.17557, section 3.6 ----

def fineweb_lines(text):
    """Tell why the lines of a text are those of a list or a menu."""
    lines = look.of(text).lines
    if share(lines, lambda line: line.endswith(TERMINAL)) <= 0.12:
        return "at most 12 % of the lines end as sentences do"
    if repeated(lines)[1] >= 0.1 * len(text):
        return "at least 10 % of the characters are in repeated lines"
    if share(lines, lambda line: len(line) < 30) >= 0.67:
        return "at least 67 % of the lines have fewer than 30 characters"
    return ""


# ---- ours ----

def menu(text):
    """Tell whether a text is a menu: no line is long, and next to none is a sentence.

    FineWeb's rules drop menus, too, and with them pages that tell the meanings of a word.
    """
    lines = look.of(text).lines
    if max(map(len, lines), default=0) >= 60:
        return ""
    sentences = share(lines, lambda line: line.endswith(TERMINAL))
    return "a menu: short lines, and at most 12 % of them sentences" if sentences <= 0.12 else ""


# ---- Contamination: Brown et al. 2020, arXiv:2005.14165, appendix C ----

CONTAMINATED_BY = 13               # words in a row


def held_out_keys(texts):
    """Return a number for every 13 words in a row of texts, sorted."""
    keys = [look.Look(text).n_grams(CONTAMINATED_BY) for text in texts]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *keys]))


def contaminated(text, keys):
    """Tell whether 13 words in a row of a text stand in what is held out, too."""
    found = np.isin(look.of(text).n_grams(CONTAMINATED_BY), keys)
    return f"{CONTAMINATED_BY} words in a row are held out" if found.any() else ""

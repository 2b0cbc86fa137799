"""Hide 1,000 words, one at a time: what a masked net puts there, beside counts and a causal net.

    python train.py TEXT --net encoder --task masked --minutes 5 --vocabulary 2048 --name masked
    python train.py TEXT --minutes 5 --tokenizer runs/masked/data/tokenizer.json --name causal
    python benchmarks/fill.py runs/masked runs/causal [--words 1000]

The words stand in the text that both runs held out, and are those that the tokenizer has as one
token, with their space. Everybody answers with such a word, and is right or not:
- The masked net sees 64 tokens before the word and 63 behind it.
- Counts see two tokens left and right (interpolated, after Witten & Bell 1991).
- The causal net takes the 200 words that are likeliest behind the same 64 tokens, and of these the
  one with which all up to the end of the sentence is the likeliest.
"""
import argparse
import math
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this
from results import HELP, verdict  # noqa: E402

from gpt.batch import Batch  # noqa: E402
from gpt.models.masking import hidden, mask_id  # noqa: E402
from gpt.opening import open_model  # noqa: E402
from minigrad import log_softmax, no_grad  # noqa: E402

LEFT, RIGHT = 64, 63               # tokens around a word that nets see
TRIED = 200                        # words that the causal net chooses among
SENTENCE = 16                      # tokens behind the word that it reads them with, at most
ENDS = b".!?;"                     # of a sentence


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("masked", help="a run of the task masked")
    parser.add_argument("causal", help="a run of the same text and tokenizer")
    parser.add_argument("--words", type=int, default=1000)
    args = parser.parse_args()
    masked, causal = open_model(args.masked), open_model(args.causal)
    if causal.tokenizer.fingerprint() != masked.tokenizer.fingerprint():
        parser.error("the runs have different tokenizers: train one with that of the other")
    data, tokens = masked.data(), [token or b" " for token in masked.tokenizer.tokens]
    words = np.array([i for i, token in enumerate(tokens) if re.fullmatch(rb" [A-Za-z]+", token)])
    counts = Counts(np.asarray(data.train, np.int64), words)
    ends = np.array([any(byte in ENDS for byte in token) for token in tokens])  # (V,)
    sentences = Sentences(causal, words, ends)
    answers = {
        "masked net": lambda text: filled(masked, text, words),
        "counts": lambda text: counts.likeliest(text, words),
        "causal net, left alone": sentences.left_alone,
        "causal net, sentence": sentences.whole}
    texts = drawn(np.asarray(data.val, np.int64), words, tokens, args.words)    # (N, 128)
    right = {}
    for name, answer in answers.items():
        right[name] = np.array([answer(text) == text[LEFT] for text in texts])
        print(f"{name}: {100 * right[name].mean():.1f} % of {len(texts):,} words", flush=True)
    tell(right, masked, causal, words, tokens)


def drawn(ids, words, tokens, n):
    """Draw n texts, (n, 128), in whose middle is a whole word: what follows does not go on."""
    goes_on = np.array([token[:1].isalpha() for token in tokens])               # (V,)
    places = np.arange(LEFT, len(ids) - RIGHT)
    whole = np.isin(ids[places], words) & ~goes_on[ids[places + 1]]
    chosen = np.random.default_rng(0).choice(places[whole], n, replace=False)
    return np.stack([ids[at - LEFT:at + RIGHT + 1] for at in chosen])


# ---- the nets ----

def filled(opened, text, words):
    """Return the word that a masked net puts into the middle of a text, (128,)."""
    read = text[None].copy()                                                    # (1, T)
    read[0, LEFT] = mask_id(opened.tokenizer)
    p = hidden(opened.model, opened.tokenizer, read)[0, LEFT]                   # (V,)
    return words[p[words].argmax()]


class Sentences:
    """A causal net that reads what stands left of a word once, whatever follows."""

    def __init__(self, opened, words, ends):
        self.model, self.words, self.ends = opened.model, words, ends
        self.n_tried = min(TRIED, len(words))
        self.left, self.right = (self.model.start(Batch(np.zeros((n, 1), int)))
                                 for n in (1, self.n_tried))

    def behind(self, text):
        """Return the log-probability of each word behind what stands left of it: (W,)."""
        self.left.clear()
        return self.log_p(text[None, :LEFT], self.left)[0, -1, self.words]

    def left_alone(self, text):
        return self.words[self.behind(text).argmax()]

    def whole(self, text):
        """Return the word that makes a text the likeliest to the end of the sentence."""
        p = self.behind(text)                                                   # (W,)
        tried = np.argsort(-p)[:self.n_tried]
        n = 1 + int(np.append(self.ends[text[LEFT + 1:LEFT + SENTENCE]], True).argmax())
        rows = np.repeat(text[None, LEFT:LEFT + 1 + n], self.n_tried, axis=0)  # (N, 1 + n)
        rows[:, 0] = self.words[tried]
        self.right.begin_as(self.left)
        found = self.log_p(rows[:, :-1], self.right)                            # (N, n, V)
        of_next = np.take_along_axis(found, rows[:, 1:, None], axis=2)[..., 0]
        total = p[tried] + of_next.sum(axis=1)
        return self.words[tried[total.argmax()]]

    def log_p(self, ids, state):
        with no_grad():
            return log_softmax(self.model(ids, state)).data                     # (B, T, V)


# ---- counts ----

class Counts:
    """Which words stand between which tokens; from two on each side down to none.

    p of a view is (c(word) + n p of the narrower one) / (c + n): c counts how often the view was
    seen, and n how many different words were.
    """

    VIEWS = (), (1,), (-1,), (-1, 1), (-2, -1, 1), (-1, 1, 2), (-2, -1, 1, 2)   # where they look

    def __init__(self, ids, words):
        self.V = int(ids.max()) + 1
        places = np.arange(2, len(ids) - 2)
        places = places[np.isin(ids[places], words)]
        self.tables = []
        for view in self.VIEWS:
            codes = self.coded([ids[places + i] for i in view], len(places))
            order = np.argsort(codes, kind="stable")
            self.tables.append((codes[order], ids[places[order]]))

    def coded(self, columns, n=1):
        """Number the tokens that a view sees: (n,)."""
        codes = np.zeros(n, np.uint64)
        for column in columns:
            codes = codes * np.uint64(self.V) + np.asarray(column, np.uint64)
        return codes

    def likeliest(self, text, words):
        """Return the word that is the likeliest in the middle of a text."""
        p = np.full(self.V, 1 / self.V)
        for view, (codes, seen) in zip(self.VIEWS, self.tables):
            code = self.coded([text[LEFT + i] for i in view])
            first, stop = (np.searchsorted(codes, code, side) for side in ("left", "right"))
            found = np.bincount(seen[first[0]:stop[0]], minlength=self.V)       # (V,)
            kinds = np.count_nonzero(found)
            if kinds:
                p = (found + kinds * p) / (found.sum() + kinds)
        return words[p[words].argmax()]


# ---- what is told ----

def tell(right, masked, causal, words, tokens):
    sizes = [sum(x.size for x in opened.model.parameters()) for opened in (masked, causal)]
    print(f"{len(words):,} words to choose from; parameters: masked {sizes[0]:,}, causal "
          f"{sizes[1]:,}")
    own = right.pop("masked net")
    for name, other in right.items():
        difference = own.astype(float) - other
        error = difference.std(ddof=1) / math.sqrt(len(own))
        print(f"masked net - {name}: {100 * difference.mean():+.1f} +- {100 * error:.1f} points")
        verdict(f"fill-above-{name.replace(', ', '-').replace(' ', '-')}",
                100 * difference.mean(), 0)


if __name__ == "__main__":
    main()

"""Texts and dumps that tests of corpora make up."""
import random

WORDS = ("the be to of and that have with a house river garden walk slowly under morning "
         "light").split()


def prose(n=120, seed=0, line=15):
    rng = random.Random(seed)
    lines = [" ".join(rng.choice(WORDS) + str(rng.randrange(100)) * (rng.random() < 0.2)
                      for _ in range(line)) + "." for _ in range(n // line)]
    return "\n".join(lines)


def dump(texts):
    rows = "".join(f"<page><title>T{i}</title><ns>{0 if text else 4}</ns><id>{i}</id><revision>"
                   f"<text>{text}</text></revision></page>\n" for i, text in enumerate(texts))
    return f"<mediawiki>\n<siteinfo/>\n{rows}</mediawiki>".encode()

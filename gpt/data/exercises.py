"""Exercises that are on every machine: a prompt and its only right answer, as conversations."""
import json
import random


def sums(digits=2):
    """Write all sums of two numbers of two digits, the answer with three: a line of JSON each."""
    n = 10 ** digits
    return lines((f"{a:0{digits}d}+{b:0{digits}d}=", f"{a + b:0{digits + 1}d}")
                 for a in range(n) for b in range(n))


def sorting(n=3000, length=5, seed=0):
    """Write rows of digits that are to be sorted."""
    rng, found = random.Random(seed), {}
    while len(found) < n:
        row = "".join(rng.choices("0123456789", k=length))
        found[row] = "".join(sorted(row))
    return lines((f"{row}>", answer) for row, answer in found.items())


def lines(pairs):
    return "".join(json.dumps({"instruction": prompt, "output": answer}) + "\n"
                   for prompt, answer in pairs)

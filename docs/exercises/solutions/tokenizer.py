"""Applying learnt merges to a word.

merges maps a pair of ids to the id of the merged token; lower ids were learnt first.
"""


def encode_word(word, merges):
    ids = list(word)
    while known := [pair for pair in zip(ids, ids[1:]) if pair in merges]:
        best, i = min(known, key=merges.get), 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == best:
                ids[i:i + 2] = [merges[best]]
            i += 1
    return ids

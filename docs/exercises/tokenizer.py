"""Applying learnt merges to a word.

merges maps a pair of ids to the id of the merged token; lower ids were learnt first.
"""


def encode_word(word, merges):
    ids = list(word)
    i = 0
    while i < len(ids) - 1:
        pair = ids[i], ids[i + 1]
        if pair in merges:
            ids[i:i + 2] = [merges[pair]]
            i = 0
        else:
            i += 1
    return ids

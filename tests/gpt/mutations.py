"""Files that somebody has damaged, or made to do damage."""
import copy
import struct

LIMITS = [0, 1, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63, (1 << 64) - 1]
SIGNS = [b"9", b"0", b"-", b"e", b".", b'"', b"{", b"}", b"[", b"]", b",", b"\\n", b"\n", b"null",
         b"true", b"F64", b"\xff", b"\\ud800", b"99999999999999999999", 500 * b"[", 5000 * b"7"]


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def mutated(data, head, rng):
    """Change bytes, mostly those of the head: cut, drop, repeat, put numbers and signs in."""
    n = len(data) if rng.random() < 0.1 else head
    at, start, size = rng.integers(n), rng.integers(n), rng.integers(1, 17)
    sign = pick(rng, SIGNS)
    number = struct.pack("<Q", pick(rng, LIMITS))[:pick(rng, [4, 8])]
    flipped = bytes([data[at] ^ 1 << pick(rng, range(8))])
    return pick(rng, [
        data[:at],
        data[:at] + data[at + size:],
        data[:at] + data[start:start + size] + data[at:],
        data[:at] + sign + data[at:],
        *(data[:at] + new + data[at + len(new):] for new in (rng.bytes(1), flipped, number, sign))])


def changed(facts, draw):
    """Put something else in one place of a JSON, or take it away."""
    values = [None, True, -1, 0.5, 1 << 22, 1 << 31, 1 << 62, "", "a\nb", "(", [], {}, [[]],
              {"type": "Sequence"}, {"type": "NFC"}, [1, "a"], "x" * 1000, float("nan")]
    facts = copy.deepcopy(facts)
    at = facts
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = draw.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and draw.random() < 0.8:
            at = at[key]
            continue
        if draw.random() < 0.2:
            del at[key]
        else:
            at[key] = draw.choice(values)
        return facts

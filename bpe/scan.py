"""Where pre-tokens of the named patterns end: one pass writes a class byte for each byte of
text, a second one finds the ends.

Text is bytes. A byte that belongs to no valid UTF-8 sequence (surrogates and overlong forms are not
valid) counts as one character of class OTHER, such as a symbol; so does an unassigned code point.
"""
import numpy as np
from llvmlite import ir
from numba import int64, types, uint64
from numba.extending import intrinsic

from bpe.jit import LANES, bit_count, bits64, first_bits, kernel, load64, pointer_to, trailing_zeros
from bpe.unicode_ranges import (
    LETTER, LOWER, MARK, NAMED, NEWLINE, NUMBER, OTHER, SPACE, UPPER, class_table)

CONTINUES = 128  # with any class: not a character's first byte
ONE = uint64(1)
SPARE = 8  # ends are written so many at a time: room for as many is behind the last one
KIND = LETTER | NUMBER | SPACE  # none of the three is what the patterns write [^\s\p{L}\p{N}]


# ---- pass one: a class byte for each byte ----

@kernel(inline="always")
def _code_point(data, i, stop):
    """Decode the character at i: (code point, length), or (-1, 1) where UTF-8 is not valid."""
    word = int64(load64(data, i) & uint64(0xFFFFFFFF))
    a, b, c, d = word & 255, (word >> 8) & 63, (word >> 16) & 63, (word >> 24) & 63
    if a < 0x80:
        return a, 1
    if word & 0xC0C0F0 == 0x8080E0 and i + 3 <= stop:  # first, as most letters are
        point = (a & 15) << 12 | b << 6 | c
        if point >= 0x800 and point >> 11 != 27:  # not written too long, no surrogate
            return point, 3
    if word & 0xC0E0 == 0x80C0 and i + 2 <= stop and a >= 0xC2:
        return (a & 31) << 6 | b, 2
    if word & 0xC0C0C0F8 == 0x808080F0 and i + 4 <= stop:
        point = (a & 7) << 18 | b << 12 | c << 6 | d
        if 0x10000 <= point <= 0x10FFFF:
            return point, 4
    return int64(-1), 1


@kernel
def _classify(data, start, stop, table, out_classes):
    """Write the class of each byte's character; later bytes of a character have CONTINUES set."""
    i = start
    while i < stop:
        if i + 64 <= stop and bits64(data, i, 0x80) == 0:
            _classify_ascii(data, i, out_classes)
            i += 64
            continue
        for _ in range(64):  # characters; then it may be ASCII again
            if i >= stop:
                break
            point, length = _code_point(data, i, stop)
            kind = OTHER if point < 0 else table[point]
            out_classes[i] = kind
            for k in range(1, 4):  # what is too much is written again, or not read
                out_classes[i + k] = kind | CONTINUES
            i += length


def _ascii_ranges():
    """The runs of equal classes in ASCII: (first, last, class)."""
    table = class_table()[:128]
    edges = [0, *(np.flatnonzero(np.diff(table)) + 1).tolist(), 128]
    return [(first, stop - 1, int(table[first])) for first, stop in zip(edges, edges[1:])]


@intrinsic
def _classify_ascii(typing_context, data, index, out_classes):
    """Do `_classify` for 64 ASCII bytes, by comparing them all with each range of characters."""
    def generate(context, builder, signature, args):
        every = lambda value: ir.Constant(LANES, [value] * 64)
        text, out = (pointer_to(context, builder, signature.args[k], args[k], args[1], LANES)
                     for k in (0, 2))
        text, classes = builder.load(text, align=1), every(0)
        for first, last, kind in _ascii_ranges():
            inside = builder.icmp_unsigned("<=", builder.sub(text, every(first)),
                                           every(last - first))
            classes = builder.select(inside, every(kind), classes) if kind else classes
        builder.store(classes, out, align=1)
        return context.get_dummy_value()
    return types.void(data, types.int64, out_classes), generate


# ---- pass two: where pre-tokens end ----

@kernel(inline="always")
def _run(classes, i, stop, mask, kind):
    """The end of the run of characters from i whose class under `mask` is `kind`."""
    while i < stop and classes[i] & mask == kind:
        i += 1
    return i


@kernel(inline="always")
def _long_run(classes, i, stop, bit):
    """The end of the run of characters from i whose class has the bit: quicker where it is long."""
    while i < stop:
        others = ~bits64(classes, i, bit)
        if others:
            return min(i + trailing_zeros(others), stop)
        i += 64
    return stop


@kernel(inline="always")
def _next(classes, i, stop):
    """The start of the next character."""
    i += 1
    while i < stop and classes[i] & CONTINUES:
        i += 1
    return i


@kernel(inline="always")
def _last(classes, i):
    """The start of the character that ends at i."""
    i -= 1
    while classes[i] & CONTINUES:
        i -= 1
    return i


@kernel(inline="always")
def _white(classes, i, end, stop):
    r"""`\s+(?!\S)|\s`: white space up to `end` leaves its last character to what follows."""
    last = _last(classes, end)
    return last if end < stop and last > i else end


@kernel(inline="always")
def _after_newlines(classes, i, end):
    r"""`\s*[\r\n]`: the end of the last newline of the white space i:end, or i."""
    while end > i and not classes[end - 1] & NEWLINE:
        end -= 1
    return end


@kernel
def _contraction(data, i, stop, any_case):
    """The length of 's 'd 'm 't 'll 've 're at i, or 0. Any case folds U+017F into s."""
    if i + 1 >= stop or data[i] != 39:
        return 0
    fold = 32 if any_case else 0
    a = data[i + 1] | fold
    if a == 115 or a == 100 or a == 109 or a == 116:
        return 2
    if i + 2 >= stop:
        return 0
    b = data[i + 2] | fold
    if a == 108 and b == 108 or b == 101 and (a == 118 or a == 114):
        return 3
    return 3 if any_case and data[i + 1] == 0xC5 and data[i + 2] == 0xBF else 0


@kernel
def _numbers(classes, i, stop, most):
    r"""`\p{N}{1,most}` from i."""
    while most and i < stop and classes[i] & NUMBER:
        i = _next(classes, i, stop)
        most -= 1
    return i


@kernel
def _scan_gpt2(data, limits, table, out_classes, out_ends):
    """Write the ends of pre-tokens of all documents, and up to SPARE numbers; return how many.

    Each class of 64 bytes is a number of 64 bits, and some shifts tell where pre-tokens start: at a
    change of class, but not behind U+0020; and at the last white space before something else.
    """
    found, begin = 0, 0
    for stop in limits:
        _classify(data, begin, stop, table, out_classes)
        letter_before = number_before = space_before = other_before = blank_before = uint64(0)
        forced = merged = uint64(0)  # starts that a contraction of the last 64 bytes makes, undoes
        for i in range(begin, stop, 64):
            letter, number = bits64(out_classes, i, LETTER), bits64(out_classes, i, NUMBER)
            space, named = bits64(out_classes, i, SPACE), bits64(out_classes, i, NAMED)
            other, blank = ~(letter | number | space), named & space
            starts = (letter & ~(letter << ONE | letter_before)
                      | number & ~(number << ONE | number_before)
                      | other & ~(other << ONE | other_before))
            starts &= ~(blank << ONE | blank_before)
            starts |= space & ~(space << ONE | space_before)
            starts |= _last_white(out_classes, i, stop, space)
            starts = (starts | forced) & ~merged
            forced = merged = uint64(0)
            quotes = starts & named & ~space & first_bits(stop - i)
            while quotes:
                at = trailing_zeros(quotes)
                n = _contraction(data, i + at, stop, False)
                for k in range(1, n + 1):
                    bit = ONE << uint64((at + k) & 63)
                    if at + k < 64:
                        starts = starts | bit if k == n else starts & ~bit
                    else:
                        forced |= bit if k == n else uint64(0)
                        merged |= bit if k < n else uint64(0)
                quotes &= quotes - ONE
            letter_before, number_before = letter >> uint64(63), number >> uint64(63)
            space_before, other_before = space >> uint64(63), other >> uint64(63)
            blank_before = blank >> uint64(63)
            starts &= first_bits(stop - i)
            if i == begin:
                starts &= ~ONE
            more = bit_count(starts)
            for k in range(found, found + more, SPARE):  # no branch for each
                for end in range(k, k + SPARE):
                    out_ends[end] = i + trailing_zeros(starts)
                    starts &= starts - ONE
            found += more
        if stop > begin:
            out_ends[found] = stop
            found += 1
        begin = stop
    return found


@kernel(inline="always")
def _last_white(classes, i, stop, space):
    """Of 64 bytes from i, the first byte of each white character that something else follows."""
    next_space = bits64(classes, i + 1, SPACE)
    last = space & ~next_space & first_bits(stop - i - 1)
    continued, continues = bits64(classes, i, CONTINUES), bits64(classes, i + 1, CONTINUES)
    if space & (continued | continues):  # white space of two or three bytes
        first = space & ~continued
        last2 = continues & ~bits64(classes, i + 2, SPACE) & first_bits(stop - i - 2)
        last3 = (continues & bits64(classes, i + 2, CONTINUES) & ~bits64(classes, i + 3, SPACE)
                 & first_bits(stop - i - 3))
        last = first & (last | last2 | last3)
    return last


@kernel
def _scan_words(data, limits, table, out_classes, out_ends, most_numbers, white_end):
    """Write the ends of pre-tokens of all documents; return how many there are.

    `most_numbers` is 3 for cl100k and llama3, 1 for qwen2; `white_end` is whether white space at
    the end of a text is one pre-token, as in cl100k alone.
    """
    found, i = 0, 0
    for stop in limits:
        _classify(data, i, stop, table, out_classes)
        while i < stop:
            i = _word_end(data, i, stop, out_classes, most_numbers, white_end)
            out_ends[found] = i
            found += 1
    return found


@kernel(inline="always")
def _word_end(data, i, stop, classes, most_numbers, white_end):
    """The end of the pre-token of cl100k, llama3 or qwen2 that starts at i."""
    n = _contraction(data, i, stop, True)
    if n:
        return i + n
    here = classes[i]
    if here & NUMBER:
        return _numbers(classes, i, stop, most_numbers)
    j = i if here & (LETTER | NEWLINE) else _next(classes, i, stop)
    if j < stop and classes[j] & LETTER:
        return _long_run(classes, j, stop, LETTER)
    j = i + 1 if data[i] == 32 else i
    end = _run(classes, j, stop, KIND, 0)
    if end > j:
        return _run(classes, end, stop, NEWLINE, NEWLINE)
    end = _run(classes, i, stop, SPACE, SPACE)
    cut = _after_newlines(classes, i, end)
    whole = white_end and end == stop
    return cut if cut > i and not whole else _white(classes, i, end, stop)


@kernel
def _scan_o200k(data, limits, table, out_classes, out_ends):
    """Write the ends of pre-tokens of all documents; return how many there are."""
    found, i = 0, 0
    for stop in limits:
        _classify(data, i, stop, table, out_classes)
        while i < stop:
            i = _o200k_end(data, i, stop, out_classes)
            out_ends[found] = i
            found += 1
    return found


@kernel(inline="always")
def _cased_word(classes, i, stop):
    """The end of UPPER* LOWER+ at i, else of UPPER+, else i."""
    upper = _run(classes, i, stop, UPPER, UPPER)
    if upper < stop and classes[upper] & LOWER:
        return _long_run(classes, upper, stop, LOWER)
    end = upper
    while end > i and not classes[end - 1] & LOWER:
        end -= 1
    return end if end > i else upper


@kernel(inline="always")
def _o200k_end(data, i, stop, classes):
    """The end of the pre-token of o200k that starts at i."""
    here = classes[i]
    end = i
    if here & NUMBER:
        return _numbers(classes, i, stop, 3)
    if here & LETTER:
        end = _cased_word(classes, i, stop)
    elif not here & NEWLINE:
        j = _next(classes, i, stop)
        end = _cased_word(classes, j, stop)
        if end == j or here & MARK and not classes[end - 1] & LOWER:
            end = j if here & MARK else i  # a mark is a word, rather than the prefix of capitals
    if end > i:
        return end + _contraction(data, end, stop, True) if end < stop else end
    j = i + 1 if data[i] == 32 else i
    end = _run(classes, j, stop, KIND, 0)
    if end > j:
        while end < stop and (classes[end] & NEWLINE or data[end] == 47):
            end += 1
        return end
    end = _run(classes, i, stop, SPACE, SPACE)
    cut = _after_newlines(classes, i, end)
    return cut if cut > i else _white(classes, i, end, stop)


@kernel
def _scan_numbers(data, limits, table, out_classes, out_ends, most):
    r"""Cut off each `\p{N}{1,most}`; return how many pieces of all documents there are."""
    found, begin = 0, 0
    for stop in limits:
        _classify(data, begin, stop, table, out_classes)
        i = begin
        while i < stop:
            if not out_classes[i] & NUMBER:
                i += 1
                continue
            if i > begin:
                out_ends[found] = i
                found += 1
            i = _numbers(out_classes, i, stop, most)
            out_ends[found] = i
            found += 1
            begin = i
        if begin < stop:
            out_ends[found] = stop
            found += 1
        begin = stop
    return found


SCANNERS = {"gpt2": _scan_gpt2, "o200k": _scan_o200k,
            "cl100k": lambda *arrays: _scan_words(*arrays, 3, True),
            "llama3": lambda *arrays: _scan_words(*arrays, 3, False),
            "qwen2": lambda *arrays: _scan_words(*arrays, 1, False),
            "digits": lambda *arrays: _scan_numbers(*arrays, 1),
            "digits3": lambda *arrays: _scan_numbers(*arrays, 3),
            "numbers": lambda *arrays: _scan_numbers(*arrays, 1 << 62)}

"""GGUF, versions 2 and 3: facts by name, a list of tensors, and the tensors, often as blocks.

`GGUF | version | n_tensors | n_facts | facts | tensors' names, shapes, kinds, offsets | bytes`
"""
import numpy as np

from gpt.files.blocks import KINDS, NAMES, shape_of
from gpt.files.weights import FileError, Weights, mapped, n_bytes_of, shown, tensor_at, wrong

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
DEEPEST = 4                       # lists in lists
ALIGNMENT = "general.alignment"

# What stands at place i has number i in a file: the types of facts, and the kinds of tensors, of
# which those that are not in KINDS are known by name only.
TYPES = "u1 i1 <u2 <i2 <u4 <i4 <f4 ? text list <u8 <i8 <f8".split()
TEXT, LIST = TYPES.index("text"), TYPES.index("list")
NUMBERS = {code: np.dtype(name) for code, name in enumerate(TYPES) if code not in (TEXT, LIST)}
STORED = ("F32 F16 Q4_0 Q4_1 Q4_2 Q4_3 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS "
          "IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 Q4_0_4_4 "
          "Q4_0_4_8 Q4_0_8_8 TQ1_0 TQ2_0 IQ4_NL_4_4 IQ4_NL_4_8 IQ4_NL_8_8 MXFP4").split()


# ---- reading ----

def open_gguf(path):
    """Open a file; facts and the list of tensors are read, the tensors are not.

    Returns
    -------
    weights : Weights
        Shapes have rows first, as NumPy's; the file has them the other way round.

    Raises
    ------
    FileError
        If the file is not whole, contradicts itself or has kinds of blocks not in KINDS.

    References
    ----------
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    data = mapped(path)
    head = Head(path, data)
    n_tensors, n_facts = head.beginning()
    metadata = head.facts(n_facts)
    n_parts = metadata.get("split.count")
    if isinstance(n_parts, int) and n_parts > 1:
        raise FileError(f"{path} is one of {n_parts} parts of a model: join them with "
                        "llama-gguf-split --merge")
    infos = head.infos(n_tensors)
    alignment = alignment_of(path, metadata)
    start = aligned(head.at, alignment)
    return Weights(tensors_of(path, data, infos, start, alignment), metadata, [data])


def tensors_of(path, data, infos, start, alignment):
    """View all tensors, which lie one after the other to the end of the file."""
    tensors, begin = {}, start
    for name, (shape, code, offset) in infos.items():
        kind = known_kind(path, name, code)
        end = begin + n_bytes_of(path, name, kind, shape)
        if start + offset != begin:
            raise wrong(path, name, f"is said to begin at byte {start + offset}, but what lies "
                        f"before it ends at {begin}")
        if end > len(data):
            raise wrong(path, name, f"ends at byte {end}, but the file has {len(data)}; fetch it "
                        "again")
        tensors[name] = tensor_at(data, begin, kind, shape)
        begin = aligned(end, alignment)
    if len(data) > begin:
        raise FileError(f"{path}: its {len(tensors)} tensors end before byte {begin}, but it has "
                        f"{len(data)}; fetch it again")
    return tensors


def aligned(place, alignment):
    """Return the first multiple of the alignment from a place on."""
    return -(-place // alignment) * alignment


def alignment_of(path, metadata):
    """Return where tensors may begin: at multiples of it."""
    alignment = metadata.get(ALIGNMENT, 32)
    if type(alignment) is not int or alignment.bit_count() != 1 or alignment < 0:
        raise FileError(f"{path}: {ALIGNMENT} is {alignment!r:.40}, but must be a power of two")
    return alignment


def known_kind(path, name, code):
    """Name the kind that has a number, if it is read here."""
    kind = STORED[code] if code < len(STORED) else f"number {code}"
    if kind not in KINDS:
        known = " ".join(kind for kind in STORED if kind in KINDS)
        raise wrong(path, name, f"is of kind {kind}, which is not read here: take a file of "
                    f"{known}")
    return kind


class Head:
    """A place in the head of a file, which moves on as what stands there is read."""

    def __init__(self, path, data):
        self.path = path
        self.data = data
        self.at = 0

    def check_left(self, n_bytes):
        if n_bytes > len(self.data) - self.at:
            raise FileError(f"{self.path} is cut off or damaged: {n_bytes} bytes are wanted at "
                            f"{self.at}, but the file has {len(self.data)}; fetch it again")

    def take(self, n_bytes):
        """Return the next bytes."""
        self.check_left(n_bytes)
        begin, self.at = self.at, self.at + n_bytes
        return self.data[begin:self.at]

    def count(self, n_bytes=8):
        """Read a whole number from 0."""
        return int.from_bytes(self.take(n_bytes), "little")

    def text(self):
        return self.texts(1)[0]

    def texts(self, count):
        """Read texts, each a length and as many bytes of UTF-8; vocabularies have 100,000."""
        data, at, found = self.data, self.at, []
        self.check_left(8 * count)
        try:
            for _ in range(count):
                begin = at + 8
                at = begin + int.from_bytes(data[at:begin], "little")
                found.append(str(data[begin:at], "utf-8"))
        except UnicodeDecodeError:
            raise FileError(f"{self.path}: the text at byte {begin} is not UTF-8") from None
        self.take(at - self.at)                    # which looks at the end once for all
        return found

    def beginning(self):
        """Read how many tensors and facts there are, after what makes the file a GGUF."""
        if self.take(4) != MAGIC:
            raise FileError(f"{self.path} is not a GGUF file")
        version = self.count(4)
        if version not in VERSIONS:
            swapped = version & 0xffff == 0
            what = "is written for big-endian machines" if swapped else f"has version {version}"
            raise FileError(f"{self.path} {what}, but what is read here is GGUF 2 and 3, "
                            "little-endian: convert it again from its source")
        return self.count(), self.count()

    def facts(self, count):
        """Read names and values."""
        found = {}
        for _ in range(count):
            name = self.new_name(found)
            found[name] = self.value(self.count(4), name)
        return found

    def infos(self, count):
        """Read (shape, number of the kind, offset) of each tensor by name."""
        found = {}
        for _ in range(count):
            name = self.new_name(found)
            found[name] = self.shape(name), self.count(4), self.count()
        return found

    def new_name(self, found):
        name = self.text()
        if name in found:
            raise FileError(f"{self.path}: {shown(name)} stands there twice")
        return name

    def value(self, code, name, depth=0):
        """Read a number, a text, or a list of values of one type (numbers as an array)."""
        if code in NUMBERS:
            return self.numbers(code, 1, name)[0].item()
        if code == TEXT:
            return self.text()
        if code != LIST or depth == DEEPEST:
            what = "lists in lists too deep" if code == LIST else f"type {code}"
            raise FileError(f"{self.path}: {shown(name)} has {what}: that is not known here")
        inner, count = self.count(4), self.count()
        if inner in NUMBERS:
            return self.numbers(inner, count, name)
        if inner == TEXT:
            return self.texts(count)
        return [self.value(inner, name, depth + 1) for _ in range(count)]

    def numbers(self, code, count, name):
        """Read numbers behind each other as an array, read-only."""
        dtype = NUMBERS[code]
        taken = self.take(count * dtype.itemsize)
        if dtype.kind == "b" and max(taken, default=0) > 1:
            raise FileError(f"{self.path}: {shown(name)} is neither true nor false")
        return np.frombuffer(taken, dtype)

    def shape(self, name):
        """Read the number of dimensions and them, the last first."""
        n = self.count(4)
        if n > MOST_DIMENSIONS:
            raise wrong(self.path, name, f"is said to have {n} dimensions")
        turned = [self.count() for _ in range(n)]
        return tuple(turned[::-1])


# ---- writing ----

def write_gguf(path, tensors, metadata):
    """Write a file of version 3.

    Parameters
    ----------
    path : path
    tensors : mapping of str to array
        As they will lie there: float32, float16, or blocks that `quantised` made.
    metadata : dict
        Numbers, truths, texts, lists of texts, and arrays. Python's numbers become what programs
        expect: uint32 (below 0 int32) where they fit, and float32; NumPy's keep their type.

    Raises
    ------
    FileError
        If a fact or a tensor is of a type that GGUF does not have.
    """
    alignment = alignment_of(path, metadata)
    head = [MAGIC, packed_count(3, 4), packed_count(len(tensors)), packed_count(len(metadata))]
    for name, value in metadata.items():
        code, data = packed(name, value)
        head += [packed_text(name), packed_count(code, 4), data]
    offset = 0
    for name, x in tensors.items():
        head += [packed_text(name), packed_info(name, x), packed_count(offset)]
        offset = aligned(offset + x.nbytes, alignment)
    with open(path, "wb") as file:
        write_aligned(file, b"".join(head), alignment)
        for x in tensors.values():
            write_aligned(file, x.tobytes(), alignment)


def write_aligned(file, data, alignment):
    file.write(data)
    file.write(bytes(aligned(len(data), alignment) - len(data)))


def packed_count(n, n_bytes=8):
    return n.to_bytes(n_bytes, "little")


def packed_text(text):
    data = text.encode("utf-8")
    return packed_count(len(data)) + data


def packed_info(name, x):
    """Pack the shape, its last dimension first, and the kind of a tensor."""
    kind = NAMES.get(x.dtype)
    if kind not in STORED or x.ndim > MOST_DIMENSIONS:
        raise FileError(f"tensor {shown(name)} of dtype {x.dtype} in {x.ndim} dimensions does not "
                        "go into a GGUF: make it what `quantised` returns")
    sides = map(packed_count, shape_of(x)[::-1])
    code = STORED.index(kind)
    return packed_count(x.ndim, 4) + b"".join(sides) + packed_count(code, 4)


def packed(name, value):
    """Return the number of the type of a fact, and its bytes."""
    if isinstance(value, str):
        return TEXT, packed_text(value)
    if isinstance(value, list):
        return LIST, packed_list(name, value)
    x = value if isinstance(value, np.ndarray | np.generic) else as_number(name, value)
    code = next((code for code, dtype in NUMBERS.items() if dtype == x.dtype), None)
    if code is None or x.ndim > 1:
        raise FileError(f"{shown(name)} is {value!r:.60}, which does not go into a GGUF")
    if x.ndim == 0:
        return code, x.tobytes()
    return LIST, packed_count(code, 4) + packed_count(len(x)) + x.tobytes()


def packed_list(name, values):
    """Pack the type that all values have, how many they are, and them."""
    pairs = [packed(name, value) for value in values]
    codes = {code for code, _ in pairs} or {TEXT}
    if len(codes) > 1:
        raise FileError(f"{shown(name)} is a list of values of more than one type")
    head = packed_count(codes.pop(), 4) + packed_count(len(values))
    return head + b"".join(data for _, data in pairs)


def as_number(name, value):
    """Give a number of Python the type that programs look for."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, float):
        return np.float32(value)
    for dtype in (np.uint32, np.int32, np.uint64, np.int64):
        bounds = np.iinfo(dtype)
        if isinstance(value, int) and bounds.min <= value <= bounds.max:
            return dtype(value)
    raise FileError(f"{shown(name)} is {value!r:.60}, which does not go into a GGUF")

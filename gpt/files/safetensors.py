"""safetensors: a length, a JSON header that says where each tensor lies, and the tensors.

`length (8 bytes) | {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}} | bytes`
"""
import json
from collections import Counter

from gpt.files.blocks import KINDS, NAMES
from gpt.files.weights import FileError, Weights, mapped, n_bytes_of, shown, tensor_at, wrong

STORED = [name for name, kind in KINDS.items() if kind.n_weights == 1]
FIELDS = ("dtype", "shape", "data_offsets")
METADATA = "__metadata__"


def open_safetensors(path):
    """Open one file; the header is read, the tensors are not.

    Returns
    -------
    weights : Weights

    Raises
    ------
    FileError
        If the file is not whole or its header contradicts itself.

    References
    ----------
    https://github.com/huggingface/safetensors, "Format".
    """
    data = mapped(path)
    header, start = header_of(path, data)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all_are(str, metadata.values()):
        raise FileError(f"{path}: {METADATA} is {metadata!r:.60}, but must be text by name")
    places = {name: place_of(path, name, entry) for name, entry in header.items()}
    check_all_used(path, places, len(data) - start)
    tensors = {}
    for name, (kind, shape, begin, _) in places.items():
        tensors[name] = tensor_at(data, start + begin, kind, shape)
    return Weights(tensors, metadata, [data])


def header_of(path, data):
    """Return the header, and where the tensors begin."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise FileError(f"{path} is not a whole safetensors file: its header is said to take "
                        f"{length} bytes, but the file has {len(data)}; fetch it again")
    text = data[8:8 + length]
    try:
        if not text.startswith(b"{"):
            raise ValueError("it does not begin with {")
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once_each)
        "".join(header).encode("utf-8")            # JSON can spell names that are no text
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: the header is not that of a safetensors file: "
                        f"{error!s:.160}") from None
    return header, 8 + length


def once_each(pairs):
    """Make a dict of pairs whose names must differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _ in pairs)
        raise ValueError(f"{shown(names.most_common(1)[0][0])} stands there twice")
    return found


def all_are(kind, values):
    """Tell whether all values are of one type, of which true is no int."""
    return {*map(type, values)} <= {kind}


def is_counts(value):
    """Tell whether a value from JSON is a list of whole numbers from 0."""
    whole = isinstance(value, list) and all_are(int, value)
    return whole and min(value, default=0) >= 0


def place_of(path, name, entry):
    """Return (kind, shape, begin, end) of a tensor from its entry in the header."""
    if not isinstance(entry, dict) or entry.keys() != set(FIELDS):
        raise wrong(path, name, f"is described by {entry!r:.60}, not by {', '.join(FIELDS)}")
    kind, shape, offsets = map(entry.get, FIELDS)
    if kind not in STORED:
        raise wrong(path, name, f"is of dtype {kind!r:.20}, which is not read here: convert it to "
                    f"one of {' '.join(STORED)}")
    if not is_counts(shape):
        raise wrong(path, name, f"has the shape {shape!r:.60}, but it must be a list of counts")
    if not is_counts(offsets) or len(offsets) != 2:
        raise wrong(path, name, f"has data_offsets {offsets!r:.60}, but they must be two counts")
    shape, (begin, end) = tuple(shape), offsets
    n_bytes = n_bytes_of(path, name, kind, shape)
    if end - begin != n_bytes:
        raise wrong(path, name, f"of dtype {kind} and shape {shape} takes {n_bytes} bytes, but its "
                    f"data_offsets are {offsets!r:.60}")
    return kind, shape, begin, end


def check_all_used(path, places, n_bytes):
    """Refuse tensors that do not lie one after the other from the first byte to the last."""
    at = 0
    for name in sorted(places, key=lambda name: places[name][2:]):
        *_, begin, end = places[name]
        if begin != at:
            raise wrong(path, name, f"does not begin where the one before it ends, at byte {at} "
                        "of the data")
        at = end
    if at != n_bytes:
        raise FileError(f"{path}: its tensors take {at} bytes, but it holds {n_bytes} bytes of "
                        "them; fetch it again")


def write_safetensors(path, tensors, metadata):
    """Write a file.

    Parameters
    ----------
    path : path
    tensors : mapping of str to array
        Of any kind but blocks; in this order, but wide numbers first, so that all are aligned.
    metadata : dict of str to str
        PyTorch's programs look for {"format": "pt"}.

    Raises
    ------
    FileError
        If there is no dtype in safetensors for one of them.
    """
    laid = sorted(tensors, key=lambda name: -tensors[name].itemsize)
    header, end = {METADATA: metadata}, 0
    for name in laid:
        begin, end = end, end + tensors[name].nbytes
        header[name] = entry_of(name, tensors[name], [begin, end])
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in laid:
            file.write(tensors[name].tobytes())


def entry_of(name, x, offsets):
    """Describe a tensor for the header."""
    kind = NAMES.get(x.dtype)
    if kind not in STORED:
        raise FileError(f"tensor {shown(name)} of dtype {x.dtype} does not go into safetensors")
    return dict(zip(FIELDS, (kind, x.shape, offsets), strict=True))

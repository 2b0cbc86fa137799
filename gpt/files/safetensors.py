"""safetensors: a length, a JSON header that says where each tensor lies, and the tensors.

`length (8 bytes) | {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}} | bytes`
"""
import json

from gpt.files.blocks import KINDS
from gpt.files.weights import (FileError, Weights, check_apart, mapped, n_bytes_of, shown,
                               tensor_at)

STORED = [name for name, kind in KINDS.items() if kind.n_weights == 1]
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
    if not is_texts(metadata):
        raise FileError(f"{path}: {METADATA} is {metadata!r:.60}, but must be text by name")
    places = {name: place_of(path, name, entry) for name, entry in header.items()}
    check_all_used(path, places, len(data) - start)
    tensors = {name: tensor_at(data, start + begin, end - begin, kind, shape)
               for name, (kind, shape, begin, end) in places.items()}
    return Weights(tensors, metadata)


def header_of(path, data):
    """Return the header, and where the tensors begin."""
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or length > len(data) - 8:
        raise FileError(f"{path} is not a whole safetensors file: its header is said to take "
                        f"{length} bytes, but the file has {len(data)}; fetch it again")
    text = data[8:8 + length].tobytes()
    try:
        if not text.startswith(b"{"):
            raise ValueError("it does not begin with {")
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once_each)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: the header is not that of a safetensors file: "
                        f"{error!s:.160}") from None
    return header, 8 + length


def once_each(pairs):
    """Make a dict of pairs whose names must differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} stands there twice")
    return found


def is_texts(value):
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def is_counts(value):
    """Tell whether a value from JSON is a list of whole numbers from 0."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def place_of(path, name, entry):
    """Return (kind, shape, begin, end) of a tensor from its entry in the header."""
    wanted = {"dtype", "shape", "data_offsets"}
    if not isinstance(entry, dict) or entry.keys() != wanted:
        raise FileError(f"{path}: the entry of tensor {shown(name)} is {entry!r:.60}, but must "
                        f"have dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in STORED:
        raise FileError(f"{path}: tensor {shown(name)} is of dtype {kind!r:.20}, but what is read "
                        f"here is {' '.join(STORED)}; convert it to one of these")
    if not is_counts(shape) or not is_counts(offsets) or len(offsets) != 2:
        raise FileError(f"{path}: tensor {shown(name)} has shape {shape!r:.40} and data_offsets "
                        f"{offsets!r:.60}, but both must be lists of counts")
    begin, end = offsets
    n_bytes = n_bytes_of(path, name, kind, tuple(shape))
    if end - begin != n_bytes:
        raise FileError(f"{path}: tensor {shown(name)} of dtype {kind} and shape {shape} takes "
                        f"{n_bytes} bytes, but data_offsets are {offsets!r:.60}")
    return kind, tuple(shape), begin, end


def check_all_used(path, places, n_bytes):
    """Refuse tensors that overlap, leave bytes between them, or do not end with the file."""
    spans = [(begin, end, name) for name, (_, _, begin, end) in places.items()]
    check_apart(path, spans)
    last = max((end for _, end, _ in spans), default=0)
    used = sum(end - begin for begin, end, _ in spans)
    if last != n_bytes or used != n_bytes:
        raise FileError(f"{path}: its tensors take {used} bytes and end at {last}, but it holds "
                        f"{n_bytes} bytes of them; fetch it again")

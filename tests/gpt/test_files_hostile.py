"""Damaged and hostile files: each is read as it stands or refused in one sentence, at no cost."""
import itertools
import json
import os
import struct
import tracemalloc

import numpy as np
import pytest
from mutations import mutated, pick
from safetensors import SafetensorError
from safetensors.numpy import load

from gpt.files.blocks import KINDS
from gpt.files.gguf import write_gguf
from gpt.files.opening import open_weights
from gpt.files.quantise import quantised
from gpt.files.safetensors import write_safetensors
from gpt.files.weights import FileError

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
N = 5_000 if THOROUGH else 500
VALUES = [0, 1, -1, 3, 24, 96, 1 << 31, 1 << 63, 1 << 64, 10 ** 400, 0.5, 3.0, True, None, "",
          "F16", "F64", "I8", "F8_E4M3", [], [0], [2, 12], [1 << 32, 1 << 32],
          [0, 1 << 62], 40 * [1], [-1, -1], {},
          {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}]


@pytest.fixture(autouse=True)
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def read(tmp_path):
    """Read all of a file of some bytes; return its tensors, or the sentence that refuses it."""
    names = itertools.count()

    def read(data):
        path = tmp_path / f"{next(names)}"         # of its own: others may still be mapped
        path.write_bytes(data)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            weights = open_weights(path)
            found = {name: weights[name] for name in weights}
            assert all(found[name].shape == weights.shape(name) for name in found)
        except FileError as error:
            found = str(error).replace(str(path), "FILE")
            assert found.isprintable() and len(found) < 400, found
        # A weight of 4 bits becomes 32; Python's own objects take tens of bytes for each of a head.
        assert tracemalloc.get_traced_memory()[1] - before < 100_000 + 50 * len(data)
        return found
    return read


# ---- safetensors ----

@pytest.fixture(scope="module")
def a_safetensors(tmp_path_factory):
    """Return a file's bytes, and how many are before its tensors."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("safetensors") / "a"
    tensors = {"a.weight": rng.standard_normal((4, 6)).astype("f4"), "b": np.arange(5, dtype="i8"),
               "c": rng.standard_normal(7).astype("f2"), "é": np.array(True), "": np.empty((0, 3))}
    write_safetensors(path, tensors, {"format": "pt", "note": "a\nb"})
    data = path.read_bytes()
    return data, 8 + int.from_bytes(data[:8], "little")


def other_header(data, head, rng):
    """Change one value or name of the header and write it as headers are written."""
    header = json.loads(data[8:head])
    lists = [entry[field] for name, entry in header.items() if name != "__metadata__"
             for field in ("shape", "data_offsets")]
    inside = pick(rng, [place for place in (header, *header.values(), *lists) if place])
    key = pick(rng, list(inside) if isinstance(inside, dict) else range(len(inside)))
    value = pick(rng, VALUES)
    if isinstance(inside, dict) and rng.random() < 0.3:
        inside["new\nname"] = inside.pop(key)
    elif type(value) is type(inside[key]) is int and rng.random() < 0.5:
        inside[key] += value
    else:
        inside[key] = value
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[head:]


def judged(data):
    """Read a file with the package; None if it refuses."""
    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, OverflowError):
        return None


@pytest.mark.parametrize("change", [mutated, other_header])
def test_a_changed_safetensors_is_read_as_the_package_reads_it_or_refused(a_safetensors, read,
                                                                         change):
    rng, n_read = np.random.default_rng(1), 0
    for _ in range(N // 2):
        data = change(*a_safetensors, rng)
        found, theirs = read(data), judged(data)
        assert isinstance(found, str) == (theirs is None), found
        if theirs is not None:
            n_read += 1
            assert {*found} == {*theirs}
            assert all(np.array_equal(found[name], theirs[name].astype(found[name].dtype),
                                      equal_nan=True) for name in found)
    assert n_read > N // 100


@pytest.mark.parametrize("text, said", [
    ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
     '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "'a' stands there twice"),
    ('{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
     "surrogates not allowed"),
    ('{"a\\nb": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}',
     r"tensor 'a\nb' of dtype F32 and shape (1,) takes 4 bytes, but its data_offsets are [0, 8]"),
    ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
     '"b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
     "tensor 'b' does not begin where the one before it ends, at byte 8"),
    ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
     "its tensors take 4 bytes, but it holds 8 bytes of them; fetch it again"),
    ('{"a": {"dtype": "F32", "shape": [4611686018427387905, 4], "data_offsets": [0, 16]}}',
     "has an impossible shape: (4611686018427387905, 4)"),
    ('{"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}',
     "is of dtype 'F8_E4M3', which is not read here: convert it to one of F64 F32 F16"),
    ('{"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}',
     "has the shape [2.0], but it must be a list of counts"),
    ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 16]}}',
     "has data_offsets [0, 8, 16], but they must be two counts"),
    ('{"a": {"dtype": "F32", "shape": [2]}}',
     "is described by {'dtype': 'F32', 'shape': [2]}, not by dtype, shape, data_offsets"),
    ('{"__metadata__": {"a": 1}}', "__metadata__ is {'a': 1}, but must be text by name"),
    ("[]", "the header is not that of a safetensors file: it does not begin with {"),
    ("{" + 5000 * '"a":{' + 5001 * "}", "the header is not that of a safetensors file")],
    ids=lambda value: value if value[0] not in "{[" else "")
def test_a_hostile_safetensors_is_told_in_a_sentence(read, text, said):
    assert said in read(struct.pack("<Q", len(text)) + text.encode() + bytes(8))


# ---- GGUF ----

@pytest.fixture(scope="module")
def a_gguf(tmp_path_factory):
    """Return a file's bytes, and how many are before its tensors."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("gguf") / "a"
    x = rng.standard_normal((2, 256)).astype("f4")
    q6 = rng.integers(0, 99, (2, KINDS["Q6_K"].dtype.itemsize), np.uint8)
    tensors = {"a.weight": quantised(x, "Q4_0"), "b": x[:, :5], "c": quantised(x, "Q8_0"),
               "d": q6.view(KINDS["Q6_K"].dtype), "e": quantised(x[0, :3], "F16")}
    facts = {"general.architecture": "llama", "general.alignment": 32, "n": 3, "x": 0.5,
             "yes": True, "tokens": ["a", "bc", "ü", ""], "scores": np.arange(4, dtype="f4"),
             "deep": [[["a"]]]}
    write_gguf(path, tensors, facts)
    data = path.read_bytes()
    return data, data.index(tensors["a.weight"].tobytes())


def test_a_changed_gguf_is_read_or_refused(a_gguf, read):
    rng, n_read = np.random.default_rng(2), 0
    for _ in range(N):
        n_read += not isinstance(read(mutated(*a_gguf, rng)), str)
    assert n_read > N // 50


@pytest.mark.extra("gguf")
def test_a_changed_gguf_that_is_read_says_to_others_what_it_says_to_us(a_gguf, read, tmp_path):
    from gguf import GGUFReader, dequantize
    rng = np.random.default_rng(3)
    for _ in range(N):
        data = mutated(*a_gguf, rng)
        found = read(data)
        if isinstance(found, str):
            continue
        (tmp_path / "theirs").write_bytes(data)
        for tensor in GGUFReader(tmp_path / "theirs").tensors:
            x = found.pop(tensor.name)
            with np.errstate(all="ignore"):
                theirs = dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(x, theirs.reshape(x.shape), equal_nan=True), tensor.name
        assert not found


def text(words):
    data = words if isinstance(words, bytes) else words.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(facts=(), tensors=(), version=3, n_facts=None, n_tensors=None, data=bytes(32)):
    """Put a file together from the bytes of facts and of (name, shape, kind, offset)."""
    n_facts = len(facts) if n_facts is None else n_facts
    n_tensors = len(tensors) if n_tensors is None else n_tensors
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_facts) + b"".join(facts)
    for name, shape, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", kind, offset)
    return head + bytes(-len(head) % 32) + data


def number(name, value, code=4, format="I"):
    return text(name) + struct.pack(f"<I{format}", code, value)


def listed(name, inner, count, data=b""):
    return text(name) + struct.pack("<IIQ", 9, inner, count) + data


@pytest.mark.parametrize("data, said", [
    (gguf(version=1), "FILE has version 1, but what is read here is GGUF 2 and 3"),
    (gguf(version=3 << 24), "FILE is written for big-endian machines"),
    (gguf(n_facts=1 << 60), "FILE: '' stands there twice"),
    (gguf(n_facts=1 << 60, data=b""), "FILE is cut off or damaged"),
    (gguf(n_tensors=1 << 60, data=b""), "FILE is cut off or damaged"),
    (gguf([text(bytes([0xff]))]), "the text at byte 32 is not UTF-8"),
    (gguf([number("a", 1), number("a", 1)]), "'a' stands there twice"),
    (gguf([number("a\n", 1, 13)]), r"'a\n' has type 13: that is not known here"),
    (gguf([number("a", 2, 7, "B")]), "'a' is neither true nor false"),
    (gguf([number("general.alignment", 0)]), "general.alignment is 0, but must be a power of two"),
    (gguf([number("general.alignment", 24)]), "general.alignment is 24, but must be a power of"),
    (gguf([number("general.alignment", -8, 5, "i")]), "general.alignment is -8, but must be a"),
    (gguf([text("general.alignment") + struct.pack("<I", 8) + text("32")]),
     "general.alignment is '32', but must be a power of two"),
    (gguf([number("split.count", 3)]), "FILE is one of 3 parts of a model: join them with"),
    (gguf([listed("a", 8, 1 << 61)]), "FILE is cut off or damaged"),
    (gguf([listed("a", 8, 2, struct.pack("<QQ", 1 << 63, 0))]), "FILE is cut off or damaged"),
    (gguf([listed("a", 0, 1 << 63)]), "FILE is cut off or damaged"),
    (gguf([listed("a", 9, 1, 9 * struct.pack("<IQ", 9, 1))]), "lists in lists too deep"),
    (gguf([listed("a", 99, 1)]), "'a' has type 99: that is not known here"),
    (gguf(tensors=[("a", [8], 0, 0), ("a", [8], 0, 32)]), "'a' stands there twice"),
    (gguf(tensors=[("a", [8], 0, 0), ("b", [8], 0, 0)]), "tensor 'b' is said to begin at byte"),
    (gguf(tensors=[("a", [8], 0, 1 << 63)]), "but what lies before it ends at 64"),
    (gguf(tensors=[("a", [9], 0, 0)]), "tensor 'a' ends at byte 100, but the file has 96"),
    (gguf(tensors=[("a", [1 << 62, 4], 0, 0)]), "has an impossible shape"),
    (gguf(tensors=[("a", [0, 1 << 62], 0, 0)]), "has an impossible shape"),
    (gguf(tensors=[("a", 5 * [1], 0, 0)]), "tensor 'a' is said to have 5 dimensions"),
    (gguf(tensors=[("a", [8], 10, 0)]), "is of kind Q2_K, which is not read here: take a file"),
    (gguf(tensors=[("a", [8], 77, 0)]), "tensor 'a' is of kind number 77, which is not read here"),
    (gguf(tensors=[("a\r", [8], 2, 0)]), r"tensor 'a\r' has rows of 8 weights, which Q4_0"),
    (gguf(), "its 0 tensors end before byte 32, but it has 64"),
    (b"GGUF", "FILE is cut off or damaged: 4 bytes are wanted at 4, but the file has 4")],
    ids=lambda value: "" if isinstance(value, bytes) else None)
def test_a_hostile_gguf_is_told_in_a_sentence(read, data, said):
    assert said in read(data)


@pytest.mark.parametrize("name", ["split.count", "general.alignment", "general.architecture"])
@pytest.mark.parametrize("code", range(14))
def test_a_fact_of_any_type_is_no_surprise(read, name, code):
    value = {6: struct.pack("<f", 2), 8: text("2"), 12: struct.pack("<d", 2)}.get(code, bytes([2]))
    for inside in (text(name) + struct.pack("<I", code) + value.ljust(8, b"\0"),
                   listed(name, code, 2, 2 * value.ljust(8, b"\0"))):
        read(gguf([inside]))

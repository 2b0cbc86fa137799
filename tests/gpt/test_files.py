"""Files of others: what is written is read, each kind of block says what its formula says."""
import json
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from gpt.files.blocks import KINDS, NAMES, dequantised, shape_of
from gpt.files.gguf import open_gguf, write_gguf
from gpt.files.opening import open_weights
from gpt.files.quantise import quantised
from gpt.files.safetensors import open_safetensors, write_safetensors
from gpt.files.weights import FileError, Weights

BLOCKS = [name for name, kind in KINDS.items() if kind.n_weights > 1]
PLAIN = [name for name, kind in KINDS.items() if kind.unpack is None]
FACTS = {"general.architecture": "llama", "small": 3, "below": -3, "wide": 1 << 40, "true": True,
         "false": False, "half": 0.5, "text": "eine Zeile\nnoch eine Ä€😀", "empty": "",
         "texts": ["a", "", "ü", "Ġthe"], "none": [], "lists": [["a"], ["b", "c"]]}
ARRAYS = {f"of {code}": np.arange(3).astype(code)
          for code in "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 ?".split()}


# ---- blocks ----

def f16(block, at):
    return struct.unpack_from("<e", block, at)[0]


def i8(block, at):
    return struct.unpack_from("<b", block, at)[0]


def nibble(byte, high):
    return byte >> 4 if high else byte & 15


def bit(block, at, i):
    return block[at + i // 8] >> i % 8 & 1


def scale_and_minimum(packed, group):
    """Read two numbers of 6 bits, as the format's description has it."""
    if group < 4:
        return packed[group] & 63, packed[group + 4] & 63
    low, scale, minimum = packed[group + 4], packed[group - 4], packed[group]
    return low & 15 | scale >> 6 << 4, low >> 4 | minimum >> 6 << 4


def of_32(kind, block, i):
    """Weight i of a block of 32 in Python's numbers."""
    d, m, high = f16(block, 0), f16(block, 2), i // 16
    if kind == "Q8_0":
        return d * i8(block, 2 + i)
    if kind == "Q4_0":
        return d * (nibble(block[2 + i % 16], high) - 8)
    if kind == "Q4_1":
        return d * nibble(block[4 + i % 16], high) + m
    if kind == "Q5_0":
        return d * (nibble(block[6 + i % 16], high) + 16 * bit(block, 2, i) - 16)
    return d * (nibble(block[8 + i % 16], high) + 16 * bit(block, 4, i)) + m


def of_256(kind, block, i):
    """Weight i of a block of 256 in Python's numbers."""
    group, j = divmod(i, 32)
    if kind == "Q6_K":
        half, k = divmod(i, 128)
        low = nibble(block[64 * half + k % 64], k // 64)
        two = block[128 + 32 * half + j] >> 2 * (k // 32) & 3
        return f16(block, 208) * i8(block, 192 + i // 16) * (low + 16 * two - 32)
    scale, minimum = scale_and_minimum(block[4:16], group)
    low, fifth = (16, 0) if kind == "Q4_K" else (48, block[16 + j] >> group & 1)
    q = nibble(block[low + 32 * (group // 2) + j], group % 2) + 16 * fifth
    return f16(block, 0) * scale * q - f16(block, 2) * minimum


@pytest.mark.parametrize("kind", BLOCKS)
def test_weights_of_a_block_are_what_its_formula_says(kind):
    block, rng = KINDS[kind], np.random.default_rng(5)
    data = rng.integers(0, 256, (4, block.dtype.itemsize), np.uint8)
    raw = data.view(block.dtype)[:, 0]
    for name in {"d", "m"} & {*block.dtype.names}:
        raw[name] = rng.standard_normal(4)
    formula = of_32 if block.n_weights == 32 else of_256
    expected = [[formula(kind, bytes(one), i) for i in range(block.n_weights)] for one in data]
    made = dequantised(raw.reshape(2, 2))
    assert made.dtype == np.float32 and made.shape == (2, 2 * block.n_weights)
    np.testing.assert_allclose(made.ravel(), np.ravel(expected), rtol=1e-6, atol=1e-4)


def test_a_block_of_q4_0_by_hand():
    data = struct.pack("<e", 0.5) + bytes([0x0f] + 14 * [0x88] + [0xf1])
    w = dequantised(np.frombuffer(data, KINDS["Q4_0"].dtype))
    assert w.tolist() == [3.5, *14 * [0], -3.5, -4, *14 * [0], 3.5]


def test_bfloat16_is_the_upper_half_of_float32():
    x = np.array([1.0, -2.5, np.inf, 3.140625, 0], np.float32)
    raw = (x.view(np.uint32) >> 16).astype("<u2").view(KINDS["BF16"].dtype)
    assert dequantised(raw).tolist() == x.tolist()


def test_many_blocks_are_what_they_are_alone():
    x = np.random.default_rng(0).standard_normal((3, 1 << 17)).astype(np.float32)
    raw = quantised(x, "Q4_0")
    assert np.array_equal(dequantised(raw), np.stack([dequantised(row) for row in raw]))


def test_infinite_scales_are_read_in_silence():
    raw = np.zeros(2, KINDS["Q4_1"].dtype)
    raw["d"] = np.inf, np.nan
    assert np.isnan(dequantised(raw)).all()


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=32, max_size=32))
def test_blocks_of_8_bits_are_wrong_by_half_a_step_at_most(weights):
    x = np.array(weights, np.float32)
    step = np.abs(x).max() / 127
    rounded = 127 * max(2 ** -11 * step, 2 ** -25)                  # the scale has 16 bits
    assert np.abs(dequantised(quantised(x, "Q8_0")) - x).max() <= 0.501 * step + rounded


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=32, max_size=32))
def test_blocks_of_4_bits_are_wrong_by_half_a_step_but_at_the_end_that_has_none(weights):
    x = np.array(weights, np.float32)
    largest = x[np.abs(x).argmax()]
    step, rounded = abs(largest) / 8, max(2 ** -11 * abs(largest), 2 ** -22)
    error = np.abs(dequantised(quantised(x, "Q4_0")) - x)
    ends = np.sign(largest) * x < -7.5 * step                       # q = 16 would be nearest
    assert error[~ends].max(initial=0) <= 0.501 * step + rounded
    assert error[ends].max(initial=0) <= 1.001 * step + rounded


def test_blocks_are_made_as_the_reference_rounds():
    x = np.array([127, 0.5, -0.5, 1.5, -1.5, 0.49999997, *26 * [0]], np.float32)
    raw = quantised(x, "Q8_0")
    assert raw["d"] == 1 and raw["q"][0, :7].tolist() == [127, 1, -1, 2, -2, 0, 0]
    raw = quantised(np.array([-8, 8, 0.5, -0.5, *28 * [0]], np.float32), "Q4_0")
    assert raw["d"] == 1 and [byte & 15 for byte in raw["low"][0, :5]] == [0, 15, 9, 8, 8]
    assert not quantised(np.full(32, 1e-44, np.float32), "Q8_0")["q"].any()


def test_what_16_bits_cannot_hold_is_refused():
    for kind, x in (("F16", 1e6), ("Q4_0", 1e6), ("Q8_0", np.nan), ("Q8_0", 1e8)):
        with pytest.raises(ValueError, match="keep them F32"):
            quantised(np.full((2, 32), x), kind)
    with pytest.raises(ValueError, match="not rows of blocks of 32"):
        quantised(np.zeros((2, 48)), "Q4_0")
    with pytest.raises(ValueError, match="what can be made"):
        quantised(np.zeros((2, 32)), "Q6_K")


# ---- safetensors ----

def tensors_of(kinds, rng):
    """Make a tensor of each kind, of odd shapes and any bytes."""
    shapes = {kind: ((), (3,), (2, 5), (0, 4), (1, 2, 3))[i % 5] for i, kind in enumerate(kinds)}
    return {f"of {kind}": (rng.integers(-2, 3, shapes[kind]) > 0 if kind == "BOOL" else
            rng.integers(0, 99, shapes[kind]).astype(KINDS[kind].dtype)) for kind in kinds}


def test_what_is_written_as_safetensors_is_read_by_the_package_and_the_other_way_round(tmp_path):
    tensors = tensors_of(PLAIN, np.random.default_rng(0))
    metadata = {"format": "pt", "zeile\n": "ü"}
    write_safetensors(tmp_path / "ours", tensors, metadata)
    save_file(tensors, tmp_path / "theirs", metadata)
    for place in ("ours", "theirs"):
        theirs, ours = load_file(tmp_path / place), open_weights(tmp_path / place)
        assert ours.metadata == metadata and {*ours.names} == {*tensors} == {*theirs}
        for name, x in tensors.items():
            assert ours.shape(name) == x.shape and ours.raw(name).dtype == x.dtype
            assert np.array_equal(ours.raw(name), x) and np.array_equal(theirs[name], x)
            assert np.array_equal(ours[name], x)
            assert ours[name].dtype == (np.float32 if x.dtype.kind == "f" else x.dtype)


def test_tensors_keep_their_order_and_are_aligned(tmp_path):
    tensors = {name: np.ones(3, dtype) for name, dtype in
               (("b", "f4"), ("a", "f4"), ("narrow", "u1"), ("c", "f4"), ("wide", "f8"))}
    write_safetensors(tmp_path / "w", tensors, {})
    weights = open_safetensors(tmp_path / "w")
    assert weights.names == ["wide", "b", "a", "c", "narrow"]
    assert all(weights.raw(name).flags.aligned for name in weights)


def test_a_kind_without_a_name_there_is_not_written(tmp_path):
    blocks = quantised(np.zeros((1, 32)), "Q8_0")
    for write, x in ((write_safetensors, blocks), (write_gguf, np.zeros(2, np.uint8)),
                     (write_gguf, np.zeros(2, complex)), (write_gguf, np.zeros(5 * [1]))):
        with pytest.raises(FileError, match="does not go into"):
            write(tmp_path / "w", {"x": x}, {})
    for value in (1j, None, 1 << 70, np.zeros((2, 2)), ["a", 1], {"a": 1}, np.float16(1)):
        with pytest.raises(FileError, match="^'fact' is"):
            write_gguf(tmp_path / "w", {}, {"fact": value})
    assert not (tmp_path / "w").exists()


# ---- GGUF ----

def same(a, b):
    if isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def some_gguf(path, facts=None):
    """Write a file of each kind of tensor and fact."""
    rng = np.random.default_rng(1)
    tensors = {"weight": rng.standard_normal((3, 5)), "of 1": np.float32([[1]])}
    tensors = {name: x.astype(np.float32) for name, x in tensors.items()}
    for kind in [*BLOCKS, "BF16", "F16", "I32"]:
        n = 2 * KINDS[kind].dtype.itemsize
        data = rng.integers(0, 100, (3, n), np.uint8)
        tensors[kind] = data.view(KINDS[kind].dtype)
    facts = {**FACTS, **ARRAYS} if facts is None else facts
    write_gguf(path, tensors, facts)
    return tensors, facts


@pytest.mark.parametrize("alignment", [32, 8, 64])
def test_what_is_written_as_gguf_is_read(tmp_path, alignment):
    tensors, facts = some_gguf(tmp_path / "w", {**FACTS, **ARRAYS, "general.alignment": alignment})
    weights = open_weights(tmp_path / "w")
    assert weights.names == [*tensors] and [*weights.metadata] == [*facts]
    assert [name for name in facts if not same(weights.metadata[name], facts[name])] == []
    for name, x in tensors.items():
        assert weights.kind(name) == NAMES[x.dtype] and weights.shape(name) == shape_of(x)
        assert weights.raw(name).tobytes() == x.tobytes()
        assert np.array_equal(weights[name], dequantised(x))
    raw = {name: weights.raw(name) for name in weights}
    write_gguf(tmp_path / "again", raw, weights.metadata)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "w").read_bytes()


def test_version_2_is_read_as_3_is(tmp_path):
    some_gguf(tmp_path / "3")
    data = (tmp_path / "3").read_bytes()
    (tmp_path / "2").write_bytes(data[:4] + b"\2" + data[5:])
    two, three = open_weights(tmp_path / "2"), open_weights(tmp_path / "3")
    assert all(np.array_equal(two[name], three[name]) for name in three) and len(two) == len(three)



def test_a_large_vocabulary_is_read_at_once(tmp_path):
    words = [f"Ġ{i}" for i in range(49_152)]
    write_gguf(tmp_path / "w", {}, {"tokens": words})
    began = time.process_time()
    assert open_gguf(tmp_path / "w").metadata["tokens"] == words
    assert time.process_time() - began < 1


# ---- places ----

def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    n = 1 << 26
    halves = {"a": [0, n // 2], "b": [n // 2, n]}
    header = json.dumps({name: {"dtype": "F32", "shape": [n // 8], "data_offsets": offsets}
                         for name, offsets in halves.items()}).encode()
    header += bytes(-len(header) % 8).replace(b"\0", b" ")           # floats begin where they may
    with open(tmp_path / "w", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + n)                           # a hole of 64 MB
    tracemalloc.start()
    weights = open_weights(tmp_path / "w")
    assert "a" in weights and weights.shape("b") == (n // 8,) and len(weights["a"]) == n // 8
    assert tracemalloc.get_traced_memory()[1] < 1e5
    tracemalloc.stop()
    assert not weights["a"].flags.writeable
    with pytest.raises(KeyError):
        weights["c"]


def shards(folder, places=None):
    """Write a model in two files, with an index."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "one.safetensors", {"a": x, "b": x + 1}, {"format": "pt"})
    write_safetensors(folder / "two.safetensors", {"c": x + 2}, {"format": "pt"})
    places = places or {"c": "two.safetensors", "a": "one.safetensors", "b": "one.safetensors"}
    index = {"metadata": {"total_size": 72}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return x


def test_shards_are_one(tmp_path):
    x = shards(tmp_path)
    weights = open_weights(str(tmp_path))
    assert weights.names == ["c", "a", "b"] and weights.metadata == {"format": "pt"}
    assert np.array_equal(weights["c"], x + 2) and np.array_equal(weights["b"], x + 1)


def test_a_folder_with_one_file_is_that_file(tmp_path):
    write_gguf(tmp_path / "any.gguf", {}, {"a": 1})
    assert open_weights(tmp_path).metadata == {"a": 1}
    write_safetensors(tmp_path / "model.safetensors", {}, {"b": "2"})
    assert open_weights(tmp_path).metadata == {"b": "2"}
    write_safetensors(tmp_path / "other.safetensors", {}, {})
    assert open_weights(tmp_path).metadata == {"b": "2"}
    (tmp_path / "model.safetensors").unlink()
    assert refusal(tmp_path).endswith("among them: name the one to open")


def refusal(place):
    with pytest.raises(FileError) as refused:
        open_weights(place)
    message = str(refused.value)
    assert "\n" not in message and len(message) < 600
    return message


def test_a_pickle_is_never_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\3\4 and so on")
    (tmp_path / "old.bin").write_bytes(b"\x80\2 and so on")
    for place in (tmp_path, tmp_path / "pytorch_model.bin", tmp_path / "old.bin"):
        assert "is a pickle: to load one is to run the program in it" in refusal(place)


def test_a_tensor_that_is_not_aligned_is_given_aligned(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} '
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1, 2))
    weights = open_weights(tmp_path / "w")
    assert not weights.raw("a").flags.aligned and weights["a"].flags.aligned
    assert weights["a"].tolist() == [1, 2]


@pytest.mark.parametrize("places, said", [
    ({"a": "../one.safetensors"}, "'../one.safetensors' is not the name of a file beside it"),
    ({"a": ["one.safetensors"]}, "but must name each tensor's file"),
    ({"a": "three.safetensors"}, "'three.safetensors' is missing, which"),
    ({"a\nb": "one.safetensors"}, r"'a\nb' is not in one.safetensors"),
    (["a"], "weight_map is ['a'], but must name each tensor's file")])
def test_an_index_that_leads_nowhere_is_refused(tmp_path, places, said):
    shards(tmp_path, places)
    assert said in refusal(tmp_path)


def test_a_place_without_weights_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("a text of some length {")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors.index.json").write_text("{")
    assert "does not exist: name a safetensors or GGUF file" in refusal(tmp_path / "none")
    assert refusal(tmp_path / "empty").endswith("is empty")
    assert refusal(tmp_path / (200 * "ab"))        # too long for a name
    assert "is not a whole safetensors file" in refusal(tmp_path / "text")
    assert "not JSON" in refusal(tmp_path / "folder")
    assert "holds no weights" in refusal(tmp_path)


def test_weights_are_a_mapping():
    x = np.ones(2, np.float32)
    weights = Weights({"a": x}, {})
    assert dict(weights) == {"a": x} and weights.get("b") is None and len(weights) == 1

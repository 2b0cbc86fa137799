"""Whole models that were damaged, or made to do damage: opened, or refused in one sentence."""
import json
import os
import random
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mutations import changed, mutated
from published_cases import BERT, UNIGRAM, added, sequence
from test_portable import exported

from gpt.data.reading import CorpusError
from gpt.data.tokens.kinds import load_tokenizer, tokenizer_of
from gpt.data.tokens.parts import step
from gpt.export import FORMATS
from gpt.files.gguf import open_gguf, write_gguf
from gpt.files.weights import FileError
from gpt.opening import open_model
from gpt.settings import ConfigError

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
N = 1_000 if THOROUGH else 10
TEXT = "ab é 12☃ hello<|end|>"


@contextmanager
def at_most(n_bytes):
    """Let no more memory be taken inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def attempt(place, size_bytes, opened=open_model):
    """Open a model and let its tokenizer read; tell whether that went well."""
    sentence = None
    # Tables of positions have 16 MB at most; Python's objects take 100 bytes for one of a file.
    with at_most(20_000_000 + 100 * size_bytes):
        try:
            tokenizer = opened(place).tokenizer
            tokenizer.decode(tokenizer.encode(TEXT, disallowed_special=()))
        except (ConfigError, CorpusError, FileError) as error:
            sentence = str(error).replace(str(place), "PLACE")
    assert sentence is None or sentence.isprintable() and len(sentence) < 600, sentence
    return sentence is None


def rewritten(path, data):
    """Write a file anew: of the one before something may still be mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


PRESETS = {"gguf": "portable", "gguf_q8_0": "llama", "gguf_q4_0": "gpt2"}


@pytest.mark.parametrize("form", PRESETS)
def test_a_changed_gguf_is_a_model_or_one_sentence(tmp_path, form):
    exported(tmp_path, PRESETS[form], FORMATS[form])
    path, rng, draw = tmp_path / "model.gguf", np.random.default_rng(0), random.Random(form)
    data, weights = path.read_bytes(), open_gguf(path)
    tensors = {name: np.array(x) for name, x in weights.tensors.items()}
    facts, n_opened = dict(weights.metadata), 0
    head = data.index(next(iter(tensors.values())).tobytes())
    for i in range(N):
        if i % 2:
            rewritten(path, mutated(data, head, rng))
        else:
            path.unlink()
            try:
                write_gguf(path, tensors, changed(facts, draw))
            except FileError:                          # there is no GGUF that says that
                path.write_bytes(data)
        n_opened += attempt(path, len(data))
    assert 0 < n_opened < N


FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "generation_config.json")


@pytest.mark.parametrize("preset", ["portable", "gpt2"])
def test_a_changed_folder_is_a_model_or_one_sentence(tmp_path, preset):
    exported(tmp_path, preset)
    whole = {name: (tmp_path / name).read_bytes() for name in FILES}
    size, n_opened = sum(map(len, whole.values())), 0
    rng, draw = np.random.default_rng(1), random.Random(preset)
    for i in range(N):
        name = FILES[i % len(FILES)]
        data = whole[name]
        head = 8 + int.from_bytes(data[:8], "little") if "tensors" in name else len(data)
        if "tensors" not in name and draw.random() < 0.7:
            rewritten(tmp_path / name, json.dumps(changed(json.loads(data), draw)).encode())
        else:
            rewritten(tmp_path / name, mutated(data, head, rng))
        n_opened += attempt(tmp_path, size)
        rewritten(tmp_path / name, data)
    assert 0 < n_opened < N


# ---- tokenizers made to do damage ----

def doubled(kind, n=40):
    """Steps each of which writes every a twice."""
    return sequence(kind, *[step("Replace", pattern={"String": "a"}, content="aa")] * n)


def with_regex(pattern):
    return BERT | {"normalizer": step("Replace", pattern={"Regex": pattern}, content="")}


@pytest.mark.parametrize("facts, said", [
    (BERT | {"normalizer": doubled("normalizers")}, "of the 4 characters 'aaaa' its steps make"),
    (BERT | {"decoder": doubled("decoders")}, "of the 6 characters '##want' its steps make"),
    (BERT | {"normalizer": step("Replace", pattern={"String": "a"}, content="x" * 100_000)},
     "content is 'xxx.*must be of at most 64 characters"),
    (UNIGRAM | {"model": UNIGRAM["model"] | {"vocab": [["a" * 100_000, -1.0]]}},
     r"vocab\[0\] is .'aaa.*a text of at most 256 characters"),
    (with_regex("(" * 3000 + ")" * 3000), r"pattern '\(\(\(.*no regular expression: maximum rec"),
    (with_regex("(\n" + "a" * 9000), r"pattern '\(\\na.*no regular expression"),
])
def test_a_tokenizer_made_to_do_damage_is_one_sentence(facts, said):
    with at_most(10_000_000), pytest.raises(ValueError, match=said) as error:
        tokenizer_of(facts).encode("aaaa")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_many_added_tokens_take_a_time_in_proportion():
    facts = BERT | {"added_tokens": [added(f"<{i}>", 20 + i) for i in range(3_000)]}
    assert tokenizer_of(facts).encode("<2999>", allowed_special="all") == [3_019]


class Alone:
    """A tokenizer in the place of a model."""

    def __init__(self, place):
        try:
            self.tokenizer = load_tokenizer(place)
        except (OSError, ValueError) as error:
            raise CorpusError(str(error)) from error


def real_tokenizers():
    folder = os.environ.get("MINIGRAD_MODELS")
    return sorted(Path(folder).rglob("tokenizer.json")) if folder else []


@pytest.mark.thorough
@pytest.mark.parametrize("path", real_tokenizers(), ids=lambda path: path.parent.name)
def test_a_changed_tokenizer_of_others_is_one_or_one_sentence(tmp_path, path):
    data = path.read_bytes()
    facts, draw, rng = json.loads(data), random.Random(0), np.random.default_rng(0)
    for i in range(min(N, 100_000_000 // len(data))):
        new = mutated(data, len(data), rng) if i % 4 == 0 else json.dumps(changed(facts, draw))
        rewritten(tmp_path / "tokenizer.json", new if i % 4 == 0 else new.encode())
        attempt(tmp_path, len(data), Alone)

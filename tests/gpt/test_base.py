"""A run that goes on from a model: its net, its tokenizer and its weights."""
import json
from functools import partial

import numpy as np
import pytest
from published_cases import CASES

import bpe
from gpt import train as program
from gpt.base import open_base, with_shape_of
from gpt.data.corpora import stories
from gpt.data.tokens.characters import CharTokenizer
from gpt.data.tokens.kinds import load_tokenizer, tokenizer_of, with_specials
from gpt.export import FORMATS
from gpt.models.encoder import Encoder
from gpt.opening import Opened, base_weights, open_model
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run, read_manifest
from gpt.training.recipes import choose_tuning
from gpt.training.step import train_steps

SHAPE = dict(vocab_size=256, n_layer=1, n_head=2, d_model=32, context_length=16)


def a_model(net="decoder", preset="llama", **changes):
    shape = {**SHAPE, **changes}
    if net == "lstm":
        del shape["n_head"]
    config = Config.make(preset if net == "decoder" else "fast", net=net, **shape)
    model = config.new_net(np.random.default_rng(1))
    return Opened(model, bpe.Tokenizer([]), net=net)


@pytest.fixture
def place(tmp_path):
    """A function that writes a model and says where."""
    def write(opened, format="minigrad"):
        folder = tmp_path / f"{format}-{opened.net}"
        folder.mkdir()
        FORMATS[format](opened, folder)
        return folder
    return write


def goes_on(place, **given):
    given = {"base": str(place), "steps": 4, **given}
    opened = open_base(given)
    return opened, with_shape_of(opened, choose_tuning(opened.model.config, given), given)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_that_opens_is_a_base(place, format):
    opened, config = goes_on(place(a_model(), format), context_length=8)
    assert (config.model.n_layer, config.model.d_model, config.model.context_length) == (1, 32, 8)
    net = config.new_net(np.random.default_rng(0))
    net.load_state_dict(opened.model.state_dict())


def test_every_net_is_a_base(place):
    _, config = goes_on(place(a_model("lstm")))
    assert config.train.net == "lstm" and config.model.d_model == 32


@pytest.mark.parametrize("given, words", [
    ({"n_layer": 2}, "--n_layer comes from the base"), ({"net": "lstm"}, "--net comes from"),
    ({"vocabulary": 300}, "--vocabulary comes from"), ({"tokenizer": "char"}, "--tokenizer comes"),
    ({"context_length": 8}, "position_embedding.weight .* leave out --context_length")])
def test_what_the_base_says_is_not_said_again(place, given, words):
    with pytest.raises(ConfigError, match=words):
        goes_on(place(a_model(preset="gpt2")), **given)


def test_a_net_that_no_run_trains_is_refused(place, monkeypatch):
    folder = place(a_model())
    config = a_model().model.config
    encoder = Encoder(config, np.random.default_rng(0))
    other = Opened(encoder, bpe.Tokenizer([]), "other")
    monkeypatch.setattr("gpt.base.open_model", lambda place: other)
    with pytest.raises(ConfigError, match="learnt the task other"):
        goes_on(folder)


def test_the_program_goes_on_from_the_weights_and_resumes(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = stories(60).documents[0]
    characters = CharTokenizer(set(text.decode()), [])
    model = a_model(vocab_size=characters.vocab_size)
    base = place(model._replace(tokenizer=characters))
    (tmp_path / "text.txt").write_bytes(text)
    program.main(["text.txt", "--base", str(base), "--steps", "6", "--eval_every", "3",
                  "--batch_tokens", "64", "--eval_tokens", "64", "--plain", "--name", "on"])
    assert f"from {base}" in capsys.readouterr().out
    run = tmp_path / "runs" / "on"
    facts = read_manifest(run)
    assert facts["base"] == str(base) and len(facts["base_sha256"]) == 64
    assert open_model(run).tokenizer.fingerprint() == characters.fingerprint()
    again = open_run(run, 3)
    for _ in train_steps(again):
        pass
    whole, _ = checkpoint.load(run / "checkpoints", 6)
    for name, x in again.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)
    program.main(["text.txt", "--plan", str(run / "plan.json"), "--plain", "--name", "repeated"])
    repeated, _ = checkpoint.load(tmp_path / "runs" / "repeated" / "checkpoints", 6)
    assert all((x == repeated[name]).all() for name, x in whole.items())


@pytest.mark.parametrize("adapters", [[], ["--lora_rank", "2"]], ids=["all", "adapters"])
def test_tokens_that_the_base_lacks_get_rows_and_no_row_is_drawn_anew(place, tmp_path, adapters,
                                                                     monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = place(a_model(context_length=64))
    lines = [json.dumps({"instruction": f"say {i}", "output": f"it is {i}"}) for i in range(20)]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    program.main(["chats.jsonl", "--base", str(base), "--task", "instruct", "--steps", "2",
                  "--template", "chatml", "--name", "on", "--plain", "--learning_rate", "1e-9",
                  "--batch_tokens", "64", *adapters])
    assert "vocabulary: 2 tokens that the base lacks" in capsys.readouterr().out
    opened, before = open_model(tmp_path / "runs" / "on"), open_model(base).model
    assert opened.tokenizer.special_tokens == {"<|im_start|>": 256, "<|im_end|>": 257}
    for name in ("token_embedding", "unembedding"):
        rows = getattr(opened.model, name).weight.data
        known = getattr(before, name).weight.data
        assert rows.shape == (258, 32)
        np.testing.assert_allclose(rows[:256], known, atol=1e-7)
        np.testing.assert_allclose(rows[256:], [known.mean(axis=0)] * 2, atol=1e-7)
    open_run(tmp_path / "runs" / "on", 1, partial(base_weights, base=None))


@pytest.mark.parametrize("tokenizer", [
    bpe.Tokenizer([], special_tokens={"<s>": 256}), CharTokenizer("ab<>s|x", ["<s>"]),
    tokenizer_of(CASES["Llama"]), tokenizer_of(CASES["options"])], ids=lambda x: type(x).__name__)
def test_a_tokenizer_with_more_special_tokens_is_the_same_besides(tokenizer, tmp_path):
    more = with_specials(tokenizer, ["<s>", "<|x|>", "<|y|>"])
    n, lacking = tokenizer.vocab_size, [*more.special_tokens][len(tokenizer.special_tokens):]
    assert lacking in (["<|x|>", "<|y|>"], ["<s>", "<|x|>", "<|y|>"])
    assert [more.special_tokens[name] for name in lacking] == [*range(n, more.vocab_size)]
    assert more.tokens[:n] == tokenizer.tokens and more.frame == tokenizer.frame
    assert more.encode("abab", disallowed_special=()) == tokenizer.encode("abab")
    more.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again.fingerprint() == more.fingerprint()
    assert with_specials(more, ["<|x|>"]) is more

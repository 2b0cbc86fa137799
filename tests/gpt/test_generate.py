"""Generation: the cache changes nothing, filters keep their promise, text has whole characters."""
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import bpe
from gpt.data.tokens.characters import CharTokenizer
from gpt.generate import main
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.models.sampling import (
    Sampling, choose, encode_prompt, generate, penalized, probabilities, write, write_each)
from gpt.opening import Opened
from gpt.settings import ConfigError
from minigrad import no_grad
from minigrad.kernels.draw import drawn

CONFIG = ModelConfig(vocab_size=40, context_length=12, n_layer=2, n_head=2, d_model=32)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    model = GPT(CONFIG, rng)
    for x in model.parameters():
        x.data += (0.2 * rng.standard_normal(x.shape)).astype(np.float32)
    return model


def test_greedy_tokens_are_those_of_the_full_forward_pass(model):
    prompts = np.random.default_rng(1).integers(0, 40, (3, 4))
    made = np.stack(list(generate(model, prompts, Sampling(temperature=0), max_tokens=8)), axis=1)
    ids = prompts
    with no_grad():
        for _ in range(8):
            ids = np.concatenate([ids, model(ids).data[:, -1:].argmax(-1)], axis=1)
    np.testing.assert_array_equal(made, ids[:, 4:])


def test_past_the_context_the_newer_half_is_read_again(model):
    greedy = Sampling(temperature=0)
    made = np.array(list(generate(model, [[1, 2, 3]], greedy, max_tokens=30)))[:, 0]
    text = np.concatenate([[1, 2, 3], made])
    # the cache is full after 12 tokens: the last 6 of those written then are read again
    again = list(generate(model, text[None, 13 - 6:13], greedy, max_tokens=6))
    np.testing.assert_array_equal(np.array(again)[:, 0], text[13:19])


def test_a_prompt_longer_than_the_context_counts_with_its_end(model):
    prompt = np.random.default_rng(2).integers(0, 40, (1, 50))
    a, b = (next(generate(model, p, Sampling(temperature=0))) for p in (prompt, prompt[:, -12:]))
    assert a == b


def test_the_same_seed_writes_the_same_and_a_stream_of_a_batch_its_own(model):
    take = lambda seed: np.array(list(generate(model, [[1], [2]], Sampling(1.0, 1.0),
                                               np.random.default_rng(seed), max_tokens=9)))
    np.testing.assert_array_equal(take(3), take(3))
    assert (take(3) != take(4)).any()


LOGITS = st.lists(st.floats(-9, 9), min_size=2, max_size=20).map(np.array)


@example(np.array([0, 4e-17]), 2, 0.5, 0.0, 1.0)
@given(LOGITS, st.integers(1, 25), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.1, 3))
def test_filters_keep_the_likeliest_and_what_they_promise(z, k, top_p, min_p, temperature):
    plain = probabilities(z, [], Sampling(temperature=temperature))
    assert plain.sum() == pytest.approx(1)
    kept = probabilities(z, [], Sampling(temperature=temperature, top_k=k, top_p=top_p,
                                         min_p=min_p))
    assert kept[plain == plain.max()].any()           # of scores that differ by rounding, either
    assert kept.sum() == pytest.approx(1)
    by_k = probabilities(z, [], Sampling(temperature=temperature, top_k=k)) > 0
    assert by_k.sum() >= min(k, len(z)) and plain[by_k].min() >= plain[~by_k].max(initial=0)
    nucleus = probabilities(z, [], Sampling(temperature=temperature, top_p=top_p)) > 0
    assert plain[nucleus].sum() >= top_p - 1e-9
    assert plain[nucleus].sum() - plain[nucleus].min() < top_p + 1e-9
    floor = probabilities(z, [], Sampling(temperature=temperature, min_p=min_p)) > 0
    np.testing.assert_array_equal(floor, plain >= min_p * plain.max())


def test_tokens_are_drawn_as_often_as_they_are_likely():
    z, rng = np.log([0.5, 0.3, 0.2]), np.random.default_rng(0)
    drawn = np.bincount([choose(z, [], Sampling(temperature=1), rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn / 4000, [0.5, 0.3, 0.2], atol=0.03)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_kernel_draws_is_where_the_sum_exceeds_a_share(dtype):
    z = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    z[:70] = z[-300:] = z[400:600:3] = -np.inf
    for temperature in (1e-29, 0.3, 2):
        p = probabilities(z, [], Sampling(temperature=temperature))
        reached = np.concatenate([[0], np.cumsum(p)])
        for share in (0, *np.linspace(0.001, 0.999, 50), 1 - 1e-16):
            at = drawn(z, temperature, share)
            assert p[at] > 0 and reached[at] - 1e-6 <= share <= reached[at + 1] + 1e-6


def test_the_repetition_penalty_lowers_what_was_said():
    z = np.array([2.0, -1.0, 1.0])
    free, penalized = (probabilities(z, np.array([0, 1]), Sampling(p, temperature=1))
                       for p in (1.0, 2.0))
    assert penalized[0] < free[0] and penalized[1] < free[1] and penalized[2] > free[2]


@pytest.mark.parametrize("name, values", [
    ("top_p", [0, 1.5, -1]), ("temperature", [-1]), ("min_p", [2, -0.1]), ("top_k", [-1, 2.5]),
    ("repetition_penalty", [0, -1])])
def test_a_setting_that_makes_no_sense_is_refused(name, values):
    for value in [*values, np.nan, np.inf, None, "1", True]:
        with pytest.raises(ConfigError, match=f"{name} is .*, but must be"):
            Sampling(**{name: value})


SAMPLINGS = st.builds(Sampling, st.floats(0.5, 3), st.sampled_from([0, 1e-300, 0.1, 1, 1e6]),
                      st.integers(0, 5), st.sampled_from([1e-9, 0.5, 1]),
                      st.sampled_from([0, 0.5, 1]))
SCORES = st.lists(st.sampled_from([-np.inf, -3e38, -1.0, 0.0, 0.5, 3e38]), min_size=1, max_size=8)


@given(SCORES, SAMPLINGS, st.floats(0, 1, exclude_max=True))
def test_only_a_token_that_may_be_chosen_is(z, sampling, drawn):
    rng = type("Rng", (), {"random": lambda self: drawn})()
    z = np.array(z, np.float32)
    if (z == -np.inf).all():
        with pytest.raises(FloatingPointError, match="token 0 is -inf"):
            choose(z, [0], sampling, rng)
    else:
        with np.errstate(all="raise", under="ignore"):
            chosen = choose(z, [0], sampling, rng)
        assert z[chosen] > -np.inf
        weak = penalized(z, [0], sampling.repetition_penalty)
        if sampling.temperature == 0 or sampling.top_k == 1:
            assert weak[chosen] == weak.max()


@given(SCORES, SAMPLINGS, st.sampled_from([np.nan, np.inf]), st.integers(0, 8))
def test_scores_that_are_no_numbers_are_told_and_never_a_token(z, sampling, wrong, at):
    at = min(at, len(z))
    z = np.array([*z[:at], wrong, *z[at:]], np.float32)
    with pytest.raises(FloatingPointError, match=f"the score of token {at} is {wrong}"):
        choose(z, [0], sampling, np.random.default_rng(0))


def broken(config):
    model = GPT(config, np.random.default_rng(0))
    model.token_embedding.weight.data[3, 0] = np.nan
    return model


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_broken_model_says_so_in_one_sentence_and_status_2(monkeypatch, capsys, temperature):
    model = broken(ModelConfig(vocab_size=4, context_length=8, n_layer=1, n_head=2, d_model=32))
    monkeypatch.setattr("gpt.generate.open_model", lambda *_: Opened(model, CharTokenizer("abcd")))
    with pytest.raises(SystemExit) as left:
        main(["x", "abcd", "--temperature", str(temperature)])
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and "is nan, so that none" in said


class Script:
    """Stands in for `generate`: writes given ids."""

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, *args, **params):
        return iter(np.array(self.ids)[:, None])


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), st.data())
def test_text_comes_in_whole_characters_and_ends_before_a_stop(text, draw):
    tokenizer = bpe.Tokenizer([])
    stop = draw.draw(st.text(min_size=1, max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpt.models.sampling.generate", Script(list(text.encode())))
        pieces = list(write(None, tokenizer, "x"))
        stopped = "".join(write(None, tokenizer, "x", stop=[stop]))
    assert "".join(pieces) == text and not any("\ufffd" in piece for piece in pieces)
    assert stopped == text.split(stop)[0]


def test_texts_written_together_are_those_of_each_seed_alone(model):
    letters = "".join(map(chr, range(0x100, 0x100 + CONFIG.vocab_size)))
    tokenizer, prompt, seeds = CharTokenizer(letters), letters[3:8], [4, 5, 6]
    alone = ["".join(write(model, tokenizer, prompt, seed=seed, max_tokens=30)) for seed in seeds]
    ids = encode_prompt(tokenizer, prompt)
    texts = write_each(model, tokenizer, ids, seeds, max_tokens=30)
    assert [*map("".join, texts)] == alone and len({*alone}) == 3


def test_a_text_comes_while_it_is_written_and_those_behind_it_are_not_lost(monkeypatch):
    asked = []
    def two_texts(*_):
        for chosen in ([0, 1], [3, 1], [2, 2], [2, 3], [2, 2]):
            asked.append(chosen)
            yield np.array(chosen)
    monkeypatch.setattr("gpt.models.sampling.generate", two_texts)
    first, second = write_each(None, CharTokenizer("abc", ["<|endoftext|>"]), [0], [0, 1])
    assert next(first) == "a" and len(asked) == 1
    assert "".join(first) == "" and len(asked) == 2      # it has ended
    assert "".join(second) == "bbc" and len(asked) == 4


def test_the_end_of_text_ends_it(monkeypatch):
    tokenizer = CharTokenizer("abc", ["<|endoftext|>"])
    monkeypatch.setattr("gpt.models.sampling.generate", Script([0, 1, 3, 2]))
    assert "".join(write(None, tokenizer, "a")) == "ab"


def test_a_prompt_that_the_model_cannot_read_is_refused():
    with pytest.raises(ConfigError, match="'z' is not among"):
        list(itertools.islice(write(None, CharTokenizer("abc"), "z"), 1))


def test_without_a_line_break_an_empty_prompt_is_the_first_token():
    assert encode_prompt(CharTokenizer("a\n"), "") == [0]
    assert encode_prompt(CharTokenizer("ab"), "") == [0]
    assert encode_prompt(CharTokenizer("\tab\n"), "") == [1]


@pytest.mark.parametrize("terminal, shown", [(True, "a\\x1b\\x07"), (False, "a\x1b\x07")])
def test_no_control_byte_reaches_a_terminal(monkeypatch, capsys, terminal, shown):
    opened = Opened(SimpleNamespace(config=CONFIG), CharTokenizer("a\x1b\x07"))
    monkeypatch.setattr("gpt.generate.open_model", lambda *_: opened)
    monkeypatch.setattr("gpt.models.sampling.generate", Script([1, 0]))
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    main(["x", "a"])
    assert capsys.readouterr().out == shown + "\n"


def test_a_prompt_that_is_cut_is_told(model, monkeypatch, capsys):
    monkeypatch.setattr("gpt.generate.open_model", lambda *_: Opened(model, bpe.Tokenizer([])))
    monkeypatch.setattr("gpt.models.sampling.generate", Script([97]))
    main(["x", "a" * 13, "--max_tokens", "1"])
    assert "has 13 tokens, of which the last 12 count" in capsys.readouterr().err
    main(["x", "a" * 12, "--max_tokens", "1"])
    assert not capsys.readouterr().err

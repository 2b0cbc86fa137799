"""Published models, read by tables, compute what transformers does: small ones of every family."""
import json
from pathlib import Path

import numpy as np
import pytest
from golden import foreign_cases as cases
from published_cases import added, facts_of, template
from safetensors.numpy import save_file

from gpt import generate as generate_program
from gpt.batch import Batch
from gpt.data.tokens.parts import step
from gpt.files.weights import FileError
from gpt.models.config import ModelConfig
from gpt.models.families import GGUF, HUGGINGFACE
from gpt.models.heads import surprise
from gpt.models.nets import net_named
from gpt.models.published import Blank, read_huggingface
from gpt.models.sampling import Sampling, generate
from gpt.models.tables import (
    as_theirs, load_weights, places, rows_of, save_weights, settings_from)
from gpt.opening import open_model
from gpt.settings import ConfigError
from minigrad import linear, no_grad, use

ALL = [*cases.DECODERS, *cases.ENCODERS, *cases.ENCODER_DECODERS]
VALUES = json.loads((Path(__file__).parent.parent / "golden" / "foreign_values.json").read_text())


def opened(name):
    """Return the model of a case, what transformers computes with it, and its tensors."""
    want = VALUES[name]
    family = HUGGINGFACE[want["config"]["model_type"]]
    weights = cases.weights(want["shapes"])
    config = settings_from(family, want["config"], weights, ModelConfig)
    model = net_named(family.net).module(config, Blank(), np.float64)
    load_weights(model, weights, family)
    return model, want, weights, family


def theirs(model, family, array_of, known):
    """Return arrays that belong to the parameters, cut and named as theirs."""
    arrays = {name: array_of(x) for name, x in model.named_parameters()}
    found = {}
    for name, place in places(family, model):
        name = next(each for each in known if each.endswith(name))
        x = arrays[place.name][rows_of(place, arrays[place.name], model.config)]
        found[name] = as_theirs(x, place._replace(plus_one=False), model.config)
    return found


def assert_equal(name, logits, loss, model, weights, family):
    """Compare with what transformers computes, gradients by their names."""
    want = VALUES[name]
    some = logits.reshape(-1, logits.shape[-1])[::5, :3].ravel()
    np.testing.assert_allclose(some, want["logits"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cases.digest(logits), want["all_logits"], rtol=1e-9)
    assert abs(loss.item() - want["loss"]) < 1e-9
    with use("reference"):
        loss.backward()
    found = theirs(model, family, lambda x: x.grad, weights)
    assert found.keys() == want["gradients"].keys()
    for each, x in found.items():
        np.testing.assert_allclose(cases.digest(x), want["gradients"][each], rtol=1e-9, atol=1e-9,
                                   err_msg=each)


@pytest.mark.parametrize("name", cases.DECODERS)
def test_decoders_have_the_logits_loss_and_gradients_of_transformers(name):
    model, _, weights, family = opened(name)
    ids = cases.ids()
    with use("reference"):
        logits = model(ids[:, :-1]).data
        loss = model.loss(ids[:, :-1], ids[:, 1:])
    assert_equal(name, logits, loss, model, weights, family)


@pytest.mark.parametrize("name", cases.ENCODERS)
def test_encoders_have_the_logits_loss_and_gradients_of_transformers(name):
    model, _, weights, family = opened(name)
    batch = Batch(cases.ids(), lengths=cases.LENGTHS, segments=cases.segments(name))
    with use("reference"):
        x = model.stream(batch)
        logits = linear(x, model.head).data
        loss = surprise(x, model.head, cases.masked_targets())
    assert_equal(name, logits, loss, model, weights, family)


def answering():
    """Return the batch of which encoder-decoders were asked."""
    ids = cases.ids()
    return Batch(ids[:, :-1], ids[:, 1:], source=cases.source(), source_lengths=cases.LENGTHS)


@pytest.mark.parametrize("name", cases.ENCODER_DECODERS)
def test_encoder_decoders_have_the_logits_loss_and_gradients_of_transformers(name):
    model, _, weights, family = opened(name)
    with use("reference"):
        logits = model(answering()).data
        loss = model.loss(answering())
    assert_equal(name, logits, loss, model, weights, family)


@pytest.mark.parametrize("name", cases.ENCODER_DECODERS)
def test_answers_are_those_of_transformers_with_a_cache_and_without(name):
    model, want, *_ = opened(name)
    batch, greedy = answering(), Sampling(temperature=0)
    begun = batch.ids[:, :1]
    with use("reference"), no_grad():
        made = np.stack([*generate(model, begun, greedy, max_tokens=8, source=batch)], axis=1)
        whole = model(batch._replace(ids=np.concatenate([begun, made], axis=1))).data
    assert made.tolist() == want["greedy"] == whole[:, :-1].argmax(axis=-1).tolist()


LETTERS = [["<unk>", 0.0], ["</s>", 0.0], *([chr(ord("a") + i), -1.0] for i in range(17))]
SPELLING = facts_of(
    step("Unigram", unk_id=0, vocab=LETTERS, byte_fallback=False), decoder=step("Fuse"),
    added_tokens=[added("<unk>", 0), added("</s>", 1)],
    post_processor=template((), ["</s>"], **{"</s>": 1}))


def folder_of(name, place):
    """Write a model as transformers does, with a tokenizer of letters."""
    want = VALUES[name]
    tensors = {each: x.astype(np.float32) for each, x in cases.weights(want["shapes"]).items()}
    save_file(tensors, place / "model.safetensors")
    around = cases.AROUND[want["config"]["model_type"]]
    for file, facts in [("config", want["config"]), ("generation_config", around),
                        ("tokenizer", SPELLING)]:
        (place / f"{file}.json").write_text(json.dumps(facts))
    return want["answers"]


@pytest.mark.parametrize("name", cases.ENCODER_DECODERS)
def test_a_published_model_answers_on_the_command_line_as_in_transformers(name, tmp_path, capsys):
    answers = folder_of(name, tmp_path)
    asked = "".join(LETTERS[i][0] for i in cases.ASKED[:-1])
    how = [["--temperature", "0"], ["--beams", "1", "--length_penalty", "0"],
           ["--beams", "3", "--length_penalty", "0"]]
    for flags, beams in zip(how, "113"):
        ids = [i for i in answers[beams][1:] if i]                # 0 begins, of either
        ids = ids[:-1] if name == "bart" else ids                 # there the 8th must be an end
        n = str(len(ids))
        generate_program.main([str(tmp_path), asked, "--max_tokens", n, *flags])
        assert capsys.readouterr().out.strip() == "".join(LETTERS[i][0] for i in ids)


def test_how_answers_begin_is_read_or_refused(tmp_path):
    folder_of("bart", tmp_path)
    model = open_model(tmp_path).model
    assert (model.begins, model.ends) == ((2, 0), (1,))
    for wrong in (19, -1, "a", 1.0):
        text = json.dumps({"decoder_start_token_id": wrong})
        (tmp_path / "generation_config.json").write_text(text)
        with pytest.raises(ConfigError, match="begins or ends with token .* mend generation_conf"):
            open_model(tmp_path)


@pytest.mark.parametrize("name", [*cases.ENCODERS, *cases.ENCODER_DECODERS])
@pytest.mark.parametrize("level", ["reference", "fast"])
def test_padding_changes_no_bit(name, level):
    model, *_ = opened(name)
    padded = cases.source()
    padded[1, cases.LENGTHS[1]:] = [3, 18, 7]
    found = []
    with use(level), no_grad():
        for source in cases.source(), padded:
            batch = Batch(source, lengths=cases.LENGTHS)
            if name in cases.ENCODER_DECODERS:
                batch = answering()._replace(source=source)
            x = model.stream(batch).data
            if name in cases.ENCODERS:
                x = x[1, :cases.LENGTHS[1]]
            found.append(x)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", cases.ENCODER_DECODERS)
def test_a_decoder_never_sees_ahead_and_all_of_the_source(name):
    model, batch = opened(name)[0], answering()
    for place in range(8):
        ids, source = batch.ids.copy(), batch.source.copy()
        ids[0, place], source[0, place] = (ids[0, place] + 5) % 19, (source[0, place] + 5) % 19
        with use("reference"), no_grad():
            before = model.stream(batch).data[0]
            ahead = model.stream(batch._replace(ids=ids)).data[0]
            other = model.stream(batch._replace(source=source)).data[0]
        np.testing.assert_array_equal(before[:place], ahead[:place])
        assert (before != other).any(axis=1).all() and (before[place:] != ahead[place:]).any()


@pytest.mark.parametrize("name", cases.DECODERS)
def test_greedy_ids_are_those_of_transformers_with_a_cache_and_without(name):
    model, want, *_ = opened(name)
    ids = cases.ids()[:1, :3]
    with use("reference"), no_grad():
        made = [int(i[0]) for i in generate(model, ids, Sampling(temperature=0), max_tokens=10)]
        for _ in made:
            best = model(ids).data[:, -1].argmax(axis=-1)
            ids = np.concatenate([ids, best[:, None]], axis=1)
    assert made == want["greedy"] == ids[0, 3:].tolist()


@pytest.mark.parametrize("kinds", [HUGGINGFACE, GGUF], ids=["transformers", "gguf"])
@pytest.mark.parametrize("name", ALL)
def test_save_then_load_is_the_identity(name, kinds):
    model, _, weights, family = opened(name)
    kind = VALUES[name]["config"]["model_type"]
    if kind in kinds:
        family = kinds[kind]
    before = {each: x.copy() for each, x in model.state_dict().items()}
    saved = save_weights(model, family)
    for x in model.parameters():
        x.data[...] = np.nan
    load_weights(model, saved, family)
    for each, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[each], err_msg=each)
    if kinds is HUGGINGFACE:
        for each, x in saved.items():
            whole = next(w for w in weights if w.endswith(each))
            np.testing.assert_allclose(x, weights[whole], atol=1e-15)


def test_a_tensor_too_many_one_too_few_and_another_shape_are_named():
    model, _, weights, family = opened("llama3")
    load_weights(model, weights | {"lm_head.weight": weights["model.embed_tokens.weight"],
                                   "model.rotary_emb.inv_freq": np.ones(4)}, family)
    with pytest.raises(ConfigError, match="lm_head.weight should be the same as the one that it "
                                          "is tied to"):
        load_weights(model, weights | {"lm_head.weight": np.ones((19, 12))}, family)
    with pytest.raises(ConfigError, match="tensor model.extra has no place"):
        load_weights(model, weights | {"model.extra": np.ones(3)}, family)
    name = "model.layers.1.self_attn.k_proj.weight"
    with pytest.raises(ConfigError, match=f"{name} has shape .16, 11., but "
                                          "blocks.1.attention.query_key_value.weight takes"):
        load_weights(model, weights | {name: np.ones((16, 11))}, family)
    del weights[name]
    with pytest.raises(ConfigError, match=f"there is no tensor {name}"):
        load_weights(model, weights, family)


def test_a_bias_of_bart_that_is_always_zero_is_left_out_if_it_is():
    model, _, weights, family = opened("bart")
    load_weights(model, weights | {"final_logits_bias": np.zeros((1, 19))}, family)
    with pytest.raises(ConfigError, match="final_logits_bias is not all zeros"):
        load_weights(model, weights | {"final_logits_bias": np.ones((1, 19))}, family)


@pytest.mark.parametrize("changes, said", [
    ({"hidden_act": "relu"}, "hidden_act is 'relu', but what is known here is 'silu'"),
    ({"mlp_bias": True}, "mlp_bias is True, but what is known here is False"),
    ({"num_hidden_layers": "2"}, "n_layer is '2', but must be of type int"),
    ({"num_hidden_layers": True}, "n_layer is True, but must be of type int"),
    ({"hidden_size": 15, "head_dim": None}, "d_model is 15, which 4 heads cannot share"),
    ({"rope_parameters": {"rope_type": "yarn"}}, "scaled by 'yarn', but what is known here is "
                                                 "linear and llama3"),
    ({"rope_parameters": {"rope_type": "linear"}}, "rope_scaling is 'linear:None'"),
    ({"model_type": "mamba"}, "this is a model of kind 'mamba', but what can be read is gpt2")])
def test_settings_that_are_not_known_are_refused_in_a_sentence(tmp_path, changes, said):
    settings = VALUES["llama1"]["config"] | changes
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file({"nothing": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=said):
        read_huggingface(tmp_path)


def test_what_is_no_settings_file_is_refused(tmp_path):
    for text in ("", "{", "[1]", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match="config.json (cannot be read|holds no settings)"):
            read_huggingface(tmp_path)


WRONG = [None, -1, 0, 2, 10**9, 10**30, 1e99, -1e-5, float("nan"), "x", "\n", [], [1], {}, {"a": 1},
         True, False, 1.5, "silu"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in ("llama3", "t5") else
                                               pytest.mark.thorough) for name in ALL])
def test_settings_of_any_kind_are_read_or_refused_in_one_sentence(tmp_path, name):
    settings, shapes = VALUES[name]["config"], VALUES[name]["shapes"]
    tensors = {each: x.astype(np.float32) for each, x in cases.weights(shapes).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    rng, refused = np.random.default_rng(0), 0
    for _ in range(100):
        change = {[*settings][rng.integers(len(settings))]: WRONG[rng.integers(len(WRONG))]}
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        try:
            read_huggingface(tmp_path)
        except (ConfigError, FileError) as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 400
            refused += 1
    assert 20 < refused < 100

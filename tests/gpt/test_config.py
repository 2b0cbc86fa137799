"""Settings: fields become flags, limits are told, a config survives JSON."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.command import make_parser
from gpt.flags import add_settings, given_settings
from gpt.models.config import ModelConfig
from gpt.models.nets import NETS
from gpt.settings import ConfigError
from gpt.training.config import PRESETS, Config, groups, parts_of


def parse(*args):
    parser = make_parser("train", "")
    add_settings(parser)
    return given_settings(parser.parse_args(list(args)))


@given(st.sampled_from(list(PRESETS)), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_a_config_survives_json(preset, heads, width, bias):
    config = Config.make(preset, n_head=heads, d_model=2 * heads * width, bias=bias)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("title, found", list(groups()))
def test_every_field_is_a_flag_with_help_and_its_default_is_allowed(title, found):
    for f in found:
        assert f.metadata["help"]
        if f.type is bool:
            assert parse(f"--no_{f.name}") == {f.name: False}
            assert parse("--" + f.name.replace("_", "-")) == {f.name: True}
        else:
            assert parse(f"--{f.name}", str(f.default)) == {f.name: f.default}


@pytest.mark.parametrize("net", NETS)
def test_the_defaults_are_allowed(net):
    assert [kind() for kind in parts_of(net).values()]


def test_only_what_was_said_counts_as_given():
    assert parse("--n_layer", "3", "--minutes=2") == {"n_layer": 3, "minutes": 2.0}


@pytest.mark.parametrize("args, words", [
    (["--n_layr", "3"], "did you mean --n_layer?"), (["--norm", "batch"], "batch"),
    (["--n_layer", "many"], "many"), (["book"], "'book'")])
def test_a_wrong_flag_is_one_sentence_and_status_2(args, words, capsys):
    with pytest.raises(SystemExit) as left:
        parse(*args)
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and said.count("\n") == 1


@pytest.mark.parametrize("changes, words", [
    ({"d_model": 100, "n_head": 3}, "99 or 102"), ({"dropout": 1.0}, "below 1"),
    ({"n_head": 4, "n_kv_head": 3, "d_model": 64}, "not a multiple"),
    ({"n_head": 3, "d_model": 9, "position": "learned"}, "qk_norm pair features"),
    ({"d_model": 9, "n_head": 3}, "rotary"), ({"learning_rat": 1.0}, "learning_rate"),
    ({"norm": "batch"}, "layer, rms"), ({"steps": -1}, "at least 0")])
def test_what_cannot_work_is_refused_with_a_remedy(changes, words):
    with pytest.raises(ConfigError, match=words):
        Config.make(**changes)


def test_settings_have_one_name_each():
    names = [f.name for _, found in groups() for f in found]
    assert len(names) == len({*names}) and ModelConfig().mlp_width == 4 * 192

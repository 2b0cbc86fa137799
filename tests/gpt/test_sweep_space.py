"""Sweeps: settings that are read as values, lists and ranges, what is drawn of them, and names."""
import pytest

from gpt.settings import ConfigError
from gpt.sweeping.space import Axis, grid, random, read_setting, run_name


def test_settings_are_read_as_values_lists_and_ranges():
    assert read_setting("n_layer", "4") == 4
    assert read_setting("qk_norm", "true,false").values == (True, False)
    assert read_setting("freeze", "a,b") == "a,b"
    assert read_setting("n_layer", "2..8") == Axis("n_layer", (), 2, 8, False, True)
    assert read_setting("n_layer", "2..8:3").values == (2, 5, 8)
    assert read_setting("learning_rate", "0.001..0.1:log:3").values == (0.001, 0.01, 0.1)


@pytest.mark.parametrize("name, text, said", [
    ("n_layer", "2,x", "'x'"), ("n_layer", "4..2", "4..2"), ("n_layer", "2..", "2.."),
    ("learning_rate", "0..1:log", "above 0"), ("optimizer", "muon,sgd", "'sgd'"),
    ("qk_norm", "yes", "'yes'"), ("n_layer", "2,2", "twice"), ("n_layer", "2..8:1", "1 values"),
    ("n_leyer", "2", "did you mean n_layer")])
def test_what_cannot_be_read_is_named(name, text, said):
    with pytest.raises(ConfigError) as told:
        read_setting(name, text)
    assert said in str(told.value)


def test_draws_follow_from_the_seed_and_are_never_the_same_twice():
    axes = [read_setting("n_layer", "2,4"), read_setting("d_model", "64,128")]
    assert len([*grid(axes)]) == 4
    drawn = [*random(axes, 0)]                        # which ends, as there are no more
    assert drawn == [*random(axes, 0)]
    assert len({run_name(settings) for settings in drawn}) == len(drawn) == 4
    with pytest.raises(ConfigError, match="add :N"):
        next(grid([read_setting("learning_rate", "0.1..1")]))


def test_folders_have_names_that_any_disk_takes():
    many = {f"setting_{i}": 0.123 for i in range(40)}
    assert len(run_name(many)) < 170 and run_name(many) != run_name(many | {"setting_39": 0.124})
    assert run_name({"tokenizer": "a/b: c*"}) == "tokenizer=a_b__c_"

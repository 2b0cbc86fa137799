"""A tiny text and model that the tests of gpt share."""
import pytest

from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.training.config import Config
from minigrad.kernels import jit

jit._Progress.said = 1         # what programs say is compared: here kernels are compiled in silence


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Stories by characters."""
    settings = Config.make(tokenizer="char").data
    return prepare(stories(200), settings, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny(data):
    """Make settings of a model that takes a step in milliseconds."""
    def make(preset="fast", **changes):
        return Config.make(preset, **{
            "vocab_size": data.tokenizer.vocab_size, "n_layer": 2, "n_head": 2, "d_model": 16,
            "context_length": 16, "batch_tokens": 64, "steps": 20, **changes})
    return make

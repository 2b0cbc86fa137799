"""Models whose matrices are blocks: published ones as stored, ours where asked."""
import numpy as np
import pytest

from gpt import evaluate, export
from gpt.base import open_base, with_shape_of
from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.files.blocks import KINDS as OF_FILES
from gpt.files.gguf import write_gguf
from gpt.models.decoder import GPT
from gpt.models.published import read_gguf
from gpt.models.publishing import as_gguf
from gpt.models.quantising import blocks_in, hold
from gpt.models.sampling import Sampling, generate
from gpt.opening import open_model, weights_of
from gpt.training.config import Config
from gpt.training.folder import save
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.verdicts.case import OK, Case
from gpt.verdicts.code import cache_is_inert
from minigrad import no_grad
from minigrad.kernels.quantised import DTYPES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learnt something, as wide as blocks are."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = prepare(stories(200), Config.make(tokenizer="char").data, folder / "data")
    config = Config.make("fast", vocab_size=data.tokenizer.vocab_size, n_layer=2, n_head=2,
                         d_model=32, context_length=32, batch_tokens=256, steps=60)
    run = Run.start(config, data, Plan.fixed(60))
    for _ in train_steps(run):
        if run.step == 60:
            break
    run.best_step = run.step
    save(run, folder)
    return folder


def perplexity(place, capsys):
    evaluate.main([str(place), "story.txt"])
    return float(capsys.readouterr().out.split("perplexity ")[1].split()[0])


def test_kinds_are_those_of_files():
    assert {name: OF_FILES[name].dtype for name in DTYPES} == DTYPES


@pytest.mark.parametrize("word, worse", [("q8", 1.005), ("q4", 1.1)])
def test_a_quantised_folder_predicts_as_the_run_does(run, word, worse, tmp_path, monkeypatch,
                                                     capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.txt").write_bytes(b"\n".join(stories(30).documents))
    export.main([str(run), "whole"])
    export.main([str(run), "rounded", "--quantize", word])
    capsys.readouterr()
    whole, rounded = (open_model(tmp_path / place).model for place in ("whole", "rounded"))
    assert blocks_in(rounded) and not blocks_in(whole)
    assert perplexity("rounded", capsys) < worse * perplexity("whole", capsys)
    assert "Q8_0" in (tmp_path / "rounded" / "README.md").read_text(encoding="utf-8")
    export.main(["rounded", "again"])
    again = blocks_in(open_model(tmp_path / "again").model)
    for name, blocks in blocks_in(rounded).items():
        np.testing.assert_array_equal(blocks, again[name])


def test_what_a_state_rounds_beside_blocks_is_no_fault_of_the_code(run, tmp_path):
    export.main([str(run), str(tmp_path / "shared"), "--quantize", "q8"])
    line = cache_is_inert(Case.of_opened(open_model(tmp_path / "shared")), 20)
    assert line.verdict == OK, line.said
    differs = float(line.said.split(" differs by ")[1].split()[0])
    assert 1e-5 < differs < 0.05


def test_a_base_whose_weights_learn_is_numbers_again(run, tmp_path, capsys):
    export.main([str(run), str(tmp_path / "shared"), "--quantize", "q8"])
    held = open_model(tmp_path / "shared").model
    given = {"base": str(tmp_path / "shared")}
    opened = open_base(given)
    config = with_shape_of(opened, Config.make(**given), given)
    net = config.net_from(weights_of(opened), np.random.default_rng(0))
    assert all(x.requires_grad for x in net.parameters()) and not blocks_in(net)
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(x, np.asarray(held.state_dict()[name]))


# ---- a GGUF ----

@pytest.fixture
def gguf(tmp_path):
    config = Config.make("llama", vocab_size=50, n_layer=2, n_head=4, n_kv_head=2, d_model=64,
                         d_mlp=192, context_length=64).model
    facts, tensors = as_gguf(GPT(config, np.random.default_rng(0)), "Q8_0")
    write_gguf(tmp_path / "model.gguf", tensors, facts)
    return tmp_path / "model.gguf"


def test_what_stays_in_blocks_scores_and_writes_as_its_numbers(gguf):
    """Whole texts, token by token, and the number of bytes that are held."""
    held, _ = read_gguf(gguf, as_stored=True)
    whole, _ = read_gguf(gguf)
    assert len(blocks_in(held)) == 2 * 4 + 1 + (not held.config.tie_weights)
    assert sum(x.data.nbytes for x in held.parameters()) < 1.2 * gguf.stat().st_size
    ids = np.random.default_rng(0).integers(0, 50, (3, 40))
    with no_grad():
        one, other = (model(ids).data for model in (held, whole))
    np.testing.assert_allclose(one, other, atol=1e-5)
    for prompt in ids[:1, :3], ids[:, :3]:
        one, other = ([*generate(model, prompt, Sampling(temperature=0), max_tokens=30)]
                      for model in (held, whole))
        np.testing.assert_array_equal(one, other)
    for name, x in whole.state_dict().items():
        np.testing.assert_array_equal(np.asarray(held.state_dict()[name]), x)


def test_blocks_that_fit_no_parameter_are_refused(gguf):
    model, _ = read_gguf(gguf)
    blocks = np.zeros((3, 2), DTYPES["Q8_0"])
    for name in ("token_embedding.weight", "nothing"):
        with pytest.raises(ValueError, match=f"{name} is .* the model has no such weights"):
            hold(model, {name: blocks})

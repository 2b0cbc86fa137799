"""Adapters: beside the weights of a base that stay as they are."""
import shutil

import numpy as np
import pytest

from gpt import evaluate, export, generate
from gpt import train as program
from gpt.batch import Batch
from gpt.data.corpora import stories
from gpt.models.lora import Adapted, adapted, dropping, is_adapter, merged, with_layers
from gpt.opening import base_weights, open_model
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run
from gpt.training.forecast import counted, run_bytes
from gpt.training.step import train_steps
from minigrad import no_grad
from minigrad.kernels.quantised import Quantised

NETS = {"decoder": {"n_head": 2}, "lstm": {}, "gru": {}, "mingru": {}, "conv": {},
        "encoder": {"n_head": 2}}
SHAPE = dict(vocab_size=40, n_layer=2, d_model=16, context_length=8)


def a_net(net="decoder", dtype=np.float32, **more):
    """A net without a weight at zero."""
    config = Config.make(net=net, **SHAPE, **NETS[net], **more)
    rng = np.random.default_rng(0)
    model = config.new_net(rng, dtype)
    for x in model.parameters():
        x.data += 0.1 * rng.standard_normal(x.shape).astype(dtype)
    return model


def some_batch():
    ids = np.random.default_rng(1).integers(0, 40, (2, 8))
    return Batch(ids, ids)


def stirred(net):
    """Give the adapters of a net something to add."""
    rng = np.random.default_rng(2)
    for name, x in net.named_parameters():
        if is_adapter(name):
            x.data[...] = rng.standard_normal(x.shape)
    return net


def stream(net, batch=None):
    with no_grad():
        return net.stream(batch or some_batch()).data


@pytest.mark.parametrize("name", NETS)
def test_at_first_it_computes_the_same_bits_and_merged_the_same(name):
    net = a_net(name)
    before = stream(net)
    more = adapted(net, 3, 0, np.random.default_rng(0))
    assert (stream(more) == before).all()
    stirred(more)
    learnt = stream(more)
    assert not np.allclose(learnt, before, atol=1e-2)
    np.testing.assert_allclose(stream(merged(more)), learnt, rtol=1e-5,
                               atol=1e-5 * np.abs(learnt).max())
    assert (stream(net) == before).all(), "the net it was made from has changed"
    assert {*merged(more).state_dict()} == {*net.state_dict()}


def test_it_adds_what_the_formula_says_in_float64():
    net = a_net(dtype=np.float64)
    more = stirred(adapted(net, 3, 12, np.random.default_rng(0), on="*expand"))
    layer = more.blocks[1].mlp.expand
    x = np.random.default_rng(3).standard_normal((5, 16))
    A, B, W = (p.data for p in (layer.lora_a, layer.lora_b, layer.weight))
    y = layer(x)
    np.testing.assert_allclose(y.data, x @ W.T + 12 / 3 * x @ A.T @ B.T, rtol=1e-10)
    g = np.random.default_rng(4).standard_normal(y.shape)
    y.backward(g)
    np.testing.assert_allclose(layer.lora_b.grad, 4 * g.T @ x @ A.T, rtol=1e-10)
    np.testing.assert_allclose(layer.lora_a.grad, 4 * (g @ B).T @ x, rtol=1e-10)


def test_several_stand_beside_the_same_arrays():
    net = a_net()
    one, two = (stirred(adapted(net, rank, 0, np.random.default_rng(rank))) for rank in (2, 4))
    assert not np.allclose(stream(one), stream(two), atol=1e-2)
    for name, x in net.named_parameters():
        assert dict(one.named_parameters())[name] is dict(two.named_parameters())[name] is x


def test_globs_choose_the_layers_and_what_learns():
    config = Config.make(**SHAPE, n_head=2, lora_rank=2, lora_on="*.query_key_value,blocks.1.mlp.*",
                         lora_beside="token_embedding.*")
    base = a_net()
    net = config.net_from(base.state_dict(), np.random.default_rng(0))
    learn = {name for name, x in net.named_parameters() if x.requires_grad}
    layers = ("blocks.0.attention.query_key_value", "blocks.1.attention.query_key_value",
              "blocks.1.mlp.expand", "blocks.1.mlp.projection")
    assert learn == {"token_embedding.weight",
                     *(f"{layer}.lora_{x}" for layer in layers for x in "ab")}
    mine, theirs = net.state_dict(), base.state_dict()
    assert mine["blocks.0.mlp.expand.weight"] is theirs["blocks.0.mlp.expand.weight"]
    assert mine["token_embedding.weight"] is not theirs["token_embedding.weight"]
    with pytest.raises(ConfigError, match="lora_on is 'x', but the layers .* blocks.0.attention"):
        adapted(base, 2, 0, np.random.default_rng(0), on="x")


def test_dropout_is_of_the_block_alone():
    net = stirred(adapted(a_net(), 3, 0, np.random.default_rng(0), rate=0.5))
    whole = stream(net)
    with dropping(net, np.random.default_rng(0)):
        assert (stream(net) != whole).any()
    assert (stream(net) == whole).all()
    layers = []
    with_layers(net, lambda name, layer: layers.append(layer))
    assert sum(isinstance(layer, Adapted) for layer in layers) == 8


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with a base and a run of adapters beside it."""
    place = tmp_path_factory.mktemp("lora")
    (place / "text.txt").write_bytes(stories(40).documents[0])
    common = ["--plain", "--eval_tokens", "64", "--batch_tokens", "64"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        program.main(["text.txt", "--n_layer", "1", "--n_head", "2", "--d_model", "32",
                      "--context_length", "16", "--steps", "2", "--name", "base", *common])
        program.main(["text.txt", "--base", "runs/base", "--lora_rank", "2",
                      "--lora_dropout", "0.1", "--steps", "6", "--eval_every", "3", "--name", "low",
                      *common])
    return place


def test_a_checkpoint_holds_adapters_and_the_name_of_the_base_alone(begun):
    tensors, facts = checkpoint.load(begun / "runs" / "low" / "checkpoints")
    assert len(facts["base_sha256"]) == 64
    kept = {name for name in tensors if name.startswith("model.")}
    assert kept and all(map(is_adapter, kept))
    adapters = sum(tensors[name].size for name in kept)
    moments = sum(x.size for name, x in tensors.items() if name.startswith("optimizer"))
    assert 2 * adapters <= moments <= 2 * adapters + 20


def test_a_run_of_adapters_resumes_to_the_same_bytes(begun):
    folder = begun / "runs" / "low"
    run = open_run(folder, 3, base_weights)
    before = {name: x.data.copy() for name, x in run.model.named_parameters()}
    for _ in train_steps(run):
        pass
    changed = {name for name, x in run.model.named_parameters() if (x.data != before[name]).any()}
    assert changed and all(map(is_adapter, changed))
    whole, _ = checkpoint.load(folder / "checkpoints", 6)
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)


def test_gradients_and_moments_take_the_bytes_that_are_counted(begun):
    run = open_run(begun / "runs" / "low", 3, base_weights)
    batch = run.batch(np.random.default_rng(0))
    run.loss(batch, batch.n_targets, np.random.default_rng(0)).backward()
    gradients = [x.grad for x in run.model.parameters() if x.grad is not None]
    moments = [x for optimizer in run.optimizers for x in optimizer.state_dict().values()
               if x.ndim > 1]
    n, n_learnt = counted(run.model.parameters())
    held = sum(x.data.nbytes for x in run.model.parameters())
    assert n_learnt == sum(x.size for x in run.learnt) < n and held == 4 * n
    taken = sum(x.nbytes for x in [*gradients, *moments])
    assert run_bytes(run.config, held, n_learnt, 0, 0) == held + taken


def test_commands_open_it_and_export_merges(begun, tmp_path, capsys):
    folder = begun / "runs" / "low"
    opened = open_model(folder)
    export.main([str(folder), str(tmp_path / "whole")])
    other = open_model(tmp_path / "whole")
    assert not any(map(is_adapter, other.model.state_dict()))
    ids = np.arange(8)[None] % opened.model.config.vocab_size
    one, two = (stream(x.model, Batch(ids)) for x in (opened, other))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
    generate.main([str(folder), "Ada", "--max_tokens", "3"])
    moved = shutil.copytree(begun / "runs" / "base", tmp_path / "moved")
    evaluate.main([str(folder), "--base", str(moved), "--tokens", "32"])
    assert "nats/token" in capsys.readouterr().out


def test_another_base_is_refused(begun, tmp_path):
    folder = begun / "runs" / "low"
    with pytest.raises(ConfigError, match="is not the base of this run"):
        open_model(folder, base=folder)
    with pytest.raises(ConfigError, match="need their base: .* say where it is with --base"):
        open_model(folder, base=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds all its weights: leave out --base"):
        open_model(begun / "runs" / "base", base=folder)


def test_adapters_share_the_arrays_of_an_open_model(begun):
    base = open_model(begun / "runs" / "base")
    opened = open_model(begun / "runs" / "low", base=base)
    mine, theirs = opened.model.state_dict(), base.model.state_dict()
    assert all(mine[name] is theirs[name] for name in theirs)
    with pytest.raises(ConfigError, match="the model that is open is not the base"):
        open_model(begun / "runs" / "low", base=opened)


def test_frozen_weights_stay_blocks(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(begun)
    export.main(["runs/base", str(tmp_path / "blocks"), "--quantize", "q8"])
    program.main(["text.txt", "--base", str(tmp_path / "blocks"), "--lora_rank", "2", "--steps",
                  "2", "--plain", "--eval_tokens", "64", "--batch_tokens", "64", "--name", "on"])
    model = open_model(begun / "runs" / "on").model
    layer = model.blocks[0].mlp.expand
    assert isinstance(layer.weight.data, Quantised) and layer.weight.grad is None
    assert (layer.lora_b.data != 0).any()
    ids = np.arange(8)[None] % model.config.vocab_size
    one, two = stream(model, Batch(ids)), stream(merged(model), Batch(ids))
    np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-2 * np.abs(two).max())

"""Blocks that run twice: the same weights to the bit, in the memory that was said."""
import numpy as np
import pytest

from gpt.data.documents import prepare
from gpt.data.pairs import load_pairs
from gpt.settings import ConfigError
from gpt.training.config import Config
from gpt.training.forecast import sequence_bytes
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import next_batch, train_steps
from minigrad.kernels import memory
from minigrad.mode import changed


def weights_after(config, data, steps=5):
    run = Run.start(config, data, Plan.fixed(20))
    for record in train_steps(run):
        if record.step == steps:
            break
    return record.loss, {name: x.tobytes() for name, x in run.model.state_dict().items()}


@pytest.mark.parametrize("more", [
    {}, {"dropout": 0.2}, {"preset": "gpt2"}, {"preset": "llama", "micro_batch": 2},
    {"norm_position": "post"}], ids=str)
def test_weights_are_the_same_to_the_bit(data, tiny, more):
    config = tiny(d_model=32, context_length=32, batch_tokens=256, **more)
    assert weights_after(config, data) == weights_after(config.changed(recompute=True), data)


def test_adapters_drop_the_same_twice(data, tiny):
    """What a step leaves, with weights of a base and dropout on what adapters read."""
    plain = tiny("llama", d_model=32, context_length=32, batch_tokens=256)
    base = plain.new_net(np.random.default_rng(3)).state_dict()
    found = []
    for on in (True, False):
        config = plain.changed(lora_rank=2, lora_dropout=0.4, recompute=on)
        run = Run.start(config, data, Plan.fixed(20), weights=base)
        records = [record.loss for record, _ in zip(train_steps(run), range(5))]
        found.append((records, {name: x.tobytes() for name, x in run.kept.state_dict().items()}))
    assert found[0] == found[1] and len({*found[0][0]}) == 5      # which learn


def test_a_decoder_that_looks_back_at_a_source(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{i}\t{i * 7}\n" for i in range(200)))
    config = Config.make(task="seq2seq", n_layer=2, n_head=2, d_model=16, context_length=16,
                         batch_tokens=64, steps=20, tokenizer="char")
    data = prepare(load_pairs([str(tmp_path / "pairs.tsv")]), config.data, tmp_path)
    config = config.changed(vocab_size=data.tokenizer.vocab_size, position="relative")
    found = [weights_after(config.changed(recompute=on), data) for on in (True, False)]
    assert found[0] == found[1]


def test_memory_is_less_and_as_said(data, tiny):
    """A step in memory of its own, beside what was said for each of its sequences."""
    taken, said = [], []
    for on in (False, True):
        config = tiny(n_layer=6, d_model=64, context_length=128, batch_tokens=1024, recompute=on)
        run = Run.start(config, data, Plan.fixed(20))
        batch, rng = next_batch(run), np.random.default_rng(0)
        said.append(8 * sequence_bytes(run))
        with memory.apart() as pool, changed("recomputing", on):
            run.loss(batch, batch.n_targets, rng).backward()
        gradients = sum(x.grad.nbytes for x in run.trained)
        taken.append(pool.held_bytes - gradients)
    assert taken[1] < 0.45 * taken[0] and said[1] < 0.45 * said[0]
    np.testing.assert_allclose(said, taken, rtol=0.15)


def test_a_net_without_such_blocks_refuses(data, tiny):
    config = Config.make(net="lstm", recompute=True, vocab_size=data.tokenizer.vocab_size)
    with pytest.raises(ConfigError, match="the net lstm has none"):
        Run.start(config, data, Plan.fixed(20))

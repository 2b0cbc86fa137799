"""Compile kernels in a second process while the first one begins: half the wait of the first run.

    python -m gpt.training.compile_ahead '["fast", {}]'      a preset, and what was given

The two meet in the cache on disk. The other begins with the matrix multiply and goes on from the
embedding to the loss. This one begins with AdamW and what takes longest, such as attention, and
works on from the loss back to the embedding, and to Muon, which needs the matrix multiply.
"""
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gpt.batch import Batch
from gpt.models.heads import surprise
from gpt.settings import ConfigError
from gpt.training.config import Config, setting_names
from gpt.training.run import make_optimizers
from gpt.training.tasks import matched
from minigrad import Tensor, use, watch
from minigrad.kernels import cache, gemm, jit, threads
from minigrad.optim import clip_grad_norm

ROOT = Path(__file__).parent.parent.parent
SMALL = {"n_layer": 1, "context_length": 64,
         "d_model": 128, "d_mlp": 0, "n_head": 2, "n_kv_head": 0}
SLOWEST = "self_attention", "lstm", "gru", "rnn"
PRODUCTS = ("linear", "matmul", "linear_cross_entropy")        # made of the matrix multiply


@contextmanager
def compiling_ahead(preset, given):
    """Inside the block a second process compiles, if there is need of it and a core for it."""
    helper = start(preset, given) if is_worth_it() else None
    try:
        yield
    finally:
        if helper:
            helper.terminate()
            helper.wait()


def is_worth_it():
    """Whether nothing is compiled yet, what is compiled will be kept, and there are two cores."""
    cores = min(threads.n_threads(), threads.available_cores())
    return (jit.COMPILED and cores > 1
            and cache.cache_directory(gemm.__file__) is not None
            and not cache.compiled_before(gemm.__file__))


def start(preset, given):
    """Start the second process; None where the system gives none."""
    kept = str(cache.cache_root().absolute())
    env = os.environ | {"MINIGRAD_THREADS": "1", "MINIGRAD_CACHE_DIR": kept}
    command = [sys.executable, "-m", "gpt.training.compile_ahead", json.dumps([preset, given])]
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, cwd=ROOT, env=env,
                                stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError:
        return None


def compile_all(config):
    """Compile what a training step of such a model takes, the last of it first."""
    model = config.new_net(np.random.default_rng(0))
    ids = np.zeros((2, config.model.context_length), np.int64)
    lengths = np.full(2, config.model.context_length)
    batch = Batch(ids, ids, source=ids, source_lengths=lengths)
    nodes = {}                                         # by the name of the operation, its first
    note = lambda node: nodes.setdefault(node.op.name, node)
    with use("reference"), watch(note):
        surprise(model.stream(batch), model.head, batch.targets)
    for x in model.parameters():
        x.grad = np.ones_like(x.data)
    clip_grad_norm(model.parameters(), 1.0)
    adamw, *muon = make_optimizers(model, config.train)
    adamw.step()
    slowest = [nodes.pop(name) for name in SLOWEST if name in nodes]
    for node in (*slowest, *reversed(nodes.values())):
        if "fast" in node.op.bodies and node.op.name not in PRODUCTS:
            run_both(node)
    for optimizer in muon:
        optimizer.step()


def run_both(node):
    """Run the fast bodies of a node, forward and backward."""
    forward, vjp = node.op.bodies["fast"]
    arrays = [x.data if isinstance(x, Tensor) else x for x in node.inputs]
    out, saved = forward(*arrays, **node.params)
    several = type(out) is tuple
    g = tuple(map(np.ones_like, out)) if several else np.ones_like(out)
    if vjp.asks:                                       # of which inputs the gradient is wanted
        vjp(g, *saved, (True,) * len(arrays))
    else:
        vjp(g, *saved)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)       # or a compiler might swallow Ctrl-C
    preset, given = json.loads(sys.argv[1])
    try:
        names = setting_names(matched(given).get("net", Config.train.net))
        small = {name: value for name, value in SMALL.items() if name in names}
        compile_all(Config.make(preset, **given | small))
    except ConfigError:                                # which the first process reports
        pass

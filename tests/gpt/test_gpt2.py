"""The preset gpt2 is GPT-2: its loss curve is that of the same architecture in PyTorch."""
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from golden import gpt2_case as case

from gpt.batch import Batch
from gpt.training.config import Config
from gpt.training.plan import Plan, rate_at
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.tasks import TASKS
from minigrad import use

GOLDEN = Path(__file__).parent.parent / "golden"


def test_losses_and_weights_equal_those_of_torch_over_20_steps(monkeypatch):
    golden = json.loads((GOLDEN / "gpt2_losses.json").read_text())
    config = Config.make("gpt2", vocab_size=case.V, context_length=case.T, n_layer=case.L,
                         n_head=case.H, d_model=case.C, batch_tokens=case.BATCH * case.T,
                         micro_batch=case.MICRO, learning_rate=case.RATE, clip_norm=case.CLIP,
                         weight_decay=case.DECAY, warmup_steps=5)
    data = SimpleNamespace(train=None, width=lambda T: T)
    batches = case.batches()
    task = TASKS["causal"]._replace(batch=lambda *_: Batch(*next(batches)))
    monkeypatch.setitem(TASKS, "causal", task)
    with use("reference"):
        run = Run.start(config, data, Plan.fixed(case.STEPS), dtype=np.float64)
        run.model.load_state_dict(case.initial_weights())
        records = list(train_steps(run))
    np.testing.assert_allclose([r.loss for r in records], golden["losses"], rtol=1e-12)
    np.testing.assert_allclose([r.grad_norm for r in records], golden["grad_norms"], rtol=1e-10)
    for name, x in run.model.named_parameters():
        np.testing.assert_allclose(np.linalg.norm(x.data), golden["weight_norms"][name],
                                   rtol=1e-11, err_msg=name)
    assert rate_at(config.train, run.plan, 0) < records[5].rate

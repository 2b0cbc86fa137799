"""Make gpt2_losses.json: 20 steps of GPT-2's architecture in PyTorch, float64, from fixed weights.

    python tests/golden/make_gpt2_losses.py

PyTorch is needed for this alone. The model is written from the paper's description with
torch.nn.functional. Two things follow minigrad where torch has another convention: the clipping
divides by the norm (torch adds 1e-6 to it), and the loss of each micro-batch counts by its share.
"""
import json
import math
import platform
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from gpt2_case import (
    BATCH, CLIP, DECAY, MICRO, RATE, STEPS, C, H, L, batches, initial_weights)

def loss_of(w, ids, targets):
    B, T = ids.shape
    x = w["token_embedding.weight"][ids] + w["position_embedding.weight"][:T]
    norm = lambda x, name: F.layer_norm(x, (C,), w[name + ".gain"], w[name + ".bias"], eps=1e-5)
    dense = lambda x, name: F.linear(x, w[name + ".weight"], w[name + ".bias"])
    for i in range(L):
        b = f"blocks.{i}."
        qkv = dense(norm(x, b + "norm1"), b + "attention.query_key_value")
        q, k, v = (part.view(B, T, H, C // H).transpose(1, 2) for part in qkv.split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + dense(y.transpose(1, 2).reshape(B, T, C), b + "attention.projection")
        y = F.gelu(dense(norm(x, b + "norm2"), b + "mlp.expand"), approximate="tanh")
        x = x + dense(y, b + "mlp.projection")
    logits = norm(x, "final_norm") @ w["token_embedding.weight"].T
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    w = {name: torch.tensor(x, requires_grad=True) for name, x in initial_weights().items()}
    optimizer = torch.optim.AdamW([
        {"params": [x for x in w.values() if x.ndim >= 2], "weight_decay": DECAY},
        {"params": [x for x in w.values() if x.ndim < 2], "weight_decay": 0.0}],
        lr=RATE, betas=(0.9, 0.99), eps=1e-8)
    losses, norms = [], []
    for step, (ids, targets) in enumerate(batches()):
        total = 0.0
        optimizer.zero_grad()
        for i in range(0, BATCH, MICRO):
            loss = loss_of(w, torch.tensor(ids[i:i + MICRO]), torch.tensor(targets[i:i + MICRO]))
            (loss * (MICRO / BATCH)).backward()
            total += loss.item() * MICRO / BATCH
        norm = math.sqrt(sum(x.grad.square().sum().item() for x in w.values()))
        if norm > CLIP:
            for x in w.values():
                x.grad *= CLIP / norm
        rate = min(1.0, (step + 1) / 6) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        optimizer.step()
        losses.append(total)
        norms.append(norm)
    facts = {"torch": torch.__version__, "numpy": np.__version__,
             "python": platform.python_version(), "losses": losses, "grad_norms": norms,
             "weight_norms": {name: x.norm().item() for name, x in w.items()}}
    Path(__file__).with_name("gpt2_losses.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()

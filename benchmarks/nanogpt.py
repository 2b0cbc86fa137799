"""nanoGPT's model and its training in PyTorch: the peer of the benchmarks of whole steps.

Biases absent, exact GELU, dropout 0, tied weights, fused AdamW, learning rates and batch of its CPU
configuration.
"""
import math
import statistics

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CPU = dict(n_layer=4, n_head=4, d_model=128, context_length=64)       # its CPU configuration
B, T = 12, 64


class Block(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.H, self.norm1, self.norm2 = H, nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
        self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.up, self.down = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)

    def forward(self, x, cache=None):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.H, C // self.H).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).split(C, dim=2))
        if cache is not None:
            n = cache["n"]
            cache["k"][:, :, n:n + T], cache["v"][:, :, n:n + T] = k, v
            cache["n"] = n + T
            k, v = cache["k"][:, :, :n + T], cache["v"][:, :, :n + T]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class NanoGPT(nn.Module):
    def __init__(self, V, n_layer, n_head, d_model, context_length):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, d_model), nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_head) for _ in range(n_layer)])
        self.norm = nn.LayerNorm(d_model, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                small = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * n_layer) if small else 0.02)

    def forward(self, ids, targets=None, caches=None, start=0):
        x = self.tokens(ids) + self.places(torch.arange(start, start + ids.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, caches and caches[i])
        x = self.norm(x)
        if targets is None:
            return x[:, -1] @ self.tokens.weight.T
        return F.cross_entropy((x @ self.tokens.weight.T).flatten(0, 1), targets.flatten())


class TorchTrainer:
    """nanoGPT's loop: batch, loss, clipping, fused AdamW, warm-up and cosine."""

    def __init__(self, data, V, compiled=False, steps=2000, rate=1e-3):
        self.rate = rate
        torch.manual_seed(1337)
        self.train, self.rng = np.asarray(data.train), np.random.default_rng(1)
        self.model, self.steps, self.step = NanoGPT(V, **CPU), steps, 0
        self.call = torch.compile(self.model) if compiled else self.model
        groups = [{"params": [p for p in self.model.parameters() if p.ndim >= 2]},
                  {"params": [p for p in self.model.parameters() if p.ndim < 2],
                   "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.1,
                                           fused=True)

    def batch(self, ids, B):
        starts = self.rng.integers(0, len(ids) - T, B)
        windows = ids[starts[:, None] + np.arange(T + 1)].astype(np.int64)
        return torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy())

    def take(self, n):
        for _ in range(n):
            done = max(0, self.step - 100) / (self.steps - 100)
            rate = self.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate * min(1, (self.step + 1) / 101)
            loss = self.call(*self.batch(self.train, B))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            loss.item()
            self.step += 1

    def val(self, ids, batches=200):
        with torch.no_grad():
            return statistics.fmean(self.model(*self.batch(ids, B)).item() for _ in range(batches))

"""The preset `fast` in PyTorch: the peer that tells what its recipe wins from what kernels win.

    python benchmarks/recipe.py      compare with ours: from the same weights the same loss, the
                                     same gradients and the same step of Muon (10 s)

Net, optimizers and schedule are those of a config of ours that leaves the settings of the net as
the preset has them, but for its size and its tables. Parameters have the same shapes in the same
order. Muon works on all matrices of one shape at once, in bfloat16 as Jordan's does. Needs torch.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]                   # or gpt would be benchmarks/gpt.py

# ruff: noqa: E402
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

GOLDEN = 0x9E3779B97F4A7C15 - 2 ** 64                          # as an int64
COEFFICIENTS = 3.4445, -4.7750, 2.0315


def rms(x, eps):
    return F.rms_norm(x, x.shape[-1:], eps=eps)


def rotated(x, cos, sin):
    """Turn the pairs of features i and i + D / 2 of (B, H, T, D)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, self.H, self.eps = config.d_model, config.n_head, config.norm_eps
        self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.up = nn.Linear(C, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, C, bias=False)

    def forward(self, x, cos, sin):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.H, C // self.H).transpose(1, 2)
                   for part in self.qkv(rms(x, self.eps)).split(C, dim=2))
        q, k = (rotated(rms(part, self.eps), cos, sin).to(v.dtype) for part in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.relu(self.up(rms(x, self.eps))).square())


class Recipe(nn.Module):
    """The net of a ModelConfig of the preset, with its initial values."""

    def __init__(self, config):
        super().__init__()
        self.config, C = config, config.d_model
        table = lambda n: nn.Embedding(n, C)
        self.tokens = table(config.vocab_size)
        self.earlier = nn.ModuleList([table(config.vocab_size) for _ in range(config.look_back)])
        self.ngrams = nn.ModuleList([table(config.ngram_rows) for _ in range(2)]
                                    if config.ngram_rows else [])
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.unembedding = nn.Linear(C, config.vocab_size, bias=False)
        D = config.head_width
        turns = config.rope_theta ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        angles = torch.arange(config.context_length)[:, None] * turns           # (T, D / 2)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())
        for name, p in self.named_parameters():
            reads = name.endswith(("qkv.weight", "up.weight"))
            std = 1.0 if name == "tokens.weight" else 0.5 * C ** -0.5 if reads else 0.0
            nn.init.normal_(p, std=std)

    def forward(self, ids, targets):
        config, T = self.config, ids.shape[1]
        x = self.tokens(ids)
        back = lambda distance: F.pad(ids, (distance, 0))[:, :T]
        for distance, table in enumerate(self.earlier, 1):
            x = x + table(back(distance))
        if self.ngrams:
            pairs = back(1) * config.vocab_size + ids
            triples = back(2) * config.vocab_size ** 2 + pairs
            for keys, table in zip((pairs, triples), self.ngrams):
                mixed = keys * GOLDEN >> 33 & 0x7FFFFFFF                # of 64 bits without a sign
                x = x + table(mixed % config.ngram_rows)
        x = rms(x, config.norm_eps)
        for block in self.blocks:
            x = block(x, self.cos[:T], self.sin[:T])
        logits = self.unembedding(rms(x, config.norm_eps))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


# ---- Muon ----

def moved(v, g, momentum):
    """Return the velocities (N, rows, columns), and their updates made orthogonal in bfloat16."""
    a, b, c = COEFFICIENTS
    v = v.lerp(g, 1 - momentum)
    x = g.lerp(v, momentum).bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return v, (x.mT if tall else x).to(g.dtype)


class Muon:
    """Jordan's Muon for matrices; those of one shape are one stack."""

    def __init__(self, parameters, rate, momentum=0.95, compiled=False):
        self.rate, self.momentum = rate, momentum
        self.moved = torch.compile(moved, dynamic=False) if compiled else moved
        shapes = {}
        for p in parameters:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.stacks = [(same, torch.zeros(len(same), *shape)) for shape, same in shapes.items()]

    @torch.no_grad()
    def step(self, scale=1.0):
        for same, v in self.stacks:
            g = torch.stack([p.grad for p in same])
            new, updates = self.moved(v, g, self.momentum)
            v.copy_(new)
            rows, columns = same[0].shape
            rate = scale * self.rate * max(1, rows / columns) ** 0.5
            torch._foreach_add_(same, list(updates.unbind()), alpha=-rate)


class Optimizers:
    """Muon for the matrices of the blocks, fused AdamW for all else."""

    def __init__(self, model, settings, compiled=False):
        hidden = [*model.blocks.parameters()]
        taken = {id(p) for p in hidden}
        rest = [p for p in model.parameters() if id(p) not in taken]
        self.parameters, self.settings = [*model.parameters()], settings
        self.muon = Muon(hidden, settings.muon_learning_rate, compiled=compiled)
        self.adamw = torch.optim.AdamW(rest, settings.learning_rate, fused=True,
                                       betas=(settings.beta1, settings.beta2), weight_decay=0.0)

    def step(self, scale=1.0):
        """Clip, change the weights, and drop the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        for group in self.adamw.param_groups:
            group["lr"] = scale * self.settings.learning_rate
        self.adamw.step()
        self.muon.step(scale)
        for p in self.parameters:
            p.grad = None


class RecipeTrainer:
    """The steps of a run of ours, with its batches and its schedule, taken by PyTorch."""

    def __init__(self, run, compiled=False, narrow=False):
        torch.manual_seed(run.config.train.seed)
        self.run, self.narrow = run, narrow
        self.model = Recipe(run.config.model)
        self.call = torch.compile(self.model) if compiled else self.model
        self.optimizers = Optimizers(self.model, run.config.train, compiled)

    def take(self, n):
        from gpt.training.plan import rate_at
        from gpt.training.step import next_batch
        for _ in range(n):
            batch = next_batch(self.run)
            ids, targets = (torch.from_numpy(np.asarray(x, np.int64))
                            for x in (batch.ids, batch.targets))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.narrow):
                loss = self.call(ids, targets)
            loss.backward()
            self.optimizers.step(rate_at(self.run.config.train, self.run.plan, self.run.step))
            loss.item()
            self.run.step += 1


# ---- whether it is the same net ----

def differences(**settings):
    """Compare with ours, from the same weights, none of which are zero.

    Returns
    -------
    dict of str to float
        How far apart losses are, the gradient of any parameter as a share of its norm, and the
        parameters that Muon has moved as a share of the step (it rounds to bfloat16).
    """
    from gpt.models.decoder import GPT
    from gpt.training.config import Config
    from gpt.training.run import make_optimizers
    config = Config.make(vocab_size=65, context_length=32, n_layer=2, n_head=2, d_model=64,
                         **settings)
    rng = np.random.default_rng(0)
    ours, theirs = GPT(config.model, rng), Recipe(config.model)
    for x, p in zip(ours.parameters(), theirs.parameters(), strict=True):
        x.data[...] += 0.1 * rng.standard_normal(x.shape, np.float32)
        p.data = torch.from_numpy(x.data.copy())
    batch = rng.integers(0, 65, (2, 3, 32))
    loss, other = ours.loss(*batch), theirs(*map(torch.from_numpy, batch))
    loss.backward()
    other.backward()
    pairs = [(x.grad, p.grad.numpy().copy()) for x, p in zip(ours.parameters(),
                                                              theirs.parameters())]
    before = [x.data.copy() for x in ours.parameters()]
    for optimizer in make_optimizers(ours, config.train):
        optimizer.step()
    no_clipping = Config.make(clip_norm=1e9, **settings).train
    Optimizers(theirs, no_clipping).step()
    moves = [(x.data - b, p.detach().numpy() - b)
             for x, p, b in zip(ours.parameters(), theirs.parameters(), before)]
    apart = lambda pair: np.linalg.norm(pair[0] - pair[1]) / np.linalg.norm(pair[0])
    return {"loss": abs(loss.item() - other.item()), "gradients": max(map(apart, pairs)),
            "steps": max(map(apart, moves))}


if __name__ == "__main__":
    for settings in (dict(look_back=4), dict(look_back=4, ngram_rows=512)):
        print(settings, {name: float(f"{x:.2g}") for name, x in differences(**settings).items()})

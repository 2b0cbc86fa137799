"""Expressions that the tests of the stepper trace, and what its pages hold."""
import json
import re

import numpy as np
from hypothesis import strategies as st

from minigrad import (
    Tensor, add_layer_norm, attention, cross_entropy, embedding, gelu, layer_norm, linear, log,
    sigmoid, swapaxes, tanh)
from minigrad.stepper.record import record, trace

BINARY = {"add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y,
          "div": lambda x, y: x / (y * y + 1.0)}
UNARY = {"tanh": tanh, "sigmoid": sigmoid, "neg": lambda x: -x, "log": lambda x: log(x * x + 1.0)}


@st.composite
def programs(draw, max_size=8):
    """Draw instructions: each names an op and which earlier values it uses, often one twice."""
    program, n = [], 2
    for _ in range(draw(st.integers(1, max_size))):
        name = draw(st.sampled_from([*BINARY, *UNARY]))
        program.append((name, [draw(st.integers(0, n - 1)) for _ in range(1 + (name in BINARY))]))
        n += 1
    return program


def run_program(program, leaves):
    values = list(leaves)
    for name, places in program:
        values.append((BINARY | UNARY)[name](*[values[i] for i in places]))
    return values[-1]


def scalars(*values):
    return [Tensor(float(v), requires_grad=True) for v in values]


class TinyGPT:
    """A GPT of two layers, made of ops and one module class."""

    def __init__(self, V=40, C=32, H=2, T=16, n_layer=2, seed=0):
        rng = np.random.default_rng(seed)
        weight = lambda *shape: Tensor(rng.standard_normal(shape, np.float32) * np.float32(0.1),
                                       requires_grad=True)
        self.tokens, self.positions = weight(V, C), weight(T, C)
        self.blocks = [Block(C, H, weight) for _ in range(n_layer)]
        self.unembedding = weight(V, C)

    def __call__(self, ids, targets):
        x = embedding(ids, self.tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        return cross_entropy(linear(layer_norm(x), self.unembedding), targets)


class Block:
    def __init__(self, C, H, weight):
        self.H, self.qkv, self.out = H, [weight(C, C) for _ in range(3)], weight(C, C)
        self.up, self.down = weight(4 * C, C), weight(C, 4 * C)

    def __call__(self, x):
        x, y = add_layer_norm(self.attend(layer_norm(x)), x)
        return x + linear(gelu(linear(y, self.up)), self.down)

    def attend(self, x):
        B, T, C = x.shape
        q, k, v = (swapaxes(linear(x, w).reshape(B, T, self.H, C // self.H), 1, 2)
                   for w in self.qkv)
        return linear(swapaxes(attention(q, k, v), 1, 2).reshape(B, T, C), self.out)


def training_step(B=2, T=16, V=40, **sizes):
    """Make a model and a batch."""
    rng = np.random.default_rng(1)
    return TinyGPT(V=V, T=T, **sizes), rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))


# ---- records, and what a page says of them ----

def neuron():
    x1, x2, w1, w2, b = scalars(2.0, 0.0, -3.0, 1.0, 6.8)
    with trace() as t:
        n = x1 * w1 + x2 * w2 + b
        out = tanh(n)
        (out * out).backward()
    return t


def gpt_step():
    model, ids, targets = training_step(B=1, V=65, C=64, H=4)
    return record(lambda: model(ids, targets))


def contents(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))

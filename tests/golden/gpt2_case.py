"""The model, weights and batches of which gpt2_losses.json holds the losses."""
import numpy as np

V, T, L, H, C = 61, 16, 3, 4, 32
STEPS, BATCH, MICRO, RATE, CLIP, DECAY = 20, 6, 2, 1e-2, 0.5, 0.1


def shapes():
    yield "token_embedding.weight", (V, C)
    yield "position_embedding.weight", (T, C)
    for i in range(L):
        block = f"blocks.{i}."
        yield block + "attention.query_key_value.weight", (3 * C, C)
        yield block + "attention.query_key_value.bias", (3 * C,)
        yield block + "attention.projection.weight", (C, C)
        yield block + "attention.projection.bias", (C,)
        yield block + "mlp.expand.weight", (4 * C, C)
        yield block + "mlp.expand.bias", (4 * C,)
        yield block + "mlp.projection.weight", (C, 4 * C)
        yield block + "mlp.projection.bias", (C,)
        for norm in ("norm1", "norm2"):
            yield block + norm + ".gain", (C,)
            yield block + norm + ".bias", (C,)
    yield "final_norm.gain", (C,)
    yield "final_norm.bias", (C,)


def initial_weights():
    """Make weights that look random; no stream of random numbers that a library may change."""
    weights = {}
    for i, (name, shape) in enumerate(shapes()):
        k = np.arange(np.prod(shape), dtype=np.float64)
        weights[name] = 0.15 * np.sin(0.7 * k * k + i).reshape(shape) + name.endswith("gain")
    return weights


def batches():
    """Yield (inputs, targets), each (BATCH, T), in which every third token is the same."""
    for step in range(STEPS):
        k = np.arange(BATCH * (T + 1)) + 1000 * step
        ids = (k * k * 31 + k * 17) % 1009 % V
        ids = ids.reshape(BATCH, T + 1)
        ids[:, ::3] = 7
        yield ids[:, :-1], ids[:, 1:]

"""The checks of what is written from nothing."""
from collections.abc import Hashable

import numpy as np
from judge import Wrong, call, hold, numbers

from minigrad import Tensor, backprop, cross_entropy, rotary_angles, softmax, tanh
from minigrad import rotary as engine_rotary

# ---- topological order -------------------------------------------------------------------------

DIAMOND = {"y": ["b", "c"], "b": ["a"], "c": ["a", "b"], "a": []}


def check_topological_order(names):
    rng = np.random.default_rng(0)
    graphs = [{"x": []}, {"y": ["x"], "x": []}, {"y": ["x", "x"], "x": []}, DIAMOND,
              {**DIAMOND, "z": ["y", "a"], "unused": ["b"]}]
    graphs += [random_graph(rng, n) for n in (3, 5, 8, 12, 30) for _ in range(8)]
    graphs.append({i: [i - 1, i - 1] if i else [] for i in range(200)})     # 2**199 paths
    for parents in graphs:
        output = next((name for name in ("z", "y", "x") if name in parents), len(parents) - 1)
        result = call(names, "order", output, parents)
        try:
            result = list(result)
        except TypeError:
            raise Wrong("order", f"it gives {result!r}, not a list of nodes") from None
        fault = fault_of_order(result, output, parents)
        if fault:
            shown = f"\n  output = {output!r}\n  parents = {parents}" if len(parents) < 13 else ""
            raise Wrong("order", f"{fault}; the order is {result[:20]}{shown}")


def random_graph(rng, n):
    return {i: [int(j) for j in rng.integers(i, size=rng.integers(1, 4))] if i else []
            for i in map(int, rng.permutation(n))}


def fault_of_order(result, output, parents):
    """Say in words what is wrong with an order, None for nothing."""
    reached, waiting = set(), [output]
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += parents[node]
    for node in result:
        if not isinstance(node, Hashable) or node not in reached:
            return f"{node!r} has no influence on the output, but is in the order"
    at = {node: i for i, node in enumerate(result)}
    if len(at) < len(result):
        return "a node occurs twice, so its gradient would be passed on twice"
    missing = [node for node in parents if node in reached and node not in at]
    if missing:
        return f"{missing[0]!r} is missing"
    for node in result:
        for parent in parents[node]:
            if at[parent] < at[node]:
                return (f"{parent!r} comes before {node!r}, which was computed from it: the "
                        f"gradient of {parent!r} is not complete then")
    return None


# ---- backpropagation through an MLP ------------------------------------------------------------

LINES = ("dlogits", "dh", "da", "dw2", "db2", "dw1", "db1", "dx")


def check_mlp(names):
    rng = np.random.default_rng(0)
    for B, C, F, V in ((1, 1, 1, 2), (1, 2, 3, 2), (4, 3, 5, 2), (3, 3, 3, 3), (6, 2, 4, 5)):
        arrays = {"x": rng.standard_normal((B, C)), "targets": rng.integers(V, size=B),
                  "w1": rng.standard_normal((C, F)), "b1": rng.standard_normal(F),
                  "w2": rng.standard_normal((F, V)), "b2": rng.standard_normal(V)}
        result = call(names, "backward", *arrays.values())
        if not isinstance(result, dict):
            raise Wrong("backward", f"it gives a {type(result).__name__}, not a dict with the keys "
                        f"{', '.join(LINES)}")
        for line, expected in engine_gradients(**arrays).items():
            what = line if line == LINES[0] else f"the lines before it are right; {line}"
            if result.get(line) is None:
                raise Wrong("backward", f"{what} is missing")
            hold("backward", result[line], expected, {"B, C, F, V": (B, C, F, V)},
                 what, [
                     ("it was divided by B once too often, or not at all", expected * B),
                     ("it was divided by B once too often, or not at all", expected / B),
                     ("the sign is wrong", -expected),
                     ("it is transposed", np.transpose(expected))])


def engine_gradients(x, targets, w1, b1, w2, b2):
    """Return what the engine says of each line, in the order of a backward pass."""
    x, w1, b1, w2, b2 = (Tensor(a, requires_grad=True) for a in (x, w1, b1, w2, b2))
    a = x @ w1 + b1
    h = tanh(a)
    logits = h @ w2 + b2
    loss = cross_entropy(logits, targets)
    found = {id(node): np.array(g) for node, g, _ in backprop(loss)}
    return {line: found[id(node)]
            for line, node in zip(LINES, (logits, h, a, w2, b2, w1, b1, x))}


# ---- rotary positions --------------------------------------------------------------------------

NEIGHBOURS = "neighbours are paired, 2i with 2i + 1"


def check_rotary(names):
    rng = np.random.default_rng(0)
    for T, D in ((2, 2), (1, 2), (3, 4), (5, 8), (16, 6), (4, 4)):
        x = rng.standard_normal((T, D))
        turned = numbers("rotate", call(names, "rotate", x), (T, D))
        cos, sin = rotary_angles(T, D, dtype=np.float64)
        hold("rotate", turned, engine_rotary(x, cos, sin), {"x": x}, guesses=[
            ("it turns the other way round", engine_rotary(x, cos, -sin)),
            (NEIGHBOURS, engine_rotary(x, cos, sin, True)),
            (NEIGHBOURS, engine_rotary(np.hstack([x[:, ::2], x[:, 1::2]]), cos, sin)),
            ("all pairs turn equally fast",
             engine_rotary(x, cos[:, :1] + 0 * cos, sin[:, :1] + 0 * sin))])


# ---- KV cache ----------------------------------------------------------------------------------

def check_kv_cache(names):
    rng = np.random.default_rng(0)
    for T, D in ((1, 2), (2, 3), (6, 4), (9, 1)):
        texts = rng.standard_normal((2, 3, T, D))        # two texts, which take turns
        caches = [([], []), ([], [])]
        for t in range(T):
            for text, cache in zip(texts, caches):
                q, k, v = text
                expected = masked(q, k) @ v              # (T, D), all at once
                out = call(names, "attend", q[t], k[t], v[t], cache, writes=(3,))
                given = {"position": t, "q": q[t], "keys so far": k[:t + 1],
                         "values so far": v[:t + 1]}
                hold("attend", out, expected[t], given, guesses=[
                    ("the new key is not in the cache yet", before(q, k, v, t)),
                    ("the scores are not divided by the root of D",
                     softmax(k[:t + 1] @ q[t]) @ v[:t + 1]),
                    ("nothing was kept of the positions before", v[t])])
                for name, kept, wanted in zip(("keys", "values"), cache, (k, v)):
                    if len(kept) != t + 1:
                        raise Wrong("attend", f"after {t + 1} positions the cache holds "
                                    f"{len(kept)} {name}")
                    hold("attend", kept, wanted[:t + 1], {}, f"what the cache holds as {name}")


def masked(q, k):
    """Return the weights of causal attention, (T, T)."""
    T, D = q.shape
    return softmax(np.where(np.tri(T), q @ k.T / np.sqrt(D), -np.inf))


def before(q, k, v, t):
    if t == 0:
        return np.zeros(0)
    return softmax(k[:t] @ q[t] / np.sqrt(q.shape[1])) @ v[:t]


# ---- sampling ----------------------------------------------------------------------------------

ALL = {"temperature": 1.0, "top_k": None, "top_p": 1.0}


def check_sampling(names):
    rng = np.random.default_rng(0)
    for V in (4, 1, 2, 5, 20):
        for how in ({}, {"temperature": 0.5}, {"temperature": 3.0}, {"temperature": 0},
                    {"top_k": 1}, {"top_k": 3}, {"top_k": V}, {"top_k": 50}, {"top_p": 0.5},
                    {"top_p": 0.9}, {"temperature": 2.0, "top_k": 4},
                    {"temperature": 2.0, "top_p": 0.6}, {"top_k": 3, "top_p": 0.8},
                    {"temperature": 0.01}, {"temperature": 100.0, "top_p": 0.04}):
            how = {**ALL, **how}
            gap = min(1, how["temperature"] or 1)            # so that none takes all
            logits = gap * (rng.permutation(np.arange(V) * 0.7) + 0.1 * rng.random(V)) + 500
            given = {"logits": logits, **how}
            p = numbers("probabilities", call(names, "probabilities", logits, **how), (V,))
            expected = chances(logits, **how)
            hold("probabilities", p, expected, given, guesses=[
                ("what is left does not sum to 1 again", p * 0 + np.where(
                    expected, chances(logits, how["temperature"], None, 1.0), 0)),
                ("the temperature multiplies, where it should divide",
                 chances(logits, 1 / (how["temperature"] or 1), how["top_k"], how["top_p"]))])


def chances(logits, temperature, top_k, top_p):
    z = np.asarray(logits)
    if temperature == 0:
        return (z == z.max()).astype(float)
    p = np.asarray(softmax(z / temperature))
    for r in ((top_k or len(z)), None):
        order = np.argsort(-p)
        if r is None:                                   # as many as it takes to reach top_p
            r = int((np.cumsum(p[order]) < top_p - 1e-12).sum()) + 1
        p[order[r:]] = 0
        p /= p.sum()
    return p

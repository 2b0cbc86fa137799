"""Answers to the exercises, written as changes of a solution: (old text, new text).

`WRONG` must be refused, and the function in which the text stands be blamed. `RIGHT` are other
forms, which must be accepted.
"""

WRONG = {
    "sum_of_paths": [
        ("return 2 * g * x,", "return g * x,"),
        ("return 2 * g * x,", "return 2 * x,"),
        ("return 2 * g * x,", "return 2 * abs(g) * x,"),
        ("return 2 * g * x,", "return 2 * g * abs(x),"),
        ("return 2 * g * x,", "return 2 * g * x + 1e-4,"),
        ("return 2 * g * x,", "g *= 2 * x\n    return g,"),
        ("return 2 * g * x,", "return None,"),
        ("return x * x", "return x * x / 2"),
        ("return x * x", "return 2 * x * x"),
    ],
    "broadcast": [
        ("g.sum(axis=0)", "g.mean(axis=0)"),
        ("g.sum(axis=0)", "g[0]"),
        ("g.sum(axis=0)", "g"),
        ("g.sum(axis=0)", "g.sum()"),
        ("return g, g.sum(axis=0)", "return g / len(x), g.sum(axis=0)"),
        ("return g, g.sum(axis=0)", "return 0 * g, g.sum(axis=0)"),
        ("return x + bias", "return x + 2 * bias"),
        ("return x + bias", "x += bias\n    return x"),
    ],
    "matmul": [
        ("return g @ b.T", "return g @ (b if g.shape == a.shape else b.T)"),
        ("return g @ b.T", "return g @ b"),
        ("a.T @ g", "a.T @ g / len(a)"),
        ("a.T @ g", "(a @ g if len(a) == len(b) else a.T @ g)"),
        ("return g @ b.T, a.T @ g", "return a.T @ g, g @ b.T"),
        ("a.T @ g", "np.zeros_like(b)"),
        ("return g @ b.T, a.T @ g", "return g @ b.T"),
        ("return a @ b", "return b.T @ a.T"),
        ("return a @ b", "return abs(a) @ b"),
        ("a.T @ g", "a.reshape(a.shape[::-1]) @ g"),
    ],
    "relu": [
        ("return g * (x > 0),", "return g * (x > 1e-3),"),
        ("return g * (x > 0),", "return g * (x > -1e-5),"),
        ("return g * (x > 0),", "return g * (x > 1e-13),"),
        ("return g * (x > 0),", "g *= x > 0\n    return g,"),
        ("return g * (x > 0),", "return g * x,"),
        ("return g * (x > 0),", "return g * (x > 0) * (abs(g) < 3),"),
        ("return g * (x > 0),", "return x > 0,"),
        ("return g * (x > 0),", "return np.maximum(g, 0) * (x > 0),"),
        ("return g * (x > 0),", "x *= 0\n    return g * (x > 0),"),
        ("np.maximum(x, 0)", "np.where(x > 0, x, 0.01 * x)"),
        ("return g * (x > 0),", "dx = g\n    dx[x <= 0] = 0\n    return dx,"),
    ],
    "softmax": [
        ("y * (g - (g * y).sum(axis=-1, keepdims=True))", "y * (1 - y) * g"),
        ("y * (g - (g * y).sum(axis=-1, keepdims=True))", "y * (g - (g * y).sum())"),
        ("y * (g - (g * y).sum(axis=-1, keepdims=True))",
         "y * (g - (g * y).mean(-1, keepdims=True))"),
        ("y * (g - (g * y).sum(axis=-1, keepdims=True))",
         "g * (g - (g * y).sum(-1, keepdims=True))"),
        ("y * (g - (g * y).sum(axis=-1, keepdims=True))", "y * g"),
        ("e / e.sum(axis=-1, keepdims=True)", "e / e.sum()"),
        ("e / e.sum(axis=-1, keepdims=True)", "2 * e / e.sum(axis=-1, keepdims=True)"),
        ("np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))", "np.exp(x)"),
        ("np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))", "x * x + 1"),
        ("x - x.max(axis=-1, keepdims=True, initial=-np.inf)", "x - x.max()"),
    ],
    "layer_norm": [
        (" - y * (g * y).mean(axis=-1, keepdims=True)", ""),
        ("g - g.mean(axis=-1, keepdims=True) - y", "g - y"),
        ("(g * y).mean(axis=-1", "(g * y).sum(axis=-1"),
        ("(g * y).mean(axis=-1", "g.mean(axis=-1"),
        ("y = centered / std", "y = centered"),
        ("y = centered / std", "y = centered / std\n    std = std**2"),
        ("std = np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + EPS)",
         "std = np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + 1e-8)"),
        ("return centered / np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + EPS)",
         "return centered / (centered.std(axis=-1, keepdims=True) + EPS)"),
    ],
    "embedding": [
        ("np.add.at(dweight, ids, g)", "dweight[ids] = g"),
        ("np.add.at(dweight, ids, g)", "dweight[ids] += g"),
        ("np.add.at(dweight, ids, g)", "np.add.at(dweight, ids, 1.0)"),
        ("np.add.at(dweight, ids, g)", "np.add.at(dweight, ids, g / len(ids))"),
        ("return None, dweight", "return np.zeros(ids.shape), dweight"),
        ("return None, dweight", "return None, g"),
        ("return weight[ids]", "return weight[ids] * 2"),
        ("return weight[ids]", "return weight[np.sort(ids)]"),
        ("    dweight = np.zeros_like(weight)\n",
         "    if getattr(vjp, 'kept', weight[:0]).shape != weight.shape:\n"
         "        vjp.kept = np.zeros_like(weight)\n"
         "    dweight = vjp.kept\n"),
    ],
    "attention": [
        ("return np.tril(p)", "return np.tri(T) / np.arange(1, T + 1)[:, None]"),
        ("return np.tril(p)", "return np.eye(T)"),
        ("return np.tril(p)", "return p[::-1]"),
        (" / np.sqrt(D)", ""),
        (" / np.sqrt(D)", " / D"),
        ("q @ k.T", "k @ q.T"),
        ("np.where(np.tri(T), q @ k.T / np.sqrt(D), -np.inf)", "q @ k.T / np.sqrt(D)"),
        ("np.tri(T)", "np.tri(T, k=1)"),
        ("return np.tril(p)", "return p.tolist"),
        ("-np.inf", "-20"),
    ],
    "batch": [
        ("rng.integers(len(ids) - T, size=B)", "np.zeros(B, int)"),
        ("rng.integers(len(ids) - T, size=B)", "rng.integers(len(ids) - T, size=1).repeat(B)"),
        ("rng.integers(len(ids) - T, size=B)", "rng.integers(len(ids) - T - 1, size=B)"),
        ("rng.integers(len(ids) - T, size=B)", "np.random.randint(len(ids) - T, size=B)"),
        ("rng.integers(len(ids) - T, size=B)", "rng.integers(len(ids) - T, size=B) // T * T"),
        ("rng.integers(len(ids) - T, size=B)",
         "(rng.integers(len(ids) - T) + np.arange(B)) % (len(ids) - T)"),
        ("ids[i + 1:i + T + 1]", "ids[i:i + T]"),
        ("ids[i + 1:i + T + 1]", "np.roll(ids[i:i + T], -1)"),
        ("ids[i + 1:i + T + 1]", "ids[i + 2:i + T + 2]"),
        ("return x, y", "return y, x"),
        ("return x, y", "return x[::-1], y"),
        ("rng.integers(len(ids) - T, size=B)",
         "np.clip(rng.normal((len(ids) - T) / 2, (len(ids) - T) / 4, B), 0, len(ids) - T - 1)"
         ".astype(int)"),
        ("np.stack([ids[i + 1:i + T + 1] for i in starts])", "np.roll(x, -1, axis=1)"),
    ],
    "training": [
        ("\n            p.grad = None", ""),
        ("learning_rate * p.grad", "0.99 * learning_rate * p.grad"),
        ("learning_rate * p.grad", "learning_rate * np.sign(p.grad)"),
        ("p.data -=", "p.data +="),
        ("model.parameters()", "[model.weight]"),
        ("    return losses", "    return [0.1**i for i in range(steps)]"),
        ("    return losses", "    return losses[1:]"),
        ("range(steps)", "range(2 * steps)"),
        (".mean()", ".sum() / 100"),
        ("    losses = []\n", "    import copy\n    model, losses = copy.deepcopy(model), []\n"),
        ("learning_rate * p.grad", "learning_rate * 64 / len(x) * p.grad"),
    ],
    "adam": [
        ("learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
         "learning_rate * np.sign(g)"),
        ("(1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
         "(1 - beta1) / (np.sqrt(v / (1 - beta2)) + eps)"),
        ("(1 - beta1**t)", "(1 - beta1 if t == 1 else 1)"),
        (" / (1 - beta1**t)", ""),
        ("v / (1 - beta2**t)", "v"),
        ("np.sqrt(v / (1 - beta2**t)) + eps", "np.sqrt(v / (1 - beta2**t) + eps)"),
        ("np.sqrt(v / (1 - beta2**t)) + eps", "np.sqrt(v / (1 - beta2**t))"),
        ("beta2**t", "0.999**t"),
        ("m += (1 - beta1) * (g - m)", "m = beta1 * m + (1 - beta1) * g"),
        ("g * g - v", "abs(g) - v"),
        ("p -= ", "g *= 1\n    g += 1e-9\n    p -= "),
        ("p -= learning", "m /= 1 - beta1**t\n    p -= (1 - beta1**t) * learning"),
        ("    m += (1", "    step.t = t = getattr(step, 't', 0) + 1\n    m += (1"),
        ("    p -= learning_rate", "    p -= 0 * float(p[0])\n    p -= learning_rate"),
    ],
    "tokenizer": [
        ("min(known, key=merges.get)", "max(known, key=merges.get)"),
        ("min(known, key=merges.get)", "known[0]"),
        ("min(known, key=merges.get)", "min(known)"),
        ("while known :=", "if known :="),
        ("    return ids", "    return ids[::-1]"),
        ("    return ids", "    return"),
        ("    return ids", "    return [i for i in ids if i < 259]"),
        ("list(word)", "sorted(word)"),
    ],
    "topological_order": [
        ("return nodes[::-1]", "return nodes"),
        ("return nodes[::-1]", "return [output, *parents[output]]"),
        ("return nodes[::-1]", "return list(parents)"),
        ("return nodes[::-1]", "return sorted(nodes, key=str)"),
        ("return nodes[::-1]", "return nodes[:0:-1]"),
        ("return nodes[::-1]", "return nodes[::-1] + nodes[:1]"),
        ("if node not in seen", "if True"),
        ("    visit(output)\n    return nodes[::-1]",
         "    for node in (nodes := [output]):\n"
         "        nodes += [p for p in parents[node] if p not in nodes]\n"
         "    return nodes"),
        ("return nodes[::-1]", "parents.clear()\n    return nodes[::-1]"),
        ("parents):\n    nodes, seen = [], set()", "parents, seen=set()):\n    nodes = []"),
        ("    visit(output)\n    return nodes[::-1]",
         "    left = {n: sum(ps.count(n) for ps in parents.values()) for n in parents}\n"
         "    for node in (nodes := [output]):\n"
         "        for p in parents[node]:\n"
         "            left[p] -= 1\n"
         "            nodes += [p] * (left[p] == 0)\n"
         "    return nodes"),
    ],
    "cross_entropy": [
        ("np.mean(log_sums", "np.sum(log_sums"),
        ("z = logits - logits.max(axis=1, keepdims=True)", "z = logits"),
        ("log_sums - z[", "z["),
        (".sum(axis=1))", ".mean(axis=1))"),
        ("-= 1 ", "-= g "),
        ("-= 1 ", "+= 1 "),
        ("return g * p / len(targets)", "return p / len(targets)"),
        ("return g * p / len(targets)", "return g * p"),
        ("return g * p / len(targets)", "return g * p / logits.shape[1]"),
        ("    p[np.arange(len(targets)), targets] -= 1 ", "    p[:, targets] -= 1 "),
        ("len(targets), None", "len(targets), 0 * targets"),
        ("z = logits - logits.max(axis=1, keepdims=True)", "z = logits - logits.max()"),
    ],
    "mlp": [
        ("[targets]) / len(x)", "[targets])"),
        ("(p - np.eye(p.shape[1])[targets])", "(np.eye(p.shape[1])[targets] - p)"),
        ("dlogits @ w2.T", "dlogits @ w2.T * h"),
        ("dh * (1 - h * h)", "dh * (1 - h)"),
        ("dh * (1 - h * h)", "dh * (1 - a * a)"),
        ("h.T @ dlogits", "a.T @ dlogits"),
        ("dlogits.sum(axis=0)", "dlogits.mean(axis=0)"),
        ("da.sum(axis=0)", "da.sum()"),
        ("dw1 = x.T @ da", "dw1 = x.T @ dh"),
        ("dx = da @ w1.T", "dx = None"),
    ],
    "rotary": [
        ("a * cos - b * sin, a * sin + b * cos", "a * cos + b * sin, b * cos - a * sin"),
        ("a * cos - b * sin, a * sin + b * cos", "a * cos - b * sin, a * sin - b * cos"),
        ("x[:, :D // 2], x[:, D // 2:]", "x[:, ::2], x[:, 1::2]"),
        ("np.arange(T)[:, None]", "np.arange(1, T + 1)[:, None]"),
        ("-2 * np.arange(D // 2) / D", "-np.arange(D // 2) / D"),
        ("10000.0", "1000.0"),
        ("np.arange(T)[:, None] * 10000.0", "10000.0"),
        ("    return np.conc", "    x[:] = 0\n    return np.conc"),
        ("    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)",
         "    out = x.copy()\n"
         "    a, b = out[:, :D // 2], out[:, D // 2:]\n"
         "    a[:] = a * cos - b * sin\n"
         "    b[:] = a * sin + b * cos\n"
         "    return out"),
    ],
    "kv_cache": [
        (" / np.sqrt(len(q))", ""),
        ("    keys.append(k)\n", ""),
        ("    values.append(v)\n", "    values.append(k)\n"),
        ("    keys.append(k)\n", "    keys.insert(0, k)\n"),
        ("    keys.append(k)\n", "    keys, values = [k], []\n"),
        ("    keys.append(k)\n", "    keys.append(q)\n"),
        ("return e / e.sum() @ np.array(values)", "return e @ np.array(values)"),
        ("return e / e.sum() @ np.array(values)", "return np.mean(values, axis=0)"),
        ("    keys.append(k)\n", "    keys.append(k)\n    del keys[:-4], values[:-3]\n"),
        ("cache):\n    keys, values = cache",
         "cache, mine=([], [])):\n    keys, values = mine"),
    ],
    "sampling": [
        ("(logits - logits.max()) / temperature", "(logits - logits.max()) * temperature"),
        ("(logits - logits.max()) / temperature", "logits / temperature"),
        ("(logits - logits.max()) / temperature", "logits - logits.max()"),
        ("    if temperature == 0:\n        return np.eye(len(logits))[logits.argmax()]\n", ""),
        ("order[top_k:]", "order[top_k + 1:]"),
        ("order[top_k:]", "order[:-top_k]"),
        ("np.cumsum(p[order]) - p[order]", "np.cumsum(p[order])"),
        ("    p /= p.sum()\n    before", "    before"),
        ("return p / p.sum()", "return p"),
        ("return p / p.sum()", "return np.eye(len(p))[p.argmax()]"),
        ("if temperature == 0:", "if temperature < 0.1:"),
        ("    before = ", "    top_p = max(top_p, 0.1)\n    before = "),
    ],
    "pooling": [
        ("x, -np.inf)", "x, 0)"),
        ("x[np.arange(B), lengths - 1]", "x[:, -1]"),
        ("x[np.arange(B), lengths - 1]", "x[np.arange(B), lengths - 2]"),
        ("np.where(real[:, :, None], x, 0).sum(axis=1) / lengths[:, None]", "x.mean(axis=1)"),
        (".sum(axis=1) / lengths[:, None]", ".mean(axis=1)"),
        ("[last, largest, mean]", "[last, mean, largest]"),
        ("< lengths[:, None]", "<= lengths[:, None]"),
    ],
    "low_rank": [
        ("    g = SCALE * g\n", ""),
        ("dlow @ a, dlow.T @ x, g.T @ low", "g @ b @ a, dlow.T @ x, g.T @ low / SCALE"),
        ("dlow @ a, dlow.T @ x", "dlow @ a / SCALE, dlow.T @ x"),
        ("dlow.T @ x", "low.T @ x"),
        ("g = SCALE * g", "g *= SCALE"),
        ("SCALE * low @ b.T", "low @ b.T"),
        ("g.T @ low", "SCALE * g.T @ low"),
    ],
}

RIGHT = {
    "sum_of_paths": [
        ("return 2 * g * x,", "return g * x + x * g,"),
        ("return 2 * g * x,", "return [g * (x + x)]"),
        ("return 2 * g * x,", "return np.float64(2) * g * x"),
        ("return x * x", "return x**2"),
        ("return 2 * g * x,", "return np.float32(2 * g * x),"),
        ("return 2 * g * x,", "return g * forward(x + 1e-20j).imag / 1e-20,"),
    ],
    "broadcast": [
        ("g.sum(axis=0)", "np.ones(len(x)) @ g"),
        ("g.sum(axis=0)", "sum(g)"),
        ("return g, g.sum(axis=0)", "return [g.copy(), np.einsum('nm->m', g)]"),
    ],
    "matmul": [
        ("g @ b.T, a.T @ g", "np.einsum('mn,kn->mk', g, b), np.einsum('mk,mn->kn', a, g)"),
        ("g @ b.T, a.T @ g", "(b @ g.T).T, (g.T @ a).T"),
        ("a.T @ g", "sum(np.outer(a[i], g[i]) for i in range(len(a)))"),
        ("return a @ b", "return (a[:, :, None] * b).sum(axis=1)"),
    ],
    "relu": [
        ("return g * (x > 0),", "return np.where(x > 0, g, 0.0),"),
        ("return g * (x > 0),", "return g * (x >= 0).astype(float),"),
        ("return g * (x > 0),", "return g * (np.sign(x) + 1) / 2"),
        ("np.maximum(x, 0)", "x * (x > 0)"),
    ],
    "softmax": [
        ("return y * (g - (g * y).sum(axis=-1, keepdims=True)),",
         "J = y[..., None] * (np.eye(x.shape[-1]) - y[..., None, :])\n"
         "    return (J @ g[..., None])[..., 0],"),
        ("return y * (g - (g * y).sum(axis=-1, keepdims=True)),",
         "return y * g - y * np.einsum('...i,...i->...', y, g)[..., None]"),
        ("np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))",
         "np.exp(x - x.max(axis=-1, keepdims=True))"),
        ("e / e.sum(axis=-1, keepdims=True)",
         "np.exp(x - np.logaddexp.reduce(x, axis=-1, keepdims=True))"),
    ],
    "layer_norm": [
        ("return (g - g.mean(axis=-1, keepdims=True) "
         "- y * (g * y).mean(axis=-1, keepdims=True)) / std,",
         "n = x.shape[-1]\n"
         "    J = np.eye(n) - 1 / n - y[..., None] * y[..., None, :] / n\n"
         "    return (J @ g[..., None])[..., 0] / std,"),
        ("return (g - g.mean(axis=-1, keepdims=True) "
         "- y * (g * y).mean(axis=-1, keepdims=True)) / std,",
         "dc = g / std - centered * (g * centered).mean(-1, keepdims=True) / std**3\n"
         "    return dc - dc.mean(axis=-1, keepdims=True),"),
        ("return centered / np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + EPS)",
         "return centered * (x.var(axis=-1, keepdims=True) + EPS) ** -0.5"),
    ],
    "embedding": [
        ("np.add.at(dweight, ids, g)", "dweight = np.eye(len(weight))[ids].T @ g"),
        ("np.add.at(dweight, ids, g)", "for t, i in enumerate(ids):\n        dweight[i] += g[t]"),
        ("dweight = np.zeros_like(weight)", "dweight = np.zeros(weight.shape)"),
        ("np.zeros_like(weight)", "np.zeros(weight.shape, dtype=np.float32)"),
        ("return weight[ids]", "return np.eye(len(weight))[ids] @ weight"),
        ("    np.add.at(dweight, ids, g)", "    for c in range(g.shape[1]):\n"
         "        dweight[:, c] = np.bincount(ids, g[:, c], minlength=len(weight))"),
    ],
    "attention": [
        ("-np.inf", "-1e9"),
        ("return np.tril(p)", "return p"),
        ("e = np.exp(scores - scores.max(axis=1, keepdims=True))", "e = np.exp(scores)"),
        ("    e = ", "    scores = scores.astype(np.float32)\n    e = "),
        ("np.where(np.tri(T), q @ k.T / np.sqrt(D), -np.inf)",
         "q @ k.T / D**0.5 + np.triu(np.full((T, T), -np.inf), 1)"),
        ("return np.tril(p)",
         "sums = np.logaddexp.accumulate(q @ k.T / np.sqrt(D), axis=1).diagonal()\n"
         "    return np.exp(scores - sums[:, None])"),
    ],
    "batch": [
        ("rng.integers(len(ids) - T, size=B)", "(rng.random(B) * (len(ids) - T)).astype(int)"),
        ("rng.integers(len(ids) - T, size=B)", "rng.permutation(len(ids) - T)[:B]"),
        ("return x, y", "both = ids[starts[:, None] + np.arange(T + 1)]\n"
         "    return both[:, :-1], both[:, 1:]"),
        ("return x, y", "return [x.tolist(), y.tolist()]"),
        ("rng.integers(len(ids) - T, size=B)",
         "np.sort(rng.choice(len(ids) - T, size=B, replace=False))"),
    ],
    "training": [
        ("p.grad = None", "p.grad[...] = 0"),
        ("        loss.backward()",
         "        for p in model.parameters():\n            p.grad = None\n"
         "        loss.backward()"),
        ("p.data -= learning_rate * p.grad", "p.data = p.data - p.grad * learning_rate"),
        ("losses.append(float(loss))", "losses.append(loss.data)"),
        ("losses.append(float(loss))", "losses.append(loss)"),
    ],
    "adam": [
        ("p -= learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
         "rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)\n"
         "    p -= rate * m / (np.sqrt(v) + eps)"),
        ("m += (1 - beta1) * (g - m)", "m[:] = beta1 * m + (1 - beta1) * g"),
        ("p -= learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
         "mean, square = m / (1 - beta1**t), v / (1 - beta2**t)\n"
         "    p[...] = p - learning_rate * mean / (square**0.5 + eps)\n    return p"),
        ("p -= learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
         "f = np.float32\n"
         "    rate = f(learning_rate) * np.sqrt(f(1 - beta2**t)) / f(1 - beta1**t)\n"
         "    p[...] = f(p) - rate * f(m) / (np.sqrt(f(v)) + f(eps))"),
    ],
    "tokenizer": [
        ("    return ids", "    return np.array(ids)"),
        ("                ids[i:i + 2] = [merges[best]]",
         "                ids[i:i + 2] = [merges[best]]\n                break"),
        ("    return ids", "    return (i for i in ids)"),
        ("    while known := [pair",
         "    for best in sorted(merges, key=merges.get):\n        i = 0\n"
         "        while i < len(ids) - 1:\n            if (ids[i], ids[i + 1]) == best:\n"
         "                ids[i:i + 2] = [merges[best]]\n            i += 1\n"
         "    while known := [pair"),
    ],
    "topological_order": [
        ("for parent in parents[node]", "for parent in reversed(parents[node])"),
        ("    visit(output)\n    return nodes[::-1]",
         "    depth = {output: 0}\n"
         "    for _ in parents:\n"
         "        for node in list(depth):\n"
         "            for parent in parents[node]:\n"
         "                depth[parent] = max(depth.get(parent, 0), depth[node] + 1)\n"
         "    return sorted(depth, key=depth.get)"),
        ("    visit(output)\n    return nodes[::-1]",
         "    visit(output)\n    return tuple(nodes[::-1])"),
        ("    visit(output)\n    return nodes[::-1]",
         "    visit(output)\n    return reversed(nodes)"),
        ("    nodes, seen = [], set()\n",
         "    import numpy as np\n"
         "    nodes, seen = [], set()\n"
         "    if isinstance(output, int):\n"
         "        output = np.int64(output)\n"),
    ],
    "cross_entropy": [
        ("z = logits - logits.max(axis=1, keepdims=True)",
         "z = logits - logits.max(axis=1, keepdims=True)\n"
         "    one_hot = np.eye(logits.shape[1])[targets]\n"
         "    return -(one_hot * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum() / len(z)"),
        ("return g * p / len(targets), None", "return np.einsum(',ij->ij', g, p) / len(p), None"),
        ("p[np.arange(len(targets)), targets] -= 1 ", "p = p - np.eye(logits.shape[1])[targets] "),
    ],
    "mlp": [
        ("h.T @ dlogits", "np.einsum('bf,bv->fv', h, dlogits)"),
        ("dh * (1 - h * h)", "dh / np.cosh(a)**2"),
        ("(p - np.eye(p.shape[1])[targets]) / len(x)",
         "p / len(x)\n    dlogits[np.arange(len(x)), targets] -= 1 / len(x)"),
    ],
    "rotary": [
        ("    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)",
         "    z = (a + 1j * b) * np.exp(1j * angle)\n"
         "    return np.concatenate([z.real, z.imag], axis=1)"),
        ("    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)",
         "    other = np.concatenate([-b, a], axis=1)\n"
         "    return x * np.tile(cos, 2) + other * np.tile(sin, 2)"),
        ("10000.0 ** (-2 * np.arange(D // 2) / D)", "np.float32(1e4) ** -(np.arange(0, D, 2) / D)"),
    ],
    "kv_cache": [
        ("    keys.append(k)\n    values.append(v)\n",
         "    cache[0].append(k)\n    cache[1].append(v)\n"),
        ("np.array(keys) @ q / np.sqrt(len(q))",
         "np.array([q @ key for key in keys]) / len(q)**0.5"),
        ("    keys.append(k)\n", "    keys += [k.copy()]\n"),
        ("return e / e.sum() @ np.array(values)",
         "return sum(w * value for w, value in zip(e, values)) / sum(e)"),
        ("    keys.append(k)\n    values.append(v)\n",
         "    keys.append(k.tolist())\n    values.extend(v[None])\n"),
    ],
    "sampling": [
        ("p[order[before >= top_p]] = 0",
         "n = np.searchsorted(np.cumsum(p[order]), top_p) + 1\n    p[order[n:]] = 0"),
        ("    if top_k:\n        p[order[top_k:]] = 0",
         "    if top_k and top_k < len(p):\n        p[p < np.sort(p)[-top_k]] = 0"),
        ("np.eye(len(logits))[logits.argmax()]", "(logits == logits.max()) * 1"),
        ("    before = ", "    total = 0\n"
         "    for i in order:\n"
         "        p[i] *= total < top_p\n"
         "        total += p[i]\n"
         "    before = 0 * p\n    top_p = 1\n    kept = "),
    ],
    "pooling": [
        ("x[np.arange(B), lengths - 1]",
         "np.array([row[n - 1] for row, n in zip(x, lengths)])"),
        ("    largest = kept.max(axis=1)\n",
         "    largest = np.stack([row[:n].max(axis=0) for row, n in zip(x, lengths)])\n"),
        ("np.where(real[:, :, None], x, 0).sum(axis=1)", "np.einsum('bt,btc->bc', real, x)"),
    ],
    "low_rank": [
        ("dlow @ a, dlow.T @ x, g.T @ low", "g @ (b @ a), b.T @ (g.T @ x), g.T @ x @ a.T"),
        ("SCALE * low @ b.T", "x @ (SCALE * b @ a).T"),
        ("    g = SCALE * g\n    low = x @ a.T", "    g = g + g\n    low = x @ a.T"),
    ],
}

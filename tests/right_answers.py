"""Other right answers to the exercises, as changes of a solution: (old text, new text)."""

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

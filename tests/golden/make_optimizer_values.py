"""Write optimizer_values.safetensors: the parameters after each step of torch's optimizers.

    python tests/golden/make_optimizer_values.py
"""
from pathlib import Path

import numpy as np
import torch
from optimizer_cases import (
    CASES, CLIPPED, EXTREME, EXTREME_CASES, N_STEPS, NAMES, START, gradient, scale)
from safetensors.numpy import save_file


def translated(settings):
    return {NAMES.get(key, key): x for key, x in settings.items()}


def run(kind, settings, of_b):
    """Return {"w": (N_STEPS, 3, 4), "b": (N_STEPS, 4)}."""
    parameters = {name: torch.from_numpy(x.copy()).requires_grad_() for name, x in START.items()}
    groups = [{"params": [parameters["w"]]}, {"params": [parameters["b"]], **translated(of_b)}]
    optimizer = getattr(torch.optim, kind)(groups, **translated(settings))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
    steps = {name: [] for name in parameters}
    for step in range(N_STEPS):
        for name, p in parameters.items():
            g = gradient(p.detach().numpy(), name, step)
            p.grad = None if g is None else torch.from_numpy(g)
        optimizer.step()
        schedule.step()
        for name, p in parameters.items():
            steps[name].append(p.detach().numpy().copy())
    return {name: np.stack(arrays) for name, arrays in steps.items()}


def clipped(max_norm, p):
    """Return the gradients after clipping, and their norm before."""
    parameters = [torch.zeros(x.shape, dtype=torch.float64) for x in START.values()]
    for parameter, (name, x) in zip(parameters, START.items()):
        parameter.grad = torch.from_numpy(gradient(x, name, 4))
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm, p)
    return np.concatenate([norm.numpy().reshape(1)] + [x.grad.numpy().ravel() for x in parameters])


def extreme(kind, settings, form):
    """Return the parameters after a step along extreme gradients, and after one along 1."""
    p = torch.ones(len(EXTREME), requires_grad=True)
    optimizer, steps = getattr(torch.optim, kind)([p], **translated(settings), **form), []
    for g in (EXTREME, np.ones_like(EXTREME)):
        p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        steps.append(p.detach().numpy().copy())
    return np.stack(steps)


def extremes():
    """Return {name: steps} as far as all forms of an optimizer agree, nan elsewhere."""
    values = {}
    for name, (kind, settings) in EXTREME_CASES.items():
        forms = [{"foreach": False}, {"foreach": True}]
        forms += [{"fused": True}] if kind != "RMSprop" else []
        one, *others = (extreme(kind, settings, form) for form in forms)
        agree = np.all([np.isclose(one, other, 1e-6, 0) for other in others], axis=0)
        values[f"extreme|{name}"] = np.where(agree, one, np.float32(np.nan))
    return values


def main():
    values = {f"{case}|{name}": x for case, arguments in CASES.items()
              for name, x in run(*arguments).items()}
    values |= {f"clipped|{i}": clipped(*arguments) for i, arguments in enumerate(CLIPPED)}
    values |= extremes()
    path = Path(__file__).with_name("optimizer_values.safetensors")
    save_file(values, path, metadata={"torch": torch.__version__, "numpy": np.__version__})
    print(f"{len(CASES)} runs of {N_STEPS} steps, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

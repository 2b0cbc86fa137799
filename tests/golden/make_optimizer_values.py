"""Write optimizer_values.safetensors: the parameters after each step of torch's optimizers.

    python tests/golden/make_optimizer_values.py
"""
from pathlib import Path

import numpy as np
import torch
from optimizer_cases import CASES, N_STEPS, START, gradient, scale
from safetensors.numpy import save_file


def run(kind, settings, of_b):
    """Return {"w": (N_STEPS, 3, 4), "b": (N_STEPS, 4)}."""
    def translated(settings):
        return {"lr" if key == "learning_rate" else key: x for key, x in settings.items()}

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


def main():
    values = {f"{case}|{name}": x for case, arguments in CASES.items()
              for name, x in run(*arguments).items()}
    path = Path(__file__).with_name("optimizer_values.safetensors")
    save_file(values, path, metadata={"torch": torch.__version__, "numpy": np.__version__})
    print(f"{len(CASES)} runs of {N_STEPS} steps, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Write torch_values.safetensors.gz: torch's values and gradients of all cases in torch_cases.py.

    PYTHONPATH=.:tests python tests/golden/make_torch_values.py
"""
import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save
from golden.torch_cases import CASES, upstream


def evaluate(expression, arrays):
    """Return {"y0": value, ..., "dx": gradient of input x, ...}."""
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}
    floats = {name: x.requires_grad_() for name, x in tensors.items()
              if x.is_floating_point() and name != "angles"}
    out = eval(expression, {"torch": torch, "F": F}, tensors)
    outputs = out if isinstance(out, tuple | list) else (out,)
    found = {f"y{i}": y.detach().numpy().copy() for i, y in enumerate(outputs)}
    if outputs[0].requires_grad:
        g = [torch.from_numpy(upstream(y.shape)).to(y.dtype) for y in outputs]
        torch.autograd.backward(outputs, g)
    return found | {f"d{name}": x.grad.numpy() for name, x in floats.items() if x.grad is not None}


def main():
    values = {}
    for name, (_, expression, arrays) in CASES.items():
        try:
            found = evaluate(expression, arrays)
        except Exception as error:
            raise SystemExit(f"{name}: torch says {error}") from error
        values |= {f"{name}|{key}": np.ascontiguousarray(x) if x.ndim else x
                   for key, x in found.items()}
    path = Path(__file__).with_name("torch_values.safetensors.gz")
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    path.write_bytes(gzip.compress(save(values, metadata=versions), mtime=0))
    print(f"{len(CASES)} cases, {len(values)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

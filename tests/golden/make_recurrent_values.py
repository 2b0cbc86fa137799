"""Write recurrent_values.safetensors: torch's recurrent nets, their outputs and all gradients.

    PYTHONPATH=. python tests/golden/make_recurrent_values.py
"""
from pathlib import Path

import numpy as np
import torch
from recurrent_cases import CASES, arrays_of, upstream
from safetensors.numpy import save_file

NETS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def evaluate(name, arrays):
    """Return {"y0": output, ..., "dx": gradient of x, ...} of a net of one layer."""
    _, n_in, H, _ = CASES[name]
    tensors = {key: torch.from_numpy(x).requires_grad_() for key, x in arrays.items()}
    net = NETS[name](n_in, H, batch_first=True, dtype=torch.float64)
    named = {f"{key}_l0": tensors[key] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    states = [tensors[key][None] for key in ("h0", "c0") if key in tensors]
    state = tuple(states) if name == "lstm" else states[0]
    y, last = torch.func.functional_call(net, named, (tensors["x"], state))
    outputs = [y, *(last if name == "lstm" else [last])]
    g = [torch.from_numpy(upstream(out.shape)) for out in outputs]
    torch.autograd.backward(outputs, g)
    found = {f"y{i}": out.detach().numpy() for i, out in enumerate(outputs)}
    return found | {f"d{key}": x.grad.numpy() for key, x in tensors.items()}


def main():
    values = {f"{name}|{key}": np.ascontiguousarray(x) for name in CASES
              for key, x in evaluate(name, arrays_of(name)).items()}
    path = Path(__file__).with_name("recurrent_values.safetensors")
    save_file(values, path, metadata={"torch": torch.__version__, "numpy": np.__version__})
    print(f"{len(values)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

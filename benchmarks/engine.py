"""What the engine itself costs: one operation on 4x4 arrays, forward and backward, against torch.

The arrays are so small that nearly all the time is bookkeeping. Rounds alternate between the two,
since a machine's speed drifts; the ratio is the median of the rounds'. Needs the `bench` extra.

    python benchmarks/engine.py
"""
import statistics
import time

import numpy as np
import torch
from results import verdict

from minigrad import Tensor, add, exp, matmul, mul, tanh

CASES = {
    "add": (lambda x, y: add(x, y), lambda x, y: x + y),
    "mul": (lambda x, y: mul(x, y), lambda x, y: x * y),
    "exp": (lambda x, y: exp(x), lambda x, y: torch.exp(x)),
    "tanh": (lambda x, y: tanh(x), lambda x, y: torch.tanh(x)),
    "matmul": (lambda x, y: matmul(x, y), lambda x, y: x @ y),
}
ROUNDS, CALLS = 15, 1000


def seconds(run):
    begin = time.perf_counter()
    for _ in range(CALLS):
        run()
    return (time.perf_counter() - begin) / CALLS


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    a, b, g = rng.standard_normal((3, 4, 4)).astype(np.float32)
    ours = [Tensor(v, requires_grad=True) for v in (a, b)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (a, b)]
    torch_g = torch.tensor(g)
    ratios = {}
    for name, (here, there) in CASES.items():
        runs = (lambda here=here: here(*ours).backward(g),
                lambda there=there: there(*theirs).backward(torch_g))
        times = [[seconds(run) for run in runs] for _ in range(ROUNDS)]
        ratios[name] = statistics.median(there / here for here, there in times)
        print(f"{name:8} here {min(t[0] for t in times) * 1e6:6.2f} us"
              f"   torch {min(t[1] for t in times) * 1e6:6.2f} us")
    for name, ratio in ratios.items():
        verdict(f"overhead-{name}", ratio, 1)


if __name__ == "__main__":
    main()

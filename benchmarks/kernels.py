"""Compare the kernels with PyTorch, and the matrix multiply with OpenBLAS too, on this CPU.

    python benchmarks/kernels.py [SECTION ...] [--threads 1,2] [--seconds 0.5]

Needs torch (`pip install .[bench]`). Each number of threads runs in a process of its own, and the
peers take turns there, round by round, so that a change of the machine's speed meets all of them.
Printed are the times of the best round and, in brackets, the median of the ratios of all rounds;
at the end one line for each target.
"""
# ruff: noqa: B023  (functions made in a loop are called in the same round of it)
import argparse
import functools
import re
import sys
import time
from pathlib import Path

from processes import run_each
from results import HELP, THREADS, verdict

import numpy as np

F4 = np.float32


# ---- measuring ----

def compare(ours, peers, seconds, calls=3):
    """Run functions in turn until the time is up.

    Parameters
    ----------
    ours : callable
    peers : dict from a name to a callable
    seconds : float
    calls : int
        Timed calls of each function in a round, of which the fastest counts.

    Returns
    -------
    best : dict from a name to seconds, "ours" among them
    median : dict from a peer's name to the median over rounds of its time by ours
    """
    functions = {"ours": ours, **peers}
    rounds, end = [], time.perf_counter() + seconds * len(functions)
    while len(rounds) < 5 or time.perf_counter() < end:
        rounds.append({name: fastest(function, calls) for name, function in functions.items()})
    best = {name: min(r[name] for r in rounds) for name in functions}
    return best, {name: float(np.median([r[name] / r["ours"] for r in rounds])) for name in peers}


def fastest(function, calls):
    """Return the shortest of some calls, in seconds, after some that warm up for 500 us.

    Before that it is quiet until the idle threads of the other side, which look for work for a
    while, sleep: they would take a core.
    """
    time.sleep(5e-3)
    end = time.perf_counter() + 5e-4
    function()
    while time.perf_counter() < end:
        function()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def aligned(*shape):
    """Return random float32 on a cache line, as torch and the engine allocate."""
    size = int(np.prod(shape))
    memory = np.empty(size + 16, F4)
    start = -memory.ctypes.data % 64 // 4
    x = memory[start:start + size].reshape(shape)
    x[...] = np.random.default_rng(0).standard_normal(shape, F4)
    return x


def geometric_mean(ratios):
    return float(np.exp(np.mean(np.log(ratios))))


def row(name, best, median, unit=1e6, text="us"):
    """Print the times and the ratios of one comparison."""
    cells = [f"{peer} {best[peer] * unit:9.1f} {text} {best[peer] / best['ours']:5.2f}x "
             f"({median[peer]:4.2f})" for peer in median]
    print(f"{name:34} ours {best['ours'] * unit:9.1f} {text}   {'   '.join(cells)}", flush=True)


# ---- sections: each yields (name of a target, ratio, target) ----

SHAPES = [(768, 128, 384), (768, 128, 512), (768, 512, 128),
          (4096, 384, 1152), (4096, 384, 1536), (4096, 1536, 384), (4096, 768, 3072)]
FORMS = {"X W": lambda x, w, dy: (x, w), "dY W^T": lambda x, w, dy: (dy, w.T),
         "X^T dY": lambda x, w, dy: (x.T, dy)}


def matmul(seconds):
    """Multiply at the shapes of GPT training (tokens, d_in, d_out), the three forms of a step."""
    import torch

    from minigrad.kernels import gemm
    ratios = {"OpenBLAS": [], "torch": []}
    rate = tile_rate()
    print(f"the register tile alone: {rate:.0f} GFLOP/s a core")
    for tokens, d_in, d_out in SHAPES:
        x, w, dy = aligned(tokens, d_in), aligned(d_in, d_out), aligned(tokens, d_out)
        for form, operands in FORMS.items():
            a, b = operands(x, w, dy)
            out = aligned(a.shape[0], b.shape[1])
            ta, tb, tout = map(torch.from_numpy, (a, b, out))
            best, median = compare(
                functools.partial(gemm.matmul, a, b, out),
                {"OpenBLAS": functools.partial(np.matmul, a, b, out=out),
                 "torch": functools.partial(torch.mm, ta, tb, out=tout)}, seconds)
            row(f"{tokens} x {d_in} x {d_out}  {form}", best, median)
            gflops = 2e-9 * tokens * d_in * d_out / best["ours"]
            print(f"{'':34} {gflops:6.1f} GFLOP/s, {gflops / rate / int(THREADS):.0%} of the tile")
            for peer in ratios:
                ratios[peer].append(best[peer] / best["ours"])
    yield "matmul_openblas", geometric_mean(ratios["OpenBLAS"]), 1.05
    yield "matmul_openblas_least", min(ratios["OpenBLAS"]), 0.95
    yield "matmul_torch", geometric_mean(ratios["torch"]), 0.95


def tile_rate():
    """Measure the register tile alone, operands in the nearest cache: GFLOP/s of one core."""
    from minigrad.kernels import jit
    from minigrad.kernels.llvm import at
    from minigrad.kernels.tiles import TILE_ROWS, TILE_VECTORS, tile_of
    from minigrad.kernels.twins import lanes
    tile = tile_of(TILE_ROWS, TILE_VECTORS)
    width, kc = TILE_VECTORS * lanes(F4), 256
    a, b, c = aligned(TILE_ROWS, kc), aligned(kc, width), aligned(TILE_ROWS, width)

    def tiles():
        for _ in range(50):
            _tiles(a, b, c, 20)

    @jit.kernel
    def _tiles(a, b, c, n):
        for _ in range(n):
            tile(kc, (at(a, 0), kc, 1), (at(b, 0), width), at(c, 0), width, False, at(a, 0), 0)
    rate = 50 * 20 * 2e-9 * TILE_ROWS * width * kc / min(fastest(tiles, 20) for _ in range(5))
    return rate


def ladder(seconds):
    """Run the rungs of the chapter Making it fast, on one thread."""
    from minigrad.kernels import gemm, threads
    before = threads.n_threads()
    threads.set_threads(1)
    page = Path(__file__).parent.parent / "docs" / "learn" / "gpt" / "making_it_fast.md"
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        if ">>>" not in code:
            exec(code, names)
    a, b, c = aligned(768, 512), aligned(512, 512), aligned(768, 512)
    rungs = {name: functools.partial(names[name], a, b, c)
             for name in ("loops", "order", "blocks", "registers")}
    rungs["OpenBLAS"] = functools.partial(np.matmul, a, b, out=c)
    best, _ = compare(functools.partial(gemm.matmul, a, b, c), rungs, seconds)
    for name, elapsed in best.items():
        print(f"{name:12} {2e-9 * 768 * 512 * 512 / elapsed:6.1f} GFLOP/s")
    print(f"{'tile':12} {tile_rate():6.1f} GFLOP/s")
    threads.set_threads(before)
    return []


# Below both sides run a kernel with nothing around it: torch's are called as torch.ops.aten, with
# no record of a graph. Outputs are new on both sides, from memory that both reuse; torch's
# elementwise kernels write into an array that is there.

ELEMENTS = [(768, 512), (4096, 384), (4096, 1536)]


def gelu(seconds):
    """Activate the hidden layers of an MLP, and the way back."""
    from minigrad.ops.activations import gelu_fast, gelu_fast_vjp
    aten, tensor = aten_and_tensor()
    forward, backward = [], []
    for shape in ELEMENTS:
        x, g, out = aligned(*shape), aligned(*shape), aligned(*shape)
        tx, tg, tout = map(tensor, (x, g, out))
        forward.append(versus(
            f"gelu {shape}", lambda: gelu_fast(x),
            lambda: aten.gelu.out(tx, approximate="tanh", out=tout), seconds))
        backward.append(versus(
            f"gelu backward {shape}", lambda: gelu_fast_vjp(g, x),
            lambda: aten.gelu_backward(tg, tx, approximate="tanh", grad_input=tout), seconds))
    yield "gelu_forward", geometric_mean(forward), 3
    yield "gelu_backward", geometric_mean(backward), 2.5


def exp(seconds):
    """Exponentiate."""
    from minigrad.ops.elementwise import exp_fast
    aten, tensor = aten_and_tensor()
    ratios = []
    for shape in [(768, 128), *ELEMENTS]:
        x, out = aligned(*shape), aligned(*shape)
        tx, tout = tensor(x), tensor(out)
        ratios.append(versus(f"exp {shape}", lambda: exp_fast(x),
                             lambda: aten.exp.out(tx, out=tout), seconds))
    yield "exp", geometric_mean(ratios), 0.9


def softmax(seconds):
    """Make probabilities of attention's scores and of logits."""
    from minigrad.ops.softmax import softmax_fast
    aten, tensor = aten_and_tensor()
    ratios = []
    for shape in [(768, 65), (3072, 64), (24576, 256), (4096, 1024), (256, 50257)]:
        x, out = aligned(*shape), aligned(*shape)
        tx, tout = tensor(x), tensor(out)
        ratios.append(versus(f"softmax {shape}", lambda: softmax_fast(x),
                             lambda: aten._softmax.out(tx, -1, False, out=tout), seconds))
    yield "softmax", geometric_mean(ratios), 1.3


def cross_entropy(seconds):
    """Take the loss of logits and its gradient: characters, padded characters, GPT-2's tokens."""
    from minigrad.ops.loss import cross_entropy_fast, cross_entropy_fast_vjp
    aten, tensor = aten_and_tensor()
    ratios, one = [], F4(1)
    for n, V in [(768, 65), (768, 80), (4096, 65), (4096, 80), (1024, 1024), (256, 50257)]:
        z, t = aligned(n, V), np.random.default_rng(1).integers(0, V, n)
        tz, tt, tone = tensor(z), tensor(t), tensor(np.ones((), F4))

        def ours():
            loss, saved = cross_entropy_fast(z, t)
            return loss, cross_entropy_fast_vjp(one, *saved)

        def torchs():
            log_p = aten._log_softmax(tz, -1, False)
            loss, total = aten.nll_loss_forward(log_p, tt, None, 1, -100)
            g = aten.nll_loss_backward(tone, log_p, tt, None, 1, -100, total)
            return loss, aten._log_softmax_backward_data(g, log_p, -1, log_p.dtype)
        ratios.append(versus(f"cross-entropy both ways {(n, V)}", ours, torchs, seconds))
    yield "cross_entropy", geometric_mean(ratios), 3


def layer_norm(seconds):
    """Normalize the residual stream, and the way back."""
    from minigrad.ops.norm import layer_norm_fast, layer_norm_fast_vjp
    aten, tensor = aten_and_tensor()
    forward, backward = [], []
    for n, C in [(768, 128), (4096, 384), (1024, 768)]:
        x, g, gain, bias = aligned(n, C), aligned(n, C), aligned(C), aligned(C)
        tx, tg, tgain, tbias = map(tensor, (x, g, gain, bias))
        saved = layer_norm_fast(x, gain, bias)[1]
        _, mean, rstd = aten.native_layer_norm(tx, [C], tgain, tbias, 1e-5)
        forward.append(versus(
            f"layer norm {(n, C)}", lambda: layer_norm_fast(x, gain, bias),
            lambda: aten.native_layer_norm(tx, [C], tgain, tbias, 1e-5), seconds))
        backward.append(versus(
            f"layer norm backward {(n, C)}", lambda: layer_norm_fast_vjp(g, *saved),
            lambda: aten.native_layer_norm_backward(tg, tx, [C], mean, rstd, tgain, tbias,
                                                    [True] * 3), seconds))
    yield "layer_norm_forward", geometric_mean(forward), 1.6
    yield "layer_norm_backward", geometric_mean(backward), 1.6


def gpt_parameters(n_layer, C, context_length, V):
    """Return the shapes of a GPT's parameters, without biases, as nanoGPT's."""
    block = [(C,), (3 * C, C), (C, C), (C,), (4 * C, C), (C, 4 * C)]
    return [(V, C), (context_length, C), *block * n_layer, (C,)]


def adamw(seconds):
    """Update all parameters of two GPTs (0.8 and 10.7 million) through `optimizer.step()`."""
    import torch

    from minigrad import Tensor
    from minigrad.optim import AdamW
    for name, config, peers in [("0.8M", (4, 128, 64, 65), {"foreach": 9, "fused": 2}),
                                ("10.7M", (6, 384, 256, 65), {"fused": 1})]:
        parameters = [Tensor(aligned(*shape), requires_grad=True)
                      for shape in gpt_parameters(*config)]
        steps = {}
        for peer in peers:
            theirs = [torch.from_numpy(p.data.copy()).requires_grad_() for p in parameters]
            for p in theirs:
                p.grad = torch.from_numpy(aligned(*p.shape))
            steps[peer] = torch.optim.AdamW(theirs, **{peer: True}).step
        for p in parameters:
            p.grad = aligned(*p.shape)
        best, median = compare(AdamW(parameters).step, steps, seconds)
        row(f"AdamW, {name} parameters", best, median)
        for peer, target in peers.items():
            yield f"adamw_{name}_{peer}", best[peer] / best["ours"], target


def attention(seconds):
    """Attend causally, heads read from one array of q, k and v, and the way back."""
    from minigrad.ops.attention import attention_fast, attention_fast_vjp
    aten, tensor = aten_and_tensor()
    forward = aten._scaled_dot_product_flash_attention_for_cpu
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    for B, H, T, D in [(12, 4, 64, 32), (16, 6, 256, 64)]:
        qkv = aligned(B, T, 3, H, D)
        q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))                # (B, H, T, D)
        g = aligned(B, T, H, D).swapaxes(1, 2)
        tq, tk, tv, tg = map(tensor, (q, k, v, g))
        saved, (ty, lse) = attention_fast(q, k, v)[1], forward(tq, tk, tv, 0.0, True)

        def both_ways():
            y, saved = attention_fast(q, k, v)
            return y, attention_fast_vjp(g, *saved)

        def both_ways_of_torch():
            y, lse = forward(tq, tk, tv, 0.0, True)
            return y, backward(tg, tq, tk, tv, y, lse, 0.0, True)
        name = f"attention {(B, H, T, D)}"
        versus(name, lambda: attention_fast(q, k, v),
               lambda: forward(tq, tk, tv, 0.0, True), seconds)
        versus(f"{name} backward", lambda: attention_fast_vjp(g, *saved),
               lambda: backward(tg, tq, tk, tv, ty, lse, 0.0, True), seconds)
        yield (f"attention_T{T}", versus(f"{name} both ways", both_ways, both_ways_of_torch,
                                         seconds), 1.3)


def aten_and_tensor():
    import torch
    return torch.ops.aten, torch.from_numpy


def versus(name, ours, torchs, seconds):
    """Compare with torch, print, and return the ratio of the best rounds."""
    best, median = compare(ours, {"torch": torchs}, seconds)
    row(name, best, median)
    return best["torch"] / best["ours"]


SECTIONS = {function.__name__: function for function in (
    matmul, ladder, gelu, exp, softmax, cross_entropy, layer_norm, adamw, attention)}


# ---- running ----

def measure(sections, seconds):
    """Run sections in this process and print their targets."""
    import torch
    torch.set_num_threads(int(THREADS))
    targets = []
    for name in sections:
        print(f"\n{name}, {THREADS} thread{'s' * (THREADS != '1')}", flush=True)
        targets += SECTIONS[name](seconds)
    for target in targets:
        verdict(*target)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"which to run: {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--seconds", type=float, default=0.5,
                        help="time for each function of a comparison (default: 0.5)")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {unknown.pop()!r}: there are {', '.join(SECTIONS)}")
    if THREADS:
        return measure(args.sections or SECTIONS, args.seconds)
    return run_each(args.threads)


if __name__ == "__main__":
    sys.exit(main())

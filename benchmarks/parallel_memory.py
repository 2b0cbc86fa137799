"""What a rank keeps and sends in ZeRO 1, 2 and 3, beside the formulas of the paper.

    python benchmarks/parallel_memory.py             2 and 4 ranks, AdamW
    python benchmarks/parallel_memory.py hosts       2 of them on hosts of `parallel_hosts.py`

Needs the `mpi` extra. Memory is what NumPy and Python have allocated, as `tracemalloc` counts it:
at the end of a step, when what is idle has been given back, that is what the run keeps; how much
more there is at the highest moment of a step is told apart (its activations, too). What is sent is
counted by the world, between hosts by the kernel: what went over the cable, headers included.
Each line that counts is NAME RATIO target TARGET ok|short, of the larger deviation.
"""
import gc
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from parallel_hosts import on_both, on_cable, two_hosts  # noqa: E402
from results import verdict  # noqa: E402

from gpt.data.corpora import stories  # noqa: E402
from gpt.data.documents import prepare  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.parallel.costs import state_bytes, step_traffic  # noqa: E402
from gpt.training.parallel.world import joined  # noqa: E402
from gpt.training.parallel.zero import ZERO  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from minigrad.kernels import memory  # noqa: E402

NET = dict(n_layer=6, d_model=256, n_head=4, context_length=64, batch_tokens=512)
RANKS = 2, 4
TOLERANCE = 0.05


def of_stage(world, data, stage):
    """Return what this rank keeps, what a step takes besides, what it sends, and psi."""
    tracemalloc.start()
    config = Config.make("gpt2", vocab_size=data.tokenizer.vocab_size, **NET)
    run = Run.start(config, data, Plan.fixed(100))
    psi = sum(x.size for x in run.trained)
    run.way = ZERO[stage](run, world)
    steps = train_steps(run)
    for _ in range(2):
        next(steps)
    tracemalloc.reset_peak()
    sent = sent_by(world, lambda: next(steps))
    _, peak = tracemalloc.get_traced_memory()
    gc.collect()
    memory.trim()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept, peak - kept, sent, psi


def sent_by(world, step):
    """Return how many bytes this rank, or its host, sends in a step."""
    count = on_cable if len({*world.hosts}) > 1 else lambda: world.sent_bytes
    world.meet()
    before = count()
    step()
    world.meet()
    return count() - before


def on_a_rank():
    """Be one of the ranks, of which the first says what all have found."""
    world = joined()
    texts = stories(2000)
    data = prepare(texts, Config.make(tokenizer="char").data, tempfile.mkdtemp())
    of_stage(world, data, 3)                              # what is loaded later does not count
    for stage in ZERO:
        found = world.collect(of_stage(world, data, stage))
        if world.rank == 0:
            tell(stage, found)
    if "--rank" in sys.argv and world.rank == 0:
        Path(sys.argv[sys.argv.index("--rank") + 1]).write_text("null")


def tell(stage, found):
    """Print what ranks have found, and judge it."""
    kept, besides, sent, (psi, *_) = zip(*found)
    N = len(found)
    for name, sizes, formula in (("keeps", kept, state_bytes(psi, N, stage)),
                                 ("sends", sent, step_traffic(psi, N, stage))):
        far = max(abs(size / formula - 1) for size in sizes)
        listed = ", ".join(f"{size / 1e6:.2f}" for size in sizes)
        print(f"ZeRO {stage}, {N} ranks, each {name} {listed} MB; formula {formula / 1e6:.2f}")
        verdict(f"zero-{stage}-of-{N}-{name}", far, TOLERANCE, at_most=True)
    print(f"and takes {max(besides) / 1e6:.2f} MB more at the highest moment of a step", flush=True)


def memory_and_bytes():
    """Start the ranks."""
    mpiexec = Path(sys.executable).parent / "mpiexec"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MINIGRAD_THREADS": "1"}
    for n in RANKS:
        command = [mpiexec, "-n", n, sys.executable, "-m", "mpi4py", __file__, "rank"]
        subprocess.run([*map(str, command)], env=env, check=True)


def on_hosts():
    """Start a rank on each of two hosts."""
    with two_hosts("1gbit") as folder:
        on_both(folder, [], __file__)


if __name__ == "__main__":
    if {"rank", "--rank"}.intersection(sys.argv):
        on_a_rank()
    else:
        on_hosts() if "hosts" in sys.argv else memory_and_bytes()

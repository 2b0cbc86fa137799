"""Train on two hosts with 1 Gbit/s between them, beside what the simulator says of it.

    python benchmarks/parallel_hosts.py [--rate 1gbit] [--steps 12] [--rounds 3]

The hosts are two network namespaces of this machine, joined by a virtual cable whose rate `tc`
limits, with an sshd each: ranks come there by ssh and talk by TCP alone (no shared memory). Needs
Linux, root, iproute2, openssh-server, mpi4py and mpich. In each round every rank takes steps on its
rows alone, and both take them together; the first are what the simulator is told. Compared are
medians over all rounds. Bytes are those that the kernel counted on the cable, headers included.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from results import verdict

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parent), str(HERE)]           # or gpt would be benchmarks/gpt.py

ADDRESSES = "10.79.0.1", "10.79.0.2"
SPACES = "minigrad1", "minigrad2"
# The default net on some text: 3 million parameters.
NET = dict(n_layer=6, n_head=3, d_model=192, context_length=128, batch_tokens=4096,
           vocabulary=512, tokenizer="bpe", steps=10_000)
BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
LATENCY_S = 60e-6


# ---- two hosts ----

def call(*words):
    subprocess.run(words, check=True)


@contextmanager
def two_hosts(rate):
    """Make two namespaces with a cable between them and an sshd each: the folder of their key."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host"))
        os.makedirs("/run/sshd", exist_ok=True)
        try:
            for space in SPACES:
                call("ip", "netns", "add", space)
            call("ip", "link", "add", "cable1", "netns", SPACES[0], "type", "veth", "peer", "name",
                 "cable2", "netns", SPACES[1])
            daemons = [host(folder, i, rate) for i in (0, 1)]
            time.sleep(0.5)
            yield folder
        finally:
            for space in SPACES:
                subprocess.run(["ip", "netns", "del", space])
            for daemon in daemons:
                daemon.terminate()


def host(folder, i, rate):
    """Give a namespace its address and rate, and start its sshd."""
    space, cable = SPACES[i], f"cable{i + 1}"
    for words in (f"addr add {ADDRESSES[i]}/24 dev {cable}", f"link set {cable} up",
                  "link set lo up"):
        call("ip", "-n", space, *words.split())
    inside = "ip", "netns", "exec", space
    call(*inside, *f"tc qdisc add dev {cable} root tbf rate {rate} burst 256kb latency 20ms".split())
    config = folder / f"sshd{i}"
    config.write_text(f"ListenAddress {ADDRESSES[i]}\nHostKey {folder}/host\nPidFile none\n"
                      f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nPermitRootLogin yes\n")
    return subprocess.Popen([*inside, "/usr/sbin/sshd", "-D", "-f", str(config)])


def on_both(folder, words):
    """Run this file on a rank of each host, and return what rank 0 wrote."""
    ssh = folder / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec ssh -i {folder}/key -o StrictHostKeyChecking=no "
                   "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \"$@\"\n")
    ssh.chmod(0o755)
    out = folder / "out.json"
    mpiexec = Path(sys.executable).parent / "mpiexec"
    env = os.environ | {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi",
                        "FI_PROVIDER": "tcp", "MINIGRAD_THREADS": "1"}
    subprocess.run(["ip", "netns", "exec", SPACES[0], mpiexec, "-launcher", "ssh", "-launcher-exec",
                    ssh, "-hosts", ",".join(ADDRESSES), "-n", "2", "-ppn", "1", sys.executable,
                    "-m", "mpi4py", __file__, "--rank", str(out), *words], env=env, check=True)
    return json.loads(out.read_text())


# ---- on a rank ----

def measure(out, n_steps, n_rounds):
    """Take steps alone and together, round by round; rank 0 writes what came of it."""
    from gpt.data.corpora import stories
    from gpt.data.documents import prepare
    from gpt.training.config import Config
    from gpt.training.forecast import flops_per_token
    from gpt.training.parallel.data_parallel import DataParallel, Overlapping
    from gpt.training.parallel.joining import joined
    from gpt.training.plan import Plan
    from gpt.training.run import Run
    with joined("parallel_hosts") as world, tempfile.TemporaryDirectory() as folder:
        config = Config.make(**NET)
        data = prepare(stories(2000), config.data, Path(folder))
        config = config.changed(vocab_size=data.tokenizer.vocab_size)
        found = {"parameters": 0, "alone": [], "update": []}
        runs = {way.__name__: begun(Run, config, data, Plan, way, world)
                for way in (DataParallel, Overlapping)}
        for name, run in runs.items():
            found[name] = {"step": [], "sent": [], "counted": []}
            together(run, world, 3)                   # compiled, recorded, met
        first = runs["DataParallel"]
        found["parameters"] = sum(x.size for x in first.trained)
        found["flops_per_token"] = flops_per_token(first)
        for _ in range(n_rounds):
            found["alone"] += alone(first, world, n_steps)
            found["update"] += updates(first, world, n_steps)
            for name, run in runs.items():
                times, sent, counted = together(run, world, n_steps)
                found[name]["step"] += times
                found[name]["sent"].append(sent / n_steps)
                found[name]["counted"].append(counted / n_steps)
        if world.rank == 0:
            Path(out).write_text(json.dumps(found))


def begun(Run, config, data, Plan, way, world):
    run = Run.start(config, data, Plan.fixed(NET["steps"]))
    run.way = way(run, world)
    return run


def together(run, world, n_steps):
    """Return the times of steps, and the bytes that this rank and its cable have sent."""
    from gpt.training.step import train_steps
    steps = train_steps(run)
    next(steps)                                       # begins anew: a step is recorded
    next(steps)
    world.meet()
    sent, counted = world.sent_bytes, on_cable()
    times = [next(steps).elapsed_s for _ in range(n_steps)]
    world.meet()
    return times, world.sent_bytes - sent, on_cable() - counted


def alone(run, world, n_steps):
    """Return how long this rank takes for the gradients of its rows, the slower of both."""
    import numpy as np

    from gpt.training.step import OneProcess, next_batch
    way = OneProcess(run)
    way.renew()
    batch, _ = next_batch(run).share(world.rank, world.size)
    n = np.float64(batch.n_targets)
    times = []
    for i in range(n_steps + 3):
        began = time.perf_counter()
        way.gradients(batch, n)
        times.append(max(world.collect(time.perf_counter() - began)))
    return times[3:]


def updates(run, world, n_steps):
    """Return how long norm and update take; gradients are dropped afterwards."""
    times = []
    for _ in range(n_steps):
        for x in run.trained:
            x.grad = x.data * 1e-9
        began = time.perf_counter()
        run.way.norm(1.0)
        run.way.update(1e-9)
        times.append(max(world.collect(time.perf_counter() - began)))
    return times


def on_cable():
    """Return how many bytes the kernel has sent over the cable of this namespace."""
    path, = Path("/sys/class/net").glob("cable*/statistics/tx_bytes")
    return int(path.read_text())


# ---- beside the simulator ----

def predicted(found, rate, overlap):
    """Return what the simulator says of a step, in seconds, and of the bytes that a rank sends."""
    from gpt.training.parallel.costs import Network
    from gpt.training.parallel.jobs import Job, Size, played
    size = Size("net", found["parameters"], NET["n_layer"], NET["d_model"],
                found["flops_per_token"])
    flops = NET["batch_tokens"] / 2 * size.flops_per_token / statistics.median(found["alone"])
    shown = played(Job(size, 2, NET["batch_tokens"], flops, Network(rate, LATENCY_S),
                       overlap=overlap, update_s=statistics.median(found["update"])))
    return shown.step_s, shown.sent_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="1gbit", help="as tc writes it [1gbit]")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        return measure(args.rank, args.steps, args.rounds)
    with two_hosts(args.rate) as folder:
        found = on_both(folder, ["--steps", str(args.steps), "--rounds", str(args.rounds)])
    number = args.rate.rstrip("abcdefghijklmnopqrstuvwxyz")
    rate = float(number) * BITS[args.rate[len(number):]] / 8
    median = statistics.median
    print(f"{found['parameters']:,} parameters; a rank alone {1e3 * median(found['alone']):.0f} ms, "
          f"update {1e3 * median(found['update']):.0f} ms")
    for way, overlap in (("DataParallel", False), ("Overlapping", True)):
        step_s, sent = predicted(found, rate, overlap)
        took_s = median(found[way]["step"])
        print(f"{way}: {1e3 * took_s:.0f} ms a step, the simulator says {1e3 * step_s:.0f}")
        name = way.lower()
        verdict(f"hosts_{name}_step_off", abs(took_s / step_s - 1), 0.1, at_most=True)
        verdict(f"hosts_{name}_bytes_off", abs(median(found[way]["counted"]) / sent - 1), 0.05,
                at_most=True)


if __name__ == "__main__":
    main()

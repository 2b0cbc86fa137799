"""Train on two hosts with 1 Gbit/s between them, beside what the simulator says of it.

    python benchmarks/parallel_hosts.py [--rate 1gbit] [--steps 12] [--rounds 3]

The hosts are two network namespaces of this machine, joined by a virtual cable whose rate `tc`
limits, with an sshd each: ranks come there by ssh and talk by TCP alone (no shared memory). Needs
Linux, root, iproute2, openssh-server, mpi4py and mpich. The simulator is told how long a rank takes
for its rows alone, and how much longer while a sum goes on beside that nobody waits for: so much
its processor serves the network. It is told, too, how long an update takes, and messages. In each
round these are measured, and steps of both ranks together. On a machine that does other things,
too, the slower half says more of those: of each time the lower quartile counts. Bytes are those
that the kernel counted on the cable, headers included.
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
from types import SimpleNamespace

from results import verdict

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parent), str(HERE)]           # or gpt would be benchmarks/gpt.py

ADDRESSES = "10.79.0.1", "10.79.0.2"
SPACES = "minigrad1", "minigrad2"
# The default net, with few tokens a step, so that a third of it is the network's.
NET = dict(n_layer=6, n_head=3, d_model=192, context_length=128, batch_tokens=512,
           vocabulary=512, tokenizer="bpe", optimizer="adamw", steps=10_000)
MESSAGE = 1 << 22                  # bytes


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
    limit = f"tc qdisc add dev {cable} root tbf rate {rate} burst 256kb latency 20ms"
    call(*inside, *limit.split())
    config = folder / f"sshd{i}"
    config.write_text(f"ListenAddress {ADDRESSES[i]}\nHostKey {folder}/host\nPidFile none\n"
                      f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nPermitRootLogin yes\n")
    return subprocess.Popen([*inside, "/usr/sbin/sshd", "-D", "-f", str(config)])


def on_both(folder, words, file=__file__):
    """Run a file on a rank of each host, and return what rank 0 wrote."""
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
                    "-m", "mpi4py", file, "--rank", str(out), *words], env=env, check=True)
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
        found = {"update": [], "message 1": [], f"message {MESSAGE}": []}
        runs = {way.__name__: begun(Run, config, data, Plan, way, world)
                for way in (DataParallel, Overlapping)}
        for name, run in runs.items():
            found[name] = {"alone": [], "beside": [], "step": [], "counted": []}
            together(run, world, 3)                   # compiled, recorded, met
        first = runs["DataParallel"]
        found["parameters"] = sum(x.size for x in first.trained)
        found["flops_per_token"] = flops_per_token(first)
        for _ in range(n_rounds):
            found["update"] += updates(first, world, n_steps)
            for size in 1, MESSAGE:
                found[f"message {size}"] += messages(world, size, n_steps)
            for name, run in runs.items():
                found[name]["alone"] += alone(run, world, n_steps)
                if name == "Overlapping":
                    found[name]["beside"] += alone(run, world, n_steps, MESSAGE)
                times, counted = together(run, world, n_steps)
                found[name]["step"] += times
                found[name]["counted"].append(counted / n_steps)
        if world.rank == 0:
            Path(out).write_text(json.dumps(found))


def begun(Run, config, data, Plan, way, world):
    run = Run.start(config, data, Plan.fixed(NET["steps"]))
    run.way = way(run, world)
    return run


def together(run, world, n_steps):
    """Return the times of steps, and the bytes that went over this rank's cable."""
    from gpt.training.step import train_steps
    steps = train_steps(run)
    next(steps)                                       # begins anew: a step is recorded
    next(steps)
    world.meet()
    counted = on_cable()
    times = [next(steps).elapsed_s for _ in range(n_steps)]
    world.meet()
    return times, on_cable() - counted


def alone(run, world, n_steps, size=0):
    """Return how long this rank takes for the gradients of its rows, the slower of both.

    With a size, a sum of so many bytes that nobody waits for goes on meanwhile.
    """
    import numpy as np

    from gpt.training.parallel.world import Alone, Done
    from gpt.training.step import next_batch
    class Nobody(Alone):
        beside = Done()
        def begin_sum(self, x):                       # is over at once
            return SimpleNamespace(look=lambda: self.beside.look() or True)
    nobody = Nobody()
    way = type(run.way)(run, nobody)
    way.renew()
    batch, _ = next_batch(run).share(world.rank, world.size)
    n, sent = np.float64(batch.n_targets), np.zeros(size // 4, np.float32)
    times = []
    for _ in range(n_steps + 3):
        world.meet()
        nobody.beside = world.begin_sum(sent) if size else Done()
        began = time.perf_counter()
        way.gradients(batch, n)
        took_s = time.perf_counter() - began
        while not nobody.beside.look():
            pass
        times.append(max(world.collect(took_s)))
        for x in run.trained:
            x.grad = None
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


def messages(world, size, n):
    """Return how long both ranks take to send each other a message of so many bytes."""
    import numpy as np
    other, times = 1 - world.rank, []
    x, y = np.ones((2, size), np.uint8)
    for _ in range(n):
        world.meet()
        began = time.perf_counter()
        world.comm.Sendrecv(x, other, 0, y, other, 0)
        times.append(max(world.collect(time.perf_counter() - began)))
    return times


def on_cable():
    """Return how many bytes the kernel has sent over the cable of this namespace."""
    path, = Path("/sys/class/net").glob("cable*/statistics/tx_bytes")
    return int(path.read_text())


# ---- beside the simulator ----

def predicted(found, way, overlap):
    """Return what the simulator says of a step, in seconds, and of the bytes that a rank sends."""
    from gpt.training.parallel.costs import Network
    from gpt.training.parallel.jobs import Job, Size, played
    size = Size("net", found["parameters"], NET["n_layer"], NET["d_model"],
                found["flops_per_token"])
    flops = NET["batch_tokens"] / 2 * size.flops_per_token / usual(found[way]["alone"])
    latency_s, message_s = (usual(found[f"message {size}"]) for size in (1, MESSAGE))
    network = Network(MESSAGE / (message_s - latency_s), latency_s)
    served_s = served(found[way]) if overlap else 0.0
    shown = played(Job(size, 2, NET["batch_tokens"], flops, network, overlap=overlap,
                       served_s=served_s, update_s=usual(found["update"])))
    return shown


def served(times):
    """Return how long a processor serves a byte that is sent while it computes."""
    return (usual(times["beside"]) - usual(times["alone"])) / MESSAGE


def usual(times):
    return statistics.quantiles(times, n=4)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="1gbit", help="as tc writes it [1gbit]")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        return measure(args.rank, args.steps, args.rounds)
    with two_hosts(args.rate) as folder:
        found = on_both(folder, ["--steps", str(args.steps), "--rounds", str(args.rounds)])
    print(f"{found['parameters']:,} parameters, update {1e3 * usual(found['update']):.0f} ms")
    for way, overlap in (("DataParallel", False), ("Overlapping", True)):
        shown = predicted(found, way, overlap)
        took_s, alone_s = (usual(found[way][name]) for name in ("step", "alone"))
        print(f"{way}: {1e3 * took_s:.0f} ms a step, the simulator says {1e3 * shown.step_s:.0f} "
              f"(gradients alone {1e3 * alone_s:.0f}, {8e-6 * shown.job.network.bytes_s:.0f} "
              f"Mbit/s, {1e6 * shown.job.network.latency_s:.0f} us, {1e9 * shown.job.served_s:.2f} "
              "ns of the processor for a byte)")
        name, sent = way.lower(), statistics.median(found[way]["counted"])
        verdict(f"hosts_{name}_step_off", abs(took_s / shown.step_s - 1), 0.1, at_most=True)
        verdict(f"hosts_{name}_bytes_off", abs(sent / shown.sent_bytes - 1), 0.05, at_most=True)


if __name__ == "__main__":
    main()

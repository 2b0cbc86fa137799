"""A rank's connection to the process that watches all of them (watcher.py).

MPI notices none of what may befall a rank: whoever waits for one that is stopped or hangs waits for
ever. So a thread of each rank says once a second that it is there, and for how long it has been at
work on its own, and ends the rank when it is told to.
"""
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from bpe.console import on_one_line

BEAT_S = 1.0           # between two signs of life
SILENT_BEATS = 20      # without one, and a rank counts as stopped
LONGEST_S, STEPS = 60, 30      # alone at work: so long, or as many steps, and a rank hangs
GRACE_S = 5            # for mpiexec to end a rank that has nothing more to say
REACH_S = 5            # for one try to reach the watcher at one of its addresses


class Watch:
    """What a rank says to the watcher, which rank 0 starts.

    Parameters
    ----------
    world : World
    prog : str
        What the program is called in its messages.

    Attributes
    ----------
    folder : path or None
        Of the run that is trained.
    limit_s : float or None
        How long a rank may be at work on its own in a step.
    unreached : list of int
        Ranks that could not connect: mpiexec alone notices their end.
    """

    def __init__(self, world, prog):
        self.world, self.prog = world, prog
        self.folder = self.limit_s = None
        offer = world.share(start(world.hosts, prog) if world.rank == 0 else None)
        self.connection = reached(*offer, world.rank, world.hosts)
        there = world.collect(self.connection is not None)
        self.unreached = [rank for rank, is_there in enumerate(there) if not is_there]
        if self.connection:
            for work in (self.beat, self.listen):
                threading.Thread(target=work, daemon=True).start()

    def beat(self):
        """Say now and then that this rank is there."""
        while self.connection:
            self.tell(busy_s=self.world.pulse.busy_s())
            time.sleep(BEAT_S)

    def listen(self):
        """End when the watcher says so, or when the machine that it is on is gone."""
        self.connection.settimeout(SILENT_BEATS * BEAT_S)
        try:
            for line in self.connection.makefile("rb"):
                status = json.loads(line).get("end")
                if status is not None:
                    self.world.abort(status)
        except TimeoutError:
            self.connection = None
            self.fail(f"does not hear of rank 0 on {self.world.hosts[0]} any more", 1)
        except OSError:                               # without a watcher training goes on
            pass

    def tell(self, **words):
        try:
            self.connection.sendall(json.dumps(words).encode() + b"\n")
        except (OSError, AttributeError):
            pass

    def described(self):
        """Say what is noticed: lines."""
        yield (f"a rank that is stopped ends the run after {SILENT_BEATS * BEAT_S:.0f} s, one that "
               f"hangs after {self.limit_s:.0f} s")
        for rank in self.unreached:
            yield (f"rank {rank} on {self.world.hosts[rank]} cannot reach rank 0 by a connection "
                   "of its own: that it is stopped or hangs is not noticed")

    def begin(self, folder):
        """From now on there is a run to go on with."""
        self.folder = str(folder)
        if self.world.rank == 0:
            self.tell(folder=self.folder)

    def allow(self, step_s):
        """From now on a rank hangs that is at work on its own for much longer than a step."""
        self.limit_s = max(LONGEST_S, STEPS * step_s)
        if self.world.rank == 0:
            self.tell(limit_s=self.limit_s)

    # ---- the end ----

    def fail(self, sentence, status):
        """Let the watcher say why this rank ends, and end all of them."""
        if self.connection:
            self.tell(failed=sentence, status=status)
            time.sleep(GRACE_S)
        line = (f"{self.prog}: rank {self.world.rank} on {self.world.hosts[self.world.rank]} "
                f"{on_one_line(sentence)}\n")
        os.write(2, line.encode(errors="replace"))
        self.quit(status)

    def quit(self, status):
        """End all ranks, of which this one has said why."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.tell(ending=status)
        self.world.abort(status)

    def leave(self):
        """Part, after all is done."""
        self.world.meet()
        self.tell(bye=True)
        self.connection = None


# ---- connections ----

def start(hosts, prog):
    """Start the watcher, in a session of its own, or mpiexec would kill it with the others.

    Returns
    -------
    addresses : list of str
        Where it can be reached,
    port : int
    token : str
        and what is to be said there.
    """
    token = secrets.token_hex(16)
    words = {"hosts": hosts, "prog": prog, "token": token, "beat_s": BEAT_S,
             "silent_beats": SILENT_BEATS}
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("watcher.py"))]
    try:
        watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True, start_new_session=True)
        with watcher.stdin, watcher.stdout:
            print(json.dumps(words), file=watcher.stdin, flush=True)
            port = int(watcher.stdout.readline())
        watcher.returncode = 0                        # nobody will ask: it may outlive this one
        return own_addresses(), port, token
    except (OSError, ValueError):
        return [], 0, token                           # where nobody will reach it


def reached(addresses, port, token, rank, hosts):
    """Return a connection to the first address that answers; None if none does."""
    if hosts[rank] == hosts[0]:
        addresses = ["127.0.0.1", *addresses]
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), REACH_S)
            connection.sendall(token.encode() + rank.to_bytes(4, "big"))
            return connection
        except OSError:
            continue
    return None


def own_addresses():
    """Return the names and addresses by which this machine may be reached from others."""
    found = [socket.gethostname()]
    if "SSH_CONNECTION" in os.environ:                # client, its port, server, its port
        found.append(os.environ["SSH_CONNECTION"].split()[2])
    try:
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        found += [before.split()[-1] for before, line in zip(lines, lines[1:])
                  if "host LOCAL" in line]
    except OSError:
        found += addresses_of(socket.gethostname())
    return [*dict.fromkeys(x for x in found if not x.startswith("127."))]


def addresses_of(name):
    try:
        return socket.gethostbyname_ex(name)[2]
    except OSError:
        return []

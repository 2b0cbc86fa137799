"""Notice a rank that fails, is lost, stopped or hangs, and end all of them with one sentence.

MPI notices none of that: whoever waits for such a rank waits for ever. So each rank has a thread
and a connection to rank 0. What it has to say goes over that; once a second it says that it is
there, and for how long it has been at work on its own. A connection that ends tells of a rank that
was killed. Who finds something says it and ends; mpiexec then ends the others, on all hosts.
"""
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from pathlib import Path

from bpe.console import on_one_line
from gpt.training import checkpoint

BEAT_S = 1.0           # between two signs of life
SILENT_BEATS = 20      # without one, and a rank counts as stopped
LONGEST_S, STEPS = 60, 30      # alone at work: so long, or as many steps, and a rank hangs
LOST = 1               # the exit status of a job that has lost a rank
GRACE_S = 5            # for mpiexec to end a rank that has nothing to say
REACH_S = 5            # for one try to reach rank 0 at one of its addresses


class Watch:
    """The connections of a rank, and the thread that attends to them.

    Parameters
    ----------
    world : World
    prog : str
        What the program is called in its messages.

    Attributes
    ----------
    folder : path or None
        Of the run that can be gone on with.
    limit_s : float or None
        How long a rank may be at work on its own; only rank 0 asks.
    unreached : list of int
        Ranks that could not connect: mpiexec alone notices their end.
    """

    def __init__(self, world, prog):
        self.world, self.prog = world, prog
        self.folder = self.limit_s = None
        self.over, self.lock = False, threading.Lock()
        self.connections = connected(world)                      # rank -> socket
        self.unreached = [rank for rank in range(1, world.size)
                          if world.rank == 0 and rank not in self.connections]
        self.heard = {rank: b"" for rank in self.connections}    # of a line that is not whole yet
        self.silent = dict.fromkeys(self.connections, 0)         # beats since the last sign
        threading.Thread(target=self.attend, daemon=True).start()

    def attend(self):
        """Listen to the others, and give them a sign of life now and then."""
        with selectors.DefaultSelector() as selector:
            for rank, connection in self.connections.items():
                selector.register(connection, selectors.EVENT_READ, rank)
            due = time.monotonic() + BEAT_S
            while not self.over:
                for key, _ in selector.select(max(0, due - time.monotonic())):
                    if not self.hear(key.data, key.fileobj):
                        selector.unregister(key.fileobj)
                if time.monotonic() >= due:
                    self.beat()
                    due = time.monotonic() + BEAT_S

    def beat(self):
        """Say that this rank is there, and count how often the others have not."""
        busy_s = self.world.pulse.busy_s()
        self.judge(self.world.rank, busy_s)
        for rank in self.silent:
            self.tell(rank, busy_s=busy_s)
            self.silent[rank] += 1
            if self.silent[rank] > SILENT_BEATS:
                self.end(self.of(rank, f"has not been heard for {SILENT_BEATS * BEAT_S:.0f} s: it "
                                 "is stopped, or its machine or the way there is gone"))

    def hear(self, rank, connection):
        """Take in what a rank says; return whether it will say more."""
        try:
            data = connection.recv(1 << 16)
        except OSError:
            data = b""
        *lines, self.heard[rank] = (self.heard[rank] + data).split(b"\n")
        self.silent[rank] = 0
        for line in map(json.loads, lines):
            if "bye" in line:
                del self.silent[rank]
                return False
            if "ending" in line:
                self.silence(line["ending"])
            if "failed" in line:
                self.end(self.of(rank, line["failed"]), line["status"])
            self.judge(rank, line["busy_s"])
        if not data:
            self.lose(rank)
        return bool(data)

    def judge(self, rank, busy_s):
        if self.limit_s and busy_s > self.limit_s:
            self.end(self.of(rank, f"hangs: the others have waited for it for {busy_s:.0f} s"))

    def lose(self, rank):
        """Say that a rank is gone; of rank 0 the first of the others says it."""
        self.silent.pop(rank, None)
        time.sleep(max(0, self.world.rank - 1))
        self.end(self.of(rank, "is gone: it was killed, ran out of memory or crashed"))

    def of(self, rank, what):
        return f"rank {rank} on {self.world.hosts[rank]} {what}"

    def tell(self, rank, **words):
        try:
            self.connections[rank].sendall(json.dumps(words).encode() + b"\n")
        except OSError:                               # it is gone, which is heard, too
            pass

    # ---- the end ----

    def described(self):
        """Say what is noticed: lines."""
        yield (f"a rank that is stopped ends the run after {SILENT_BEATS * BEAT_S:.0f} s, one that "
               f"hangs after {self.limit_s:.0f} s")
        for rank in self.unreached:
            yield (f"rank {rank} on {self.world.hosts[rank]} cannot reach rank 0 by a connection "
                   "of its own: that it is stopped or hangs is not noticed")

    def allow(self, step_s):
        """From now on a rank hangs that is at work on its own for much longer than a step."""
        if self.world.rank == 0:
            self.limit_s = max(LONGEST_S, STEPS * step_s)

    def end(self, sentence, status=LOST):
        """Say one sentence, unless another was said, and end all ranks."""
        with self.lock:
            if self.over:
                return
            line = f"{self.prog}: {on_one_line(sentence)}; {self.remedy()}\n"
            os.write(2, line.encode(errors="replace"))
            self.quit(status)

    def quit(self, status):
        """End all ranks, without a word of theirs."""
        self.over = True
        for rank in self.connections:
            self.tell(rank, ending=status)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def silence(self, status):
        """End, as another rank does, which has said why: mpiexec may be faster."""
        self.over = True
        time.sleep(GRACE_S)
        os._exit(status)

    def remedy(self):
        """Say how to go on."""
        if self.folder is None:
            return "start again"
        saved = checkpoint.steps(Path(self.folder) / "checkpoints")
        last = f"step {saved[-1]} is saved, " if saved else ""
        return f"{last}go on with --resume {self.folder}" if saved or self.world.rank else (
            "nothing was saved yet: start again")

    def fail(self, sentence, status):
        """Let rank 0 say why this rank ends, and wait for that."""
        if self.world.rank == 0 or 0 not in self.connections:
            self.end(self.of(self.world.rank, sentence), status)
        self.tell(0, failed=sentence, status=status)
        time.sleep(GRACE_S)
        os._exit(status)

    def leave(self):
        """Part, after all is done."""
        for rank in self.connections:
            self.tell(rank, bye=True)
        self.world.meet()
        self.over = True


# ---- connections ----

def connected(world):
    """Connect every rank with rank 0: a dict from rank to socket."""
    if world.rank:
        addresses, port, token = world.share(None)
        if world.hosts[world.rank] == world.hosts[0]:
            addresses = ["127.0.0.1", *addresses]
        connection = reached(addresses, port, token, world.rank)
        world.collect(connection is not None)
        return {0: connection} if connection else {}
    with socket.create_server(("", 0), backlog=world.size) as server:
        token = secrets.token_bytes(16)
        world.share((own_addresses(), server.getsockname()[1], token))
        server.settimeout(REACH_S)
        return dict(admitted(server, token) for _ in range(sum(world.collect(False))))


def reached(addresses, port, token, rank):
    """Return a connection to the first address that answers; None if none does."""
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), REACH_S)
            connection.sendall(token + rank.to_bytes(4, "big"))
            connection.settimeout(None)
            return connection
        except OSError:
            continue
    return None


def admitted(server, token):
    """Return the rank and the socket of the next one that connects and knows the token."""
    while True:
        connection, _ = server.accept()
        connection.settimeout(REACH_S)
        hello = connection.recv(len(token) + 4, socket.MSG_WAITALL)
        if secrets.compare_digest(hello[:len(token)], token):
            connection.settimeout(None)
            return int.from_bytes(hello[len(token):], "big"), connection
        connection.close()


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
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return [*dict.fromkeys(x for x in found if not x.startswith("127."))]

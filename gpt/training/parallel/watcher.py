"""The process that watches the ranks of a run, beside rank 0; it outlives what ends them.

    python watcher.py        what it has to know is a line of JSON on standard input

mpiexec kills all ranks milliseconds after one is lost, so none of them would come to say which it
was. This one is no rank, and says it. It imports nothing of ours, so that it starts at once.

Each rank has a connection here, and says once a second for how long it has been at work on its
own. A connection that ends without a farewell tells of a rank that is gone.
"""
import json
import os
import secrets
import selectors
import socket
import sys
import time
from pathlib import Path

LOST = 1               # the exit status of a run that has lost a rank
HELLO_S = 5            # for a rank to say who it is
FIRST_S = 60           # for the first rank to come


class Watcher:
    """What is known of the ranks.

    Parameters
    ----------
    server : socket
    prog : str
        What the program is called in its messages.
    hosts : list of str
        Of each rank.
    token : str
        What a rank says first, before its number.
    beat_s : float
        Seconds between two signs of life of a rank.
    silent_beats : int
        After so many without one, a rank counts as stopped.
    """

    def __init__(self, server, prog, hosts, token, beat_s, silent_beats):
        self.server, self.prog, self.hosts = server, prog, hosts
        self.token = token.encode()
        self.beat_s, self.silent_beats = beat_s, silent_beats
        self.folder = self.limit_s = None
        self.connections, self.heard, self.silent = {}, {}, {}       # by rank
        self.selector = selectors.DefaultSelector()
        self.selector.register(server, selectors.EVENT_READ)

    def serve(self):
        """Attend to all ranks until the last one has gone."""
        now = time.monotonic()
        last, due = now + FIRST_S, now + self.beat_s
        while self.connections or time.monotonic() < last:
            left_s = max(0, due - time.monotonic())
            for key, _ in self.selector.select(left_s):
                if key.data is None:
                    self.admit()
                else:
                    self.hear(key.data)
                last = 0 if self.connections else last
            if time.monotonic() >= due:
                self.beat()
                due = time.monotonic() + self.beat_s

    def admit(self):
        """Let a rank in that knows the token."""
        connection, _ = self.server.accept()
        connection.settimeout(HELLO_S)
        try:
            said = connection.recv(len(self.token) + 4, socket.MSG_WAITALL)
        except OSError:
            said = b""
        token, rank = said[:len(self.token)], int.from_bytes(said[len(self.token):], "big")
        if not secrets.compare_digest(token, self.token):
            return connection.close()
        self.connections[rank] = connection
        self.heard[rank], self.silent[rank] = b"", 0
        self.selector.register(connection, selectors.EVENT_READ, rank)

    def beat(self):
        """Give all ranks a sign of life, and see who has given none."""
        for rank in [*self.connections]:
            self.tell(rank)
            self.silent[rank] += 1
            if self.silent[rank] > self.silent_beats:
                self.end(f"{self.of(rank)} has not been heard for "
                         f"{self.silent_beats * self.beat_s:.0f} s: it is stopped, or its machine "
                         "or the way there is gone")

    def hear(self, rank):
        """Take in what a rank says."""
        try:
            data = self.connections[rank].recv(1 << 16)
        except OSError:
            data = b""
        *lines, self.heard[rank] = (self.heard[rank] + data).split(b"\n")
        self.silent[rank] = 0
        for line in lines:
            self.note(rank, **json.loads(line))
        if not data and rank in self.connections:
            self.end(f"{self.of(rank)} is gone: it was killed, ran out of memory or crashed")

    def note(self, rank, busy_s=0, folder=None, limit_s=None, failed=None, status=LOST, bye=False,
             ending=None):
        """Do what a line of a rank asks for."""
        self.folder, self.limit_s = folder or self.folder, limit_s or self.limit_s
        if ending is not None:                        # it has said why
            self.end_all(ending)
        if failed is not None:
            self.end(f"{self.of(rank)} {failed}", status)
        if self.limit_s and busy_s > self.limit_s:
            self.end(f"{self.of(rank)} hangs: the others have waited for it for {busy_s:.0f} s")
        if bye:
            self.selector.unregister(self.connections[rank])
            self.connections.pop(rank).close()

    def of(self, rank):
        return f"rank {rank} on {self.hosts[rank]}"

    def tell(self, rank, **words):
        try:
            self.connections[rank].sendall(json.dumps(words).encode() + b"\n")
        except OSError:                               # it is gone, which is heard, too
            pass

    # ---- the end ----

    def end(self, sentence, status=LOST):
        """Say one sentence, and end all ranks."""
        line = f"{self.prog}: {' '.join(sentence.split())}; {self.remedy()}\n"
        try:
            os.write(2, line.encode(errors="replace"))
        finally:
            self.end_all(status)

    def end_all(self, status):
        for rank in self.connections:
            self.tell(rank, end=status)
        os._exit(0)

    def remedy(self):
        """Say how to go on."""
        if self.folder is None:
            return "start again"
        files = sorted(Path(self.folder, "checkpoints").glob("step-*.json"))
        if not files:
            return "nothing was saved yet, start again"
        step = int(files[-1].stem.removeprefix("step-"))
        return f"step {step} is saved, go on with --resume {self.folder}"


def main():
    told = json.loads(sys.stdin.readline())
    with socket.create_server(("", 0), backlog=len(told["hosts"])) as server:
        print(server.getsockname()[1], flush=True)
        Watcher(server, **told).serve()


if __name__ == "__main__":
    main()

"""Train on several machines: check over ssh that they are alike, and start the ranks.

    minigrad launch --hosts a,b:2 book.txt --minutes 30      a rank on a, two on b; what follows is
                                                             the command line of train
    minigrad launch --hosts localhost:2 book.txt             without ssh
    minigrad launch --hosts a,b book.txt --dry_run           say what would be started

The hosts need the same Python and the same files at the same places, and ssh without a password.
"""
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gpt import quoted
from gpt.command import make_parser, report_errors
from gpt.settings import ConfigError
from gpt.training.parallel.alike import difference, facts
from gpt.training.parallel.joining import ROOT

LOCAL = "localhost", "127.0.0.1", "::1"
SSH = "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"
ASKED_S = 60


def parse(args):
    """Read what is ours of the command line; the rest is for `train`."""
    parser = make_parser("launch", "Train on several machines: minigrad launch --hosts a,b:2 "
                         "book.txt, and what else train takes.")
    parser.add_argument("--hosts", default="", help="where ranks run: names, each with how many "
                        "behind a colon [1]")
    parser.add_argument("--dry_run", action="store_true", help="say what would be started")
    own, rest, words = [], [], iter(args)
    for word in words:
        flag = parser.known(word.partition("=")[0])
        if flag is None:
            rest.append(word)
        elif flag == "--hosts" and "=" not in word:
            own += [word, *itertools.islice(words, 1)]
        else:
            own.append(word)
    return parser, parser.parse_args(own), rest


def main(args=None):
    parser, args, rest = parse(sys.argv[1:] if args is None else args)
    with report_errors(parser.prog):
        hosts = read_hosts(args.hosts)
        local = {*hosts} <= {*LOCAL}
        if args.dry_run:
            return dry_run(hosts, local, rest)
        if not local:
            say_what_there_is(hosts, {host: ask(host) for host in hosts})
        raise SystemExit(start(hosts, local, rest))


def read_hosts(text):
    """Return how many ranks each host has, by name.

    Raises
    ------
    ConfigError
        That names what cannot be read.
    """
    found = {}
    for part in text.split(","):
        host, colon, n = part.strip().partition(":")
        if not host or host.startswith("-") or (colon and not n.isdecimal()) or n == "0":
            raise ConfigError(f"hosts is {text!r}, but must name machines, as in --hosts a,b:2")
        if host in found:
            raise ConfigError(f"hosts names {host} twice: say {host}:{found[host] + int(n or 1)}")
        found[host] = int(n or 1)
    near = [host for host in found if host in LOCAL]
    if near and len(near) < len(found):
        raise ConfigError(f"hosts names {near[0]} beside others: call this machine what they call "
                          "it")
    return found


# ---- are they alike? ----

def question():
    """Return what is asked of a host, for its shell."""
    return (f"cd {shlex.quote(os.getcwd())} && PYTHONPATH={shlex.quote(str(ROOT))} "
            f"{shlex.quote(sys.executable)} -m gpt.training.parallel.alike")


def ask(host):
    """Return what a host says of itself.

    Raises
    ------
    ConfigError
        If it cannot be asked; it names the host and the reason.
    """
    if not shutil.which("ssh"):
        raise ConfigError("there is no ssh here: install one, or use --hosts localhost:2")
    try:
        done = subprocess.run([*SSH, host, question()], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=ASKED_S)
        if not done.returncode:
            return json.loads(done.stdout.strip().rpartition("\n")[2])
        reason = done.stderr.strip().rpartition("\n")[2] or f"ssh ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"it did not answer in {ASKED_S} s"
    except ValueError:
        reason = f"it said {done.stdout.strip()[:80]!r}"
    raise ConfigError(f"{host} cannot be asked what it has ({reason}): it needs {sys.executable}, "
                      f"{ROOT} and ssh without a password")


def say_what_there_is(hosts, by_host):
    """Refuse machines that differ; say how many cores the others have."""
    found = difference({"this machine": facts(), **by_host})
    if found:
        raise ConfigError(f"{found}: make them alike, or the weights of the ranks would drift "
                          "apart")
    for host, n in hosts.items():
        cores = by_host[host]["cores"]
        note = ": they will take turns" if n > cores else ""
        print(f"{host}: {n} of {sum(hosts.values())} ranks, {cores} cores{note}", flush=True)


# ---- start ----

def mpiexec():
    """Return the program that starts ranks: beside this Python, else where the shell finds it."""
    near = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    found = near or shutil.which("mpiexec")
    if not found:
        raise ConfigError("mpiexec is missing: install it with pip install mpi4py mpich (on "
                          "Windows impi-rt)")
    return found


def command(hosts, local, hostfile, words):
    """Return the command line that starts the ranks."""
    far = [] if local else ["-launcher", "ssh", "-launcher-exec", shutil.which("ssh") or "ssh",
                            "-f", hostfile]
    return [mpiexec(), *far, "-n", str(sum(hosts.values())), sys.executable, "-m", "mpi4py",
            "-m", "gpt", "train", *words]


def lines_of(hosts):
    return "".join(f"{host}:{n}\n" for host, n in hosts.items())


def dry_run(hosts, local, words):
    """Print what would be written, asked and started."""
    if not local:
        print(f"hosts.txt:\n{lines_of(hosts)}")
        for host in hosts:
            print(quoted(*SSH, host, question()))
    print(quoted(*command(hosts, local, "hosts.txt", words)))


def start(hosts, local, words):
    """Start the ranks, wait for their end, and return its status; Ctrl-C is theirs."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    with tempfile.TemporaryDirectory() as folder:
        hostfile = Path(folder) / "hosts.txt"
        hostfile.write_text(lines_of(hosts), encoding="utf-8")
        ranks = subprocess.Popen(command(hosts, local, str(hostfile), words), env=env)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return ranks.wait()


if __name__ == "__main__":
    main()

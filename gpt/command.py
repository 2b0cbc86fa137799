"""What all commands share: their flags, one sentence for an error, and Ctrl-C."""
import argparse
import errno
import os
import signal
import sys
from contextlib import contextmanager

from gpt.data.corpora import CorpusError
from gpt.settings import ConfigError, nearest
from gpt.training.checkpoint import CheckpointError
from gpt.training.divergence import Diverged
from minigrad.kernels import threads


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on stderr, status 2, with the nearest flag."""

    def error(self, message):
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)

    def parse_args(self, args=None):
        """Parse; `--a-b` is `--a_b`, and a flag that does not exist names the nearest one."""
        args = [dashes_to_underscores(arg) for arg in (sys.argv[1:] if args is None else args)]
        parsed, unknown = self.parse_known_args(args)
        for arg in unknown:
            if arg.startswith("-"):
                flags = [flag for action in self._actions for flag in action.option_strings]
                self.error(f"there is no flag {nearest(arg.split('=')[0], flags)}")
            self.error(f"what is {arg!r}? --help lists what can be said")
        return parsed


def dashes_to_underscores(arg):
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value if flag.startswith("--") else arg


# ---- how a command ends ----

@contextmanager
def report_errors(prog):
    """Tell the user's errors in one sentence and leave with status 2; 3 for a run that diverged."""
    try:
        threads.n_threads()                                 # a wrong number is told before all else
        yield
    except Diverged as error:
        fail(prog, error, status=3)
    except (ConfigError, CorpusError, CheckpointError, FloatingPointError,
            threads.ThreadsError) as error:
        fail(prog, error)
    except MemoryError:
        fail(prog, "the memory is full: use a smaller model or --batch_tokens")
    except BrokenPipeError:                           # the reader, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        fail(prog, "the disk is full: make room" if error.errno == errno.ENOSPC else error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def fail(prog, error, status=2):
    print(f"{prog}: {error}", file=sys.stderr)
    raise SystemExit(status) from None


@contextmanager
def interruptible():
    """Let Ctrl-C ask for a stop, which the loop finds in the list; a second one stops at once."""
    asked = []

    def ask(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nstopping after this step; Ctrl-C again to stop at once", file=sys.stderr)
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

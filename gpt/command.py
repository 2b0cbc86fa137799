"""What all commands share: their flags, one sentence for an error, and Ctrl-C."""
import errno
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from bpe import console
from gpt import command_name
from gpt.data.reading import CorpusError
from gpt.files import hub
from gpt.files.weights import FileError
from gpt.settings import ConfigError
from gpt.theirs import advise
from gpt.training.checkpoint import CheckpointError
from gpt.training.divergence import Diverged
from minigrad.kernels import by_numpy, threads


def make_parser(name, description):
    """Make the parser of a command, which leads from the flags of other projects to ours."""
    return console.Parser(prog=command_name(name), description=description, advise=advise)


def newest_run(root="runs"):
    """Return the folder of the run that was saved last."""
    saved = [*Path(root).glob("*/checkpoints/step-*.json")]
    if not saved:
        raise ConfigError(f"there is no run in {root}: train one, or name the folder of one")
    return max(saved, key=lambda path: path.stat().st_mtime_ns).parent.parent


def find_run(name, root="runs"):
    """Return the place of a model: the one named, for `last` the run that was saved last.

    A name such as org/model, where nothing called org is here, is fetched from the hub.

    Raises
    ------
    ConfigError
        For an empty name, `last` where there is no run, or what cannot be fetched.
    """
    if not name.strip():
        raise ConfigError("the name of a run is empty: name its folder, or say last")
    if hub.is_name(name) and not name.startswith(f"{root}/"):
        return from_hub(name)
    return newest_run(root) if name == "last" and not Path(name).exists() else Path(name)


def from_hub(name):
    """Say what comes, how large it is and under which licence; fetch it, and return its place."""
    try:
        offer = hub.look_up(name)
        print(f"from the hub: {offer}", file=sys.stderr, flush=True)
        return hub.fetch(offer)
    except FileError as error:
        raise ConfigError(str(error)) from error


def add_base(parser):
    """Add the flag that says where the base of a run of adapters is."""
    parser.add_argument("--base", help="where the model is that the adapters of the run stand "
                        "beside, if not where it was")


# ---- how a command ends ----

@contextmanager
def report_errors(prog):
    """Tell the user's errors in one sentence and leave with status 2; 3 for a run that diverged."""
    console.accept_any_encoding()
    try:
        threads.n_threads(), by_numpy.asked()               # what is wrong is told before all else
        yield
    except Diverged as error:
        fail(prog, error, status=3)
    except (ConfigError, CorpusError, CheckpointError, FloatingPointError,
            threads.ThreadsError, by_numpy.ProductError) as error:
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
    print(f"{prog}: {console.on_one_line(error)}", file=sys.stderr)
    raise SystemExit(status) from None


@contextmanager
def interruptible(saying="stopping after this step; Ctrl-C again to stop at once"):
    """Let Ctrl-C ask for a stop, which the loop finds in the list; a second one stops at once."""
    asked = []

    def ask(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print(f"\n{saying}", file=sys.stderr)
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

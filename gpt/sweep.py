"""Train with many settings, on one machine or on many: the same command on each.

    minigrad sweep book.txt --steps 2000 --learning_rate 0.001..0.1:log:9 --n_layer 2,4,6 --halve 3
    minigrad sweep book.txt --total_minutes 60 --minutes 5 --learning_rate 0.001..0.1:log
    minigrad sweep book.txt ... --storage postgresql://lab/sweeps --name plays
    minigrad sweep --show plays

Stopped or killed? The same command goes on. Runs are ordinary ones, in sweeps/NAME/runs.
"""
import math
import time
from argparse import SUPPRESS
from contextlib import closing
from itertools import islice
from pathlib import Path

from bpe.console import finite, whole
from bpe.files import write_text
from gpt.command import interruptible, make_parser, report_errors
from gpt.settings import ConfigError
from gpt.show.sweep_page import sweep_lines, sweep_page
from gpt.sweeping.draws import METHODS, check_method
from gpt.sweeping.halving import Halving
from gpt.sweeping.machine import Machine
from gpt.sweeping.ranking import ranking
from gpt.sweeping.space import FIELDS, Axis, grid, random, read_setting
from gpt.sweeping.table import Table
from gpt.training.config import PRESETS, TrainConfig, groups
from gpt.training.forecast import matmul_gflops
from gpt.training.recipes import choose_settings
from gpt.training.tasks import matched, task_named
from minigrad.kernels import threads

GRACE_S = 60
RUNGS = 4
EVALUATIONS = 4                    # of each rung of a run, where none are said


def parse(args):
    """Read the command line."""
    parser = make_parser("sweep", "Train with many settings, and say which are best.")
    add = parser.add_argument
    add("corpus", nargs="*", default=[], help="what to train on, as train takes it")
    add("--name", default="sweep", help="of the sweep: the same name goes on with it [sweep]")
    add("--folder", default="sweeps", help="where sweeps are kept [sweeps]")
    add("--storage", help="the database: postgresql://HOST/NAME for many machines [a file of "
        "SQLite in the folder of the sweep]")
    add("--show", metavar="NAME", help="show a sweep, and train nothing")
    add("--method", choices=METHODS, help="how settings are drawn [grid of lists, else random]")
    add("--trials", type=whole, default=0, help="how many; 0 for all of a grid, or as many as the "
        "time allows [0]")
    add("--draw_seed", type=whole, default=0, help="of what is drawn [0]")
    add("--total_minutes", type=finite, default=0.0, help="for this command; what is not done then "
        "goes on when it is said again")
    add("--total_flops", type=finite, default=0.0, help="for the whole sweep: no trial is begun "
        "behind it")
    add("--tokens", type=finite, default=0.0, help="of each run, instead of steps, where "
        "batch_tokens differs")
    add("--halve", type=whole, default=1, metavar="FACTOR", help="train one trial of FACTOR on "
        "from each rung to the next, FACTOR times as far")
    add("--rungs", type=whole, default=0, help="of halving [4]")
    add("--asynchronous", action="store_true", help="let trials rise before a rung is complete")
    add("--workers", type=whole, default=0, help="processes on this machine [one for each core]")
    add("--grace", type=finite, default=GRACE_S, help="seconds of silence after which a machine "
        f"is taken for dead [{GRACE_S}]")
    add("--preset", choices=PRESETS, default="fast", help="settings to begin with [fast]")
    for title, found in groups():
        group = parser.add_argument_group(title.rstrip("."))
        for f in found:
            group.add_argument(f"--{f.name}", default=SUPPRESS, metavar="VALUES",
                               help=f"{f.metadata['help']} [{f.default}]".replace("%", "%%"))
    args = parser.parse_args(args)
    for sentence in contradictions(args):
        parser.error(sentence)
    return parser, args


def contradictions(args):
    """Yield a sentence for everything that cannot be meant as it was said."""
    if args.show is not None and args.corpus:
        yield f"--show trains nothing: leave out {args.corpus[0]}"
    for name in ("trials", "total_minutes", "total_flops", "tokens", "workers", "draw_seed"):
        if getattr(args, name) < 0:
            yield f"{name} is {getattr(args, name):g}, but must be at least 0"
    if args.halve < 1:
        yield f"halve is {args.halve}, but must be at least 2, or 1 for none"
    if args.rungs and (args.rungs < 2 or args.halve < 2):
        yield f"rungs is {args.rungs}, but halving has 2 or more: say --halve 3, too"
    if args.grace <= 0:
        yield f"grace is {args.grace:g}, but must be above 0"
    name = args.show if args.show is not None else args.name
    if not name.strip() or name != Path(name).name:
        yield f"name is {name!r}, but must name a folder: say where with --folder"


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        if args.show is not None:
            return show(args)
        sweep(args)


def say(line):
    print(line, flush=True)


def show(args):
    """Say what is known of a sweep, and write its page."""
    folder = Path(args.folder) / args.show
    if not args.storage and not (folder / "sweep.db").exists():
        found = Path(args.folder).glob("*/sweep.db")
        known = ", ".join(path.parent.name for path in found)
        raise ConfigError(f"there is no sweep {args.show!r} in {args.folder}: "
                          + (f"choose {known}" if known else "begin one with minigrad sweep TEXT"))
    with closing(Table(storage_of(args, folder), args.show, say, create=False)) as table:
        tell(table, folder)


def sweep(args):
    """Begin a sweep or go on with one, until it is done or the time is over."""
    began = time.monotonic()
    spec = spec_of(args)
    folder = Path(args.folder) / args.name
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Table(storage_of(args, folder), args.name, say)) as table:
        work(table, spec, folder, args, began)


def work(table, spec, folder, args, began):
    """Do this machine's part of a sweep, and tell of it; return whether the sweep is over."""
    spec = table.agree(spec, settled)
    n_workers = args.workers or threads.most_threads()
    n_threads = max(1, threads.most_threads() // n_workers)
    stop_s = began + (60 * args.total_minutes or math.inf)
    say(f"sweep {args.name}: {n_workers} workers of {n_threads} threads, into {folder}")
    machine = Machine(table, spec, folder, n_workers, n_threads, args.grace, stop_s, say)
    with interruptible("stopping, every run is saved; Ctrl-C again to stop at once") as stop:
        try:
            over = machine.work(stop)
        finally:
            machine.close()
    tell(table, folder)
    if over and not ranking(table.jobs()):
        raise ConfigError("no trial could be trained: begin another sweep, with another --name")
    if not over:
        say("the sweep is not over: the same command goes on with it")
    if stop:
        raise SystemExit(130)
    return over


def tell(table, folder):
    """Say how the sweep stands, and write its page."""
    spec, jobs = table.spec(), table.jobs()
    for line in sweep_lines(spec, jobs, folder / "runs"):
        say(line)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "sweep.html"
    write_text(page, sweep_page(table.name, spec, jobs, folder / "runs"))
    say(f"look at: {page}")


def storage_of(args, folder):
    return args.storage or f"sqlite:///{folder / 'sweep.db'}"


# ---- what a sweep is ----

def spec_of(args):
    """Return what a sweep is, as JSON can hold it, from the command line."""
    if not args.corpus:
        raise ConfigError("there is no text: name files, folders or globs, or --show a sweep")
    if "-" in args.corpus:
        raise ConfigError("each run reads the text anew, which - cannot be: name a file")
    said = {name: vars(args)[name] for name in FIELDS if name in args}
    found = {name: read_setting(name, said[name]) for name in said}
    axes = {name: x for name, x in found.items() if isinstance(x, Axis)}
    given = {name: x for name, x in found.items() if name not in axes}
    lists = all(axis.values for axis in axes.values())
    method = args.method or ("grid" if lists and not args.trials else "random")
    ends = args.total_minutes or args.total_flops
    check_method(method, axes.values(), args.trials, ends)
    trials = count(method, axes.values(), args)
    check_length(args, found)
    n_rungs = (args.rungs or RUNGS) if args.halve > 1 else 1
    halving = Halving(args.halve, n_rungs, not args.asynchronous)
    if halving.n_rungs > 1 and halving.together and not trials:
        raise ConfigError("a rung is complete when all trials are in: say how many with --trials, "
                          "or let them rise before with --asynchronous")
    check_rungs(halving, found)
    return {"text": args.corpus, "preset": args.preset, "given": given,
            "axes": {name: said[name] for name in axes},
            "method": method, "trials": trials, "draw_seed": args.draw_seed,
            "tokens": int(args.tokens), "total_flops": args.total_flops,
            "halving": [*halving], "points": []}


def count(method, axes, args):
    """Return how many trials there are, no more than there are settings; 0 where that is open."""
    drawn = grid(axes) if method == "grid" else random(axes, args.draw_seed)
    if method != "grid" and not args.trials:
        return 0
    return len([*islice(drawn, args.trials or None)])


def check_length(args, found):
    """Refuse runs that have no length, or two; and rungs of runs that are as long as their time."""
    said = [name for name in ("steps", "minutes") if name in found]
    said += ["tokens"] if args.tokens else []
    for name in said:
        if name in found and least(found[name]) <= 0:
            raise ConfigError(f"{name} is {least(found[name]):g}, but must be above 0")
    if len(said) != 1:
        raise ConfigError("say how long each run is, once: --steps, --tokens or --minutes"
                          + (f", not {' and '.join(said)}" if said else ""))
    if args.halve > 1 and said == ["minutes"]:
        raise ConfigError("rungs are counted in steps, and --minutes have none: say --steps or "
                          "--tokens")


def check_rungs(halving, found):
    """Refuse a first rung of less than a step."""
    steps = least(found.get("steps", math.inf))
    if halving.share(0) * steps < 1:
        raise ConfigError(f"the first of {halving.n_rungs} rungs would have less than 1 of the "
                          f"{steps} steps: say more --steps, or fewer --rungs")


def least(found):
    """Return the least that a setting will be."""
    if isinstance(found, Axis):
        return min(found.values or (found.low,))
    return found


def settled(spec):
    """Complete what a sweep is with what all its runs are to have alike.

    Raises
    ------
    ConfigError, CorpusError
        If no run can be made of it.
    """
    given = dict(spec["given"])
    task = task_named(matched(given).get("task") or TrainConfig.task)
    binary = given.get("tokenizer") in ("byte", "bpe")
    corpus = task.corpus(spec["text"], binary=binary)
    peak_gflops = matmul_gflops()
    given.setdefault("evaluations", EVALUATIONS)
    if not given.get("base"):
        chosen = choose_settings(corpus, spec["preset"], given, peak_gflops).train
        given.setdefault("eval_tokens", chosen.eval_tokens)
        if "batch_tokens" not in spec["axes"]:
            given.setdefault("batch_tokens", chosen.batch_tokens)
    return spec | {"given": given, "peak_gflops": peak_gflops}


if __name__ == "__main__":
    main()

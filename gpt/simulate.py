"""Say what training on many ranks would cost, before anybody has them: time, traffic, memory.

    minigrad simulate gpt2 --ranks 1024 --network 100Gbit/s,5us --flops 1e14
    minigrad simulate --parameters 7.5e9 --ranks 64 --zero 3 --mixed --flops 1e14
    minigrad simulate last --ranks 8 --stages 4 --pipeline zero_bubble --html timeline.html
    minigrad simulate gpt2 --ranks 64 --straggler 3:1.5 --slow_link 7:1Gbit/s --mtbf 10000 --sweep

Each rank has a clock and plays its schedule; messages take latency, and bytes over bandwidth.
"""
from pathlib import Path
from typing import NamedTuple

from bpe.console import finite, whole
from bpe.files import write_text
from gpt.command import find_run, make_parser, report_errors
from gpt.laws.planning import matrices
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.show.timeline_page import Line, Told, duration_of, short, timeline_page
from gpt.training.clock import duration
from gpt.training.forecast import matmul_gflops
from gpt.training.parallel import costs
from gpt.training.parallel.costs import FLOAT32, MIXED, Network, read_network
from gpt.training.parallel.jobs import Job, Size, check, played
from gpt.training.parallel.schedules import SCHEDULES
from gpt.training.parallel.simulation import lost_to_failures, spent_s

# name -> parameters, layers, width, context; of Radford et al. 2019, Table 2, as released; Shoeybi
# et al. 2019, Table 1; Brown et al. 2020, Table 2.1; Touvron et al. 2023, Table 2.
KNOWN = {
    "gpt2": (124e6, 12, 768, 1024),
    "gpt2-medium": (355e6, 24, 1024, 1024),
    "gpt2-large": (774e6, 36, 1280, 1024),
    "gpt2-xl": (1558e6, 48, 1600, 1024),
    "megatron-8.3b": (8.3e9, 72, 3072, 1024),
    "gpt3": (175e9, 96, 12288, 2048),
    "llama-7b": (6.7e9, 32, 4096, 2048),
    "llama-65b": (65.2e9, 80, 8192, 2048)}
ASPECT = 128                       # width for each layer, where only parameters are named
CONTEXT = 1024
REACHED = 0.5                      # of the rate of matrix products, in training
GBIT_S = 1, 10, 100
MOST_RANKS = 4096
PAYS = 0.5                         # efficiency


def parse(args):
    """Read the command line."""
    parser = make_parser("simulate", "Say what training on many ranks would cost.")
    add = parser.add_argument
    add("model", nargs="?", help=f"a run (or last), a model, or {', '.join(KNOWN)} [gpt2]")
    add("--parameters", type=finite, help="of a net that there is not")
    add("--n_layer", type=whole, help=f"of it [so that it is {ASPECT} wide for each]")
    add("--d_model", type=whole, help="of it")
    add("--ranks", type=whole, help="processes [data x stages, or 8]")
    add("--data", type=whole, help="copies of the net [ranks / stages]")
    add("--stages", type=whole, default=1, help="into which each copy is cut [1]")
    add("--pipeline", choices=SCHEDULES, default="1f1b", help="their schedule [1f1b]")
    add("--micro_batches", type=whole, help="of a copy [4 x stages, 1 without]")
    add("--zero", type=whole, default=0, help="what copies share: 1 the optimizer's state, 2 "
        "gradients, too, 3 weights, too [0]")
    add("--overlap", action="store_true", help="let sums go on while gradients are computed")
    add("--serving_ns", type=finite, default=0.0, help="that a processor gives each byte which is "
        "sent while it computes [0]")
    add("--mixed", action="store_true", help="16 bits, with weights of 32 in the optimizer")
    add("--batch_tokens", type=whole, default=2 ** 19, help="of a step, all ranks [524288]")
    add("--network", default="10Gbit/s,20us", help="rate and latency [10Gbit/s,20us]")
    add("--flops", type=finite, default=0.0, help="a second that a rank reaches in training "
        f"[measured here: {REACHED:.0%} of what matrix products reach]".replace("%", "%%"))
    add("--straggler", default="", metavar="RANK:FACTOR,...", help="ranks that are slower")
    add("--slow_link", default="", metavar="RANK:RATE,...", help="ranks with other networks")
    add("--mtbf", type=finite, default=0.0, help="hours between failures of one rank")
    add("--checkpoint_s", type=finite, default=0.0, help="that a checkpoint takes [1 GB/s]")
    add("--restart_s", type=finite, default=60.0, help="from a failure to the next step [60]")
    add("--sweep", action="store_true", help="a table: ranks by networks")
    add("--html", metavar="PAGE.html", help="write the timeline of a step as a page")
    args = parser.parse_args(args)
    for sentence in contradictions(args):
        parser.error(sentence)
    return parser, args


def contradictions(args):
    """Yield a sentence for everything that cannot be meant as it was said."""
    for name in "flops", "mtbf", "checkpoint_s", "restart_s", "serving_ns":
        if getattr(args, name) < 0:
            yield f"{name} is {getattr(args, name):g}, but must be at least 0"
    for name in ("ranks", "data", "stages", "micro_batches", "batch_tokens", "n_layer", "d_model",
                 "parameters"):
        value = getattr(args, name)
        if value is not None and value < 1:
            yield f"{name} is {value:g}, but must be at least 1"
    if args.serving_ns and not args.overlap:
        yield "--serving_ns is of what is sent while a rank computes: add --overlap"
    if args.zero not in costs.ZERO:
        yield f"zero is {args.zero}, but there are stages 1, 2 and 3, and 0 for none"
    product = (args.data or 0) * args.stages
    if args.ranks and args.data and args.ranks != product:
        yield (f"ranks is {args.ranks}, but data {args.data} x stages {args.stages} makes "
               f"{product}: leave one of them out")
    if args.model and args.parameters:
        yield f"--parameters describes a net of its own, and {args.model} is one: name one of them"
    for name in "n_layer", "d_model":
        if getattr(args, name) and not args.parameters:
            yield f"--{name} describes a net of --parameters: say how many those are"
    if args.html is not None and not args.html.strip():
        yield "--html is '', but must name a page"


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        job = job_of(args)
        check(job)
        shown = played(job)
        numbers = told(shown)
        lines = [*said(job), ""]
        lines += [row(*each) for each in numbers]
        lines += of_failures(job, args)
        lines += of_data(job, args.sweep)
        print(*lines, sep="\n")
        if args.html:
            page = timeline_page([*lines_of(shown)], said(job), numbers)
            write_page(Path(args.html), page)
            print(f"look at: {args.html}")


def write_page(path, page):
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{str(path)!r} cannot be written: name a file in a folder that is there")
    write_text(path, page)


# ---- what is simulated ----

def job_of(args):
    """Return the job that a command line describes."""
    ranks = args.ranks or (args.data or 8) * args.stages
    usual = 4 * args.stages if args.stages > 1 else 1
    flops = args.flops or REACHED * 1e9 * matmul_gflops()
    rate = lambda text: read_network(text).bytes_s
    return Job(size_of(args), ranks, args.batch_tokens, flops, read_network(args.network),
               args.stages, args.pipeline, args.micro_batches or usual, args.zero, args.overlap,
               1e-9 * args.serving_ns, widths=MIXED if args.mixed else FLOAT32,
               stragglers=by_rank("straggler", args.straggler, factor),
               slow_links=by_rank("slow_link", args.slow_link, rate))


def size_of(args):
    """Return the net that is named."""
    if args.parameters:
        squares = args.parameters / 12                # a layer has 12 C^2
        n_layer = args.n_layer or max(1, round((squares / ASPECT ** 2) ** (1 / 3)))
        d_model = args.d_model or max(1, round((squares / n_layer) ** 0.5))
        return size("a net", args.parameters, n_layer, d_model, CONTEXT)
    name = args.model or "gpt2"
    if name in KNOWN and not Path(name).exists():
        return size(name, *KNOWN[name])
    model = open_model(find_run(name)).model
    n = sum(x.size for x in model.parameters())
    config = model.config
    weights = matrices(config) if hasattr(config, "n_head") else n
    return size(name, n, config.n_layer, config.d_model, config.context_length, weights)


def size(name, n, n_layer, d_model, T, weights=None):
    """Count the FLOPs of a token: 6 for each weight, 6 L T C for causal attention.

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, equation 2.2, three times for forward and backward.
    """
    scores = n_layer * T * d_model
    return Size(name, n, n_layer, d_model, 6 * (weights or n) + 6 * scores)


def by_rank(name, text, read):
    """Read `1:1.5,7:2` as a dict from ranks."""
    found = {}
    for part in filter(None, text.split(",")):
        rank, colon, value = part.partition(":")
        if not colon or not rank.isdecimal():
            raise ConfigError(f"{name} is {text!r}, but must name ranks, as in 1:...,7:...")
        found[int(rank)] = read(value)
    return found


def factor(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"straggler is {text!r} times as slow, but must be a number above 0")
    return value


# ---- what is said ----

def seconds(x):
    return duration_of(x) if x < 60 else duration(x)


def said(job):
    """Say what is simulated, in three lines."""
    size, zero = job.size, f", ZeRO {job.zero}" if job.zero else ""
    cut = f" in {job.stages} stages, {job.pipeline}" if job.stages > 1 else ""
    copies = "1 copy" if job.copies == 1 else f"{job.copies:,} copies"
    return (f"{size.name}: {short(size.parameters, ' parameters')}, {size.n_layer} layers x "
            f"{size.d_model:,}, {short(size.flops_per_token, 'FLOP')} a token",
            f"{job.ranks:,} ranks of {short(job.flops, 'FLOP/s')}, "
            f"{short(8 * job.network.bytes_s, 'bit/s')}, {1e6 * job.network.latency_s:g} us: "
            f"{copies}{cut}{zero}",
            f"{job.batch_tokens:,} tokens a step: {counted(job.micro_batches, 'micro-batch')} of "
            f"{job.micro_tokens:,.0f} a copy")


def told(shown):
    """Return what is said of a step, each number beside that of the formula."""
    job, (states, activations) = shown.job, shown.memory_bytes
    players = shown.players.values()
    computed_s = max(spent_s(player.events, "compute") for player in players)
    kept = costs.activations_alive(job.pipeline, job.stages, job.micro_batches, 0)
    return [
        Told("step", seconds(shown.step_s), f"{seconds(job.needed_s)} where nobody waits; the "
             f"slowest rank computes {seconds(computed_s)}"),
        Told("tokens/s", f"{shown.tokens_s:,.0f}", f"{shown.efficiency:.1%} of "
             f"{job.batch_tokens / job.needed_s:,.0f}, where nobody waits"),
        Told("bubble" if job.stages > 1 else "idle", f"{shown.bubble:.1%}",
             f"{bubble_of(job):.1%} without stragglers and delays"),
        Told("sent", short(shown.sent_bytes), f"{short(traffic_of(job))} by a rank in a step"),
        Told("memory", short(states + activations), f"{short(states)} weights, gradients, "
             f"moments; {short(activations)} activations of {counted(kept, 'micro-batch')}")]


def lines_of(shown):
    """Yield a line for each rank that was played; of those alike there is one."""
    for rank, player in shown.players.items():
        alike = shown.alike[rank] - 1
        name = f"rank {rank}" + (f", {alike:,} alike" if alike else "")
        yield Line(name, player.events, player.sent_bytes)


def row(name, value, more):
    return f"{name:<12}{value:<13}{more}"


def counted(n, name):
    return f"{n:,} {name}" + ("es" if n > 1 else "")


def bubble_of(job):
    return costs.bubble(job.pipeline, job.stages, job.micro_batches)


def traffic_of(job):
    """Return what a middle stage sends by the formulas, to its copies and its neighbours."""
    middle = min(1, job.stages - 1)
    borders = costs.border_traffic(job.message_bytes(), job.micro_batches, middle, job.stages)
    copies = costs.step_traffic(job.psi, job.copies, job.zero, job.widths.gradient,
                                job.micro_batches)
    return borders + copies


def of_failures(job, args):
    """Yield what is said of checkpoints, if it is known how often a rank fails."""
    cost_s = args.checkpoint_s or job.widths.kept * job.size.parameters / 1e9
    if not args.mtbf:
        return
    mtbf_s = 3600 * args.mtbf / job.ranks
    best_s = costs.best_interval(cost_s, mtbf_s)
    lost = costs.lost_share(best_s, cost_s, mtbf_s, args.restart_s)
    seen = lost_to_failures(best_s, cost_s, mtbf_s, args.restart_s)
    yield row("checkpoint", seconds(cost_s), f"best every {seconds(best_s)}")
    yield row("lost", f"{seen:.1%}", f"{lost:.1%} to first order, with a failure every "
              f"{seconds(mtbf_s)}")


# ---- where data parallelism stops paying ----

class Paid(NamedTuple):
    """What a number of copies brings on one network."""

    copies: int
    tokens_s: float
    efficiency: float


def sweep(job, gbit_s):
    """Yield what 1, 2, 4, ... copies bring, on a network of this rate."""
    network = Network(gbit_s * 1e9 / 8, job.network.latency_s)
    alike = job._replace(network=network, stragglers={}, slow_links={})
    copies = 1
    while copies * job.stages <= MOST_RANKS:
        each = alike._replace(ranks=copies * job.stages)
        if each.micro_tokens < 1:
            return
        shown = played(each)
        yield Paid(copies, shown.tokens_s, shown.efficiency)
        copies *= 2


def of_data(job, as_table):
    """Yield up to how many copies pay on each network, and a table if it is wanted."""
    found = {gbit_s: [*sweep(job, gbit_s)] for gbit_s in GBIT_S}
    if as_table:
        yield ""
        yield "copies" + "".join(f"{f'{gbit_s} Gbit/s: tokens/s':>24}{'used':>6}"
                                 for gbit_s in GBIT_S)
        for rows in zip(*found.values()):
            yield f"{rows[0].copies:>6,}" + "".join(
                f"{paid.tokens_s:>24,.0f}{paid.efficiency:>6.0%}" for paid in rows)
        yield ""
    ends = [f"{last_that_pays(rows):,} at {gbit_s}" for gbit_s, rows in found.items()]
    yield row("pays", "up to copies", f"{', '.join(ends)} Gbit/s: each brings {PAYS:.0%} "
              "of one alone")


def last_that_pays(rows):
    enough = PAYS * rows[0].efficiency
    return max(paid.copies for paid in rows if paid.efficiency >= enough)


if __name__ == "__main__":
    main()

"""The page of a step that ranks have noted: what each did, and numbers beside the formulas."""
from collections import Counter

from bpe.files import write_text
from gpt.show.timeline_page import (
    Line, Told, covered_s, duration_of, short, timeline_page, times_of)
from gpt.training.parallel import costs
from gpt.training.parallel.schedules import SCHEDULES, Pass, Timed, bubble_share, foreseen


def write_timeline(run, folder, ranks):
    """Write the page, and say where it is.

    Parameters
    ----------
    run : Run
        With its `way`, behind the step.
    folder : Path
    ranks : list of Noted
    """
    lines = [Line(f"rank {i} on {rank.host}", rank.events, rank.sent_bytes)
             for i, rank in enumerate(ranks)]
    path = folder / f"timeline_{run.step}.html"
    about = [f"{folder.name}, step {run.step}: {len(ranks)} ranks", *run.way.described()]
    write_text(path, timeline_page(lines, about, told_of(run, ranks)))
    return f"what every rank did in step {run.step}: {path}"


def told_of(run, ranks):
    """Return what was found in a step, each number beside that of the formula."""
    step_s = max(rank.step_s for rank in ranks)
    busy_s = [covered_s(times_of(rank.events, "compute")) for rank in ranks]
    used = sum(busy_s) / step_s / len(ranks)
    tokens_s = run.config.train.batch_tokens / step_s
    sent = max(rank.sent_bytes for rank in ranks)
    memory = max(rank.memory_bytes for rank in ranks)
    return [Told("step", duration_of(step_s), f"{duration_of(max(busy_s))} the slowest computes"),
            Told("tokens/s", f"{tokens_s:,.0f}", f"efficiency {used:.1%}: so much is computed"),
            *bubble_told(run.way, ranks),
            Told("sent", short(sent), sent_formula(run)),
            Told("memory", short(memory), "of the process, with activations and the interpreter; "
                 f"{short(kept_formula(run))} for weights, gradients and two moments")]


def bubble_told(way, ranks):
    """Yield the bubble of a pipeline, from its first pass to its last: that of the first copy."""
    if not hasattr(way, "n_stages"):
        return
    p = way.n_stages
    timeline = [each for stage, rank in enumerate(ranks[:p]) for each in passes_of(rank, stage)]
    formula = costs.bubble(way.schedule, p, len(way.parts))
    expected = foreseen(timeline, SCHEDULES[way.schedule], p)
    yield Told("bubble", f"{bubble_share(timeline, p):.1%}", f"{expected:.1%} by the mean passes "
               f"of each stage, {formula:.1%} were they as long on all")


def passes_of(rank, stage):
    """Yield the passes that a rank noted: Timed."""
    for kind, name, began, ended in rank.events:
        what, _, i = name.rpartition(" ")
        if kind == "compute" and what:
            yield Timed(Pass(stage, int(i), what), began, ended)


def sent_formula(run):
    """Say what a rank sends in a step by the formula."""
    way, psi = run.way, sum(x.size for x in run.trained)
    if hasattr(way, "n_stages"):
        most = max(way.traffic(stage) for stage in range(way.n_stages))
        return f"{short(most)} by a rank of the stage that sends most"
    zero = getattr(way, "stage", 0)
    sent = short(costs.step_traffic(psi, way.world.size, zero, shards=shards_of(way)))
    return f"{sent} by a rank in a step" + (", if all were gathered twice" if zero == 3 else "")


def shards_of(way):
    """Return how many ranks share out a copy."""
    return way.near.size if hasattr(way, "near") else way.world.size


def kept_formula(run):
    """Return what weights, gradients and moments take on a rank by the formula."""
    way = run.way
    if hasattr(way, "n_stages"):
        return costs.state_bytes(max(psi_of_stages(way).values()))
    psi = sum(x.size for x in run.model.parameters())
    return costs.state_bytes(psi, shards_of(way), getattr(way, "stage", 0))


def psi_of_stages(way):
    """Return how many parameters each stage has: {stage: n}."""
    sizes = Counter()
    for x, stage in way.owner.items():
        sizes[stage] += x.size
    return sizes

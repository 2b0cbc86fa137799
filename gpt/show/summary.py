"""What is told of a run before and while it goes on."""
import math
import sys
import time

from gpt import quoted
from gpt.models.nets import described
from gpt.training.clock import duration
from gpt.training.folder import disk_bytes, free_disk_bytes, machine

SAMPLE_TOKENS = 80


def beginning(names, corpus, config):
    """Return what the manifest holds from the start."""
    return {"command": quoted(sys.executable, *sys.orig_argv[1:]), "text": list(names),
            "corpus": corpus.source, "corpus_name": corpus.name,
            "corpus_sha256": corpus.fingerprint(), "same_everywhere": corpus.same_everywhere,
            "corpus_bytes": corpus.size_bytes, "machine": machine(), "config": config.to_dict()}


def announce(say, run, cost, rates, folder):
    """Say what will be done, before it is."""
    config, data = run.config, run.data
    m, t, rounds = config.model, config.train, run.precision != "float32"
    batch, left = t.batch_tokens, run.plan.steps - run.step
    tokens_s = batch / rates.step_s
    free = "" if cost.free_bytes is None else f" of {cost.free_bytes / 1e9:.1f} GB free"
    learnt = "" if cost.n_learnt == cost.n_parameters else f" ({cost.n_learnt:,} learn)"
    say(data.described(config.data.tokenizer))
    say(f"model: {', '.join(features(config))}; {cost.n_parameters:,} parameters"
        f"{learnt}, {cost.flops_per_token / 1e6:.1f} MFLOP a token")
    say(f"speed: {tokens_s:,.0f} tokens/s measured, "
        f"{cost.flops_per_token * tokens_s / cost.peak_gflops / 1e9:.0%} of the matmul peak of "
        f"{cost.peak_gflops:.0f} GFLOP/s{' in float32' * rounds}")
    if rounds:
        say(f"precision: {run.precision} in large products, which are added up in float32; "
            "--precision float32 for none")
    for words in (rates.threads, *run.way.described()):
        say(words)
    for words in rates.slow:
        say(f"slow: {words}")
    say(f"memory: {cost.memory_bytes / 1e6:,.0f} MB at most{free}")
    say(f"disk: {disk_bytes(run) / 1e6:,.0f} MB at most of {free_disk_bytes(folder) / 1e9:.1f} GB "
        "free")
    say(f"plan: steps {run.step:,} to {run.plan.steps:,} of {batch:,} tokens, "
        f"{left * batch / data.pass_tokens(m.context_length):.1f} times the text, about "
        f"{duration(left * rates.step_s)}; into {folder}")
    for source in data.sources:
        n, drawn = source.stop - source.first, source.weight * left * batch
        say(f"source: {source.name}, {source.weight:.0%} of the windows; {n:,} tokens, "
            f"{drawn / n:.1f} times")


def features(config):
    """Describe a model in a few words each."""
    first = config.train.net == type(config.train).net
    name = config.preset if first else config.train.net
    name = f"from {config.train.base}" if config.train.base else name
    decay = config.train.weight_decay
    return [name, *described(config.model), *[f"weight decay {decay:g}"] * (decay > 0)]


def sample(run, max_tokens=SAMPLE_TOKENS, seed=None, seconds=math.inf):
    """Let the model show what it can; the same step shows the same, if there is time."""
    seed, stop = run.step if seed is None else seed, time.monotonic() + seconds
    text = ""
    pieces = run.task.show(run.model, run.data, seed, max_tokens)
    for piece in pieces:
        text += piece
        if time.monotonic() > stop:
            break
    return text

"""What is told before and after a run, and written into its manifest."""
import math
import shlex
import sys

from gpt import called
from gpt.data.corpora import story_floor
from gpt.models.sampling import Sampling, write
from gpt.training import checkpoint
from gpt.training.baselines import baselines, longest_copied_span
from gpt.training.clock import baselines_s, duration, evaluation_s
from gpt.training.folder import machine, read_manifest, write_manifest
from gpt.training.memory import peak_bytes
from gpt.training.run import below
from gpt.training.tasks import read
from minigrad.kernels.memory import trim

SAMPLE_TOKENS = 80
COPY_FROM = 16 << 20               # bytes of the training text that samples are compared with


def beginning(names, corpus, config):
    """Return what the manifest holds from the start."""
    command = shlex.join(["python", "train.py", *sys.argv[1:]])
    return {"command": command, "text": list(names),
            "corpus": corpus.source, "corpus_name": corpus.name,
            "corpus_sha256": corpus.fingerprint(), "same_everywhere": corpus.same_everywhere,
            "corpus_bytes": corpus.size_bytes, "machine": machine(), "config": config.to_dict()}


def announce(say, run, cost, rates, folder):
    """Say what will be done, before it is."""
    config, data = run.config, run.data
    m, t = config.model, config.train
    batch, left = t.batch_tokens, run.plan.steps - run.step
    tokens_s = batch / rates.step_s
    free = "" if cost.free_bytes is None else f" of {cost.free_bytes / 1e9:.1f} GB free"
    say(f"tokens: {len(data.train):,} to learn, {len(data.val):,} to validate on; "
        f"{config.data.tokenizer}, "
        f"{m.vocab_size:,} kinds, {data.bytes_per_token(data.val):.2f} bytes each")
    say(f"model: {', '.join(features(config))}; {cost.n_parameters:,} parameters, "
        f"{cost.flops_per_token / 1e6:.1f} MFLOP a token")
    say(f"speed: {tokens_s:,.0f} tokens/s measured, "
        f"{cost.flops_per_token * tokens_s / cost.peak_gflops / 1e9:.0%} of the matmul peak of "
        f"{cost.peak_gflops:.0f} GFLOP/s")
    for words in rates.slow:
        say(f"slow: {words}")
    say(f"memory: {cost.memory_bytes / 1e6:,.0f} MB at most{free}")
    say(f"plan: steps {run.step:,} to {run.plan.steps:,} of {batch:,} tokens, "
        f"{left * batch / len(data.train):.1f} times the text, about "
        f"{duration(left * rates.step_s)}; into {folder}")


# What is said of a model, where its settings have it and it is not nothing.
FEATURES = {"n_layer": "{:d} layers", "n_head": "{:d} heads", "d_model": "{:d} wide",
            "context_length": "context {:d}", "ngram_rows": "tables of {:,} rows",
            "dropout": "dropout {:g}", "weight_decay": "weight decay {:g}"}

def features(config):
    """Describe the net of a config in a few words each."""
    decoder = config.train.net == type(config).train.net
    settings = vars(config.train) | vars(config.model)
    yield config.preset if decoder else config.train.net
    for name, words in FEATURES.items():
        if settings.get(name):
            yield words.format(settings[name])


def sample(run, max_tokens=SAMPLE_TOKENS, seed=None):
    """Let the model write, from a line break; the same step writes the same."""
    seed = run.step if seed is None else seed
    pieces = write(run.model, run.data.tokenizer, "", Sampling(), seed, max_tokens)
    return "".join(pieces)


def summarize(run, folder, say, rates):
    """Evaluate for as long as there is time, sample, put the result beside simpler means."""
    best = use_best(run, folder)
    found = read(run.measures(), seconds=evaluation_s(run, rates))
    samples = [sample(run, 4 * SAMPLE_TOKENS, seed) for seed in range(2)]
    data = run.data
    known = data.text(data.train[:COPY_FROM])
    spans = [longest_copied_span(text.encode(), known) for text in samples]
    copied = max(spans, key=len).decode("utf-8", "replace")
    manifest = read_manifest(folder)
    simpler = manifest.get("baselines") or simpler_means(run)
    bits = math.log2(run.config.model.vocab_size)
    tokens_only = bits / data.bytes_per_token(data.val)
    say("")
    say(samples[0].strip("\n"))
    say("")
    say(f"validation{best}: {found.bits_per_byte:.3f} bits/byte, {found.nats_per_token:.3f} "
        f"nats/token, perplexity {found.perplexity:.1f}, over {found.n_targets:,} tokens held out")
    beside = simpler | {"equally likely tokens": tokens_only}
    words = [f"{name} {bits:.2f}" for name, bits in beside.items()]
    say("beside it, in bits/byte: " + ", ".join(words))
    floor = None
    if manifest.get("corpus_name") == "stories":
        floor = story_floor(data.text(data.val))
        say(f"no model can stay below {floor:.4f} bits/byte on this text")
    say(f"copied: the longest piece of the samples that stands in the training text has "
        f"{max(map(len, spans))} bytes: {copied!r}")
    say(f"memory: {peak_bytes() / 1e6:,.0f} MB at most, {manifest['forecast_bytes'] / 1e6:,.0f} MB "
        "said before")
    if not manifest.get("same_everywhere", True):
        say("this text differs between machines: compare the loss with nobody else's")
    say(f"write with: {called('generate')} {folder}      look at: {folder}/report.html")
    result = {"steps": run.step, "best_step": run.best_step,
              "bits_per_byte": found.bits_per_byte, "nats_per_token": found.nats_per_token,
              "perplexity": found.perplexity, "n_tokens": found.n_targets,
              "floor_bits_per_byte": floor, "copied": copied, "peak_bytes": peak_bytes(),
              "samples": samples, "equally_likely_tokens": tokens_only}
    write_manifest(folder, result=result, baselines=simpler, plan=str(run.plan),
                   repeat=repeat_command(run, manifest), config=run.config.to_dict())


def simpler_means(run):
    """Measure what simpler means reach on the same text, in the memory that training leaves."""
    trim()
    data = run.data
    return baselines(data.text(data.train), data.text(data.val), baselines_s(run))


def use_best(run, folder):
    """Take the weights of the best validation loss, if they are not the last ones."""
    if run.best_step in (0, run.step):
        return ""
    tensors, _ = checkpoint.load(folder / "checkpoints", run.best_step)
    run.model.load_state_dict(below(tensors, "model"))
    return f" (of step {run.best_step}, the best)"


def repeat_command(run, manifest):
    """Return the command that makes the same weights again."""
    config, flags = run.config, []
    settings = vars(config.model) | vars(config.data) | vars(config.train)
    for name, value in settings.items():
        if name in ("vocab_size", "minutes", "plan", "steps"):
            continue
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no_{name}")
        else:
            flags += [f"--{name}", str(value)]
    end = "--steps", str(run.plan.steps), "--plan", str(run.plan)
    return shlex.join(["python", "train.py", *manifest.get("text", []), *flags, *end])

"""Tokens a second: against PyTorch, llama.cpp, the memory, and late in a text.

    python benchmarks/decoding.py streams      10 M parameters, 1, 8 and 32 at once, against PyTorch
                                               (eager, and for one compiled with a static cache)
    python benchmarks/decoding.py published    SmolLM2 in blocks against its numbers and llama.cpp:
                                               a token, a token behind 2,000, a prompt of 512
    python benchmarks/decoding.py busy         SmolLM2 beside one process that computes without end
    python benchmarks/decoding.py memory       GPT-2 small against reading an array of its size
    python benchmarks/decoding.py rounded      GPT-2 small as float32 and as --quantize q8
    python benchmarks/decoding.py start        seconds to the first token of `minigrad generate`,
                                               of a run's folder and of SmolLM2
    python benchmarks/decoding.py accuracy     SmolLM2 in blocks, a token at a time and at once, and
                                               as --quantize q8, against its numbers: KL, perplexity

Each side is a process of its own. They take turns; a ratio is the median of the rounds', of one
thread in seconds of the processor, of more (--threads 1,2) by the clock. SmolLM2 comes from the
folder that MINIGRAD_MODELS names, node-llama-cpp from the one that MINIGRAD_LLAMA names. Needs the
`bench` extra for PyTorch, which runs nanoGPT's model (nanogpt.py).
"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.dirname(HERE), HERE]

# ruff: noqa: E402
import processes  # (sets how threads wait, before a library that has them is loaded)
from processes import ROUNDS, Side, compared, pytorch, serve

import functools
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from results import THREADS, verdict

SIZE = dict(n_layer=6, n_head=6, d_model=384, context_length=256)          # 10 M parameters
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
PYTHON = sys.executable, __file__
QUESTION = "The capital of France is"


def side(name, env=None):
    return Side(*PYTHON, "--side", name, env=env)


# ---- 10 M parameters ----

def ours_of(streams, n=60):
    """Greedy tokens of a net of random weights, from the start of each answer on."""
    from gpt.models.sampling import Sampling, generate
    model, B = net(vocab_size=65, bias=False, **SIZE), int(streams)
    prompts = np.ones((B, 1), np.int64)

    def take():
        stream = generate(model, prompts, Sampling(temperature=0))
        for _ in range(n):
            next(stream)
    return take, n * B


def net(preset="gpt2", **settings):
    from gpt.models.decoder import GPT
    from gpt.training.config import Config
    return GPT(Config.make(preset, **settings).model, np.random.default_rng(0))


def eager_of(streams, n=60):
    """The same by PyTorch: scaled_dot_product_attention over a view of a static cache."""
    import torch
    from nanogpt import NanoGPT
    model, B = NanoGPT(65, **SIZE).eval(), int(streams)
    shape = B, SIZE["n_head"], SIZE["context_length"], SIZE["d_model"] // SIZE["n_head"]

    @torch.inference_mode()
    def take():
        caches = [{"n": 0, "k": torch.zeros(shape), "v": torch.zeros(shape)} for _ in model.blocks]
        ids = torch.ones((B, 1), dtype=torch.long)
        for i in range(n):
            ids = model(ids, caches=caches, start=i).argmax(-1, keepdim=True)
            ids.tolist()
    return take, n * B


def compiled_of(streams, n=60):
    """The same by torch.compile, with constant weights: one graph for a token at any place."""
    import torch
    import torch._inductor.config
    import torch.nn.functional as F
    from nanogpt import NanoGPT
    torch._inductor.config.freezing = True
    model, H, T = NanoGPT(65, **SIZE).eval(), SIZE["n_head"], SIZE["context_length"]
    B, C = int(streams), SIZE["d_model"]
    k, v = torch.zeros(2, len(model.blocks), B, H, T, C // H)
    places = torch.arange(T)

    def step(ids, place):                                  # (B, 1), (1,)
        x = model.tokens(ids) + model.places(place)
        seen = (places <= place)[None, None, None]         # (1, 1, 1, T)
        for i, block in enumerate(model.blocks):
            q, new_k, new_v = (part.view(B, 1, H, C // H).transpose(1, 2)
                               for part in block.qkv(block.norm1(x)).split(C, dim=2))
            k[i].index_copy_(2, place, new_k)
            v[i].index_copy_(2, place, new_v)
            y = F.scaled_dot_product_attention(q, k[i], v[i], attn_mask=seen)
            x = x + block.out(y.transpose(1, 2).reshape(B, 1, C))
            x = x + block.down(F.gelu(block.up(block.norm2(x))))
        scores = model.norm(x)[:, -1] @ model.tokens.weight.T
        return scores.argmax(-1, keepdim=True)
    compiled = torch.compile(step, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def take():
        ids = torch.ones((B, 1), dtype=torch.long)
        for i in range(n):
            ids = compiled(ids, places[i:i + 1])
            ids.tolist()
    return take, n * B


def streams():
    env = pytorch()
    ours, eager = side("ours"), side("eager", env)
    for B, target in (("1", 2.0), ("8", 2.0), ("32", 1.5)):
        name = "generation" if B == "1" else f"generation-of-{B}"
        compared(name, "PyTorch", target, (ours, B), (eager, B))
    compared("generation-against-compiled", "torch.compile", 2.0, (ours, "1"),
             (side("compiled", env), "1"))


# ---- SmolLM2 ----

def published_file():
    folder = os.environ.get("MINIGRAD_MODELS", "")
    found = sorted(Path(folder).rglob(NAME)) if folder else []
    if not found:
        raise SystemExit(f"MINIGRAD_MODELS names no folder with {NAME}")
    return found[0]


def smol(as_stored, n=32):
    """What is asked of SmolLM2: tokens behind a question, tokens behind 2,000, a prompt."""
    from gpt.models.published import read_gguf
    from gpt.models.sampling import NextScores
    model = read_gguf(published_file(), as_stored=as_stored)[0]
    ids = np.random.default_rng(0).integers(20, 40_000, (1, 2000))

    def made(what):
        if what == "prompt":
            return lambda: NextScores(model, 1)(ids[:, :512]), 512
        return taker(model, ids if what == "late" else ids[:, :6], n), n
    return made


def taker(model, ids, n):
    """Return what makes n tokens more behind ids, (1, T), always the same ones."""
    from gpt.models.sampling import NextScores
    scores = NextScores(model, 1)
    scores(ids)
    state, place = scores.state, scores.state.place.copy()

    def take():
        state.place[:] = place
        for i in range(n):
            scores(ids[:, i % ids.shape[1]][:, None])
    for _ in range(2):
        take()                                     # from then on it is replayed
    return take


def llama():
    folder = os.environ.get("MINIGRAD_LLAMA", "")
    if not (Path(folder) / "node_modules" / "node-llama-cpp").is_dir():
        raise SystemExit("MINIGRAD_LLAMA names no folder with node_modules/node-llama-cpp")
    script = Path(HERE) / "llama.mjs"
    return Side("node", script, published_file(), THREADS, cwd=folder)


def published():
    blocks, numbers, theirs = side("blocks"), side("numbers"), llama()
    compared("prompt-against-llama.cpp", "llama.cpp", 1.5, (blocks, "prompt"), (theirs, "prompt"),
             rounds=5, warm=1)
    compared("token-against-llama.cpp", "llama.cpp", 1.4, (blocks, "token"), (theirs, "token"))
    compared("rate-behind-2000-tokens", "behind a few", 0.7, (blocks, "late"), (blocks, "token"))
    compared("blocks-by-numbers", "numbers", 2.5, (blocks, "token"), (numbers, "token"))


def busy(seconds=30):
    """Compare the rate by the clock beside a busy process with the quiet one."""
    blocks = side("blocks")
    quiet = [blocks.take("token")[0] for _ in range(ROUNDS)]
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        began, beside = time.perf_counter(), []
        while time.perf_counter() - began < seconds:
            beside.append(blocks.take("token")[0])
    finally:
        neighbour.kill()
    quiet, beside = statistics.median(quiet), statistics.median(beside)
    print(f"quiet {1 / quiet:.1f} tokens/s, beside a busy process {1 / beside:.1f}")
    verdict("rate-beside-a-busy-process", quiet / beside, 0.5)


# ---- GPT-2 small ----

def gpt2_small(what, rounded=False, n=8):
    """What is asked of random weights of its shapes: tokens, and to read an array as large."""
    from gpt.models.quantising import hold, quantised_matrices
    from minigrad.kernels.quantised import product
    model = net(vocab_size=50_257, n_layer=12, n_head=12, d_model=768, context_length=64)
    n_bytes = 4 * sum(x.size for x in model.parameters())
    if rounded:
        hold(model, quantised_matrices(model, "Q8_0"))
    array = np.ones((n_bytes // 8192, 2048), np.float32)
    row = np.ones((1, 2048), np.float32)
    if what == "array":
        return lambda: product(row, array), 1
    return taker(model, np.ones((1, 4), np.int64), n), n


def memory():
    whole = side("gpt2-small")
    compared("gpt2-small-by-memory", "an array", 0.8, (whole, "token"), (whole, "array"))


def rounded():
    compared("int8-by-float32", "float32", 2.5, (side("gpt2-small-q8"), "token"),
             (side("gpt2-small"), "token"))


def start():
    from bpe_texts import sources
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(sources(500_000), encoding="utf-8")
        command("train", text, "--steps", "20", "--runs", folder, "--name", "plain")
        first_token("seconds-to-first-token-of-a-run", Path(folder) / "plain")
    first_token("seconds-to-first-token", published_file())


def first_token(name, model, rounds=5):
    """Time the whole command, kernels cached, up to its first token and its end."""
    taken = []
    for _ in range(1 + rounds):
        wall, cpu = time.perf_counter(), os.times()
        command("generate", model, QUESTION, "--max_tokens", "1")
        used = sum(os.times()[2:4]) - sum(cpu[2:4])            # of processes that have ended
        taken.append((time.perf_counter() - wall, used))
    by_clock, by_cpu = (statistics.median(x) for x in zip(*taken[1:]))
    print(f"{by_clock:.2f} s by the clock, {by_cpu:.2f} of the processor; {taken[0][0]:.2f} s the "
          "first time")
    verdict(name, by_cpu if THREADS == "1" else by_clock, 2.0, at_most=True)


def command(*words):
    subprocess.run([sys.executable, "-m", "gpt", *map(str, words)], check=True,
                   capture_output=True, cwd=os.path.dirname(HERE))


# ---- what rounding costs ----

def accuracy(n=800):
    """Read n tokens one by one, keys and values as they are kept, and at once, as a prompt is."""
    from bpe_texts import english
    from gpt.models.published import read_gguf
    from gpt.models.quantising import hold, quantised_matrices
    from gpt.opening import open_model
    stored = open_model(str(published_file()))
    ids = stored.tokenizer.encode_array(english(8 * n))[:n + 1].astype(np.int64)
    numbers = read_gguf(published_file(), as_stored=False)[0]
    expected = log_probabilities(numbers, ids)
    hold(numbers, quantised_matrices(numbers, "Q8_0"))
    for name, model, read in (("blocks", stored.model, log_probabilities),
                              ("blocks-at-once", stored.model, at_once),
                              ("int8", numbers, log_probabilities)):
        found = read(model, ids)
        kl = (np.exp(expected) * (expected - found)).sum(axis=1)
        nats = (expected - found)[np.arange(n), ids[1:]]
        verdict(f"kl-of-{name}", kl.mean(dtype=np.float64), 0.01, at_most=True)
        worse = np.exp(nats.mean(dtype=np.float64))
        verdict(f"perplexity-of-{name}", worse, 1.005, at_most=True)


def log_probabilities(model, ids):
    """Return those of what follows each token but the last: (T - 1, V)."""
    from gpt.models.sampling import NextScores
    scores = NextScores(model, 1)
    rows = np.concatenate([scores(ids[None, i:i + 1]) for i in range(len(ids) - 1)])
    rows -= rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def at_once(model, ids):
    """Return the same of tokens that are read at once."""
    from gpt.batch import Batch
    from minigrad import linear, log_softmax, no_grad, use
    with no_grad(), use(precision="int8"):
        x = model.stream(Batch(ids[None, :-1]))
        return log_softmax(linear(x, model.head).data[0])


WHAT = {"streams": streams, "published": published, "busy": busy, "memory": memory,
        "rounded": rounded, "start": start, "accuracy": accuracy}
SIDES = {"ours": lambda: ours_of, "eager": lambda: eager_of, "compiled": lambda: compiled_of,
         "blocks": lambda: smol(True), "numbers": lambda: smol(False),
         "gpt2-small": lambda: gpt2_small,
         "gpt2-small-q8": lambda: functools.partial(gpt2_small, rounded=True)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        serve(SIDES[sys.argv[2]]())
        raise SystemExit
    what, *rest = sys.argv[1:] or [""]
    if what not in WHAT or rest and (rest[0] != "--threads" or len(rest) != 2):
        print(__doc__, file=sys.stderr)
        raise SystemExit(2)
    if not THREADS:
        raise SystemExit(processes.run_each(rest[1] if rest else "1"))
    WHAT[what]()

"""Serve a net of 10 M parameters to one client and to eight: tokens a CPU-second of the decoder.

    python benchmarks/serving.py [--rounds 5]

Clients and server are one process, but counted is the CPU time of the thread that decodes, in
turns, so that other programs count little; the first token is timed by the clock, the best of all
rounds. Needs the extra `serve`.
"""
import argparse
import http.client
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.setdefault("MINIGRAD_THREADS", "1")

from results import HELP, verdict  # noqa: E402

import numpy as np  # noqa: E402

CLIENTS, TOKENS, PROMPT = 8, 100, 400
LETTERS = "abcdefghijklmnopqrstuvwxy"
SHAPE = dict(vocab_size=4096, context_length=512, n_layer=5, n_head=6, d_model=384)
LEAST, MOST_S = 3, 0.3             # times the tokens of one client; seconds beyond the prompt


class Tokens:
    """A tokenizer of 4,096 single characters."""

    special_tokens, frame = {}, ((), ())
    encode_array = staticmethod(lambda text, **_: np.frombuffer(text.encode(), np.uint8))
    close = staticmethod(lambda: "")
    feed = staticmethod(lambda ids: chr(0x100 + ids[0]))
    decoder = staticmethod(lambda: Tokens)


def served():
    """Return (service, server, its thread, port)."""
    import uvicorn

    from gpt import serve
    from gpt.data.templates import TEMPLATES
    from gpt.models.nets import net_named
    from gpt.opening import Opened
    from gpt.serving.app import make_app
    from gpt.serving.service import Service
    net = net_named("decoder")
    model = net.module(net.config(**SHAPE), np.random.default_rng(0))
    service = Service("net", Opened(model, Tokens), TEMPLATES["plain"], n_rows=CLIENTS)
    place = serve.listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    return service, server, thread, place.getsockname()[1]


def ask(port, seed=0, n=TOKENS, prompt=None):
    """Ask for n tokens, and return the seconds until the first one came.

    Each seed has a prompt of its own, unless told: that of another need not be read again.
    """
    prompt = prompt or f"Story {seed}: once upon a time"
    body = {"prompt": prompt, "max_tokens": n, "seed": seed, "temperature": 0.8, "stream": True}
    line = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    line.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    answer = line.getresponse()
    answer.readline()
    first = time.perf_counter() - began
    answer.read()
    line.close()
    return first


def rates(service, port, clients):
    """Return the tokens a CPU-second of the thread that decodes and a second, for some clients."""
    decoder = time.pthread_getcpuclockid(service.batcher.thread.ident)
    clocks = lambda: np.array([time.clock_gettime(decoder), time.perf_counter()])
    began, before = clocks(), service.batcher.n_tokens
    with ThreadPoolExecutor(clients) as pool:
        [*pool.map(lambda seed: ask(port, seed), range(clients))]
    return (service.batcher.n_tokens - before) / (clocks() - began)


def beyond_the_prompt(service, port, letter):
    """Return how much later the first token comes than the prompt alone is read.

    By the clock, and in CPU-seconds of all threads, the client's among them. Each letter may be
    used once: of a prompt that is known, the rest is read.
    """
    from gpt.models.sampling import NextScores
    began, busy = time.perf_counter(), time.process_time()
    NextScores(service.opened.model, 1)(np.full((1, PROMPT), ord(letter)))
    between, busy_between = time.perf_counter(), time.process_time()
    first = ask(port, n=1, prompt=letter * PROMPT)
    busy_first = time.process_time() - busy_between
    return first - (between - began), busy_first - (busy_between - busy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("--rounds", type=int, default=5, help=f"at most {len(LETTERS)} [5]")
    args = parser.parse_args()
    service, server, thread, port = served()
    for clients in (1, CLIENTS, CLIENTS):              # kernels are compiled, steps recorded
        rates(service, port, clients)
    beyond_the_prompt(service, port, "z")
    ones, many, late = [], [], []
    for letter in LETTERS[:args.rounds]:
        ones.append(rates(service, port, 1))
        many.append(rates(service, port, CLIENTS))
        late.append(beyond_the_prompt(service, port, letter))
    (one, one_s), (all_, all_s) = np.max(ones, axis=0), np.max(many, axis=0)
    late_s, busy = np.min(late, axis=0)
    print(f"one client {one:,.0f}, {CLIENTS} {all_:,.0f} tokens a CPU-second; by the clock "
          f"{one_s:,.0f} and {all_s:,.0f} a second, {all_s / one_s:.2f} times")
    print(f"first token: {busy:.3f} CPU-seconds beyond the prompt, by the clock {late_s:.3f}")
    verdict("serving-8-clients", all_ / one, LEAST)
    verdict("serving-first-token", late_s, MOST_S, at_most=True)
    service.stop()
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main()

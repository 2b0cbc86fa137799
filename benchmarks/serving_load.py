"""Serve 64 clients at once, some of whom leave early or ask nonsense: is each answer its own?

    python benchmarks/serving_load.py [--minutes 10] [--clients 64]

One in ten leaves after its first pieces, one in twenty sends nonsense. What an answer must be is
known from asking alone. Clients and server are one process, whose memory is read from /proc
(Linux). Needs the extra `serve`.
"""
import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import os  # noqa: E402

import numpy as np  # noqa: E402
from results import HELP, verdict  # noqa: E402
from serving import served  # noqa: E402  (and with it MINIGRAD_THREADS)

PROMPTS = [f"{'This is asked, and more. ' * (i % 4)}Client {i} asks" for i in range(24)]
TOKENS = 24
LEAVES, NONSENSE = 0.1, 0.05
WRONG = ['{"prompt": ', '{"prompt": 7}', '{"prompt": "a", "temperature": "hot"}',
         '{"prompt": "a", "max_tokens": -1}', "[]"]
FLAT = 1.05                        # times the memory of the first third


def ask(port, body, pieces=None):
    """Ask in a stream and return (status, text), or leave after some pieces: (status, None)."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        line.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        answer = line.getresponse()
        if answer.status != 200:
            answer.read()
            return answer.status, ""
        text, n = "", 0
        for raw in answer:
            found = raw.decode().removeprefix("data: ").strip()
            if found and found != "[DONE]":
                text += "".join(x["text"] for x in json.loads(found)["choices"])
                n += 1
            if n == pieces:
                return answer.status, None
        return answer.status, text
    finally:
        line.close()


def body_of(i):
    return json.dumps({"prompt": PROMPTS[i], "max_tokens": TOKENS, "seed": i, "temperature": 0.8,
                       "stream": True})


def client(port, expected, seed, until):
    """Ask again and again, and count what came of it."""
    rng, counts = np.random.default_rng(seed), Counter()
    while time.monotonic() < until:
        kind, i = rng.random(), int(rng.integers(len(PROMPTS)))
        if kind < NONSENSE:
            status, _ = ask(port, WRONG[i % len(WRONG)])
            counts["nonsense" if status in (400, 422) else "wrong"] += 1
            continue
        leaves = kind < NONSENSE + LEAVES
        status, text = ask(port, body_of(i), int(rng.integers(1, 4)) if leaves else None)
        if status == 429:                                 # too many wait: as is promised
            counts["full"] += 1
            time.sleep(0.05)
        elif text is None:
            counts["left"] += 1
        else:
            counts["right" if status == 200 and text == expected[i] else "wrong"] += 1
    return counts


def megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(until, found):
    while time.monotonic() < until:
        found.append(megabytes())
        time.sleep(1)


def opened():
    """Count the open files, sockets among them, and the threads."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    args = parser.parse_args()
    service, server, thread, port = served()
    expected = [ask(port, body_of(i))[1] for i in range(len(PROMPTS))]
    with ThreadPoolExecutor(args.clients) as pool:        # everything is compiled and recorded
        [*pool.map(lambda i: ask(port, body_of(i % len(PROMPTS))), range(args.clients))]
    time.sleep(1)
    before, until, memory = opened(), time.monotonic() + 60 * args.minutes, []
    watcher = threading.Thread(target=watch, args=(until, memory))
    watcher.start()
    with ThreadPoolExecutor(args.clients) as pool:
        found = [*pool.map(lambda seed: client(port, expected, seed, until), range(args.clients))]
    watcher.join()
    counts = sum(found, Counter())
    for _ in range(50):                                   # who has left is noticed in a moment
        leaked = sum(max(0, b - a) for a, b in zip(before, opened())) + len(service.batcher.waiting)
        if not leaked:
            break
        time.sleep(0.2)
    third = len(memory) // 3
    first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
    print(", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())))
    print(f"memory {first:.0f} MB, in the end {last:.0f}")
    verdict("load-wrong", counts["wrong"], 0, at_most=True)
    verdict("load-leaked", leaked, 0, at_most=True)
    verdict("load-memory", last / first, FLAT, at_most=True)
    service.stop()
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main()

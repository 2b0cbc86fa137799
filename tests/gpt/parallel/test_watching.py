"""Ranks are compared and watched: who is lost, stopped or hangs is named in one sentence."""
import json
import socket
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from gpt.training.parallel import joining, watch
from gpt.training.parallel.joining import first_difference, my_share

HOSTS = ["here", "there"]


class FakeRank:
    """A rank's connection, and nothing behind it."""

    def __init__(self, offer, rank):
        self.socket = watch.reached(*offer, rank, HOSTS)
        self.lines = self.socket.makefile("rb")

    def tell(self, **words):
        self.socket.sendall(json.dumps(words).encode() + b"\n")

    def ended(self):
        """Wait for the order to end, and return the status; None if there is none."""
        self.socket.settimeout(10)
        for line in self.lines:
            if "end" in json.loads(line):
                return json.loads(line)["end"]
        return None

    def vanish(self):
        """End as a process does that is killed."""
        self.lines.close()
        self.socket.close()


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Start a watcher that is soon impatient, and writes into a file."""
    monkeypatch.setattr(watch, "BEAT_S", 0.05)
    with open(tmp_path / "said", "wb") as file:
        writing = partial(subprocess.Popen, stderr=file)
        monkeypatch.setattr(watch.subprocess, "Popen", writing)
        return watch.start(HOSTS, "train.py")


@pytest.fixture
def two(offer):
    """Return two ranks."""
    ranks = [FakeRank(offer, rank) for rank in range(2)]
    yield ranks
    for rank in ranks:
        rank.vanish()


@pytest.fixture
def said(tmp_path):
    """Return a function that returns what the watcher says, once it has."""
    def wait(seconds=10):
        until = time.monotonic() + seconds
        while not (tmp_path / "said").read_text() and time.monotonic() < until:
            time.sleep(0.01)
        return (tmp_path / "said").read_text()
    return wait


def test_a_rank_that_vanishes_is_named_and_the_others_end(two, said):
    two[1].vanish()
    assert two[0].ended() == 1
    assert said() == ("train.py: rank 1 on there is gone: it was killed, ran out of memory or "
                           "crashed; start again\n")


def test_whoever_is_left_may_be_another_than_rank_0(two, said, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("step-00000020.json", "step-00000020.safetensors", "step-00000040.safetensors"):
        (tmp_path / "checkpoints" / name).touch()             # the last one is not whole
    two[0].tell(folder=str(tmp_path))
    two[0].vanish()
    assert two[1].ended() == 1
    assert said().endswith(f"; step 20 is saved, go on with --resume {tmp_path}\n")


def test_a_rank_that_fails_says_why(two, said):
    two[1].tell(failed="failed: ValueError: of\nsome kind (step.py, line 3)", status=2)
    assert two[0].ended() == two[1].ended() == 2
    assert said() == ("train.py: rank 1 on there failed: ValueError: of some kind (step.py, "
                           "line 3); start again\n")


def test_a_rank_that_is_not_heard_counts_as_stopped(two, said):
    until = time.monotonic() + 10
    two[0].socket.settimeout(0.02)
    text = ""
    while not text and time.monotonic() < until:              # rank 0 is there, rank 1 is not
        with suppress(OSError):
            two[0].tell(busy_s=0)
        time.sleep(0.02)
        text = said(0)
    assert "rank 1 on there has not been heard for 1 s: it is stopped" in text


def test_a_rank_that_hangs_is_told_from_those_that_wait_for_it(two, said):
    two[1].tell(busy_s=10)                                    # there is no limit yet
    time.sleep(0.1)                                           # two connections have no order
    two[0].tell(limit_s=2.0)
    two[0].tell(busy_s=1.5)
    time.sleep(0.1)
    two[1].tell(busy_s=2.5)
    assert two[0].ended() == 1
    assert "rank 1 on there hangs: the others have waited for it for 2 s" in said()


def test_who_has_said_why_it_ends_or_takes_leave_is_not_spoken_of(two, said):
    two[0].tell(bye=True)
    two[0].vanish()
    two[1].tell(ending=130)
    assert two[1].ended() == 130
    time.sleep(0.1)
    assert said(0) == ""


def test_nobody_is_let_in_without_the_token(offer):
    _, port, token = offer
    stranger = socket.create_connection(("127.0.0.1", port))
    stranger.sendall(b"x" * (len(token) + 4))
    stranger.settimeout(10)
    assert stranger.recv(1) == b""
    rank = FakeRank(offer, 0)
    rank.tell(bye=True)
    stranger.close()
    rank.vanish()


# ---- what must be alike ----

def test_the_first_difference_is_named():
    ours = {"Python": "3.12.1", "instruction sets": frozenset({"avx2", "fma"})}
    assert first_difference([ours, ours], HOSTS) is None
    older = ours | {"Python": "3.11.0"}
    assert first_difference([ours, older], HOSTS).startswith(
        "rank 1 on there has Python 3.11.0, rank 0 on here has 3.12.1")
    weaker = ours | {"instruction sets": frozenset({"avx2"})}
    assert "has instruction sets nothing more, rank 0 on here has fma" in first_difference(
        [ours, ours, weaker], [*HOSTS, "far"])


def test_this_machine_is_like_itself():
    assert first_difference([joining.facts(), joining.facts()], HOSTS) is None


def test_a_changed_file_is_noticed(tmp_path):
    for name in joining.OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1\n")
    before = joining.fingerprint(tmp_path)
    (tmp_path / "gpt" / "a.py").write_text("x = 2\n")
    assert joining.fingerprint(tmp_path) != before


@pytest.mark.parametrize("places, cores, threads", [
    ([("a", [0, 1, 2, 3])] * 2, 4, 2), ([("a", [0])] * 4, 1, 1),
    ([("a", [0, 1]), ("a", [2, 3])], 2, 2),                   # each bound to cores of its own
    ([("a", None), ("b", None)], 8, 8)])
def test_cores_are_shared_by_those_who_may_use_the_same(places, cores, threads):
    assert my_share(places, 0, cores) == threads


def test_an_unexpected_error_is_told_with_its_place():
    try:
        {}["nothing"]
    except KeyError as error:
        assert joining.described(error) == (
            f"KeyError: 'nothing' ({Path(__file__).name}, line {error.__traceback__.tb_lineno})")

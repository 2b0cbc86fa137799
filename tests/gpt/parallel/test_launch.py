"""Ranks are started where it was said, if the machines agree: with an ssh that only answers."""
import json
import os
import stat
import sys

import pytest

import gpt.launch
from gpt.__main__ import main
from gpt.training.parallel.alike import difference, facts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the ssh of the test is a script")


def program(path, lines):
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Return a function that makes hosts a and b say these things, other hosts nothing."""
    def answers(a, b):
        program(tmp_path / "ssh", [
            f"echo \"$@\" >> {tmp_path}/asked", 'case "$*" in',
            f"*' a '*) cat {tmp_path}/a.json;;", f"*' b '*) cat {tmp_path}/b.json;;",
            "*) echo 'ssh: no route to host' >&2; exit 255;;", "esac"])
        for name, told in (("a", a), ("b", b)):
            (tmp_path / f"{name}.json").write_text(told if isinstance(told, str) else
                                                   "Welcome!\n" + json.dumps(told))
    program(tmp_path / "mpiexec", ['echo "$@"', 'while [ "$1" != -f ]; do shift; done', 'cat "$2"',
                                   "exit 7"])
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpt.launch, "mpiexec", lambda: str(tmp_path / "mpiexec"))
    monkeypatch.setattr("signal.signal", lambda *args: None)
    return answers


def launch(capfd, *words):
    with pytest.raises(SystemExit) as left:
        main(["launch", *words])
    return left.value.code, *capfd.readouterr()


def test_alike_machines_are_told_and_ranks_are_started_by_ssh(ssh, capfd, tmp_path):
    ssh(facts() | {"cores": 8}, facts() | {"cores": 1})
    status, out, _ = launch(capfd, "--hosts", "a,b:2", "book.txt", "--minutes", "3", "--zero", "2")
    assert status == 7                                            # that of the ranks
    *told, command, first, second = out.splitlines()
    assert told == ["a: 1 of 3 ranks, 8 cores",
                    "b: 2 of 3 ranks, 1 cores: they will take turns"]
    assert "-launcher ssh" in command and "-n 3" in command
    assert command.endswith(f"{sys.executable} -m mpi4py -m gpt train book.txt --minutes 3 "
                            "--zero 2")
    assert (first, second) == ("a:1", "b:2")
    assert "BatchMode=yes" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("name", ["Python", "NumPy", "Numba", "llvmlite",
                                  "files of minigrad, by their hash", "processor"])
def test_other_versions_are_refused_before_anything_starts(ssh, capfd, name):
    ssh(facts(), facts() | {name: "0.1"})
    status, out, err = launch(capfd, "--hosts=a,b", "book.txt")
    assert status == 2 and out == "" and err.count("\n") == 1
    assert f"b has {name} 0.1, this machine has {facts()[name]}: make" in err


def test_of_other_processors_it_is_said_what_one_of_them_has(ssh, capfd):
    ssh(facts(), facts() | {"instruction sets": facts()["instruction sets"][1:]})
    status, _, err = launch(capfd, "--hosts", "a,b", "book.txt")
    missing = facts()["instruction sets"][0]
    assert status == 2
    assert f"b has instruction sets nothing more, this machine has {missing}: make" in err


@pytest.mark.parametrize("hosts, said", [("a,c", "c cannot be asked what it has (ssh: no route to "
                                          "host)"), ("a,b", "b cannot be asked what it has (it "
                                          "said 'command not found')")])
def test_a_host_that_does_not_answer_is_named(ssh, capfd, hosts, said):
    ssh(facts(), "command not found")
    status, _, err = launch(capfd, "--hosts", hosts, "book.txt")
    assert status == 2 and err.count("\n") == 1 and said in err


def test_a_dry_run_says_what_would_be_started_and_asks_nobody(ssh, capfd, tmp_path):
    main(["launch", "--hosts", "a,b:2", "book.txt", "--dry-run"])
    out = capfd.readouterr().out
    assert out.startswith("hosts.txt:\na:1\nb:2\n") and out.count("alike") == 2
    assert "-f hosts.txt -n 3" in out and not (tmp_path / "asked").exists()


def test_this_machine_alone_needs_no_ssh(ssh, capfd):
    main(["launch", "--hosts", "localhost:2", "--dry_run", "book.txt", "--resume=last"])
    out = capfd.readouterr().out
    assert "ssh" not in out
    assert out.endswith("-m mpi4py -m gpt train book.txt --resume=last\n")


def test_machines_that_are_alike_differ_in_nothing():
    assert difference({"a": facts(), "b": facts() | {"cores": 99}}) is None

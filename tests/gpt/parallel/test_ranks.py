"""train.py on ranks: as on one process, whatever happens to one of them."""
import re
import shutil
from pathlib import Path

import pytest

from gpt.training import checkpoint
from gpt.training.folder import read_metrics

pytestmark = pytest.mark.extra("mpi4py")
TRAIN, FAULTY = Path("train.py"), Path("tests/gpt/parallel/faulty.py")
SMALL = ["--steps", "12", "--tokenizer", "char", "--n_layer", "1", "--d_model", "16",
         "--context_length", "16", "--batch_tokens", "64", "--eval_every", "5", "--eval_tokens",
         "256", "--plain"]


def last(folder):
    """Return the tensors of the last checkpoint as bytes, and what is in the other file."""
    tensors, facts = checkpoint.load(folder / "checkpoints")
    return {name: x.tobytes() for name, x in tensors.items()}, facts


@pytest.fixture(scope="module")
def whole(ranks, tmp_path_factory):
    """Train on two ranks, undisturbed; return the folder, and what was said."""
    root = tmp_path_factory.mktemp("runs")
    done = ranks(2, TRAIN, "stories", *SMALL, "--runs", root, "--trace_step", "3")
    assert done.status == 0, done.wrong
    return root / "stories", done.said


def test_a_world_keeps_its_word_and_steps_are_those_of_one_process(ranks):
    done = ranks(3, "tests/gpt/parallel/world_on_ranks.py")
    assert done.status == 0 and done.said == "all is equal\n", done.wrong


def test_rank_0_speaks_and_what_is_left_is_that_of_one_process(whole, ranks, tmp_path):
    folder, said = whole
    assert said.count("validation: ") == 1 and "ranks: 2 on " in said
    written = {path.name for path in folder.iterdir()}
    assert written >= {"report.html", "plan.json", "metrics.jsonl", "step_3.html"}
    done = ranks(1, TRAIN, "stories", *SMALL, "--micro_batch", "2", "--runs", tmp_path)
    assert done.status == 0, done.wrong
    assert last(tmp_path / "stories") == last(folder)
    assert len(read_metrics(folder)) == len(read_metrics(tmp_path / "stories"))


@pytest.mark.parametrize("rank, then", [(0, 2), (1, 3)])
def test_after_a_kill_a_run_goes_on_to_the_same_weights(whole, ranks, tmp_path, rank, then):
    done = ranks(2, FAULTY, "kill", rank, 7, "stories", *SMALL, "--runs", tmp_path)
    folder = tmp_path / "stories"
    assert done.status and sentences(done) == [
        f"train.py: rank {rank} on {named(done)} is gone: it was killed, ran out of memory or "
        f"crashed; step 5 is saved, go on with --resume {folder}"]
    done = ranks(then, TRAIN, "--resume", folder, "--plain")
    assert done.status == 0, done.wrong
    if then == 2:
        assert last(folder) == last(whole[0])
    assert last(folder)[1]["best_loss"] == pytest.approx(last(whole[0])[1]["best_loss"], rel=1e-6)


def sentences(done):
    """Return all that was said on standard error, but for when the fault was made."""
    return [line for line in done.wrong.splitlines() if not line.endswith(" fault")]


def named(done):
    return re.search(r" on (\S+) ", done.wrong)[1]


@pytest.mark.parametrize("kind, rank, words", [
    ("raise", 1, r"failed: KeyError: 'nothing' \(faulty.py, line \d+\)"),
    ("exit", 0, "left early, with status 0"),
    ("stop", 1, "has not been heard for 3 s: it is stopped, or its machine or the way .*gone"),
    ("hang", 0, r"hangs: the others have waited for it for [34] s")])
def test_a_rank_that_does_not_go_on_ends_all_with_one_sentence(ranks, tmp_path, kind, rank, words):
    done = ranks(2, FAULTY, kind, rank, 7, "stories", *SMALL, "--runs", tmp_path)
    assert done.status == 1
    sentence, = sentences(done)
    assert re.fullmatch(f"train.py: rank {rank} on .* {words}; step 5 is saved, go on .*", sentence)


def test_a_wrong_start_is_told_before_the_first_step(ranks, tmp_path):
    words = "stories", *SMALL, "--runs", tmp_path
    done = ranks(2, TRAIN, *words, mpi4py=False)
    assert done.status == 2 and done.wrong == (
        "train.py: 2 processes were started without -m mpi4py, and if one fails the others wait "
        "for ever: mpiexec -n 4 python -m mpi4py train.py ...\n")
    done = ranks(1, TRAIN, *words, OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    assert done.status == 2
    assert done.wrong.startswith("train.py: 4 processes were started, but each is alone: ")
    done = ranks(2, TRAIN, *words, "--steps", "0")
    assert done.status == 2 and done.wrong == "train.py: steps is 0, but must be above 0\n"
    shutil.rmtree(tmp_path)

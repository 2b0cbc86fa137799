"""Several texts at once: none depends on another, and whoever waits, leaves or errs is served."""
import queue
import threading

import numpy as np
import pytest

import bpe
from gpt import serve
from gpt.models import writer as writing
from gpt.models.nets import net_named
from gpt.models.sampling import NextScores, Sampling, generate, write
from gpt.models.writer import Text, Writer
from gpt.opening import Opened
from gpt.serving.batcher import Answer, Batcher, Full

WARM = Sampling(temperature=1.0)
TOKENIZER = bpe.Tokenizer([], special_tokens={"<|end|>": 256})


def model_of(name="decoder", **changes):
    rng, net = np.random.default_rng(0), net_named(name)
    config = net.config(vocab_size=257, context_length=64, n_layer=2, d_model=36, **changes)
    model = net.module(config, rng)
    for x in model.parameters():
        x.data += (0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return model


MODEL = model_of()
PROMPTS = [[*range(10, 10 + n)] for n in (3, 30, 1, 9, 17, 8, 16)]
LENGTHS = [9, 2, 12, 5, 1, 7, 3]


def text_of(i):
    return Text(PROMPTS[i], WARM, np.random.default_rng(i))


def written(model, order, n_rows):
    """Write the texts of PROMPTS in an order, n_rows at once: what each became."""
    writer, texts = Writer(model, n_rows), {i: text_of(i) for i in order}
    lengths = {text: LENGTHS[i] for i, text in texts.items()}
    waiting = [*texts.values()]
    while waiting or writer.all:
        if waiting and writer.has_room:
            writer.begin(waiting.pop(0))
        for text, scores in writer.step():
            text.go_on(scores)
            if text.n_made == lengths[text]:
                writer.end(text)
    return {i: text.ids for i, text in texts.items()}


NETS = [("decoder", {}), ("lstm", {}), ("decoder", {"position": "learned", "norm": "layer"}),
        ("decoder", {"position": "relative"}), ("decoder", {"window": 8}),
        ("decoder", {"ngram_rows": 32, "look_back": 3}), ("conv", {})]


@pytest.mark.parametrize("name, changes", NETS)
def test_a_text_is_the_same_whoever_is_written_with_it(monkeypatch, name, changes):
    monkeypatch.setattr(writing, "PIECE", 8)
    model, order = model_of(name, **changes), range(len(PROMPTS))
    together = written(model, order, 3)
    assert together == written(model, reversed(order), 6)
    for i in (0, 1):
        assert together[i] == written(model, [i], 1)[i]


def test_it_is_what_generation_makes_of_it():
    for i, ids in written(MODEL, (0, 2, 3), 2).items():
        made = generate(MODEL, [PROMPTS[i]], WARM, np.random.default_rng(i), LENGTHS[i])
        assert ids == PROMPTS[i] + [int(chosen[0]) for chosen in made]


def test_of_a_prompt_that_begins_as_the_last_one_the_rest_is_read(monkeypatch):
    monkeypatch.setattr(writing, "PIECE", 8)
    writer, prompt, counts = Writer(MODEL, 2), [*range(30)], []
    read = writer.reader.compute
    monkeypatch.setattr(writer.reader, "compute",
                        lambda ids, *state: (counts.append(ids.shape[1]), read(ids, *state))[1])

    def scores_behind(ids):
        text = Text(ids, WARM, np.random.default_rng(0))
        writer.begin(text)
        while not (found := writer.step()):
            pass
        writer.end(text)
        return found[0][1]
    scores_behind(prompt)
    found = scores_behind([*prompt[:20], 7, 7, 7])    # 16 are known
    np.testing.assert_array_equal(found, scores_behind([*prompt[:20], 7, 7, 7]))      # all are
    assert counts == [8, 8, 8, 6, 7]
    writer = Writer(MODEL, 2)
    np.testing.assert_array_equal(found, scores_behind([*prompt[:20], 7, 7, 7]))


def test_a_recording_is_not_tried_at_places_where_something_is_kept():
    """Where a cache goes back, the place may be the one of the recording, and not another."""
    one, other = NextScores(MODEL, 1), NextScores(MODEL, 1)
    ids = np.array([[5, 6, 7, 8, 9]])
    for t in range(2):                                # prepared and recorded, at places 0 and 1
        one(ids[:, t:t + 1])
    one.state.keep(ids[:, :1])
    one(ids[:, 1:2])                                  # to be confirmed, at place 1 again
    found = one(ids[:, 2:3])
    other(ids[:, :1])
    other(ids[:, 1:2])
    np.testing.assert_array_equal(found, other(ids[:, 2:3]))


# ---- the queue ----

@pytest.fixture
def batcher():
    found = Batcher(MODEL, TOKENIZER, n_rows=2, n_waiting=4)
    yield found
    found.close()
    assert not found.thread.is_alive()


class Client:
    """Somebody who waits for an answer."""

    def __init__(self, prompt, seed=0, max_tokens=8, **how):
        self.inbox = queue.SimpleQueue()
        ids = TOKENIZER.encode(prompt)
        rng = np.random.default_rng(seed)
        self.answer = Answer(ids, WARM, rng, max_tokens, self.inbox.put, **how)

    def read(self):
        """Return the whole text, and why it ends."""
        text = ""
        while True:
            piece = self.inbox.get(timeout=60)
            text += piece.text
            if piece.finish:
                return text, piece.finish


def alone(prompt, seed, max_tokens=8, stop=()):
    return "".join(write(MODEL, TOKENIZER, prompt, WARM, seed, max_tokens, stop))


def test_answers_are_those_that_each_would_get_alone(batcher):
    clients = [Client("abc" * (i + 1), i, 4 + 3 * i) for i in range(4)]
    for client in clients:
        batcher.submit([client.answer])
    for i, client in enumerate(clients):
        text, finish = client.read()
        assert text == alone("abc" * (i + 1), i, 4 + 3 * i)
        assert finish == ("length" if client.answer.n_made == 4 + 3 * i else "stop")


def test_an_answer_ends_before_a_text_and_where_the_model_ends(batcher):
    whole = alone("x", 3, 40)
    stop = whole[5:7]
    client = Client("x", 3, 40, stop=[stop])
    batcher.submit([client.answer])
    assert client.read() == (whole[:whole.index(stop)], "stop")
    batcher.ends = {*range(257)}
    client = Client("x")
    batcher.submit([client.answer])
    assert client.read() == ("", "stop") and client.answer.n_made == 0


def test_more_than_may_wait_are_refused_all_or_none(batcher):
    busy = [Client("x", max_tokens=50) for _ in range(2)]
    many = [Client("y").answer for _ in range(5)]
    with pytest.raises(Full):
        batcher.submit(many)
    for client in busy:
        batcher.submit([client.answer])
    assert all(answer.n_made == 0 for answer in many)
    assert {client.read()[1] for client in busy} <= {"length", "stop"}


def test_a_client_that_leaves_gives_its_row_to_the_next(batcher):
    written, go_on = threading.Event(), threading.Event()

    def tell(piece):
        written.set()
        assert go_on.wait(60)
    gone = [Answer([65], WARM, np.random.default_rng(i), 60, tell) for i in range(2)]
    batcher.submit(gone)
    waits, never = Client("next", 5), Client("never")
    assert written.wait(60)
    batcher.submit([waits.answer, never.answer])
    batcher.cancel([*gone, never.answer])
    go_on.set()
    assert waits.read()[0] == alone("next", 5)
    assert all(answer.n_made < 60 for answer in gone) and never.inbox.empty()


def test_damaged_weights_end_an_answer_and_not_the_server(batcher, monkeypatch):
    client = Client("x")
    with monkeypatch.context() as patch:
        patch.setattr(Answer, "go_on", lambda *_: (_ for _ in ()).throw(FloatingPointError("nan")))
        batcher.submit([client.answer])
        assert client.read() == ("nan", "error")
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "step", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
        client = Client("x")
        batcher.submit([client.answer])
        assert client.read()[1] == "error"
    client = Client("x")
    batcher.submit([client.answer])
    assert client.read()[0] == alone("x", 0)


def test_a_server_that_closes_tells_those_who_wait():
    batcher = Batcher(MODEL, TOKENIZER, n_rows=1)
    clients = [Client("x", max_tokens=60) for _ in range(3)]
    for client in clients:
        batcher.submit([client.answer])
    batcher.close()
    assert clients[2].read()[1] == "error"
    with pytest.raises(Full):
        batcher.submit([Client("x").answer])


# ---- the command, where its packages are missing ----

def test_what_a_server_needs_is_named(monkeypatch, capsys):
    monkeypatch.setattr(serve, "make_app", None)
    monkeypatch.setattr(serve, "open_model", lambda place: Opened(MODEL, TOKENIZER))
    with pytest.raises(SystemExit) as end:
        serve.main(["MODEL"])
    told = capsys.readouterr().err
    assert end.value.code == 2 and "pip install starlette uvicorn" in told and told.count("\n") == 1


def test_only_this_machine_needs_no_key():
    assert all(map(serve.is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(serve.is_loopback, ["0.0.0.0", "::", "192.168.0.2", "localhost.x", ""]))

"""Beam search: greedy with one beam, the best of all answers with as many as there are."""
from itertools import product

import numpy as np
import pytest

from gpt.batch import Batch
from gpt.models.beams import Candidate, beam_search
from gpt.models.nets import NETS
from gpt.models.sampling import Sampling, generate
from minigrad import log_softmax, no_grad

V, END, LONGEST = 3, 2, 4
EVERY = V * (V - 1) ** (LONGEST - 1)      # answers of the last round
SOURCE = np.array([[0, 1, 1, 2]])


def make(net="encoder_decoder", seed=0):
    """Make a small net of three tokens, each of which is likely somewhere."""
    row, rng = NETS[net], np.random.default_rng(seed)
    small = dict(vocab_size=V, context_length=16, n_layer=1, d_model=8)
    heads = {} if net == "lstm" else {"n_head": 2}
    model = row.module(row.config(**small, **heads), rng, np.float64)
    for x in model.parameters():
        x.data += 0.8 * rng.standard_normal(x.shape)
    return model


def source_of(model):
    begin = np.array([[END]])
    return begin, Batch(begin, source=SOURCE) if hasattr(model, "read") else None


def whole_log_p(model, ids):
    """Return the log-probability of an answer by one pass over the whole of it."""
    read = np.array([[END, *ids[:-1]]])
    with no_grad():
        x = model.stream(Batch(read, source=SOURCE)).data[0]                    # (n, C)
    log_p = log_softmax(x @ model.head.data.T)                                  # (n, V)
    return sum(log_p[t, i] for t, i in enumerate(ids))


def all_answers(model):
    """Yield every answer that ends, of up to LONGEST tokens."""
    for n in range(LONGEST):
        for before in product([i for i in range(V) if i != END], repeat=n):
            ids = [*before, END]
            yield Candidate(whole_log_p(model, ids), ids, 0)


@pytest.mark.parametrize("seed, alpha", [(0, 0.0), (1, 0.6), (2, 2.0)])
def test_as_many_beams_as_answers_find_the_best_of_all(seed, alpha):
    model = make(seed=seed)
    begin, source = source_of(model)
    found = beam_search(model, begin, {END}, EVERY, LONGEST, alpha, source)
    expected = sorted(all_answers(model), key=lambda x: -x.score(alpha))
    ended = [x for x in found if x.ids[-1] == END]
    assert len(ended) == len(expected) and len(found) == EVERY
    for one, other in zip(ended, expected):
        assert one.score(alpha) == pytest.approx(other.score(alpha), abs=1e-9)
        assert one.log_p == pytest.approx(whole_log_p(model, one.ids), abs=1e-9)
    assert not any(x.ids[-1] == END for x in found[len(ended):])     # those that have not ended


@pytest.mark.parametrize("net", ["encoder_decoder", "decoder", "lstm"])
def test_one_beam_is_greedy_search_and_more_never_share_a_state(net):
    for seed in range(3):
        model = make(net, seed)
        begin, source = source_of(model)
        greedy = [int(i[0]) for i in generate(model, begin, Sampling(temperature=0),
                                              max_tokens=8, source=source)]
        greedy = greedy[:greedy.index(END) + 1] if END in greedy else greedy
        one, = beam_search(model, begin, {END}, 1, 8, source=source)
        assert one.ids == greedy
        for answer in beam_search(model, begin, {END}, 3, 8, source=source):
            again = beam_search(make(net, seed), begin, {END}, 3, 8, source=source)
            assert answer.log_p in [x.log_p for x in again]
            if source:
                assert answer.log_p == pytest.approx(whole_log_p(model, answer.ids), abs=1e-9)


def test_a_search_ends_where_there_is_no_room():
    model = make("decoder")
    answer, = beam_search(model, np.zeros((1, 15), int), set(), 1, 100)
    assert len(answer.ids) == 2                       # the last is written, but not read

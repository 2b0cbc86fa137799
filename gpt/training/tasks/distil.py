"""To say what a teacher says (Hinton et al. 2015, arXiv:1503.02531): all its probabilities."""
import time

import numpy as np

from gpt.batch import Batch
from gpt.data.documents import prepare
from gpt.data.taught import (
    Said, keep_said, load_taught, n_windows, save_facts, windows)
from gpt.settings import ConfigError
from gpt.training.measures import MEASURED_TOKENS
from gpt.training.parallel.world import all_rows
from gpt.training.task import Task, read
from gpt.training.tasks.causal import causal_measure, has_no_end
from minigrad import distillation_loss, linear, log_softmax, no_grad

MEASURED = 1 << 16                 # tokens that the teacher is measured on
ASKED_TOKENS = 512                 # that it is asked of at a time in a step
NEAR = 0.02                        # nats: so near to its teacher a student alone may be past it


def distil_batch(data, shape, rng, model, temperature=1.0, teacher_top=0, beside=None,
                 by_rows=all_rows):
    """Take windows of the text, with what the teacher says of each place: kept, or asked now.

    They are some of those that stand one behind the other, so that the teacher is asked once.
    """
    B, T = shape
    whole = model.config.context_length
    chosen = rng.integers(0, n_windows(data.train, whole), B)
    rows = windows(data.train, chosen, whole)[:, :T + 1]                        # (B, T + 1)
    ids = np.ascontiguousarray(rows[:, :-1])
    if data.said:
        said = kept(data.said, chosen, T)
    else:
        ask = lambda rows: [x for x in asked(beside, ids[rows], temperature, teacher_top)
                            if x is not None]
        said = Said(*by_rows(B, ask, max(1, ASKED_TOKENS // T)))
    return Batch(ids, rows[:, 1:], teacher=said.log_p, teacher_ids=said.named)


def kept(said, chosen, T):
    """Return what was said of some windows: log p (B, T, K) float32, and of which tokens."""
    log_p, named = said                                                         # (W, T, K)
    log_p = log_p[chosen, :T].astype(np.float32)
    if named is not None:
        named = named[chosen, :T].astype(np.int64)
    return Said(log_p, named)


def asked(teacher, ids, temperature, top):
    """Return what a teacher says of (B, T) ids, of all tokens or of its likeliest."""
    with no_grad():
        x = teacher.stream(Batch(ids))                                          # (B, T, C)
        z = linear(x, teacher.head).data / np.float32(temperature)
    log_p = log_softmax(z)                                                      # (B, T, V)
    if not 0 < top < log_p.shape[-1]:
        return Said(log_p, None)
    likeliest = np.argpartition(-log_p, top - 1)
    named = np.ascontiguousarray(likeliest[..., :top])
    return Said(np.take_along_axis(log_p, named, -1), named)


def distil_loss(model, batch, n, rng=None, mix=0.9, temperature=1.0):
    """Return the surprise at the targets, mixed with the distance from the teacher, over n."""
    logits = linear(model.stream(batch, rng=rng), model.head)                   # (B, T, V)
    return distillation_loss(logits, log_p=batch.teacher, targets=batch.targets,
                             ids=batch.teacher_ids, mix=mix, temperature=temperature, n=n)


def ask_teacher(run, folder):
    """Measure the teacher, and keep what it says of the text unless it is to stay beside."""
    train, teacher, data = run.config.train, run.beside, run.data
    check_room(train.teacher, teacher, run.config.model.context_length)
    began = time.monotonic()
    T, V = run.config.model.context_length, len(teacher.head)
    found = read(causal_measure(teacher, data, data.val), MEASURED)
    facts = {"place": train.teacher, "sha256": run.beside_sha256,
             "nats_per_token": found.nats_per_token,
             "n_parameters": sum(x.size for x in teacher.parameters())}
    top = train.teacher_top if 0 < train.teacher_top < V else V
    if not train.teacher_beside:
        ask = lambda ids: asked(teacher, ids, train.temperature, train.teacher_top)
        at_once = max(1, MEASURED_TOKENS // T)
        keep_said(folder, data.train, T, top, V, ask, at_once)
    save_facts(folder, facts | {"seconds": time.monotonic() - began})
    run.data = load_taught(folder)


def check_room(place, teacher, T):
    """Refuse windows that are longer than what the teacher reads."""
    most = teacher.config.context_length
    if T > most and not has_no_end(teacher):
        raise ConfigError(f"the teacher {place} reads {most} tokens, and windows would have {T}: "
                          f"use --context_length {most}")


def stays(settings):
    """Whether the teacher is asked at each step."""
    return settings.teacher_beside


# ---- what is told ----

def remark(run, found):
    """Warn where the student is as good as its teacher, which then holds it back."""
    teacher = run.data.teacher["nats_per_token"]
    if found.nats_per_token > teacher + NEAR:
        return ""
    return (f"the student, {found.nats_per_token:.3f} nats/token, has reached its teacher, "
            f"{teacher:.3f}: alone it would go past it; take a better teacher, a smaller --mix, or "
            "go on without one")


def cost(run, result):
    """Return what the teacher was and took, and the lines that tell of it."""
    teacher, again = run.data.teacher, stays(run.config.train)
    more = " and its part of each step" if again else ""
    line = (f"teacher: {teacher['place']}, {teacher['n_parameters']:,} parameters, "
            f"{teacher['nats_per_token']:.3f} nats/token on this text; to ask it took "
            f"{teacher['seconds']:.0f} s{more}, to train it what its own run says")
    return {"teacher": teacher}, [line]


DISTIL = Task(distil_batch, distil_loss, causal_measure, options=("temperature", "teacher_top"),
              asks=True, weighs=("mix", "temperature"), own=("teacher", "teacher_beside"),
              beside="teacher", stays=stays, surprises=False, prepare=prepare, load=load_taught,
              prepared=ask_teacher, remark=remark, adds=cost)

"""To prefer one of two answers (Rafailov et al. 2023, arXiv:2305.18290): the loss is on pairs."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.chats import Chats
from gpt.data.preferences import load_preferences, prepare_preferences, save_references
from gpt.data.windows import alike
from gpt.training.intervals import wilson
from gpt.training.losses import margins, preference, preference_loss, token_nats
from gpt.training.made_pairs import made_by_rule
from gpt.training.measures import MEASURED_TOKENS
from gpt.training.task import Measure, Task, read
from gpt.training.tasks.instruct import replies
from minigrad import no_grad


def prefer_batch(data, shape, rng, model):
    """Take pairs of about one length at random, as many as have the tokens of the shape."""
    B, T = shape
    widths = data.widths(data.train, T)
    width, pairs = alike(widths, B * T // 2, rng)
    return batch_of(data.train, pairs, min(width, T))


def batch_of(compared, pairs, width):
    """Return pairs as a Batch: a target for each pair, its tokens beside what the reference says.
    """
    ids, asked, reference = compared.rows(pairs, width + 1)                     # (2 P, width + 1)
    tokens = np.where(asked, ids, IGNORE)
    targets = np.full(len(ids), IGNORE)
    targets[::2] = 0                                  # of two rows the first is preferred
    teacher, teacher_ids = reference[:, 1:, None], tokens[:, 1:, None]          # (2 P, width, 1)
    return Batch(ids[:, :-1], targets, teacher=teacher, teacher_ids=teacher_ids,
                 together=np.array(2))


def nats_of(model, batch, rng=None):
    """Return the surprise at the tokens of all answers, (2 P, T), and the reference's log p."""
    tokens, reference = batch.teacher_ids[..., 0], batch.teacher[..., 0]
    return token_nats(model, batch, tokens, rng), reference


def prefer_loss(model, batch, n, rng=None, beta=0.1, label_smoothing=0.0):
    """Return the surprise at the preferences, in nats, summed and divided by n."""
    nats, reference = nats_of(model, batch, rng)
    return preference_loss(nats, reference=reference, beta=beta, label_smoothing=label_smoothing,
                           n=n)


def prefer_measure(model, data, compared, beta=0.1, label_smoothing=0.0):
    """Yield the surprise at the preferences of pairs, how many are right, and what has moved.

    A pair is right where the chosen answer has become likelier than the rejected one; a half
    where neither has.
    """
    for pairs, width in batches(data, compared, model.config.context_length):
        batch = batch_of(compared, pairs, width)
        with no_grad():
            nats, reference = nats_of(model, batch)
        nats = nats.data.astype(np.float64)
        loss, _ = preference(nats, reference, beta, label_smoothing)
        m = margins(nats, reference)                                            # (P,)
        right = 0.5 + 0.5 * np.sign(m)
        moved = (-nats - reference).sum(axis=1) / n_asked(batch)                # (2 P,)
        chosen, rejected = moved.reshape(-1, 2).sum(axis=0)
        more = {"margin": beta * m.sum(), "chosen": chosen, "rejected": rejected}
        yield Measure(float(loss), len(m), 0, float(right.sum()), len(m), more)


def n_asked(batch):
    """Return how many tokens each answer has, (2 P,)."""
    asked = batch.teacher_ids[..., 0] != IGNORE
    return asked.sum(axis=1).clip(1)


def batches(data, compared, T):
    """Yield (places of pairs, their width), each pair once."""
    widths = np.minimum(data.widths(compared, T), T)                            # (n,)
    for width in np.unique(widths):
        pairs = np.flatnonzero(widths == width)
        n = max(1, MEASURED_TOKENS // (2 * int(width)))
        for i in range(0, len(pairs), n):
            yield pairs[i:i + n], int(width)


def ask_reference(run, folder):
    """Ask the model that training begins with, once, and keep what it says beside the tokens."""
    data, T = run.data, run.config.model.context_length
    found = []
    for compared in (data.train, data.val):
        log_p = np.zeros(len(compared.chats.ids), np.float32)
        for pairs, width in batches(data, compared, T):
            batch = batch_of(compared, pairs, width)
            with no_grad():
                nats, _ = nats_of(run.model, batch)                             # (2 P, width)
            places = compared.begins(pairs) + 1 + np.arange(width)
            asked = batch.teacher_ids[..., 0] != IGNORE
            log_p[places[asked]] = -nats.data[asked]
        found.append(log_p)
    save_references(folder, found)
    run.data = load_preferences(folder, too_long=data.too_long)


# ---- what is told ----

def show_answers(model, data, seed, max_tokens):
    """Yield prompts of the validation part, their chosen answers, and what the net answers."""
    chats = data.val.chats
    chosen = Chats(chats.ids, chats.asked, chats.spans[::2])
    yield from replies(model, data, chosen, seed, max_tokens)


def conclude(run):
    """Judge a run on the validation part: (result, nothing simpler, lines)."""
    found = read(run.measures())
    means = found.means
    low, high = wilson(found.right, found.n_asked)
    result = {"nats_per_token": found.nats_per_token, "n_pairs": found.n_asked,
              "accuracy": found.share_right, "interval": [low, high], **means}
    lines = [f"right: {found.share_right:.1%} of {found.n_asked:,} pairs held out (95 % interval "
             f"{low:.1%} to {high:.1%}); margin {means['margin']:+.3f}, loss "
             f"{found.nats_per_token:.4f} nats a pair (ln 2 = 0.6931 at the start)",
             f"since the start log p of a chosen token has moved by {means['chosen']:+.3f}, of a "
             f"rejected one by {means['rejected']:+.3f}: the loss asks for the difference alone"]
    return result, {}, lines


PREFER = Task(prefer_batch, prefer_loss, prefer_measure, weighs=("beta", "label_smoothing"),
              measured=("beta", "label_smoothing"),
              own=("rule", "prompts", "prompt_tokens", "answer_tokens"), made=made_by_rule,
              prepare=prepare_preferences, load=load_preferences, based=True,
              prepared=ask_reference, begins=dict(learning_rate=2e-4, weight_decay=0.0),
              show=show_answers, command="chat", whole_text=False, surprises=False,
              conclude=conclude)

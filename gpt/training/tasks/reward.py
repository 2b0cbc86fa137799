"""To be rewarded: answers are drawn, judged, and made likelier or not (GRPO, arXiv:2402.03300)."""
from itertools import repeat

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.prompts import load_prompts, prepare_prompts, save_start
from gpt.data.windows import alike, evenly_spread
from gpt.models.rollouts import AS_IT_IS, rollouts
from gpt.models.sampling import Sampling
from gpt.training.intervals import wilson
from gpt.training.judges import judge_named
from gpt.training.losses import policy_loss, token_nats
from gpt.training.parallel.world import all_rows
from gpt.training.task import Measure, Task, read
from minigrad import linear, log_softmax, no_grad

DRAWN = 16                         # answers that are drawn together to be learnt from, at least
ROWS = 256                         # answers that are drawn together to be measured
SHOWN = 4                          # prompts of a sample


def reward_batch(data, shape, rng, model, reward="right", samples=16, answer_tokens=32,
                 beside=None, by_rows=all_rows):
    """Let the net answer some prompts, several times each, and judge what it says.

    An answer's advantage is its reward less the mean of those to the same prompt: what is good for
    any answer teaches nothing. All follows from the rng and the weights, and each answer from a
    generator of its own.
    """
    B, T = shape
    widths = samples * (data.train.lengths + answer_tokens)                     # (n,)
    _, chosen = alike(widths, B * T, rng)
    chosen = np.repeat(chosen, samples)                                         # (P samples,)
    piece = samples * -(-DRAWN // samples)
    seeds, prompts = rng.integers(2 ** 63, size=len(chosen)), data.train
    nets = [model, beside] if beside else [model]

    def answers_of(rows):
        places = chosen[rows]
        rngs = [*map(np.random.default_rng, seeds[rows])]
        batch, texts = answered(model, data, prompts, places, answer_tokens, rngs)
        known = [log_p_of(net, batch) for net in nets]
        rewards = judged(prompts, places, texts, reward, rngs)
        return batch.ids, batch.targets, rewards, np.stack(known, axis=-1)
    ids, targets, rewards, known = by_rows(len(chosen), answers_of, piece)
    groups = rewards.reshape(-1, samples)
    advantages = groups - groups.mean(axis=1, keepdims=True)                    # (P, samples)
    asked = targets != IGNORE
    weights = advantages.reshape(-1, 1) * asked                                 # (B, T)
    weights = weights.astype(known.dtype)
    return Batch(ids, targets, weights=weights, rewards=rewards, teacher=known)


def judged(prompts, chosen, texts, reward, rngs):
    """Return the rewards of answers to some prompts, for each of which there is an rng: (B,)."""
    judge, found = judge_named(reward), []
    for i, text, rng in zip(chosen, texts, rngs):
        found.append(judge(prompts.records[i], text, rng))
    return np.array(found)


def answered(model, data, prompts, chosen, answer_tokens, rng, sampling=AS_IT_IS):
    """Return what a net answers to some prompts of one length: a Batch, and the texts."""
    asked = prompts.rows(chosen)                                                # (B, P)
    B, P = asked.shape
    answers, lengths = rollouts(model, asked, answer_tokens, data.ends, rng, sampling)
    ids = np.concatenate([asked, answers], axis=1)                              # (B, P + A)
    targets = np.full(ids.shape, IGNORE)
    said = np.arange(answer_tokens) < lengths[:, None]                          # (B, A)
    targets[:, P:] = np.where(said, answers, IGNORE)
    rows = map(list.__getitem__, answers.tolist(), map(slice, lengths))
    texts = [text_of(row, data) for row in rows]
    return Batch(ids[:, :-1], targets[:, 1:]), texts


def text_of(ids, data):
    """Decode an answer, without what ends it."""
    if ids and ids[-1] in data.ends:
        ids = ids[:-1]
    return data.tokenizer.decode(ids)


def log_p_of(net, batch):
    """Return the log-probabilities of the targets of a batch by a net, (B, T); 0 where none is."""
    with no_grad():
        return -token_nats(net, batch, batch.targets).data


def reward_loss(model, batch, n, rng=None, clip_ratio=0.2, kl=0.0):
    """Return minus what is won, divided by n tokens; nothing is won in what chance gave."""
    nats = token_nats(model, batch, batch.targets, rng)
    old, start = batch.teacher[..., 0], None
    if kl:
        start = batch.teacher[..., 1]
    return policy_loss(nats, old=old, advantages=batch.weights, limit=clip_ratio,
                       start=start, kl=kl, n=n)


def reward_measure(model, data, prompts, reward="right", answer_tokens=32, greedy=False):
    """Yield rewards of answers drawn to prompts, one each, and how many are right.

    Right is the answer that the record has as its output, or without one a reward of 1. What is
    least is the target of a run: minus the reward stands in the place of nats.
    """
    rng, sampling = np.random.default_rng(0), AS_IT_IS
    if greedy:
        sampling = Sampling(temperature=0)
    for chosen in groups(prompts):
        batch, texts = answered(model, data, prompts, chosen, answer_tokens, rng, sampling)
        rewards = judged(prompts, chosen, texts, reward, repeat(rng))
        n, total = len(texts), float(rewards.sum())
        n_right = np.sum(rewards >= 1)
        if all("output" in prompts.records[i] for i in chosen):
            n_right = judged(prompts, chosen, texts, "right", repeat(rng)).sum()
        asked = batch.targets != IGNORE
        entropy = entropies(model, batch)[asked].mean()
        more = {"reward": total, "entropy": n * entropy, "length": asked.sum()}
        yield Measure(-total, n, 0, float(n_right), n, more)


def groups(prompts):
    """Yield places of prompts of one length, in an order that is spread evenly."""
    order = evenly_spread(len(prompts))
    lengths = prompts.lengths[order]
    for length in np.unique(lengths):
        places = order[lengths == length]
        for i in range(0, len(places), ROWS):
            yield places[i:i + ROWS]


def entropies(model, batch):
    """Return how unsure a net is at each place, in nats: (B, T)."""
    with no_grad():
        logits = linear(model.stream(batch), model.head).data                   # (B, T, V)
    log_p = log_softmax(logits)
    surprise = -np.exp(log_p) * log_p
    return surprise.sum(axis=-1)


def with_judge(base, corpus, settings, say):
    """Return the prompts as they are, if there is the judge who is named."""
    judge_named(settings.reward)
    return corpus


def measure_start(run, folder):
    """Measure what training begins with, and keep that."""
    found = read(run.measures())
    save_start(folder, found.means | {"accuracy": found.share_right})
    run.data = load_prompts(folder)


# ---- what is told ----

def notes(batch):
    """Return what is told of a step: from answers that were drawn, so by chance, too."""
    n, B = batch.n_targets, len(batch.ids)
    old = batch.teacher[..., 0]                       # 0 where nothing is asked
    return {"reward": float(batch.rewards.mean()),
            "entropy": float(-old.sum() / n),
            "length": n / B}


def show_answers(model, data, seed, max_tokens):
    """Yield prompts of the validation part with answers that the net draws."""
    rng = np.random.default_rng(seed)
    prompts, T = data.val, model.config.context_length
    for place in rng.permutation(len(prompts))[:SHOWN]:
        room = min(max_tokens, T - int(prompts.lengths[place]))
        _, (text,) = answered(model, data, prompts, np.array([place]), room, rng)
        record = prompts.records[place]
        wanted = f"   (wanted: {record['output']})" if "output" in record else ""
        yield f"{record['prompt']}{text}{wanted}\n"


def conclude(run):
    """Judge a run on the validation part: (result, nothing simpler, lines)."""
    found, start = read(run.measures()), run.data.start
    low, high = wilson(found.right, found.n_asked)
    means = found.means
    result = {"nats_per_token": found.nats_per_token,
              "n_prompts": found.n_asked,
              "accuracy": found.share_right,
              "interval": [low, high],
              "start": start, **means}
    before = {name: f"{x:.3f} to " for name, x in start.items()}
    line = (f"drawn as likely as they are, {found.share_right:.1%} of {found.n_asked:,} answers "
            f"are right (95 % interval {low:.1%} to {high:.1%}; {start.get('accuracy', 0):.1%} at "
            "the start)")
    told = [f"{name} {before.get(name, '')}{x:.3f}" for name, x in means.items()]
    return result, {}, [line, ", ".join(told)]


def stays(settings):
    """Whether the model that it begins with is asked at each step."""
    return settings.kl > 0


def updates(settings):
    return settings.updates


REWARD = Task(reward_batch, reward_loss, reward_measure,
              options=("reward", "samples", "answer_tokens"), asks=True,
              weighs=("clip_ratio", "kl"),
              measured=("reward", "answer_tokens"), own=("updates",), based=True,
              made=with_judge, beside="base", stays=stays, again=updates,
              prepare=prepare_prompts, load=load_prompts, prepared=measure_start,
              begins=dict(learning_rate=3e-4, weight_decay=0.0), notes=notes,
              show=show_answers, command="chat", whole_text=False, surprises=False,
              conclude=conclude)

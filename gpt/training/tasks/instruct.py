"""To answer: the loss is on what the assistant says, and a conversation sees no other."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.chats import encoded_chats, load_chats, prepare_chats
from gpt.data.templates import choose_template, special_id
from gpt.data.windows import alike, evenly_spread
from gpt.models.pieces import pieces_of
from gpt.models.sampling import Sampling, generate
from gpt.training.measures import MEASURED_TOKENS, token_loss
from gpt.training.task import Measure, Task
from minigrad import no_grad

SHOWN = 3                          # conversations of a sample


def instruct_batch(data, shape, rng, model):
    """Take conversations of about one length at random, as many as have the tokens of the shape.

    Each has a row of its own, so it sees no other on any net, and of a width that few share, so
    that little of it is padding.
    """
    B, T = shape
    width, chosen = alike(data.widths(data.train, T), B * T, rng)
    return batch_of(data.train, chosen, min(width, T))


def batch_of(chats, chosen, width):
    """Return conversations as a Batch of rows of `width` tokens: the targets are one place later.
    """
    ids, asked = chats.rows(chosen, width + 1)                                  # (B, width + 1)
    targets = np.where(asked, ids, IGNORE)
    return Batch(ids[:, :-1], targets[:, 1:])


def instruct_measure(model, data, chats):
    """Yield the surprise at what is asked of conversations, some of them at a time."""
    token_bytes = np.asarray(data.tokenizer.token_bytes)
    widths = np.minimum(chats.lengths - 1, model.config.context_length)         # (n,)
    B = max(1, MEASURED_TOKENS // widths.max())
    order = evenly_spread(len(chats))
    for i in range(0, len(order), B):
        chosen = order[i:i + B]
        batch = batch_of(chats, chosen, widths[chosen].max())
        with no_grad():
            loss = token_loss(model, batch, 1.0)
        asked = batch.targets[batch.targets != IGNORE]
        yield Measure(loss.item(), len(asked), int(token_bytes[asked].sum()))


def show_replies(model, data, seed, max_tokens):
    """Yield what stands in the validation part as an answer, what is asked, what the net answers.
    """
    yield from replies(model, data, data.val, seed, max_tokens)


def replies(model, data, chats, seed, max_tokens):
    rng = np.random.default_rng(seed)
    for place in rng.permutation(len(chats))[:SHOWN]:
        begin, end = chats.spans[place]
        ids, asked = chats.ids[begin:end], chats.asked[begin:end]
        first = int(asked.argmax())
        last = first + int(asked[first:].argmin())    # of the first answer
        room = min(max_tokens, model.config.context_length - first)
        if not first or room < 1:                     # all is asked, or nothing fits behind it
            continue
        yield f"(wanted: {words(data, ids[first:last])})\n{words(data, ids[:first])}"
        yield from reply(model, data, ids[:first], room)
        yield "\n\n"


def words(data, ids):
    return data.tokenizer.decode(ids.tolist())


def reply(model, data, ids, max_tokens):
    """Yield the likeliest answer to ids, (T,), piece by piece."""
    _, template = choose_template(None, data.template)
    tokenizer, likeliest = data.tokenizer, Sampling(temperature=0)
    ends = {special_id(name, tokenizer) for name in template.specials}
    ends |= {*tokenizer.special_tokens.values()}
    made = generate(model, ids[None], likeliest, None, max_tokens)              # each (1,)
    yield from pieces_of(until(ends, made), tokenizer, template.stops)


def until(ends, made):
    """Yield tokens, given as (1,) each, up to one that ends."""
    for chosen in made:
        token = int(chosen[0])
        if token in ends:
            return
        yield token


INSTRUCT = Task(instruct_batch, token_loss, instruct_measure, prepare=prepare_chats,
                load=load_chats, encode=encoded_chats, show=show_replies, command="chat",
                whole_text=False)

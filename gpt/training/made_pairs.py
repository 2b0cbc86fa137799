"""Pairs that a model makes itself: of two answers to a prompt, a rule likes one better."""
import json
from dataclasses import replace

import numpy as np

from gpt.data.chats import all_records
from gpt.data.preferences import prompt_of
from gpt.data.reading import CorpusError
from gpt.data.templates import Message, choose_template, conversation_ids
from gpt.data.windows import random_windows
from gpt.models.rollouts import rollouts
from gpt.settings import ConfigError
from gpt.training.judges import judge_named

ROWS = 128                         # prompts that are answered together


def made_by_rule(base, corpus, settings, say):
    """Return a corpus of pairs: that which was named, or with a rule what the base makes of it.

    Prompts are those of records, or else pieces of the text, of `prompt_tokens` each. Of two
    answers the one with the greater number from the rule is chosen; alike, they make no pair.

    Raises
    ------
    ConfigError
        If the rule finds no difference anywhere.
    """
    if not settings.rule:
        return corpus
    rng = np.random.default_rng(settings.seed)
    judge, pairs, n = judge_named(settings.rule), [], 0
    for ids, records in prompts_of(base, corpus, settings, rng):
        n += len(records)
        some, others = (answers(base, ids, settings.answer_tokens, rng) for _ in "ab")
        for record, *texts in zip(records, some, others):
            scores = [judge(record, text, rng) for text in texts]
            if min(scores) < max(scores):
                rejected, chosen = texts[np.argmin(scores)], texts[np.argmax(scores)]
                pairs.append(record | {"chosen": chosen, "rejected": rejected})
    if len(pairs) < 2:
        raise ConfigError(f"{settings.rule} found {len(pairs)} differences in {n:,} pairs of "
                          "answers: name more --prompts, longer --answer_tokens or another rule")
    say(f"pairs: {len(pairs):,} of {n:,} prompts, answered twice, differ by {settings.rule}")
    text = "\n".join(map(json.dumps, pairs))
    source = f"{len(pairs):,} pairs made of {corpus.source}"
    return replace(corpus, documents=[text.encode()], files=(), parts=(), source=source)


def answers(base, ids, answer_tokens, rng):
    """Draw an answer to each prompt, (B, P) ids: B texts, without what ends them."""
    ends = {*base.tokenizer.special_tokens.values()}
    found, lengths = rollouts(base.model, ids, answer_tokens, ends, rng)
    texts = []
    for row, n in zip(found.tolist(), lengths):
        kept = [i for i in row[:n] if i not in ends]
        texts.append(base.tokenizer.decode(kept))
    return texts


def prompts_of(base, corpus, settings, rng):
    """Yield prompts of one length, (B, P) ids, and their records."""
    tokenizer = base.tokenizer
    try:
        records = [with_prompt(record) for record, _ in all_records(corpus)]
    except (CorpusError, KeyError, TypeError, AttributeError):
        yield from pieces_of(corpus, tokenizer, settings, rng)
        return
    _, template = choose_template(None, base.template or "none")
    by_length = {}                                    # tokens -> [(ids, record)]
    order = rng.permutation(len(records))
    for record in map(records.__getitem__, order[:settings.prompts]):
        message = Message("user", record["prompt"])
        ids = conversation_ids(template, [message], tokenizer)
        alike = by_length.setdefault(len(ids), [])
        alike.append((ids, record))
    for rows in by_length.values():
        for i in range(0, len(rows), ROWS):
            ids, some = zip(*rows[i:i + ROWS])
            yield np.array(ids), some


def with_prompt(record):
    return record | {"prompt": prompt_of(record)}


def pieces_of(corpus, tokenizer, settings, rng):
    """Yield pieces of a text, at random."""
    encode = lambda piece: tokenizer.encode_array(piece.text, disallowed_special=())
    parts = [*map(encode, corpus.pieces())]
    text, P = np.concatenate(parts), settings.prompt_tokens
    if len(text) < P + 2:
        raise CorpusError(f"the text has {len(text)} tokens, too few for prompts of {P}: name "
                          "fewer --prompt_tokens, or more text")
    for first in range(0, settings.prompts, ROWS):
        n = min(ROWS, settings.prompts - first)
        ids = random_windows(text, n, P, rng)[:, :P]                            # (n, P)
        texts = map(tokenizer.decode, ids.tolist())
        yield ids, [{"prompt": text} for text in texts]

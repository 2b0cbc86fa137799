"""A conversation with a model: what was said, and a net that has read it."""
import json
from itertools import islice
from pathlib import Path

from bpe.files import write_text
from gpt.data.templates import Message, conversation_ids, special_id
from gpt.models.pieces import pieces_of
from gpt.models.sampling import Reader, choose
from gpt.settings import ConfigError


class Conversation:
    """Messages in turns; of what a net reads for an answer, only what is new is computed.

    Parameters
    ----------
    opened : Opened
    template : Template
    sampling : Sampling
    rng : numpy.random.Generator
    max_tokens : int
        Of an answer.
    system : str, optional
        What the system says in place of what the template lets it say.

    Attributes
    ----------
    said : list of Message
        Of user and assistant in turns.
    forgotten : int
        How many of the oldest of them are not read any more.
    forgets : bool
        Whether some were forgotten for the last answer.
    alone : (Opened, Template)
        What it began with: adapters may answer in its place.
    """

    def __init__(self, opened, template, sampling, rng, max_tokens, system=None):
        self.tokenizer, self.system = opened.tokenizer, system
        self.sampling, self.rng, self.most = sampling, rng, max_tokens
        self.alone = opened, template
        self.reset()
        self.answer_with(*self.alone)

    def answer_with(self, opened, template):
        """Let a model answer from now on that has the same tokens."""
        self.reader, self.template = Reader(opened.model), template
        self.context = opened.model.config.context_length
        self.max_tokens = min(self.most, self.context // 2)
        known = [special_id(name, self.tokenizer) for name in template.specials]
        self.ends = {*known, *self.tokenizer.special_tokens.values()}

    def say(self, text):
        """Say something as the user, and yield the answer, piece by piece.

        Whatever stops the reading of the pieces, what was answered so far was said.

        Raises
        ------
        ConfigError
            If it cannot be encoded, or is too long for the context; it is not said then.
        """
        self.said.append(Message("user", text))
        return self.answer()

    def retry(self):
        """Yield another answer to what the user said last.

        Raises
        ------
        ConfigError
            If nothing was said yet.
        """
        if not self.said:
            raise ConfigError("nothing was said yet that could be answered again")
        if self.said[-1].role == "assistant":
            self.said.pop()
        return self.answer()

    def asked(self, text):
        """Say something as the user, and return the ids, (T,), that its answer begins behind."""
        self.said.append(Message("user", text))
        return self.ids_with_room()

    def answer(self):
        try:
            ids = self.ids_with_room()
        except ConfigError:
            self.said.pop()
            raise
        made = []                                     # it grows while it is read
        self.said.append(Message("assistant", made))
        tokens = islice(self.tokens(ids, made), self.max_tokens)
        return pieces_of(tokens, self.tokenizer, self.template.stops)

    def tokens(self, ids, made):
        """Yield the ids of an answer until one ends it, and add them to those made."""
        while True:
            text = ids + made
            scores = self.reader(text)                                          # (V,)
            token = choose(scores, text, self.sampling, self.rng)
            if token in self.ends:
                return
            made.append(token)
            yield token

    def ids_with_room(self):
        """Return the ids of what is remembered, (T,), which leave room for an answer.

        Where they do not, the oldest turns are forgotten until half of the context is free; so it
        is not long before that is needed again.
        """
        room, before = self.context - self.max_tokens, self.forgotten
        ids = self.ids()
        if len(ids) > room:
            half, last = self.context // 2, len(self.said) - 1
            while len(ids) > half and self.forgotten < last:
                self.forgotten += 2
                ids = self.ids()
        self.forgets = self.forgotten > before
        if len(ids) > room:
            self.forgotten = before
            raise ConfigError(f"this takes {len(ids):,} tokens, but the context has room for "
                              f"{room:,} before an answer: say less at once")
        return ids

    @property
    def is_cut(self):
        """Whether the last answer is as long as one may be."""
        return len(self.said[-1].content) == self.max_tokens

    def ids(self):
        messages = self.with_system(self.said[self.forgotten:])
        return conversation_ids(self.template, messages, self.tokenizer)

    def with_system(self, said):
        return said if self.system is None else [Message("system", self.system), *said]

    def reset(self):
        """Begin again."""
        self.said, self.forgotten, self.forgets = [], 0, False

    # ---- files ----

    def save(self, path):
        """Write what was said as JSON, whose names are those of others' programs, too."""
        path = Path(path)
        if path.exists():
            read_messages(path)                       # anything else is not written over
        rows = [*map(self.as_text, self.with_system(self.said))]
        text = json.dumps({"messages": rows}, ensure_ascii=False, indent=1)
        write_text(path, text + "\n")

    def as_text(self, message):
        content = message.content
        if not isinstance(content, str):
            content = self.tokenizer.decode(content).strip()
        return {"role": message.role, "content": content}

    def load(self, path):
        """Go on with a conversation that was saved.

        Raises
        ------
        ConfigError
            If the file holds none; then nothing changes.
        """
        said = read_messages(Path(path))
        self.reset()
        self.system = None
        if said and said[0].role == "system":
            self.system = said.pop(0).content
        self.said = said


def read_messages(path):
    """Read a saved conversation: a list of Message."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        said = [Message(row["role"], row["content"]) for row in facts["messages"]]
        right = all(isinstance(content, str) for _, content in said)
        roles = [role for role, _ in said if role != "system"]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        right, roles = False, []
    turns = ["user", "assistant"] * len(roles)
    if not right or roles != turns[:len(roles)]:
        raise ConfigError(f"{path} holds no conversation: it must be JSON as /save writes it")
    return said

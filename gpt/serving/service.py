"""A model that is served: what it is called, what it can do, and who may ask."""
import base64
import hmac
import re
import secrets
import threading

import numpy as np

from gpt.batch import Batch
from gpt.data.templates import conversation_ids, special_id
from gpt.embed import embed
from gpt.models.encoder import Encoder
from gpt.models.sampling import encode_prompt
from gpt.serving import protocol
from gpt.serving.batcher import Answer, Batcher, Full, tell_each
from gpt.serving.protocol import Refused
from gpt.settings import ConfigError

MOST_TEXTS = 2048                  # that are turned into vectors at once
HERE = {"localhost", "127.0.0.1", "[::1]"}
FULL = Refused(429, "too many wait for an answer: ask again in a while",
               code="rate_limit_exceeded")


class Service:
    """A model and its queue.

    Parameters
    ----------
    name : str
    opened : Opened
    template : Template
        How it is talked to.
    key : str, optional
        What a client must know; without one it must call this machine by a name of its own, so
        that no page from elsewhere can ask in a browser.
    max_tokens : int
        Of an answer, where the client says none.
    context : int, optional
        Tokens of a prompt and its answer; as many as the model has room for unless given.
    n_rows, n_waiting : int
        As for `Batcher`.
    """

    def __init__(self, name, opened, template, key=None, max_tokens=512, context=None, n_rows=8,
                 n_waiting=64):
        self.name, self.opened, self.template, self.key = name, opened, template, key
        self.max_tokens, self.tokenizer = max_tokens, opened.tokenizer
        self.one_at_a_time = threading.Lock()          # of vectors
        self.places, self.batcher = threading.Semaphore(n_waiting), None
        if not self.makes_vectors:
            known = [special_id(token, self.tokenizer) for token in template.specials]
            ends = {*known, *self.tokenizer.special_tokens.values()}
            self.batcher = Batcher(opened.model, self.tokenizer, ends, n_rows, n_waiting)
            nothing = Batch(np.zeros((1, 1), np.int64))
            most = opened.model.start(nothing).capacity
            self.context = most if context is None else min(context, most)

    @property
    def makes_vectors(self):
        return isinstance(self.opened.model, Encoder)

    def tell_in(self, loop):
        """Let answers be told in the thread of an event loop, all that is new at once."""
        def hand_over(told):
            if told and not loop.is_closed():
                loop.call_soon_threadsafe(tell_each, told)
        if self.batcher:
            self.batcher.hand_over = hand_over

    def stop(self):
        """Let answers end where they are."""
        if self.batcher:
            self.batcher.closed = True                 # no lock: a signal may come inside of one

    def close(self):
        """Wait until they have."""
        if self.batcher:
            self.batcher.close()

    # ---- who may ask ----

    def check_client(self, headers):
        """Refuse whoever does not know the key."""
        if self.key is None:
            name = re.sub(r":\d+$", "", headers.get("host", ""))
            if name not in HERE:
                raise Refused(403, f"the host is {name[:60]!r}, but without a key this answers to "
                                   f"{', '.join(sorted(HERE))} alone")
            return
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            raise Refused(401, "the key is missing or wrong: send it as 'authorization: Bearer "
                               "KEY'", code="invalid_api_key")

    def check_model(self, name):
        if name != self.name:
            raise Refused(404, f"there is no model {name!r:.60}, but {self.name!r}", "model",
                          "model_not_found")

    # ---- answers ----

    def chat(self, body):
        """Return what a conversation asks for: Asked."""
        if "max_completion_tokens" in body:           # the newer name
            body["max_tokens"] = body.pop("max_completion_tokens")
        self.check(body, "messages")
        messages = protocol.messages_of(body)
        try:
            ids = conversation_ids(self.template, messages, self.tokenizer)
        except ConfigError as error:
            raise Refused(400, str(error), "messages") from error
        return protocol.asked_of(body, [ids], self.template.stops)

    def complete(self, body):
        """Return what prompts ask for: Asked."""
        self.check(body, "prompt")
        vocab_size = self.opened.model.config.vocab_size
        return protocol.asked_of(body, protocol.prompts_of(body, self.encode, vocab_size))

    def encode(self, text):
        try:
            return encode_prompt(self.tokenizer, text)
        except ConfigError as error:
            raise Refused(400, str(error), "prompt") from error

    def check(self, body, *own):
        if self.batcher is None:
            raise Refused(404, f"{self.name} makes vectors and does not write: use /v1/embeddings")
        self.check_model(body.get("model", self.name))
        protocol.check_names(body, {"model", *own, *protocol.FIELDS})

    def submit(self, asked, tell):
        """Let what is asked wait for its turn.

        Parameters
        ----------
        asked : Asked
        tell : callable
            Takes (number of the answer, Piece), where `tell_in` says; else in another thread.

        Returns
        -------
        answers : list of Answer
        """
        seed = secrets.randbits(63) if asked.seed is None else asked.seed
        answers = []
        for ids in asked.prompts:
            room = self.context - len(ids)
            if room < 1:
                raise Refused(400, f"the prompt has {len(ids):,} tokens, but the context has room "
                                   f"for {self.context:,}, one of them for the answer: send less",
                              code="context_length_exceeded")
            n = min(asked.max_tokens or self.max_tokens, room)
            for i in range(asked.n):
                place = len(answers)
                rng = np.random.default_rng((seed + i) % 2**64)
                answers.append(Answer(ids, asked.sampling, rng, n,
                                      lambda piece, place=place: tell(place, piece), asked.stop))
        try:
            self.batcher.submit(answers)
        except Full:
            raise FULL from None
        return answers

    # ---- vectors ----

    def embed(self, body):
        """Return vectors of texts, in the protocol's form."""
        if not self.makes_vectors:
            raise Refused(404, f"{self.name} writes and makes no vectors: use an encoder")
        self.check_model(body.get("model", self.name))
        protocol.check_names(body, {"model", "input", "encoding_format"})
        texts = protocol.needed(body, "input")
        texts = [texts] if isinstance(texts, str) else texts
        if not texts or not protocol.is_list_of(str, texts) or len(texts) > MOST_TEXTS:
            raise protocol.wrong("input", texts, f"a text or 1 to {MOST_TEXTS} of them")
        form = body.get("encoding_format", "float")
        if form not in ENCODINGS:
            raise protocol.wrong("encoding_format", form, " or ".join(ENCODINGS))
        if not self.places.acquire(blocking=False):
            raise FULL
        try:
            with self.one_at_a_time:
                vectors = [*embed(self.opened, texts)]
        finally:
            self.places.release()
        data = [{"object": "embedding", "index": i, "embedding": ENCODINGS[form](vector)}
                for i, vector in enumerate(vectors)]
        _, after = self.tokenizer.frame
        n = sum(len(self.encode(text)) + len(after) for text in texts)
        return {"object": "list", "data": data, "model": self.name,
                "usage": {"prompt_tokens": n, "total_tokens": n}}


def as_base64(vector):
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


ENCODINGS = {"float": np.ndarray.tolist, "base64": as_base64}

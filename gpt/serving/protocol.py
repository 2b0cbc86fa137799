"""What programs ask in OpenAI's protocol, and what they are told: JSON in and out.

A field that would change the answer and is not known here is refused by name; one that changes
nothing in it is ignored.
"""
import json
from typing import NamedTuple

from gpt.data.templates import Message
from gpt.models.sampling import Sampling
from gpt.settings import ConfigError


class Refused(Exception):
    """A request that is not served.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
    param : str, optional
        The field that is wrong.
    code : str, optional
        By which programs know what is wrong.
    """

    def __init__(self, status, message, param=None, code=None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self):
        return error_body(str(self), self.status, self.param, self.code)


KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
         429: "rate_limit_error", 500: "server_error"}


def error_body(message, status, param=None, code=None):
    kind = KINDS.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def wrong(name, value, must):
    shown = json.dumps(value)
    return Refused(400, f"{name} is {shown[:60]}, but must be {must}", name, "invalid_value")


# ---- fields ----

def integer(least, most):
    """Make a check of whole numbers."""
    def check(name, value):
        if type(value) is not int or not least <= value <= most:
            raise wrong(name, value, f"a whole number from {least} to {most}")
        return value
    return check


def boolean(name, value):
    if type(value) is not bool:
        raise wrong(name, value, "true or false")
    return value


def chosen(name, value):
    """Check a setting of `Sampling`, in its own words."""
    try:
        Sampling(**{name: value})
    except ConfigError as error:
        raise Refused(400, str(error), name, "invalid_value") from error
    return value


def texts(name, value):
    """Check up to four texts to end before."""
    value = [value] if isinstance(value, str) else value
    if not is_list_of(str, value) or len(value) > 4 or "" in value:
        raise wrong(name, value, "a text or at most 4, none of them empty")
    return value


def options(name, value):
    if not isinstance(value, dict) or value.keys() - {"include_usage"}:
        raise wrong(name, value, 'an object such as {"include_usage": true}')
    return boolean(f"{name}.include_usage", value.get("include_usage", False))


def is_list_of(kind, value):
    return isinstance(value, list) and all(type(x) is kind for x in value)


SAMPLED = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
           "repetition_penalty": 1.0}
MANY = 2**63

# field -> its check, and what counts where it is not given
FIELDS = {
    "max_tokens": (integer(1, MANY), None),
    "n": (integer(1, 128), 1),
    "seed": (integer(-MANY, MANY), None),
    "stop": (texts, []),
    "stream": (boolean, False),
    "stream_options": (options, False),
    **{name: (chosen, SAMPLED[name]) for name in SAMPLED}}

# what changes nothing in an answer
IGNORED = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
           "prompt_cache_retention", "parallel_tool_calls"}

# what would change it and is not known here -> with which values it does not
WITHOUT = {
    "frequency_penalty": [0], "presence_penalty": [0], "logit_bias": [{}],
    "logprobs": [False], "top_logprobs": [0],
    "tools": [[]], "tool_choice": ["none", "auto"],
    "functions": [[]], "function_call": ["none", "auto"],
    "response_format": [{"type": "text"}], "modalities": [["text"]],
    "audio": [], "prediction": [], "web_search_options": [],
    "reasoning_effort": [], "verbosity": [],
    "best_of": [1], "echo": [False], "suffix": [""]}


class Asked(NamedTuple):
    """What is asked of a model that writes."""

    prompts: list                  # of lists of ids
    sampling: Sampling
    max_tokens: int | None
    n: int                         # answers to each
    seed: int | None
    stop: list
    stream: bool
    with_usage: bool               # whether a stream ends with the number of tokens


def read_json(text):
    """Read the body of a request: a dict."""
    try:
        body = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object")
    return {name: value for name, value in body.items() if value is not None}


def refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def check_names(body, known):
    """Refuse what is not known, and what is known to be missing here."""
    for name, value in body.items():
        if name in WITHOUT and value not in WITHOUT[name]:
            raise Refused(400, f"{name} is not supported here: leave it out", name,
                          "unsupported_parameter")
        if name not in {*known, *WITHOUT, *IGNORED}:
            raise Refused(400, f"there is no field {name[:60]!r}: leave it out", name[:60],
                          "unknown_parameter")


def needed(body, name):
    if name not in body:
        raise Refused(400, f"{name} is missing", name, "missing_required_parameter")
    return body[name]


def asked_of(body, prompts, stops=()):
    """Return what is asked about prompts, a list of lists of ids: Asked."""
    found = {name: check(name, body[name]) if name in body else usual
             for name, (check, usual) in FIELDS.items()}
    sampling = Sampling(**{name: found[name] for name in SAMPLED})
    rest = [found[name] for name in ("max_tokens", "n", "seed")]
    stops = [*found["stop"], *stops]
    return Asked(prompts, sampling, *rest, stops, found["stream"], found["stream_options"])


# ---- prompts ----

def messages_of(body):
    """Return the messages of a conversation: the system's, and user's and assistant's in turns."""
    rows = needed(body, "messages")
    if not isinstance(rows, list) or not rows:
        raise wrong("messages", rows, "a list of messages, the last of the user")
    found = [message_of(f"messages[{i}]", row) for i, row in enumerate(rows)]
    roles = [role for role, _ in found]
    if roles[0] == "system":
        del roles[0]
    turns = ["user", "assistant"] * len(roles)
    if len(roles) % 2 == 0 or roles != turns[:len(roles)]:
        raise Refused(400, "messages must be the system's, if any, then the user's and the "
                           "assistant's in turns, the last of the user", "messages")
    return found


def message_of(name, row):
    fields = row if isinstance(row, dict) else {}
    role = fields.get("role")
    if not isinstance(role, str):
        raise wrong(name, row, 'an object such as {"role": "user", "content": "Hi"}')
    role = "system" if role == "developer" else role
    return Message(role, content_of(f"{name}.content", fields.get("content")))


def content_of(name, content):
    """Return a text, which may come in parts."""
    whole = {"type": "text", "text": content}
    parts = content if isinstance(content, list) else [whole]
    for part in parts:
        is_text = isinstance(part, dict) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise wrong(name, content, "a text, or a list of parts that are texts")
    return "".join(part["text"] for part in parts)


def prompts_of(body, encode, vocab_size):
    """Return the prompts of a completion, a list of lists of ids."""
    prompt = needed(body, "prompt")
    if isinstance(prompt, str) or is_list_of(int, prompt):
        prompt = [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise wrong("prompt", prompt, "a text, a list of token ids, or a list of such")
    return [ids_of(x, encode, vocab_size) for x in prompt]


def ids_of(x, encode, vocab_size):
    if isinstance(x, str):
        return encode(x)
    are_ids = is_list_of(int, x) and all(0 <= i < vocab_size for i in x)
    if not (x and are_ids):
        raise wrong("prompt", x, f"a text or token ids from 0 to {vocab_size - 1}")
    return x


# ---- answers ----

class Form(NamedTuple):
    """How the answers of a path are written."""

    prefix: str                    # of ids
    whole: str                     # the kind of object
    chunk: str                     # that of a part of a stream
    of_whole: object               # (text) -> dict
    of_chunk: object


def message(text):
    return {"message": {"role": "assistant", "content": text}}


def delta(text):
    return {"delta": {"content": text} if text else {}}


def plain(text):
    return {"text": text}


CHAT = Form("chatcmpl-", "chat.completion", "chat.completion.chunk", message, delta)
TEXT = Form("cmpl-", "text_completion", "text_completion", plain, plain)
BEGIN = {"delta": {"role": "assistant", "content": ""}}


def choice(i, what, finish=None):
    return {"index": i, **what, "finish_reason": finish, "logprobs": None}


def usage(n_prompt, n_made):
    return {"prompt_tokens": n_prompt, "completion_tokens": n_made,
            "total_tokens": n_prompt + n_made}

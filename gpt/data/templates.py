"""How conversations are written for models that learnt to talk: a row each of TEMPLATES.

    messages  [("user", "Hi")]
    pieces    <|im_start|>  "user\\n"  "Hi"  <|im_end|>  "\\n"  <|im_start|>  "assistant\\n"
    ids       1  4093 198 26843  2  198  1  520 9531 198

A model says its template as a program in Jinja. Nothing of it is run here: it is recognised by
texts that stand in it. What users and models say never becomes a special token.
"""
import re
from typing import NamedTuple

from gpt.settings import ConfigError


class Message(NamedTuple):
    """What was said; an answer that a model has just given stays as the list of its ids."""

    role: str                # system, user or assistant
    content: object          # str, or list of int


class Special(str):
    """A text that is one token."""


class Template(NamedTuple):
    """A row of TEMPLATES. In a turn, {} stands for what is said."""

    marks: tuple             # texts that all stand in a Jinja program that writes this
    user: str                # a turn of the user
    reply: str               # what stands before an answer, so that the model goes on from there
    end: str                 # what stands behind an answer, its special token first
    system: str = "{}\n\n"   # the system's turn
    specials: tuple = ()     # what in all of these is one token
    begin: str = ""          # before everything
    folded: bool = False     # the system's turn is a part of the first user's
    said: str = "{}"         # what an answer is made of between `reply` and `end`
    strips: bool = False     # white space around what is said is left out
    default: str | None = None      # what the system says where nothing is told
    stops: tuple = ()        # texts, where no special token ends an answer


def header(role):
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


DATED = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
LLAMA3 = Template(
    marks=("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
    begin="<|begin_of_text|>",
    system=header("system") + "{}<|eot_id|>",
    user=header("user") + "{}<|eot_id|>",
    reply=header("assistant"),
    end="<|eot_id|>",
    specials=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    strips=True)

TEMPLATES = {
    "chatml": Template(
        marks=("<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n"),
        system="<|im_start|>system\n{}<|im_end|>\n",
        user="<|im_start|>user\n{}<|im_end|>\n",
        reply="<|im_start|>assistant\n",
        end="<|im_end|>\n",
        specials=("<|im_start|>", "<|im_end|>")),
    "llama3.1": LLAMA3._replace(                      # and 3.2, 3.3: the system always speaks
        marks=(*LLAMA3.marks, "Cutting Knowledge Date: December 2023\n"),
        system=header("system") + DATED + "{}<|eot_id|>",
        default=""),
    "llama3": LLAMA3,
    "llama2": Template(
        marks=("[INST] ", " [/INST]", "<<SYS>>\n", "\n<</SYS>>\n\n"),
        system="<<SYS>>\n{}\n<</SYS>>\n\n",
        user="<s>[INST] {} [/INST]",
        reply="",
        said=" {} ",
        end="</s>",
        specials=("<s>", "</s>"),
        folded=True,
        strips=True),
    "gemma": Template(
        marks=("<start_of_turn>", "<start_of_turn>model\n", "<end_of_turn>\n"),
        begin="<bos>",
        user="<start_of_turn>user\n{}<end_of_turn>\n",
        reply="<start_of_turn>model\n",
        end="<end_of_turn>\n",
        specials=("<bos>", "<start_of_turn>", "<end_of_turn>"),
        folded=True,
        strips=True),
    "alpaca": Template(
        marks=("### Instruction:\n", "### Response:\n"),
        user="### Instruction:\n{}\n\n",
        reply="### Response:\n",
        end="\n\n",
        default="Below is an instruction that describes a task. Write a response that "
                "appropriately completes the request.",
        stops=("### Instruction:",)),
    "plain": Template(
        marks=(),                                     # it is never recognised, only chosen
        user="User: {}\n",
        reply="Assistant:",
        said=" {}",
        end="\n",
        stops=("\nUser:",)),
    "none": Template(marks=(), user="{}", reply="", end=""),     # a text that goes on
}


# ---- which one ----

def recognise(program):
    """Find the row that writes what a Jinja program writes, by the texts in it.

    Parameters
    ----------
    program : str

    Returns
    -------
    name : str
    template : Template
        Its default is what the program lets the system say.

    Raises
    ------
    ConfigError
        If there is none.
    """
    text = joined_literals(program)
    for name, row in TEMPLATES.items():
        if row.marks and all(mark in text for mark in row.marks):
            return name, row._replace(default=default_in(text, row))
    raise ConfigError(f"how this model is talked to ({program!r:.60}...) is a template that is not "
                      f"known here: choose --template {', '.join(TEMPLATES)}")


ROLE = r"""['"]\s*[+~]\s*message(?:\[['"]role['"]\]|\.role)\s*[+~]\s*['"]"""
JOINT = r"""['"]\s*[+~]\s*['"]"""
SAID = r"""((?:(?!['"]\s*[+~}])[^{}<])+)"""            # no string ends in it


def joined_literals(program):
    """Write line breaks as such, and put together what the program joins: 'a' + 'b' is 'ab'."""
    text = program.replace("\\n", "\n")
    return re.sub(JOINT, "", re.sub(ROLE, "assistant", text))


def default_in(text, row):
    """Return what a program lets the system say where nothing is told."""
    before, behind = map(re.escape, row.system.split("{}"))
    if row.folded or not row.specials:                # there it cannot be told from other text
        return row.default
    found = re.search(before + SAID + behind, text)
    return found[1].replace("\\'", "'") if found else row.default


def choose_template(name, program=None):
    """Return (name, Template): the one that the user names, else the one that the model says.

    It says a program, or names a row itself.

    A model that says none did not learn to talk; it is talked to in plain text.

    Raises
    ------
    ConfigError
        If there is no template of that name, or none that writes what the program does.
    """
    if name and name not in TEMPLATES:
        raise ConfigError(f"template is {name!r}: choose {', '.join(TEMPLATES)}")
    said = name or program or "plain"
    return (said, TEMPLATES[said]) if said in TEMPLATES else recognise(said)


# ---- messages to pieces ----

def conversation_ids(template, messages, tokenizer):
    """Return the ids of a conversation, a list of int, up to the answer that is asked for."""
    ids = ids_of(pieces(template, messages), tokenizer)
    before, _ = tokenizer.frame                       # templates with special tokens say it
    return ids if template.specials else [*before, *ids]


def pieces(template, messages):
    """Yield what a conversation is written as, up to the answer that is asked for.

    Parameters
    ----------
    template : Template
    messages : list of Message
        A system's first, if there is one; then user and assistant in turns, the last a user's.

    Yields
    ------
    piece : str, Special or list of int
    """
    yield from cut(template.begin, template)
    system, messages = with_default(template, messages)
    before = ""                                       # what stands in the first user's turn
    if system and template.folded:
        before = template.system.replace("{}", strip(template, system.content))
    elif system:
        yield from turn(template.system, system.content, template)
    for role, content in messages:
        if role == "assistant":
            yield from answer(template, content)
        else:
            yield from turn(template.user, before + strip(template, content), template)
            yield from cut(template.reply, template)
            before = ""


def with_default(template, messages):
    """Split messages: (the system's or None, the others)."""
    if messages and messages[0].role == "system":
        return messages[0], messages[1:]
    if template.default is None:
        return None, messages
    return Message("system", template.default), messages


def answer(template, content):
    """Yield an answer that was given: as it was told, or the ids that the model chose."""
    if isinstance(content, str):
        yield template.said.replace("{}", strip(template, content))
    else:
        yield content
    yield from cut(template.end, template)


def turn(form, content, template):
    before, behind = form.split("{}")
    yield from cut(before, template)
    yield strip(template, content)
    yield from cut(behind, template)


def strip(template, content):
    return content.strip() if template.strips else content


def cut(text, template):
    """Yield the parts of a template's own text, special tokens by themselves."""
    if not template.specials:
        yield text
        return
    names = "|".join(map(re.escape, template.specials))
    for part in re.split(f"({names})", text):
        if part:
            yield Special(part) if part in template.specials else part


# ---- pieces to ids ----

def ids_of(parts, tokenizer):
    """Turn pieces into ids, a list of int; neighbouring texts are encoded as one.

    Raises
    ------
    ConfigError
        If the tokenizer has no such token, or cannot encode a text.
    """
    ids, text = [], ""
    for part in [*parts, Special()]:
        if type(part) is str:
            text += part
            continue
        ids += encoded(text, tokenizer)
        text = ""
        if part:
            ids += [special_id(part, tokenizer)] if isinstance(part, Special) else part
    return ids


def encoded(text, tokenizer):
    try:
        return tokenizer.encode(text, disallowed_special=()) if text else []
    except ValueError as error:
        raise ConfigError(f"{text.strip()!r:.40} cannot be encoded: {error}") from error


def special_id(name, tokenizer):
    known = {**getattr(tokenizer, "added_tokens", {}), **tokenizer.special_tokens}
    if name not in known:
        raise ConfigError(f"the template has the token {name}, which this model does not know: "
                          "choose another --template, such as plain or alpaca")
    return known[name]

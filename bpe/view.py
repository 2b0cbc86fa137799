"""Show what a tokenizer does to text: in the terminal, as HTML, merge by merge, in numbers."""
import html
from collections import Counter
from itertools import pairwise

from bpe import reference

_COLOURS = ("153", "157", "223", "225", "195", "229")  # of the terminal's 256, all light
_TINTS = ("#bcdcff", "#bff0c4", "#ffdfb0", "#f4c9ef", "#c3f1ee", "#f1ecab")
_SPECIAL, _RESET = "\x1b[1;97;41m", "\x1b[0m"


def spelling(token):
    r"""Write a token so that all of it is seen: ␣ for a space, \xNN for a part of a character.

    >>> spelling(b" na\xc3\xafve\n\xc3")
    '␣naïve\\n\\xc3'
    """
    return _with_signs(token, {" ": "␣"})


def _with_signs(token, signs):
    """A token's text, with a sign or an escape for each character that would not be seen."""
    text = token.decode("utf-8", "backslashreplace")
    shown = lambda c: signs.get(c) or (c if c.isprintable() else repr(c)[1:-1])
    return "".join(map(shown, text))


# ---- the terminal ----

def in_terminal(tokenizer, ids, colour=True):
    """Write tokens side by side: on coloured grounds, or with a bar between any two.

    Parameters
    ----------
    ids : sequence of int
    colour : bool
        Whether escape codes may be used.

    Returns
    -------
    text : str
    """
    parts = []
    for k, i in enumerate(ids):
        text = _with_line_ends(tokenizer.tokens[i])
        if colour:
            special = i in tokenizer.special_tokens.values()
            start = _SPECIAL if special else f"\x1b[30;48;5;{_COLOURS[k % len(_COLOURS)]}m"
            text = "\n".join(f"{start}{line}{_RESET}" if line else "" for line in text.split("\n"))
        parts.append(text)
    return ("" if colour else "|").join(parts)


def _with_line_ends(token):
    """A token's text, with a sign for what moves the cursor and real line ends."""
    return _with_signs(token, {"\n": "⏎\n", "\t": "⇥", "\r": "␍"})


# ---- HTML ----

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: #222; background: #fff }}
h1 {{ font-size: 1.3rem }} h2 {{ font-size: 1.05rem; margin: 2rem 0 .3rem }}
p.facts {{ margin: 0 0 .6rem; color: #666 }}
pre {{ margin: 0; padding: 1rem; border: 1px solid #ddd; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 15px/1.8 ui-monospace, Menlo, Consolas, monospace; color: #111 }}
pre b {{ font-weight: normal; border-radius: 3px; padding: 2px 0 }}
pre b:hover {{ outline: 2px solid #333 }}
pre b.x {{ background: #a8201a; color: #fff }}
pre i {{ font-style: normal; opacity: .45 }}
{tints}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #1b1b1b }}
  p.facts {{ color: #aaa }} pre {{ background: #eee }} }}
</style>
<h1>{title}</h1>
{documents}
</html>
"""


def as_html(tokenizer, documents):
    """Write one self-contained page: every token on a ground of its own, its id under the mouse.

    Parameters
    ----------
    documents : dict of str -> sequence of int
        Name -> ids.

    Returns
    -------
    page : str
    """
    tints = "\n".join(f"pre b.c{k} {{ background: {tint} }}" for k, tint in enumerate(_TINTS))
    sections = []
    for name, ids in documents.items():
        facts = _facts(_n_bytes(tokenizer, ids), len(ids))
        tokens = "".join(_html_token(tokenizer, k, i) for k, i in enumerate(ids))
        sections.append(f'<h2>{html.escape(name)}</h2>\n<p class="facts">{facts}</p>\n'
                        f"<pre>{tokens}</pre>")
    title = f"{tokenizer.vocab_size} tokens, pattern {tokenizer.pattern}"
    return _PAGE.format(title=html.escape(title), tints=tints, documents="\n".join(sections))


def _html_token(tokenizer, k, i):
    token = tokenizer.tokens[i]
    text = html.escape(_with_line_ends(token))
    for sign in "⏎⇥␍":
        text = text.replace(sign, f"<i>{sign}</i>")
    kind = "x" if i in tokenizer.special_tokens.values() else f"c{k % len(_TINTS)}"
    label = html.escape(f"{i}  {spelling(token)}", quote=True)
    return f'<b class="{kind}" title="{label}">{text}</b>'


# ---- merge by merge ----

def explain(tokenizer, text):
    """Say how a text becomes tokens: its pre-tokens, and for each the merges in their order.

    Yields
    ------
    line : str
    """
    tokens = tokenizer.tokens
    for word in reference.split(text, tokenizer.pattern):
        steps = list(tokenizer.merge_steps(word))
        yield spelling(word)
        for ids, merged in pairwise(steps):
            at = next(k for k, (old, new) in enumerate(zip(ids, [*merged, None])) if old != new)
            pair = f"{spelling(tokens[ids[at]])} + {spelling(tokens[ids[at + 1]])}"
            row = "  ".join(spelling(tokens[i]) for i in ids)
            yield f"    {row:40}  {pair} = {merged[at]}"
        ids = tokenizer.vocabulary.encode_word(word)
        if ids != steps[-1]:
            yield "    the pre-token is a token as a whole, which needs no merges"
        yield "    " + "  ".join(f"{spelling(tokens[i])} {i}" for i in ids)


# ---- numbers ----

def report(tokenizer, documents, n_longest=10):
    """Say how well the tokenizer compresses documents, and which tokens they use.

    Parameters
    ----------
    documents : dict of str -> sequence of int
        Name -> ids.

    Yields
    ------
    line : str
    """
    uses = Counter()
    for name, ids in documents.items():
        uses.update(ids)
        yield f"{name}: {_facts(_n_bytes(tokenizer, ids), len(ids))}"
    n_bytes = _n_bytes(tokenizer, uses.elements())
    if len(documents) > 1:
        yield f"together: {_facts(n_bytes, uses.total())}"
    words = [i for i, token in enumerate(tokenizer.tokens)
             if token is not None and i not in tokenizer.special_tokens.values()]
    words.sort(key=lambda i: (-len(tokenizer.tokens[i]), i))
    used = [i for i in words if i in uses]
    unused = [i for i in words if i not in uses]
    yield (f"tokens that occur: {len(used)} of {len(words)}; "
           f"{len(unused)} do not ({len(unused) / len(words):.1%})")
    for title, ids in (("longest", used), ("longest of those that do not occur", unused)):
        if ids and n_longest:
            yield f"{title}:"
        for i in ids[:n_longest]:
            count = f"  x {uses[i]}" if i in uses else ""
            yield f"    {i:6}  {spelling(tokenizer.tokens[i])}{count}"


def _n_bytes(tokenizer, ids):
    return sum(map(tokenizer.token_bytes.tolist().__getitem__, ids))


def _facts(n_bytes, n_tokens):
    ratio = f", {n_bytes / n_tokens:.2f} bytes per token" if n_tokens else ""
    return f"{n_bytes:,} bytes, {n_tokens:,} tokens{ratio}"

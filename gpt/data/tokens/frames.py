"""What a model expects around a text: the ids before it and behind it."""
from bpe.files import check, list_in
from gpt.data.tokens.parts import Part, steps_in


def frame_of(path, facts):
    """Read the post-processors of a `tokenizer.json`.

    Returns
    -------
    before, after : tuple of int
    """
    before, after = [], []
    ignored = ("trim_offsets", "add_prefix_space", "use_regex", "pair")
    for step in steps_in(path, facts, "post_processor", "processors"):
        front, back = Part(path, "post_processor", step, ignored).made_by(FRAMES)
        before, after = front + before, after + back
    return tuple(before), tuple(after)


def _template(part):
    """`single` is a list of special tokens, and among them one Sequence, the text."""
    part.asked |= {"single", "special_tokens"}
    sides, side = ([], []), 0
    pieces = list_in(part.path, part.facts, "single")
    for k, piece in enumerate(pieces):
        right = isinstance(piece, dict) and len(piece) == 1
        (kind, what), = piece.items() if right else [(None, None)]
        right = kind in ("Sequence", "SpecialToken") and isinstance(what, dict)
        part.check(f"single[{k}]", piece, right, "a SpecialToken or a Sequence")
        if kind == "Sequence":
            is_only = what.get("id") == "A" and side == 0
            part.check(f"single[{k}]", piece, is_only, "the only text")
            side = 1
        else:
            sides[side].extend(_ids(part, what.get("id")))
    part.check("single", part.facts["single"], side, "around a Sequence, the text")
    return sides


def _ids(part, name):
    """The ids of one special token of a template."""
    known = part("special_tokens", dict)
    token = known.get(name) if isinstance(name, str) else None
    ids = token.get("ids") if isinstance(token, dict) else None
    right = isinstance(ids, list) and {int}.issuperset(map(type, ids))
    check(part.path, f"{part.where}: the special token {name!r:.60}", token, right,
          "an object with ids")
    return ids


def _bert(part):
    """BERT's and RoBERTa's: one token before, one behind."""
    pairs = part("cls", list), part("sep", list)
    for name, pair in zip(("cls", "sep"), pairs):
        right = len(pair) == 2 and type(pair[1]) is int
        part.check(name, pair, right, "a text and its id")
    (_, cls), (_, sep) = pairs
    return [cls], [sep]


FRAMES = {"TemplateProcessing": _template, "ByteLevel": lambda part: ([], []),
          "BertProcessing": _bert, "RobertaProcessing": _bert}

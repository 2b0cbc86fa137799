"""Read the parts of a `tokenizer.json`: every option is checked, and one not known is refused."""
import regex

from bpe.files import check, list_in
from bpe.pretokenize import check_pattern


def step(kind, **options):
    """Say one step as a `tokenizer.json` does."""
    return dict(type=kind, **options)


class Part:
    """One step of a tokenizer, such as a normalizer, whose options are asked for by name.

    Parameters
    ----------
    path : path
    where : str
        What the file calls it, for sentences.
    facts : dict
    ignored : collection of str
        Options that change neither ids nor text.
    """

    def __init__(self, path, where, facts, ignored=()):
        check(path, where, facts, isinstance(facts, dict), "an object")
        self.path, self.facts = path, facts
        self.kind = facts.get("type")
        is_name = isinstance(self.kind, str) and self.kind.isidentifier()
        self.where = f"{where} {self.kind:.40}" if is_name else where
        self.asked = {"type", *ignored}

    def __call__(self, name, kind, *default):
        """Return an option of a type; without a default it must be there."""
        self.asked.add(name)
        value = self.facts.get(name, *default)
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if default and value is default[0]:
            right = True
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        check(self.path, f"{self.where}: {name}", value, right, f"a {names}")
        return value

    def choice(self, name, table, *default):
        """Return the entry of a table that an option names."""
        key = self(name, str, *default)
        self.check(name, key, key in table, f"one of {', '.join(table)}")
        return table[key]

    def check(self, name, value, right, wanted):
        check(self.path, f"{self.where}: {name}", value, right, wanted)

    def made_by(self, table):
        """Make what the table has for this type, and refuse options that nobody asked for."""
        known = isinstance(self.kind, str) and self.kind in table
        check(self.path, self.where, self.kind, known, f"one of {', '.join(table)}")
        made = table[self.kind](self)
        for name in sorted(self.facts.keys() - self.asked):
            raise ValueError(f"{self.path}: {self.where}: {name!r:.60} is not known here, and may "
                             f"change the ids: leave it out if you can")
        return made


def steps_in(path, facts, name, inner):
    """List the steps of a part of the file, those of any sequence in their places.

    Parameters
    ----------
    name, inner : str
        "normalizer" and "normalizers", the key of the list inside of a sequence, and so on.

    Returns
    -------
    steps : list of dict
    """
    waiting, steps = [facts.get(name)], []
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict) and step.get("type") == "Sequence":
            waiting += reversed(list_in(path, step, inner))
        elif step is not None:
            check(path, name, step, isinstance(step, dict), "an object or null")
            steps.append(step)
    return steps


def pattern_of(part):
    """Return what a pattern option holds: ("String", text) or ("Regex", expression)."""
    given = part("pattern", dict)
    for kind in ("String", "Regex"):
        if [*given] == [kind] and isinstance(given[kind], str):
            return kind, given[kind]
    part.check("pattern", given, False, "an object with a String or a Regex")


LONGEST_CONTENT, MOST_GROWTH = 64, 100       # real ones: 3 characters; 18 times, of NFKC


def check_growth(path, text, before):
    """Refuse what steps have made of a text if it is far longer: 40 that double it are enough."""
    if len(text) > MOST_GROWTH * (len(before) + 10):
        raise ValueError(f"{path}: of the {len(before)} characters {before!r:.40} its steps make "
                         f"{len(text)}: no tokenizer that is meant for use does that")


def replacement(part):
    """Make what a step Replace does to a text, str -> str; it stands in normalizers and decoders.
    """
    kind, pattern = pattern_of(part)
    content = part("content", str)
    short = len(content) <= LONGEST_CONTENT
    part.check("content", content, short, f"of at most {LONGEST_CONTENT} characters")
    if kind == "String":
        return lambda text: text.replace(pattern, content) if pattern else text
    check_pattern(pattern)
    compiled = regex.compile(pattern)
    return lambda text: compiled.sub(lambda match: content, text)

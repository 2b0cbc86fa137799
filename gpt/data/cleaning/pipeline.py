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
from gpt.data.cleaning.duplicates import (
    N_BANDS, Groups, band_keys, exact_duplicates, join_equal, minhashes, text_hash)
from gpt.data.cleaning.sources import Document, read_unit, units_of
from gpt.data.cleaning.stages import Tally, applied, masked, stages_of, without_losses
from gpt.data.cleaning.workers import in_order
from gpt.data.corpora import find_files
from gpt.data.reading import END_OF_TEXT, CorpusError, read_file

FORMAT = 1
DEDUP = "lines", "exact", "minhash"


class Settings(NamedTuple):
    """What is asked; the same settings and files give the same bytes."""

    filters: str
    dedup: tuple = ()              # of DEDUP
    mask_pii: bool = False
    held_out: tuple = ()           # names of files


def make_corpus(names, folder, settings, workers=1, say=print):
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

    Returns
    -------
    facts : dict
        What `corpus.json` holds.

    Raises
    ------
    CorpusError
        If a file is not there, a filter has no such name, or the folder holds something else.
    """
    folder = Path(folder)
    paths = [path for name in names for path in find_files(name)]
    stages_of(settings.filters)                       # which refuses what there is not
    units, work = units_of(paths), folder / ".work"
    begin(folder, work, units, settings)
    texts = [read_file(path).decode("utf-8", "replace")
             for name in settings.held_out for path in find_files(name)]
    clean = partial(clean_unit, work=work, settings=settings, held_out=texts)
    in_order(clean, [*enumerate(units)], workers, lambda i: done(work, i), say, "cleaned")
    tallies = [Tally(json.loads(at(work, i, "json").read_text(encoding="utf-8")))
               for i in range(len(units))]
    found = find_duplicates(work, len(units), settings.dedup)
    write = partial(write_shard, work=work, folder=folder)
    in_order(write, [*enumerate(units)], workers,
             lambda i: (work / f"{i:05d}.shard").exists(), say, "written")
    return conclude(folder, work, paths, settings, tallies, found)


def begin(folder, work, units, settings):
    """Make the folder; refuse one that holds another corpus, done or half done."""
    asked = json.dumps([FORMAT, units, settings], indent=1)
    known = work / "settings.json"
    if (folder / "corpus.json").exists():
        raise CorpusError(f"{folder} holds a corpus: name another folder, or remove it")
    if known.exists() and known.read_text(encoding="utf-8") != asked:
        raise CorpusError(f"{folder} holds half a corpus of other files or settings: go on with "
                          "those, name another folder, or remove it")
    if folder.is_dir() and not known.exists() and any(folder.iterdir()):
        raise CorpusError(f"{folder} is not empty: name a folder of its own")
    work.mkdir(parents=True, exist_ok=True)
    write_text(known, asked)


def at(work, i, kind):
    return work / f"{i:05d}.{kind}"


def done(work, i):
    """Tell whether a unit is cleaned: its tally is written last."""
    return at(work, i, "json").exists()


# ---- a unit ----

def clean_unit(numbered, work, settings, held_out):
    """Clean the documents of a unit, and write them with what duplicates are found by."""
    i, unit = numbered
    tally = Tally()
    documents = without_losses(read_unit(unit), tally)
    for name, stage in stages_of(settings.filters, held_out).items():
        documents = applied(name, stage, documents, tally)
    if settings.mask_pii:
        documents = masked(documents, tally)
    keys = {}                                         # name -> an array of each document
    write_whole(at(work, i, "jsonl"), partial(write_documents, documents, settings.dedup, keys))
    for name, found in keys.items():
        array = np.concatenate([np.zeros(0, np.uint64), *found])
        write_whole(at(work, i, f"{name}.npy"), partial(save_array, array))
    write_text(at(work, i, "json"), json.dumps(tally.facts()))


def write_documents(documents, dedup, keys, path):
    """Write documents as they come, a line each, and collect what duplicates are found by."""
    for name in names_of_keys(dedup):
        keys[name] = []
    with open(path, "w", encoding="utf-8", newline="") as file:
        for each in documents:
            file.write(json.dumps(each) + "\n")
            for name, found in keys_of(each.text, dedup).items():
                keys[name].append(np.asarray(found, np.uint64))


def save_array(array, path):
    with open(path, "wb") as file:
        np.save(file, array)


def names_of_keys(dedup):
    return keys_of("", dedup).keys()


def keys_of(text, dedup):
    """Return numbers that equal documents, lines or parts of documents have in common."""
    keys = {"exact": [text_hash(text)]} if dedup else {}
    if "minhash" in dedup:
        keys["minhash"] = band_keys(minhashes(text))
    if "lines" in dedup:
        lines = lines_of(text)
        keys |= {"lines": [*map(text_hash, lines)], "n_lines": [len(lines)]}
    return keys


def lines_of(text):
    return [line for line in text.split("\n") if line.strip()]


# ---- duplicates, over all units ----

def find_duplicates(work, n_units, dedup):
    """Find what is there before: writes which documents and lines of each unit are kept.

    Returns
    -------
    found : dict
        How many there are of each kind, and the sizes of the largest clusters.
    """
    parts = lambda name: [np.load(at(work, i, f"{name}.npy"), mmap_mode="r")
                          for i in range(n_units)]
    if not dedup:
        return {}
    hashes = parts("exact")
    n, found = sum(map(len, hashes)), {}
    everyone, groups = np.arange(n), Groups(n)
    if "exact" in dedup:
        groups.parent = exact_duplicates(np.concatenate(hashes))
        found["exact"] = int((groups.parent != everyone).sum())
    if "minhash" in dedup:
        bands = [part.reshape(-1, N_BANDS) for part in parts("minhash")]
        left = np.flatnonzero(groups.parent == everyone)
        for b in range(N_BANDS):
            keys = np.concatenate([part[:, b] for part in bands])
            join_equal(groups, keys[left], left)
        firsts = groups.firsts()
        found["minhash"] = int((firsts != everyone).sum()) - found.get("exact", 0)
    firsts = groups.firsts()
    sizes = np.bincount(firsts, minlength=1)
    found["largest clusters"] = np.sort(sizes[sizes > 1])[::-1][:10].tolist()
    kept = firsts == everyone
    ends = np.cumsum([*map(len, hashes)])
    for i, part in enumerate(np.split(kept, ends[:-1])):
        write_whole(at(work, i, "kept.npy"), partial(save_array, part))
    if "lines" in dedup:
        found["lines"] = find_lines(parts("lines"), parts("n_lines"), kept, work)
    return found


def find_lines(lines, n_lines, kept, work):
    """Write which lines of each unit are there before in documents that are kept; count them."""
    of_document = np.repeat(kept, np.concatenate(n_lines).astype(np.int64))
    hashes = np.concatenate(lines)
    places = np.flatnonzero(of_document)
    first = np.zeros(len(hashes), bool)
    first[places[np.unique(hashes[places], return_index=True)[1]]] = True
    ends = np.cumsum([*map(len, lines)])
    for i, part in enumerate(np.split(first, ends[:-1])):
        write_whole(at(work, i, "first.npy"), partial(save_array, part))
    return int(len(places) - first.sum())


# ---- shards ----

def write_shard(numbered, work, folder):
    """Write the documents of a unit that are kept as a shard, unless there is none."""
    i, _ = numbered
    documents = [*kept_documents(work, i)]
    if documents:
        (folder / "origins").mkdir(exist_ok=True)
        rows = [json.dumps({"source": each.source, "place": each.place,
                            "bytes": len(each.text.encode("utf-8", "replace"))}) + "\n"
                for each in documents]
        write_text(folder / "origins" / f"{i:05d}.jsonl", "".join(rows))
        write_text(folder / f"{i:05d}.txt", f"\n{END_OF_TEXT}\n".join(
            each.text.replace(END_OF_TEXT, "").strip() for each in documents) + "\n")
    write_text(work / f"{i:05d}.shard", str(len(documents)))


def kept_documents(work, i):
    """Yield the documents of a unit that are no duplicates, without lines that are."""
    kept, first = (load_if_there(at(work, i, f"{name}.npy")) for name in ("kept", "first"))
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


def load_if_there(path):
    return np.load(path) if path.exists() else None


def with_lines(text, first):
    """Return a text with those of its lines for which `first` is true, blank ones all."""
    wanted = iter(first)
    return "\n".join(line for line in text.split("\n") if not line.strip() or next(wanted))


# ---- the end ----

def conclude(folder, work, paths, settings, tallies, found):
    """Write `corpus.json`, clear what was half done, and return what it says."""
    total, shards = Tally(), []
    for tally in tallies:
        total.add(tally)
    for path in sorted(folder.glob("*.txt")):
        n = int((work / f"{path.stem}.shard").read_text(encoding="utf-8"))
        shards.append({"name": path.name, "documents": n, "bytes": path.stat().st_size,
                       "sha256": file_sha256(path)})
    read = [{"name": str(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in paths]
    facts = {"format": FORMAT, "settings": settings._asdict(), "read": read, **total.facts(),
             "duplicates": found, "shards": shards}
    write_text(folder / "corpus.json", json.dumps(facts, indent=1))
    shutil.rmtree(work)
    return json.loads(json.dumps(facts))

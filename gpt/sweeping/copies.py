"""Copies of runs and of their tokens: what is never written again is shared, not copied."""
import hashlib
import os
import shutil
from pathlib import Path

from gpt.data.reading import CorpusError
from gpt.settings import ConfigError
from gpt.start import prepare_data

UNCHANGED = ".safetensors", ".npy"     # files that are replaced as a whole, never changed


def copy_folder(source, folder):
    """Copy a folder that others may still write to; the copy is whole or not there."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    skipped = shutil.ignore_patterns("*.partial")
    try:
        shutil.copytree(source, partial, ignore=skipped, copy_function=linked_or_copied)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def linked_or_copied(source, target):
    """Link a file that is never changed; copy others, and where links are not known."""
    if source.endswith(UNCHANGED):
        try:
            return os.link(source, target)
        except OSError:
            pass
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        pass                                          # an old checkpoint, removed meanwhile


def sharing(shared):
    """Return a function that prepares data as `prepare_data` does, or takes it from a folder.

    Parameters
    ----------
    shared : Path
        Where runs with the same text, settings of data and tokenizer leave theirs.
    """
    def prepare(task, corpus, settings, folder, own, say):
        known = corpus.fingerprint(), settings, own and own.fingerprint(), task.prepare.__name__
        kept = shared / hashlib.sha256(repr(known).encode()).hexdigest()[:16]
        if kept.is_dir():
            copy_folder(kept, folder)
            return task.load(folder, None)
        data = usable(task, corpus, settings, folder, own, say)
        leave(folder, kept)
        return data
    return prepare


def usable(*text):
    """Prepare data; a text that was found and is none for the task is so on every machine."""
    try:
        return prepare_data(*text)
    except CorpusError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise ConfigError(str(error)) from error


def leave(folder, kept):
    """Leave data for other runs, unless they have."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy_folder(Path(folder), kept)
    except OSError:
        if not kept.is_dir():
            raise

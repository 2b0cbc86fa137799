"""Checkpoints: tensors in a safetensors file, facts in a JSON file beside it, whole or not there.

The JSON file is written last and holds the SHA256 of both, so a checkpoint without it does not
exist and one that was cut off or altered is noticed. Nothing in it depends on the clock.
"""
import errno
import hashlib
import json
from pathlib import Path

from bpe.files import file_sha256, write_text, write_whole
from gpt.files.safetensors import open_safetensors, write_safetensors
from gpt.files.weights import FileError

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says what to do."""


def save(folder, step, tensors, facts, keep=()):
    """Write a checkpoint, then remove all older ones but the one before it and those to keep.

    Parameters
    ----------
    folder : path
    step : int
    tensors : dict of str to array
    facts : dict
        Anything that JSON can hold.
    keep : collection of int
        Steps whose checkpoints stay.

    Raises
    ------
    CheckpointError
        If the disk is full, say; the earlier checkpoints are still there.
    """
    folder, name = Path(folder), f"step-{step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}.safetensors",
                    lambda path: write_safetensors(path, tensors, {}))
        facts = {"format": FORMAT, "step": step, **facts,
                 "tensors_sha256": file_sha256(folder / f"{name}.safetensors")}
        facts["sha256"] = facts_sha256(facts)
        write_text(folder / f"{name}.json", json.dumps(facts, indent=1, sort_keys=True))
    except (OSError, FileError) as error:
        raise CheckpointError(refusal(folder, step, tensors, error)) from error
    before = [s for s in steps(folder) if s < step]
    stay = {*keep, *before[-1:]}
    for path in sorted(folder.glob("step-*")):        # JSON first; with what a killed one left
        of_step = step_of(path)
        if of_step is not None and of_step < step and of_step not in stay:
            path.unlink(missing_ok=True)


def refusal(folder, step, tensors, error):
    known = steps(folder)
    last = f"the one of step {known[-1]} is whole" if known else "there is none before it"
    code = getattr(error, "errno", None)
    full = code == errno.ENOSPC or "No space" in str(error)
    size_mb = sum(x.nbytes for x in tensors.values()) / 1e6
    reason = (f"the disk is full: free {size_mb:.0f} MB" if full else
              f"{error}: make {folder} writable")
    return (f"the checkpoint of step {step} could not be written ({last}); {reason}, then "
            f"{'resume' if known else 'start anew'}")


def steps(folder):
    """Return the steps of all checkpoints in a folder, in order."""
    found = map(step_of, Path(folder).glob("step-*.json"))
    return sorted(step for step in found if step is not None)


def step_of(path):
    """Return the step in the name of a file of a checkpoint; None if there is none."""
    number = path.name.removeprefix("step-").split(".")[0]
    return int(number) if number.isdigit() else None


def load(folder, step=None):
    """Read a checkpoint, the last one unless told, after checking that it is as it was written.

    Returns
    -------
    tensors : dict of str to array
    facts : dict

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be read, or is damaged: then it names the one before.
    """
    folder, known = Path(folder), steps(folder)
    step = (known[-1] if known else None) if step is None else step
    if step not in known:
        some = f"there are those of steps {', '.join(map(str, known))}" if known else "start anew"
        what = "a checkpoint" if step is None else f"a checkpoint of step {step}"
        raise CheckpointError(f"{folder} does not hold {what}: {some}")
    path = folder / f"step-{step:08d}.safetensors"
    try:
        facts = sealed_facts(path.with_suffix(".json"))
        if facts["tensors_sha256"] == file_sha256(path):
            return open_safetensors(path).arrays(), facts
    except (FileNotFoundError, FileError, Damaged):
        pass
    except OSError as error:
        raise CheckpointError(f"the checkpoint of step {step} cannot be read: {error}: make it "
                              "readable") from error
    before = [s for s in known if s < step]
    remedy = f"take the one before it with --from_step {before[-1]}" if before else "start anew"
    raise CheckpointError(f"the checkpoint of step {step} in {folder} is damaged: {remedy}")


class Damaged(ValueError):
    """Facts that are not as they were written."""


def sealed_facts(path):
    """Read the facts of a checkpoint if they carry their own SHA256."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        seal = facts.pop("sha256")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise Damaged from None
    found = facts.get("format", FORMAT)
    if found != FORMAT:
        raise CheckpointError(f"{path} has format {found}, but this version reads format {FORMAT}: "
                              "use the version that wrote it")
    if seal != facts_sha256(facts):
        raise Damaged
    return facts


def facts_sha256(facts):
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def below(tensors, prefix):
    """Return the tensors whose names begin with a prefix and a dot, by the rest of their names."""
    start = f"{prefix}."
    names = [name for name in tensors if name.startswith(start)]
    return {name.removeprefix(start): tensors[name] for name in names}

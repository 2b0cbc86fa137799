"""Open the weights that a place holds: a safetensors file, a folder of them, or a GGUF."""
import json
from pathlib import Path

from gpt.files.gguf import MAGIC, open_gguf
from gpt.files.safetensors import open_safetensors
from gpt.files.weights import FileError, Weights, shown

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
NEVER = ("which is a pickle: to load one is to run the program in it, so none is read here; take "
         "the model's safetensors or GGUF file, or convert it once where you trust it, with "
         "safetensors.torch.save_file")


def open_weights(place):
    """Open the weights at a place; tensors are read when they are asked for.

    Parameters
    ----------
    place : path
        A safetensors file, a GGUF file, or a folder with `model.safetensors`, with shards and
        `model.safetensors.index.json`, or with one file of either kind.

    Returns
    -------
    weights : Weights
        A mapping of names to arrays, with `metadata`, `names`, `shape`, `kind` and `raw`.

    Raises
    ------
    FileError
        One sentence on what is wrong and what to do.

    Notes
    -----
    Files are mapped while the weights or views of them live: replace one by another of its name,
    never write into it.

    Examples
    --------
    >>> weights = open_weights("smollm2.gguf")                              # doctest: +SKIP
    >>> weights.shape("token_embd.weight"), weights.kind("token_embd.weight")  # doctest: +SKIP
    ((49152, 576), 'Q8_0')
    >>> weights["token_embd.weight"].dtype                                  # doctest: +SKIP
    dtype('float32')
    """
    place = Path(place)
    try:
        if place.is_dir():
            return open_folder(place)
        if place.is_file():
            return open_file(place)
    except OSError as error:
        raise FileError(f"{place} cannot be read: {error.strerror}") from None
    raise FileError(f"{place} does not exist: name a safetensors or GGUF file, or a folder that "
                    "holds one")


def open_file(path):
    """Open a file as what its first bytes say that it is."""
    with open(path, "rb") as file:
        first = file.read(9)
    if first.startswith(MAGIC):
        return open_gguf(path)
    if first.startswith(PICKLES) and not first.endswith(b"{"):       # a length may look like one
        raise FileError(f"{path} looks like a file of PyTorch, {NEVER}")
    return open_gguf(path) if path.suffix == ".gguf" else open_safetensors(path)


def open_folder(folder):
    """Open what a folder holds: an index of shards, the whole, or the one file there is."""
    if (folder / INDEX).is_file():
        return open_shards(folder)
    if (folder / WHOLE).is_file():
        return open_safetensors(folder / WHOLE)
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("*.gguf")])
    if len(found) == 1:
        return open_file(found[0])
    if found:
        raise FileError(f"{folder} holds {len(found)} files of weights, {found[0].name} and "
                        f"{found[1].name} among them: name the one to open")
    for pattern in PICKLED:
        for path in folder.glob(pattern):
            raise FileError(f"{folder} holds {path.name}, {NEVER}")
    raise FileError(f"{folder} holds no weights: no {WHOLE}, no {INDEX}, no GGUF file")


def open_shards(folder):
    """Open all files that an index names, as one."""
    path = folder / INDEX
    index = read_json(path)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or {*map(type, places.values())} != {str}:
        raise FileError(f"{path}: weight_map is {places!r:.60}, but must name each tensor's file")
    shards = {name: open_shard(folder, name) for name in dict.fromkeys(places.values())}
    missing = [name for name, shard in places.items() if name not in shards[shard]]
    if missing:
        raise FileError(f"{path}: {shown(missing[0])} is not in {places[missing[0]]}; "
                        "fetch both again")
    tensors = {name: shards[shard].raw(name) for name, shard in places.items()}
    opened = [*shards.values()]
    maps = [shard.maps[0] for shard in opened]
    return Weights(tensors, opened[0].metadata, maps)


def open_shard(folder, name):
    """Open a file beside the index; a path that leads elsewhere is refused."""
    if Path(name).name != name:
        raise FileError(f"{folder / INDEX}: {shown(name)} is not the name of a file beside it")
    if not (folder / name).is_file():
        raise FileError(f"{folder}: {shown(name)} is missing, which {INDEX} names: fetch it, too")
    return open_safetensors(folder / name)


def read_json(path):
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not JSON: {error!s:.100}") from None

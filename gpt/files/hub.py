"""Models by name, `org/model`, from the Hugging Face hub (extra `hub`).

Looking up says what would come, how large it is and under which licence; the caller shows that
before it fetches. What comes is that very revision, and of its files only those that are read here.
"""
import re
from dataclasses import dataclass
from pathlib import Path

from gpt.files.opening import NEVER
from gpt.files.weights import FileError, shown

NAME = r"\w[\w.-]*/\w[\w.-]*"
# Settings, tokenizers, how one is talked to, and how sentence vectors are pooled.
BESIDE = ("config.json generation_config.json model.safetensors.index.json tokenizer.json "
          "tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json vocab.txt "
          "merges.txt tokenizer.model chat_template.jinja modules.json "
          "1_Pooling/config.json").split()


@dataclass(frozen=True)
class Offer:
    """What a name stands for on the hub."""

    name: str                                     # org/model
    revision: str
    sizes: dict                                   # file -> bytes
    licence: str

    def __str__(self):
        size_mb = sum(self.sizes.values()) / 1e6
        return (f"{self.name}, {size_mb:.1f} MB, licence {self.licence}: "
                f"{', '.join(self.sizes)}")


def is_name(place):
    """Tell whether a place may be a model on the hub: neither it is here, nor its first folder."""
    first, *_ = str(place).split("/")
    return not Path(first).exists() and bool(re.fullmatch(rf"{NAME}(/[\w./-]+)?", str(place)))


def look_up(place, endpoint=None):
    """Ask the hub for a model; nothing is fetched.

    Parameters
    ----------
    place : str
        `org/model`, or `org/model/file.gguf` for one file of it.
    endpoint : str, optional
        Another server than huggingface.co, or than the one that HF_ENDPOINT names.

    Returns
    -------
    offer : Offer

    Raises
    ------
    FileError
        If the package is missing, the hub cannot be asked, or there are no weights to read.
    """
    org, model, *file = str(place).split("/", 2)
    name = f"{org}/{model}"
    info = asked(name, lambda hub: hub.HfApi(endpoint).model_info(name, files_metadata=True))
    there = {found.rfilename: found.size or 0 for found in info.siblings}
    files = file or files_of(name, there)
    if files[0] not in there:
        raise FileError(f"{name} has no file {shown(files[0])}")
    sizes = {file: there[file] for file in files}
    return Offer(name, info.sha, sizes, licence_of(info))


def files_of(name, files):
    """Choose the files that are read here: safetensors first, then what stands beside them."""
    weights = named(files, r"model[\w.-]*\.safetensors") or named(files, r"[\w.-]+\.safetensors")
    if weights:
        return weights + [file for file in BESIDE if file in files]
    gguf = named(files, r"[\w./-]+\.gguf")
    if gguf:
        raise FileError(f"{name} has {len(gguf)} GGUF files: name one, as {name}/{gguf[0]}")
    pickles = named(files, r"pytorch_model[\w.-]*\.bin")
    if pickles:
        raise FileError(f"{name} has {pickles[0]}, {NEVER}")
    raise FileError(f"{name} has no weights: neither safetensors nor GGUF")


def named(files, pattern):
    return [file for file in files if re.fullmatch(pattern, file)]


def licence_of(info):
    """Find the licence in the tags of a model."""
    tags = [tag for tag in info.tags or [] if tag.startswith("license:")]
    return tags[0].removeprefix("license:") if tags else "not told"


def fetch(offer, endpoint=None, cache_dir=None):
    """Fetch what is offered, unless it is there; return its folder, or its file if that is all.

    Raises
    ------
    FileError
        If the package is missing, or something cannot be fetched.
    """
    def get(hub):
        return [hub.hf_hub_download(offer.name, file, revision=offer.revision, endpoint=endpoint,
                                    cache_dir=cache_dir) for file in offer.sizes]
    first, *others = map(Path, asked(offer.name, get))
    return first.parent if others else first


def asked(name, question):
    """Ask the package; whatever goes wrong there is told in a sentence."""
    try:
        import huggingface_hub
    except ImportError:
        raise FileError(f"{name} is not a place here, and to ask the hub for it takes the extra "
                        "hub: pip install minigrad[hub]") from None
    try:
        return question(huggingface_hub)
    except Exception as error:                    # of any of the libraries that it is made with
        reason = str(error).strip().split("\n")[0]
        raise FileError(f"{name} is not a place here, and cannot be had from the hub: "
                        f"{type(error).__name__}: {reason:.200}") from error

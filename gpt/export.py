"""Write a model into a folder of its own, to be shared: nothing of its text, nothing of training.

    python -m gpt export runs/NAME my_model
"""
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import bpe
from bpe.console import whole
from bpe.files import file_sha256, write_text, write_whole
from gpt import called
from gpt.command import add_base, find_run, make_parser, report_errors
from gpt.data.tokens.characters import CharTokenizer
from gpt.data.tokens.to_gguf import gguf_metadata
from gpt.files.gguf import write_gguf
from gpt.files.safetensors import write_safetensors
from gpt.models.lora import merged
from gpt.models.nets import described
from gpt.models.publishing import as_gguf, as_huggingface
from gpt.models.quantising import blocks_in, hold, quantised_matrices
from gpt.opening import CONFIG, MODEL_TYPE, SHARED_FORMATS, TOKENIZER, WEIGHTS, open_model
from gpt.settings import ConfigError
from gpt.training.folder import read_manifest
from minigrad.kernels.quantised import NAMES

PRECISIONS = {"q8": "Q8_0", "q4": "Q4_0"}


def main(args=None):
    parser = make_parser("export", "Write a model that can be shared: weights, tokenizer and a "
                         "card, nothing of the text that it learnt from.")
    parser.add_argument("run", help="the folder of a run, last for the newest, or whatever else "
                        "is a model")
    parser.add_argument("folder", help="a new one, or an empty one")
    parser.add_argument("--format", choices=FORMATS, default="minigrad",
                        help="minigrad, or what other programs load: a folder for transformers, "
                        "a GGUF of 16 bits, or of 8 or 4 and a half, for llama.cpp [minigrad]")
    parser.add_argument("--quantize", choices=PRECISIONS, help="round the matrices of "
                        "a decoder to 8 bits, or 4: a quarter or a seventh of the size, and faster")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    add_base(parser)
    args = parser.parse_args(args)
    if args.quantize and args.format != "minigrad":
        parser.error(f"--quantize is of our own format: for llama.cpp say --format gguf_q8_0 or "
                     f"gguf_q4_0, not --format {args.format} --quantize {args.quantize}")
    with report_errors(parser.prog):
        folder = Path(args.folder)
        check_empty(folder)
        run = find_run(args.run)
        opened = open_model(run, args.from_step, args.base)
        opened = opened._replace(model=merged(opened.model))
        if args.quantize:
            hold(opened.model, quantised_matrices(opened.model, PRECISIONS[args.quantize]))
        folder.mkdir(parents=True, exist_ok=True)
        FORMATS[args.format](opened, folder)
        write_text(folder / "README.md", card(folder.resolve().name, opened, run))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{size / 1e6:.1f} MB in {folder}; say in its README.md what it is for, and how it "
              f"may be used\nwrite with: {called('generate', folder)}")


def check_empty(folder):
    """Refuse a place where something would be lost."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there and not empty: name a new folder")


# ---- formats: each writes an opened model into an empty folder ----

def write_shared(opened, folder):
    """Write what `opening.read_shared` reads; blocks are bytes there."""
    blocks = blocks_in(opened.model)
    tensors = opened.model.state_dict()
    tensors |= {name: raw.view(np.uint8).reshape(len(raw), -1) for name, raw in blocks.items()}
    write_whole(folder / WEIGHTS, lambda path: write_safetensors(path, tensors, {}))
    opened.tokenizer.save(folder / TOKENIZER)
    seals = {name: file_sha256(folder / name) for name in (WEIGHTS, TOKENIZER)}
    facts = {"model_type": MODEL_TYPE, "format": SHARED_FORMATS[bool(blocks)],
             "task": opened.task, "step": opened.step, "net": opened.net,
             "model": asdict(opened.model.config), "sha256": seals}
    if opened.head:
        facts["head"] = opened.head
    if opened.template:
        facts["template"] = opened.template
    if blocks:
        facts["blocks"] = {name: NAMES[raw.dtype] for name, raw in blocks.items()}
    write_text(folder / CONFIG, json.dumps(facts, indent=1))


def write_huggingface(opened, folder):
    """Write what transformers loads."""
    settings, tensors = as_huggingface(opened.model)
    tokenizer = opened.tokenizer
    if isinstance(tokenizer, CharTokenizer):
        raise ConfigError("a tokenizer of characters is not known elsewhere: train with "
                          "--tokenizer bpe or byte to take a model elsewhere")
    end, number = next(iter(tokenizer.special_tokens.items()), (None, None))
    ids = {"bos_token_id": None, "eos_token_id": number}       # of the beginning and end of a text
    files = {CONFIG: settings | ids,
             "generation_config.json": ids | {"do_sample": True, "temperature": 0.8},
             "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                       "model_max_length": opened.model.config.context_length,
                                       "eos_token": end}}
    write_whole(folder / WEIGHTS,
                lambda path: write_safetensors(path, tensors, {"format": "pt"}))
    spelling = {"format": "hf"} if isinstance(tokenizer, bpe.Tokenizer) else {}
    write_whole(folder / TOKENIZER, lambda path: tokenizer.save(path, **spelling))
    for name, facts in files.items():
        write_text(folder / name, json.dumps(facts, indent=1))


def write_as_gguf(opened, folder, precision):
    """Write what llama.cpp loads."""
    try:
        words = gguf_metadata(opened.tokenizer)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    facts, tensors = as_gguf(opened.model, precision)
    facts = facts | words | {"general.name": folder.resolve().name}
    write_whole(folder / "model.gguf", lambda path: write_gguf(path, tensors, facts))


FORMATS = {"minigrad": write_shared, "transformers": write_huggingface,
           **{name: partial(write_as_gguf, precision=precision) for name, precision in {
               "gguf": "F16", "gguf_q8_0": "Q8_0", "gguf_q4_0": "Q4_0"}.items()}}


# ---- the card ----

def card(name, opened, place):
    """Say what a model is, from its settings and what is known of the run that made it."""
    try:
        facts = known(opened, read_manifest(place))
    except (AttributeError, KeyError, TypeError, ValueError):         # of a damaged manifest
        facts = known(opened, {})
    rows = [f"| {what} | {value} |" for what, value in facts.items() if value]
    return "\n".join([
        f"# {name}", "",
        "A language model trained with minigrad. It continues text as the text it learnt from "
        "goes on, and knows nothing else.", "",
        "| | |", "|---|---|", *rows, "",
        "```sh", f'minigrad generate {name} "Once upon a time"', "```", ""])


def known(opened, manifest):
    """Collect the rows of the table; what is not known is empty."""
    config = opened.model.config
    n_parameters = sum(x.size for x in opened.model.parameters())
    kinds = {NAMES[raw.dtype] for raw in blocks_in(opened.model).values()}
    return {"parameters": f"{n_parameters:,}",
            "matrices": " and ".join(sorted(kinds)),
            "net": ", ".join([opened.net, *described(config)]),
            "tokens": f"{config.vocab_size:,} kinds",
            "text": text_of(manifest),
            "trained": "" if opened.step is None else f"{opened.step:,} steps",
            "held-out text": measured(manifest.get("result"), opened.step),
            "beside it, in bits per byte": beside(manifest.get("baselines"))}


def text_of(manifest):
    """Name the text without the path where it lay."""
    if not manifest:
        return ""
    return (f"{manifest['corpus_name']}, {manifest['corpus_bytes'] / 1e6:.2f} MB, "
            f"SHA256 {manifest['corpus_sha256']}")


def measured(result, step):
    """Tell how good the model is, if that was measured of this step."""
    if not result or result["best_step"] != step:
        return ""
    return (f"{result['bits_per_byte']:.4f} bits per byte, {result['nats_per_token']:.4f} nats per "
            f"token, over {result['n_tokens']:,} tokens")


def beside(baselines):
    return ", ".join(f"{name} {bits:.2f}" for name, bits in (baselines or {}).items())


if __name__ == "__main__":
    main()

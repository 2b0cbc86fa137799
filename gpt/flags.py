"""The command line of `train.py`: a flag for each setting, and what is no setting."""
import argparse
from dataclasses import MISSING
from importlib.util import find_spec
from pathlib import Path

from bpe.console import finite, whole
from gpt.command import make_parser
from gpt.show.loggers import LOGGERS
from gpt.training.config import PRESETS, groups
from gpt.training.parallel.schedules import SCHEDULES
from gpt.training.parallel.zero import ZERO

TYPES = {int: whole, float: finite, str: str}


def parse(args):
    """Read the command line.

    Returns
    -------
    parsed : argparse.Namespace
        With the settings that were given in `given`, by name.
    """
    parser = make_parser("train", "Train a GPT on a text.")
    parser.add_argument("corpus", nargs="*", default=[], help="files, folders, globs, - for what "
                        "is piped in, or shakespeare, stdlib, stories [shakespeare]")
    parser.add_argument("--preset", choices=PRESETS, help="settings to begin with: fast; portable, "
                        "which other programs have, too; gpt2 and llama as published [fast]")
    parser.add_argument("--resume", metavar="RUN", help="the folder of a run to go on with, or "
                        "last for the newest")
    parser.add_argument("--from_step", type=whole, help="go on from an earlier checkpoint")
    parser.add_argument("--name", help="of the run [that of the text]")
    parser.add_argument("--runs", help="where runs are kept [runs]")
    parser.add_argument("--log", choices=LOGGERS, help="log there, too, if it is installed")
    parser.add_argument("--plain", action="store_true", help="plain lines, no live display")
    parser.add_argument("--seeds", type=whole, metavar="N", help="train N runs that differ in "
                        "their seed alone, one after the other, and say how far they lie apart")
    parser.add_argument("--check", action="store_true",
                        help="test the model of these settings for a minute, and do not train")
    parser.add_argument("--trace_step", type=whole, metavar="N",
                        help="record step N gradient by gradient: a page to step through")
    parser.add_argument("--profile", action="store_true",
                        help="say where the time of a step goes, op by op, before training")
    parser.add_argument("--zero", type=whole, choices=ZERO, help="of several processes: what "
                        "each keeps a share of, and no more: 1 what optimizers remember, 2 "
                        "gradients, too, 3 weights, too [none; each keeps all] (arXiv:1910.02054)")
    parser.add_argument("--shards", type=whole, metavar="N", help="with --zero: how many processes "
                        "share out a copy, of which there are as many as fit [all; one copy] "
                        "(hybrid sharding)")
    parser.add_argument("--stages", type=whole, metavar="P", help="of several processes: cut the "
                        "net into P stages, of which each has one [none; each has the whole net]")
    parser.add_argument("--pipeline", choices=SCHEDULES, help="in which order stages take their "
                        "passes [1f1b]")
    parser.add_argument("--timeline", type=whole, metavar="N", help="of several processes: draw "
                        "what each does in step N, as a page")
    parser.add_argument("--yes", action="store_true", help="agree to a run of days")
    add_settings(parser)
    args = parser.parse_args(args)
    args.prog = parser.prog
    args.given = given_settings(args)
    for sentence in contradictions(args, args.given):
        parser.error(sentence)
    if args.given.get("vocabulary") and "tokenizer" not in args.given:
        args.given["tokenizer"] = "bpe"               # which alone has one to choose
    args.tokenizer = args.given.get("tokenizer", "auto")
    args.preset, args.runs = args.preset or "fast", args.runs or "runs"
    return args


# ---- what cannot be meant ----

BEGUN = "preset", "name", "check", "seeds"    # what a run has from its beginning


def contradictions(args, given):
    """Yield a sentence for everything that cannot be meant as it was said."""
    for name in ("resume", "name", "runs"):
        if getattr(args, name) is not None and not getattr(args, name).strip():
            yield f"--{name} is empty: say what it is, or leave it out"
    if args.name is not None and (args.name != Path(args.name).name or args.name == ".."):
        yield f"name is {args.name!r}, but must name a folder: say where with --runs"
    yield from of_a_resumed_run(args)
    if args.seeds is not None and args.seeds < 2:
        yield f"seeds is {args.seeds}, but must be at least 2: one run is what there is without it"
    if args.seeds and args.check:
        yield "--check tests one model, --seeds trains several: leave one of them out"
    yield from of_stages(args)
    yield from of_zero(args)
    if args.timeline is not None and args.timeline < 1:
        yield f"timeline is {args.timeline}, but steps are counted from 1"
    for name in ("steps", "minutes"):
        if given.get(name, 1) <= 0:
            yield f"{name} is {given[name]:g}, but must be above 0"
    if {"steps", "minutes"} <= given.keys():
        yield "--steps and --minutes both say when to end: leave one of them out"
    if given.get("base") and args.preset:
        yield "--preset describes new weights, and --base has its own: leave one of them out"
    if not given.get("base", "x").strip():
        yield "--base is empty: name a model, or leave it out"
    if args.log and find_spec(args.log) is None:
        yield f"--log {args.log} needs the package: pip install {args.log}"
    if "plan" not in given:                           # which repeats all settings of a run
        yield from of_settings(given)


def of_stages(args):
    if args.pipeline and args.stages is None:
        yield f"--pipeline {args.pipeline} is an order of stages: say how many, as in --stages 2"
    if args.stages is None:
        return
    if args.stages < 2:
        yield f"stages is {args.stages}, but must be at least 2: one is what there is without it"
    if args.zero:
        yield ("--stages gives a rank a part of the net, and --zero cuts what a rank has of all of "
               "it: leave one out; --zero 3 --shards N has copies of shares")
    for name in ("trace_step", "profile", "check"):
        if getattr(args, name):
            yield f"--{name} looks at a whole net, of which a stage has a part: leave --stages out"


def of_zero(args):
    if args.shards is not None and not args.zero:
        yield "--shards groups the processes of --zero: say what they share out, as in --zero 2"
    if args.shards is not None and args.shards < 2:
        yield f"shards is {args.shards}, but must be at least 2: one has nobody to share with"
    for name in ("trace_step", "profile"):
        if args.zero == 3 and getattr(args, name):
            yield f"--{name} looks at a whole net, of which each has a share: take --zero 2"


def of_a_resumed_run(args):
    if args.resume is None:
        if args.from_step is not None:
            yield "--from_step needs the run whose checkpoint it is: add --resume RUN"
        return
    if args.corpus:
        yield f"a resumed run has its text in its folder: leave out {args.corpus[0]}"
    for name in BEGUN:
        if getattr(args, name):
            yield f"--{name} is for a new run: leave it out to go on with {args.resume}"
    if args.runs and args.resume != "last":
        yield f"--runs is for a new run or --resume last: leave it out to go on with {args.resume}"


def of_settings(given):
    """Yield what settings contradict each other, if they were said."""
    steps, tokenizer = given.get("steps", 0), given.get("tokenizer", "bpe")
    if 0 < steps < given.get("warmup_steps", 0):
        yield (f"warmup_steps is {given['warmup_steps']}, but steps is {steps}: the rate would "
               "never reach its height; use fewer, or more steps")
    if given.get("vocabulary") and tokenizer not in ("bpe", "auto"):
        yield (f"vocabulary is {given['vocabulary']}, but only --tokenizer bpe has one to choose, "
               f"and this is {tokenizer}: leave one of them out")
    if "val" in given and "val_fraction" in given:
        yield "--val and --val_fraction both say what to validate on: leave one of them out"
    adapters = [name for name in given if name.startswith("lora_") and given[name]]
    if adapters and "base" not in given:
        yield f"--{adapters[0]} is of adapters, which stand beside the weights of one: add --base"
    if adapters and not given.get("lora_rank"):
        yield f"--{adapters[0]} is of adapters: say how wide they are, as in --lora_rank 8"
    for name in ("val", "tokenizer"):
        if not given.get(name, "x").strip():
            yield f"--{name} is empty: say what it is, or leave it out"


# ---- a flag for each setting ----

def add_settings(parser):
    """Add a flag for every field of every part of the config."""
    for title, found in groups():
        group = parser.add_argument_group(title.rstrip("."))
        for f in found:
            text = f"{f.metadata['help']} [{f.default}]".replace("%", "%%")
            if f.type is bool:
                group.add_argument(f"--{f.name}", help=text, default=MISSING, action="store_true")
                group.add_argument(f"--no_{f.name}", help=argparse.SUPPRESS, dest=f.name,
                                   default=MISSING, action="store_false")
            else:
                group.add_argument(f"--{f.name}", help=text, default=MISSING,
                                   type=TYPES[f.type],
                                   choices=f.metadata["choices"], metavar=None
                                   if f.metadata["choices"] else f.type.__name__)


def given_settings(parsed):
    """Collect the settings that were said on the command line."""
    names = [f.name for _, found in groups() for f in found]
    return {name: getattr(parsed, name) for name in names
            if getattr(parsed, name, MISSING) is not MISSING}

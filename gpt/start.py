"""How a run comes about: new, from a text; or from its folder, where it stopped."""
import json
import os
from functools import partial
from pathlib import Path

from gpt.base import open_base, with_shape_of
from gpt.command import find_run
from gpt.data.reading import END_OF_TEXT
from gpt.opening import base_weights, fingerprint, weights_of
from gpt.settings import ConfigError
from gpt.show.summary import beginning
from gpt.training.clock import continue_plan
from gpt.training.config import TrainConfig, without_gone
from gpt.training.folder import kept_if_begun, new_folder, open_run, read_manifest, write_manifest
from gpt.training.forecast import check_size, matmul_gflops
from gpt.training.memory import give_back
from gpt.training.plan import Plan
from gpt.training.recipes import choose_settings, choose_tuning
from gpt.training.run import Run
from gpt.training.tasks import matched, task_named


def begin(args, say):
    """Choose the settings, tokenize the text, and make a new run in a folder of its own.

    Parameters
    ----------
    args : argparse.Namespace
        What `flags.parse` returns.
    say : callable
        Is told of the text.

    Returns
    -------
    run : Run
    folder : Path

    Raises
    ------
    ConfigError, CorpusError
        For settings, a text or a base of which no run can be made; no folder is left then.
    """
    preset, given = with_plan(args.preset, args.given)
    base = open_base(given, args.runs) if given.get("base") else None
    if base and base.template:
        given.setdefault("template", base.template)
    name = matched(given).get("task", TrainConfig.task)
    task = task_named(name)
    if given.get("canaries") and (task.conclude or not task.whole_text):
        raise ConfigError("--canaries are lines of a text to be continued, and the task is "
                          f"{name}: leave them out")
    corpus = task.corpus(args.corpus, binary=args.tokenizer in ("byte", "bpe"))
    say(f"text: {corpus.source}, {corpus.size_bytes / 1e6:.2f} MB")
    check_vocabulary(given.get("vocabulary", 0), corpus)
    config = (choose_settings(corpus, preset, given, matmul_gflops()) if base is None else
              with_shape_of(base, choose_tuning(base.model.config, given), given))
    last = corpus.files_at_end(config.data.held_out)
    if last and len(corpus.files) > 1:
        files = " to ".join(dict.fromkeys([last[0], last[-1]]))
        say(f"held out to validate on: the end, in {files}")
    folder = new_folder(args.name or corpus.name, args.runs)
    with kept_if_begun(folder):
        own = base and base.tokenizer
        data = task.prepare(corpus, config.data, folder / "data", own, task.corpus, say)
        give_back()                                   # what it took to encode the text
        V = config.model.vocab_size if base else task.vocab_size(data.tokenizer)
        config = config.changed(**data.settings | {"vocab_size": V})
        if config.data.document_mask:
            config = config.changed(document_end=end_of_documents(config, data.tokenizer))
        remark = data.check(config.model.context_length, config.train.batch_tokens)
        if remark:
            say(remark)
        check_size(config)
        write_manifest(folder, **beginning(args.corpus, corpus, config))
        plan = Plan.parse(config.train.plan) if config.train.plan else Plan.fixed(
            config.train.steps or 1)
        weights = base and weights_of(base)
        sha256 = weights and fingerprint(weights)
        if base:
            write_manifest(folder, base=config.train.base, base_sha256=sha256)
        run = Run.start(config, data, plan, weights=weights, base_sha256=sha256)
        if base and run.task.prepared:
            run.task.prepared(run)
        return run, folder


def end_of_documents(config, tokenizer):
    """Return the id of the token between documents, which no token behind it sees past."""
    if not hasattr(config.model, "document_end"):
        raise ConfigError(f"--document_mask hides what attention sees, and the net "
                          f"{config.train.net} has none: leave it out")
    end = tokenizer.special_tokens.get(END_OF_TEXT)
    if end is None:
        raise ConfigError(f"--document_mask parts documents at {END_OF_TEXT}, and there is none in "
                          "this text: give several files, or leave it out")
    return end


def check_vocabulary(n, corpus):
    """Refuse more tokens than a text can have: each that is learnt joins two of those in it."""
    most = 256 + corpus.size_bytes
    if n > most:
        raise ConfigError(f"vocabulary is {n:,}, but {corpus.size_bytes:,} bytes of text have at "
                          f"most {most:,} tokens: leave --vocabulary out, and it is chosen by them")


def with_plan(preset, given):
    """Take the settings of the run whose `plan.json` is named; what else is given comes first."""
    path = given.get("plan", "")
    if not os.path.isfile(path):
        return preset, given
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
        preset = settings.pop("preset")
        Plan.parse(settings["plan"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no plan ({error}): name the plan.json of a run") from error
    other = {name: value for name, value in given.items() if name != "plan"}
    return preset, without_gone(settings) | other


def resume(args):
    """Go on with a run, to the end of its plan or to a new one: (run, folder), as of `begin`.

    Raises
    ------
    ConfigError, CheckpointError, CorpusError
        If it cannot go on, or is at its end and no new one is given.
    """
    folder = find_run(args.resume, args.runs)
    weights_for = partial(base_weights, base=args.given.pop("base", None))
    run = open_run(folder, args.from_step, weights_for)
    continue_plan(run, args.given, read_manifest(folder).get("reported_step"))
    return run, folder

"""How a run comes about: new, from a text; or from its folder, where it stopped."""
import json
import os
from functools import partial
from pathlib import Path

from gpt.base import as_it_was, open_base, open_beside, with_shape_of
from gpt.command import find_run
from gpt.data.reading import END_OF_TEXT
from gpt.opening import base_weights, fingerprint, weights_of
from gpt.settings import ConfigError
from gpt.show.summary import beginning
from gpt.training.clock import continue_plan
from gpt.training.config import TrainConfig, without_gone
from gpt.training.folder import kept_if_begun, new_folder, open_run, read_manifest, write_manifest
from gpt.training.forecast import check_size, matmul_gflops
from gpt.training.plan import Plan
from gpt.training.recipes import choose_settings, choose_tuning, other_net
from gpt.training.run import Run
from gpt.training.tasks import matched, task_named
from minigrad.kernels.memory import trim


def prepare_data(task, corpus, settings, folder, own, say):
    """Tokenize a text into a folder, with a tokenizer of its own or with that of a base."""
    return task.prepare(corpus, settings, folder, own, task.corpus, say)


def begin(args, say, peak_gflops=None, prepare=prepare_data, ranks=1):
    """Choose the settings, tokenize the text, and make a new run in a folder of its own.

    Parameters
    ----------
    args : argparse.Namespace
        What `flags.parse` returns.
    say : callable
        Is told of the text.
    peak_gflops : float, optional
        Of this machine, which the size is chosen by; it is measured unless given.
    prepare : callable
        Makes the data, as `prepare_data` does.
    ranks : int
        How many machines like this one, or shares of it, will train.

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
    if task.based and not base:
        raise ConfigError(f"the task {name} goes on from a model that can write: name it with "
                          "--base")
    if given.get("canaries") and (task.conclude or not task.whole_text):
        raise ConfigError("--canaries are lines of a text to be continued, and the task is "
                          f"{name}: leave them out")
    beside = open_beside(task, given, base, args.runs)
    corpus = task.corpus(args.corpus, binary=args.tokenizer in ("byte", "bpe"))
    say(f"text: {corpus.source}, {corpus.size_bytes / 1e6:.2f} MB")
    check_vocabulary(given.get("vocabulary", 0), corpus)
    if base:
        config = with_shape_of(base, choose_tuning(base.model.config, given), given)
        corpus = task.made(base, corpus, config.train, say)
    else:
        peak = peak_gflops or ranks * matmul_gflops()
        config = chosen(corpus, preset, given, peak, say)
    last = corpus.files_at_end(config.data.held_out)
    if last and len(corpus.files) > 1:
        files = " to ".join(dict.fromkeys([last[0], last[-1]]))
        say(f"held out to validate on: the end, in {files}")
    folder = new_folder(args.name or corpus.name, args.runs)
    with kept_if_begun(folder):
        source = base or beside
        if beside and not base:
            config = config.changed(tokenizer=f"of the {task.beside}")
        own = source and source.tokenizer
        data = prepare(task, corpus, config.data, folder / "data", own, say)
        trim()                                        # what it took to encode the text
        V = rows_for(task.vocab_size(data.tokenizer), source, say)
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
        if beside:
            run.beside, run.beside_sha256 = beside.model, fingerprint(weights_of(beside))
        if (base or beside) and run.task.prepared:
            run.task.prepared(run, folder / "data")
        if not task.stays(config.train):
            run.beside = None
        return run, folder


def chosen(corpus, preset, given, peak, say):
    """Choose the settings of a run from nothing, and say where another net would get further."""
    config = choose_settings(corpus, preset, given, peak)
    other = other_net(config, peak)
    if other:
        say(f"in so short a time, by characters, --net {other} gets further")
    return config


def rows_for(n_tokens, source, say):
    """Return how many tokens the net knows: of a source it goes on from at least all of those."""
    known = source.model.config.vocab_size if source else 0
    if source and n_tokens > known:
        say(f"vocabulary: {n_tokens - known} tokens that the base lacks; their rows begin as the "
            "mean of all others")
    return max(known, n_tokens)


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
    if run.task.stays(run.config.train):
        run.beside = as_it_was(run)
    continue_plan(run, args.given, read_manifest(folder).get("reported_step"))
    return run, folder

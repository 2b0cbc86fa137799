"""The closing of a run: measured until its share of the time is over, said, written down."""
import json
import math
from functools import partial

from bpe.files import write_text
from gpt import called
from gpt.data.corpora import story_floor
from gpt.show.report import write_report
from gpt.show.summary import SAMPLE_TOKENS, sample
from gpt.training.baselines import affordable, baselines, longest_copied_span
from gpt.training.clock import BASELINES, COPIED, EVALUATION, SAMPLES, reading_s, report_s
from gpt.training.config import SET_ANEW
from gpt.training.divergence import Diverged
from gpt.training.folder import go_on_without, read_manifest, write_manifest
from gpt.training.memory import peak_bytes
from gpt.training.task import read
from gpt.verdicts.case import FAILS, NONE, Case
from gpt.verdicts.sections import BRIEF, answers
from minigrad.kernels.memory import trim


def conclude(run, folder, say, spent_s):
    """Say how a run went that took so many seconds, write that down, and the report."""
    manifest = read_manifest(folder)
    told = run.task.conclude or partial(of_text, folder, manifest, reading_s(run, spent_s))
    result, simpler, lines = told(run)
    more, said = run.task.adds(run, result)
    taught, of_teacher = beside_cost(run, manifest)
    result |= more | taught
    result |= {"steps": run.step, "best_step": run.best_step, "peak_bytes": peak_bytes()}
    asked = brief_answers(run, manifest, report_s(run, spent_s) / 2)
    at_end = at_the_end(folder, result, manifest)
    for line in (*lines, *said, *of_teacher, *told_of(asked, folder), *at_end):
        say(line)
    write_plan(run, folder)
    write_manifest(folder, result=result, baselines=simpler, config=told_settings(run.config),
                   repeat=repeat_command(folder, manifest))
    write_report(folder, asked)
    write_manifest(folder, reported_step=run.step)
    check_learnt(run, result)


def check_learnt(run, result):
    """Refuse to call a run done whose best weights are worse than none: it has diverged."""
    nothing = math.log(run.config.model.vocab_size)
    if result["nats_per_token"] > nothing + 1:
        raise Diverged(f"the model is worse than one that knows nothing, {nothing:.1f} nats/token")


# ---- what is measured of a model that writes ----

def of_text(folder, manifest, may_s, run):
    """Return the result, what simpler means reach, and the lines that tell of them."""
    result = measured(run, may_s)
    simpler = {}
    if run.task.whole_text:
        run.way.renew()                                # recordings give their memory back
        simpler = manifest.get("baselines") or simpler_means(run.data, BASELINES * may_s)
    if manifest.get("corpus_name") == "stories":
        val = run.data.text(run.data.val)
        result["floor_bits_per_byte"] = story_floor(val)
    return result, simpler, words(run, folder, result, simpler)


def measured(run, may_s):
    """Evaluate and write, each for its share of the seconds there are."""
    data = run.data
    found = read(run.measures(), seconds=EVALUATION * may_s)
    each_s = SAMPLES / 2 * may_s
    samples = [sample(run, 4 * SAMPLE_TOKENS, seed, each_s) for seed in range(2)]
    spans = copied_spans(samples, data, COPIED * may_s)
    copied = max(spans, key=len)
    equally_likely = math.log2(run.config.model.vocab_size) / data.bytes_per_token(data.val)
    return {"bits_per_byte": found.bits_per_byte,
            "nats_per_token": found.nats_per_token,
            "perplexity": found.perplexity,
            "n_tokens": found.n_targets,
            "right": found.share_right,
            "n_asked": found.n_asked,
            "copied": copied.decode("utf-8", "replace"),
            "copied_bytes": len(copied),
            "samples": samples,
            "equally_likely_tokens": equally_likely}


def simpler_means(data, seconds):
    """Measure what simpler means reach on the same text, in the memory that training leaves."""
    trim()
    train, val = (partial(data.text, ids) for ids in (data.train, data.val))
    return baselines(train, val, seconds)


def copied_spans(samples, data, seconds):
    """Find the longest piece of each sample that stands in the training text."""
    samples = [text.encode() for text in samples]
    compare = lambda known: [longest_copied_span(text, known) for text in samples]
    known, _ = affordable(partial(data.text, data.train), seconds, compare)
    return compare(known)


# ---- what is said ----

def words(run, folder, result, simpler):
    """Yield what is said of a model that writes."""
    yield from ("", result["samples"][0].strip("\n"), "")
    best = "" if run.best_step in (0, run.step) else f" (of step {run.best_step}, the best)"
    yield (f"validation{best}: {result['bits_per_byte']:.3f} bits/byte, "
           f"{result['nats_per_token']:.3f} nats/token, perplexity {result['perplexity']:.1f}, "
           f"over {result['n_tokens']:,} tokens held out")
    if result["n_asked"]:
        yield f"right: {result['right']:.2%} of {result['n_asked']:,}"
    beside = simpler | {"equally likely tokens": result["equally_likely_tokens"]}
    named = [f"{name} {bits:.2f}" for name, bits in beside.items()]
    yield "beside it, in bits/byte: " + ", ".join(named)
    if "floor_bits_per_byte" in result:
        floor = result["floor_bits_per_byte"]
        yield f"no model can stay below {floor:.4f} bits/byte on this text"
    if run.task.whole_text:
        yield ("copied: the longest piece of the samples that stands in the training text has "
               f"{result['copied_bytes']} bytes: {result['copied']!r}")
    yield f"write with: {called(run.task.command, folder)}"


def at_the_end(folder, result, manifest):
    """Yield what is said of every run."""
    said_before = manifest.get("forecast_bytes", 0)
    yield (f"memory: {result['peak_bytes'] / 1e6:,.0f} MB at most, {said_before / 1e6:,.0f} MB "
           "said before")
    if not manifest.get("same_everywhere", True):
        yield "this text differs between machines: compare the loss with nobody else's"
    yield f"look at: {folder / 'report.html'}"


# ---- what the report has time for ----

def brief_answers(run, manifest, seconds):
    """Ask of the code what takes no time to speak of; `minigrad report` asks the rest."""
    case = Case.of_run(run)
    case.facts = manifest
    return [*answers(case, seconds, [BRIEF])]


def told_of(asked, folder):
    """Yield what came of it: the lines that fail, and how to ask more."""
    judged = [answer for answer in asked if answer.line.verdict != NONE]
    wrong = [answer for answer in judged if answer.line.verdict == FAILS]
    yield (f"checks of the code: {len(judged) - len(wrong)} of {len(judged)} hold; ask whether it "
           f"works with: {called('report', folder)}")
    for answer in wrong:
        yield f"FAIL  {answer.question.name}: {answer.line.said}"


# ---- what the model beside has cost ----

def beside_cost(run, manifest):
    """Return what it took to train the model that was named beside, and the lines that say so."""
    if run.task.beside in ("", "base"):
        return {}, ()
    theirs = read_manifest(getattr(run.config.train, run.task.beside))
    steps = theirs.get("result", {}).get("steps")
    if not steps or not manifest.get("flops_per_token"):
        return {}, ()
    flops, own = training_flops(theirs, steps), training_flops(manifest, run.step)
    line = (f"to train the {run.task.beside} took {flops:.2g} FLOPs, {flops / own:.1f} times what "
            f"this run did, {own:.2g}: alone it could have learnt from so much more")
    return {"beside_flops": flops, "flops": own}, [line]


def training_flops(manifest, steps):
    """Return what so many steps of a run take."""
    n_tokens = steps * manifest["config"]["train"]["batch_tokens"]
    return n_tokens * manifest["flops_per_token"]


# ---- how it is repeated ----

PLAN = "plan.json"


def write_plan(run, folder):
    """Write all settings of a run with the plan it followed: the file that `--plan` takes."""
    config = run.config
    settings = {**vars(config.model), **vars(config.data), **vars(config.train)}
    for name in given_by(config):
        del settings[name]
    settings |= {"preset": config.preset, "plan": str(run.plan)}
    settings |= {"steps": 0, "minutes": 0.0}          # which the plan says
    try:
        write_text(folder / PLAN, json.dumps(settings, indent=1))
    except OSError as error:
        go_on_without(folder / PLAN, error)


def given_by(config):
    """Name the settings that come from the tokenizer, or from the base."""
    if config.train.teacher:
        return ["vocab_size", "tokenizer", "vocabulary"]
    if not config.train.base:
        return ["vocab_size"]
    shape = [name for name in vars(config.model) if name not in SET_ANEW]
    return [*shape, "tokenizer", "vocabulary", "net"]


def told_settings(config):
    """Return the settings for the manifest: the plan, thousands of digits, has its own file."""
    return config.changed(plan="").to_dict()


def repeat_command(folder, manifest):
    """Return the command that makes the same weights again; None if the text is not known."""
    if "text" not in manifest:
        return None
    return called("train", *manifest["text"], "--plan", folder / PLAN)

"""What a run does: plan; step, show, log; now and then evaluate and save; tell how it went."""
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

from gpt import called
from gpt.command import interruptible, report_errors
from gpt.data.corpora import load_corpus
from gpt.data.documents import check_length, prepare
from gpt.flags import PROGRAM, parse
from gpt.show.closeup import profile_steps, steps_with_trace
from gpt.show.display import Status, make_display
from gpt.show.loggers import make_logger
from gpt.show.report import write_report
from gpt.show.summary import announce, beginning, sample, summarize
from gpt.training.check import check_run
from gpt.training.clock import check_duration, continue_plan, plan_by_time
from gpt.training.compile_ahead import compiling_ahead
from gpt.training.folder import (
    Metrics, kept_if_begun, new_folder, open_run, read_manifest, save, write_manifest)
from gpt.training.forecast import check_size, forecast, matmul_gflops, measure_rates
from gpt.training.plan import Plan, due
from gpt.training.recipes import choose_settings
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.tasks import read


def main(args=None, began=None):
    args = parse(args)
    args.began = began or time.monotonic()
    display = make_display(args.plain)
    ahead = nullcontext() if args.resume else compiling_ahead(args.preset, args.given)
    with report_errors(PROGRAM), closing(display), ahead:
        if args.check:
            with tempfile.TemporaryDirectory() as args.runs, kept_if_begun(Path(args.runs)):
                return check_run(begin(args, display)[0], display.say)
        run, folder = resume(args) if args.resume else begin(args, display)
        with kept_if_begun(folder):
            train(run, folder, args, display)


def begin(args, display):
    """Choose the settings, tokenize the text, and make a new run in a folder of its own."""
    corpus = load_corpus(args.corpus, binary=args.tokenizer in ("byte", "bpe"))
    display.say(f"text: {corpus.source}, {corpus.size_bytes / 1e6:.2f} MB")
    config = choose_settings(corpus, args.preset, args.given, matmul_gflops())
    folder = new_folder(args.name or corpus.name, args.runs)
    with kept_if_begun(folder):
        data = prepare(corpus, config.data, folder / "data")
        config = config.changed(vocab_size=data.tokenizer.vocab_size)
        check_length(data, config.model.context_length)
        check_size(config)
        write_manifest(folder, **beginning(args.corpus, corpus, config))
        plan = Plan.parse(config.train.plan) if config.train.plan else Plan.fixed(
            config.train.steps or 1)
        return Run.start(config, data, plan), folder


def resume(args):
    """Go on with a run: to the end of its plan, or to a new end."""
    run = open_run(args.resume, args.from_step)
    continue_plan(run, args.given, read_manifest(args.resume).get("reported_step"))
    return run, Path(args.resume)


def train(run, folder, args, display):
    """Plan; step, show, log; now and then evaluate and save; at the end tell how it went."""
    minutes = run.config.train.minutes
    cost = forecast(run, matmul_gflops())
    run.config = run.config.changed(micro_batch=cost.micro_batch)
    rates, pacer = measure_rates(run), None
    if minutes and ("minutes" in args.given or not args.resume):
        pacer = plan_by_time(run, args.began, rates)
    check_duration((run.plan.steps - run.step) * rates.step_s, args.yes)
    announce(display.say, run, cost, rates, folder)
    write_manifest(folder, forecast_bytes=cost.memory_bytes, slow=rates.slow)
    if args.profile:
        display.say(profile_steps(run, folder))
    steps = train_steps(run) if args.trace_step is None else steps_with_trace(
        run, args.trace_step, folder, display.say)

    status = Status(cost.flops_per_token, cost.peak_gflops)
    metrics, logger = Metrics(folder, run.step), make_logger(args.log, folder)
    if run.step == 0:
        save(run, folder)                             # from here on it can be resumed
    with interruptible() as stop:
        for record in steps:
            status.step(record, run.plan, pacer and pacer.step_s)
            display.show(status)
            metrics.write(**record._asdict(), tokens_s=round(status.tokens_s))
            logger(record.step, loss=record.loss, grad_norm=record.grad_norm, rate=record.rate)
            if pacer:
                pacer.step(record.elapsed_s)
                run.plan = pacer.replan(run.plan, run.step)
            if due(run):
                paused = time.monotonic()
                look(run, folder, status, metrics, logger, display)
                if pacer:
                    pacer.pause(time.monotonic() - paused)
            if stop:
                save(run, folder)
                display.close()
                display.say(f"stopped at step {run.step} and saved; go on with: "
                            f"{called('train')} --resume {folder}")
                raise SystemExit(130)
    display.close()
    metrics.close()
    summarize(run, folder, display.say, rates)
    write_report(folder)
    write_manifest(folder, reported_step=run.step)


def look(run, folder, status, metrics, logger, display):
    """Evaluate on a part of the validation text, write a sample, save."""
    found = read(run.measures(), run.config.train.eval_tokens)
    if found.nats_per_token < run.best_loss:
        run.best_loss, run.best_step = found.nats_per_token, run.step
    status.val_bits, status.sample = found.bits_per_byte, sample(run)
    status.val_history.append(found.bits_per_byte)
    metrics.write(step=run.step, val_loss=found.nats_per_token, val_bits=found.bits_per_byte,
                  sample=status.sample)
    metrics.flush()
    logger(run.step, val_loss=found.nats_per_token, val_bits=found.bits_per_byte)
    save(run, folder)
    display.evaluated(status)

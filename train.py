"""Train a GPT on a text.

    python train.py                                   Shakespeare's plays, 5 minutes
    python train.py book.txt --minutes 30             your own: files, folders, globs, .gz .xz .bz2
    python train.py --resume runs/NAME                go on after a stop, or train longer
    python train.py book.txt --preset gpt2 --n_layer 4 --d_model 128 --steps 2000 --tokenizer char
"""
import os
import tempfile
import time

BEGAN = time.monotonic()                              # the minutes count from here
os.environ.setdefault("OMP_WAIT_POLICY", "passive")   # or NumPy's threads and Numba's, spinning
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # while idle, take each other's cores

# ruff: noqa: E402
from pathlib import Path

from gpt.baselines import baselines
from gpt.check import check_run
from gpt.config import PRESETS, Parser, add_settings, given_settings
from gpt.corpora import load_corpus
from gpt.data import check_length, prepare
from gpt.display import Status, make_display
from gpt.evaluate import evaluate
from gpt.loggers import LOGGERS, make_logger
from gpt.planning import (
    Pacer, check_duration, choose_settings, continue_plan, forecast, matmul_gflops, measure_step,
    time_to_finish)
from gpt.report import write_report
from gpt.runs import (
    Metrics, interruptible, new_folder, open_run, read_manifest, removed_if_refused,
    report_errors, save, write_manifest)
from gpt.summary import announce, beginning, sample, summarize
from gpt.training import Plan, Run, due, train_steps


def main(args=None, began=None):
    args = parse(args)
    args.began = began or time.monotonic()
    display = make_display(args.plain)
    with report_errors("train.py"):
        if args.check:
            with tempfile.TemporaryDirectory() as args.runs:
                return check_run(begin(args, display)[0], display.say)
        run, folder = resume(args) if args.resume else begin(args, display)
        train(run, folder, args, display)


def begin(args, display):
    """Choose the settings, tokenize the text, and make a new run in a folder of its own."""
    corpus = load_corpus(args.corpus, binary=args.tokenizer in ("byte", "bpe"))
    display.say(f"text: {corpus.source}, {corpus.size_bytes / 1e6:.2f} MB")
    config = choose_settings(corpus, args.preset, given_settings(args), matmul_gflops())
    folder = new_folder(args.name or corpus.name, args.runs)
    with removed_if_refused(folder):
        data = prepare(corpus, config.data, folder / "data")
        config = config.changed(vocab_size=data.tokenizer.vocab_size)
        check_length(data, config.model.context_length)
        write_manifest(folder, **beginning(args.corpus, corpus, config))
        plan = Plan.parse(config.train.plan) if config.train.plan else Plan.fixed(
            config.train.steps or 1)
        return Run.start(config, data, plan), folder


def resume(args):
    """Go on with a run: to the end of its plan, or to a new end."""
    run, given = open_run(args.resume, args.from_step), given_settings(args)
    continue_plan(run, given)
    return run, Path(args.resume)


def train(run, folder, args, display):
    """Step, show, log; now and then evaluate and save; at the end tell how it went."""
    simpler = read_manifest(folder).get("baselines") or baselines(
        run.data.text(run.data.train), run.data.text(run.data.val))
    cost = forecast(run, matmul_gflops())
    run.config = run.config.changed(micro_batch=cost.micro_batch)
    step_s = measure_step(run)
    pacer = None
    if run.config.train.minutes and (args.minutes_given or not args.resume):
        end = args.began + 60 * run.config.train.minutes - time_to_finish(run, step_s)
        pacer = Pacer(end, step_s)
        run.plan = pacer.first_plan(run.plan, run.step)
    check_duration((run.plan.steps - run.step) * step_s, args.yes)
    announce(display.say, run, cost, step_s, folder)
    write_manifest(folder, baselines=simpler, forecast_bytes=cost.memory_bytes)

    status = Status(cost.flops_per_token, cost.peak_gflops)
    metrics, logger = Metrics(folder, run.step), make_logger(args.log, folder)
    if run.step == 0:
        save(run, folder)                             # from here on it can be resumed
    with interruptible() as stop:
        for record in train_steps(run):
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
                            f"python train.py --resume {folder}")
                raise SystemExit(130)
    display.close()
    metrics.close()
    summarize(run, folder, display.say)
    write_report(folder)


def look(run, folder, status, metrics, logger, display):
    """Evaluate on a part of the validation text, write a sample, save."""
    found = evaluate(run.model, run.data.val, run.data.tokenizer.token_bytes,
                     run.config.train.eval_tokens)
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


def parse(args):
    """Read the command line: what is no setting, and a flag for each setting."""
    parser = Parser(prog="train.py", description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="*", help="files, folders, globs, or shakespeare, stdlib, "
                        "stories [shakespeare]")
    parser.add_argument("--preset", choices=PRESETS, default="fast",
                        help="settings to begin with [fast]")
    parser.add_argument("--resume", metavar="RUN", help="the folder of a run to go on with")
    parser.add_argument("--from_step", type=int, help="go on from an earlier checkpoint")
    parser.add_argument("--name", help="of the run [that of the text]")
    parser.add_argument("--runs", default="runs", help="where runs are kept [runs]")
    parser.add_argument("--log", choices=LOGGERS, help="log there, too, if it is installed")
    parser.add_argument("--plain", action="store_true", help="plain lines, no live display")
    parser.add_argument("--check", action="store_true",
                        help="test the model of these settings for a minute, and do not train")
    parser.add_argument("--yes", action="store_true", help="agree to a run of days")
    add_settings(parser)
    args = parser.parse_args(args)
    args.minutes_given = "minutes" in given_settings(args)
    if args.resume and args.corpus:
        parser.error(f"a resumed run has its text in its folder: leave out {args.corpus[0]}")
    return args


if __name__ == "__main__":
    main(began=BEGAN)

"""What a run does: plan; step, tell, now and then evaluate and save; at the end say how it went."""
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

from gpt import command_name
from gpt.command import interruptible, report_errors
from gpt.flags import parse
from gpt.show.closeup import looked_at
from gpt.show.closing import conclude
from gpt.show.display import make_display
from gpt.show.summary import announce
from gpt.show.told import Told
from gpt.start import begin, resume
from gpt.training.compile_ahead import compiling_ahead
from gpt.training.folder import (
    alone_in, check_disk, kept_if_begun, save, use_best, write_manifest)
from gpt.training.forecast import plan_run
from gpt.training.parallel.joining import joined
from gpt.training.parallel.sharing import asked_of, dismiss, enlist, take_part
from gpt.training.plan import due
from gpt.training.threads import on_best_threads
from gpt.verdicts.luck import reached, spread_told
from gpt.verdicts.untrained import check_run


def main(args=None, began=None):
    with joined(command_name("train")) as world:
        if world.rank:
            return take_part(world)
        lead(parse(args), began or time.monotonic(), world)
        dismiss(world)


def lead(args, began, world):
    """Do what the command line says; other ranks, if there are any, take part."""
    ahead = nullcontext() if args.resume else compiling_ahead(args.preset, args.given)
    with report_errors(args.prog), closing(make_display(args.plain)) as display, ahead:
        asked = asked_of(args, world)
        if args.check:
            with tempfile.TemporaryDirectory() as args.runs, kept_if_begun(Path(args.runs)):
                return check_run(begin(args, display.say)[0], display.say)
        if args.seeds:
            return train_seeds(args, display, began, world, asked)
        run, folder = resume(args) if args.resume else begin(args, display.say, ranks=world.abreast)
        with kept_if_begun(folder), alone_in(folder):
            enlist(run, folder, world, asked)
            train(run, folder, args, display, began)


def train_seeds(args, display, began, world, asked):
    """Train runs that differ in their seed alone, and say how far they lie apart."""
    first, folders = args.given.get("seed", 0), []
    for seed in range(first, first + args.seeds):
        args.given |= {"seed": seed}
        run, folder = begin(args, display.say, ranks=world.abreast)
        with kept_if_begun(folder), alone_in(folder):
            enlist(run, folder, world, asked)
            train(run, folder, args, display, began)
        folders.append(folder)
        began = time.monotonic()
    names = [folder.name for folder in folders]
    for folder in folders:
        write_manifest(folder, seeds=names)
    display.say(spread_told([*map(reached, folders)]))


def train(run, folder, args, display, began):
    """Take the steps of a run; the minutes of one that has them count from `began`."""
    asked = "minutes" in args.given or not args.resume
    timed = run.config.train.minutes and asked
    cost, rates, pacer = plan_run(run, folder, began if timed else None, args.yes)
    check_disk(run, folder)
    announce(display.say, run, cost, rates, folder)
    steps = looked_at(run, folder, display.say, args.profile, args.trace_step,
                      args.timeline)
    told = Told(display, run, folder, cost, args.log)
    if run.step == 0:
        with run.way.whole():
            save(run, folder)                         # from here on it can be resumed
    with interruptible() as stop, closing(told):
        for record in on_best_threads(steps, display.say):
            told.step(record, run.plan, pacer and pacer.step_s)
            if pacer:
                pacer.step(record.elapsed_s)
                run.plan = pacer.replan(run.plan, run.step)
            if due(run):
                paused = time.monotonic()
                with run.way.whole():
                    look(run, folder, told)
                if pacer:
                    pacer.pause(time.monotonic() - paused)
            if stop:
                run.way.stop()
                with run.way.whole():
                    save(run, folder)
                told.stopped(run, folder)
                raise SystemExit(130)
    with run.way.whole():
        use_best(run, folder)
        conclude(run, folder, display.say, time.monotonic() - began)


def look(run, folder, told):
    """Evaluate on a part of the validation text, let the model write, save."""
    found = run.evaluate()
    told.evaluated(run, found)
    told.remark(run.task.remark(run, found))
    save(run, folder)
    told.display.evaluated(told.status)

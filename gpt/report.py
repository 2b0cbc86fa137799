"""How do you know it works? One report: whether the code is right, and what was learnt.

    python -m gpt report runs/NAME
    python -m gpt report runs/NAME --seconds 300 --pairs blimp.jsonl
"""
from pathlib import Path

from bpe.console import finite, visible, whole
from gpt import called
from gpt.command import find_run, make_parser, report_errors
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.show.report import write_report
from gpt.training.folder import read_manifest, write_manifest
from gpt.training.tasks import TASKS
from gpt.verdicts.case import NONE, Case
from gpt.verdicts.pairs import read_pairs
from gpt.verdicts.sections import SECONDS, answers, failed


def parse(args):
    """Read the command line."""
    parser = make_parser("report", "Ask whether a trained model works; the exit status is 1 if a "
                         "verdict fails.")
    parser.add_argument("run", help="the folder of a run, or last for the newest")
    parser.add_argument("--seconds", type=finite, default=SECONDS, help="for all questions; with "
                        f"more, more text is read [{SECONDS}]")
    parser.add_argument("--pairs", metavar="FILE", help="sentences of which one is right, as BLiMP "
                        "has them: a line of JSON each")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    args = parser.parse_args(args)
    if args.seconds <= 0:
        parser.error(f"seconds is {args.seconds:g}, but must be above 0")
    return parser, args


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        place = find_run(args.run)
        pairs = args.pairs if args.pairs is None else read_pairs(args.pairs)
        opened = open_model(place, args.from_step)
        if opened.task not in TASKS:
            raise ConfigError(f"{args.run} learnt the task {opened.task}, but what can be asked "
                              f"about is {', '.join(TASKS)}")
        case = Case.of_opened(opened, facts=read_manifest(place), folder=place, pairs=pairs)
        found = [*told(answers(case, args.seconds))]
        wrong = failed(found)
        say_where(place, opened, found)
    if wrong:
        print(f"{len(wrong)} of {n_judged(found)} verdicts failed: {'; '.join(wrong)}")
        raise SystemExit(1)
    print(f"{n_judged(found)} verdicts, none failed")


def told(found):
    """Pass answers on, each printed as it comes."""
    section = None
    for answer in found:
        if answer.section is not section:
            section = answer.section
            print(f"\n{section.title}")
        print(f"  {answer.line.verdict:9}  {answer.question.name}: {visible(answer.line.said)}",
              flush=True)
        yield answer


def n_judged(found):
    return sum(answer.line.verdict != NONE for answer in found)


def say_where(place, opened, found):
    """Write the page beside the model, and what was found into the manifest of a run."""
    folder = place if place.is_dir() else place.parent
    if opened.config:
        rows = [[answer.question.name, answer.line.verdict, answer.line.said] for answer in found]
        write_manifest(folder, verdicts=rows)
    write_report(folder, found, opened)
    print(f"\nlook at: {Path(folder) / 'report.html'}")
    if opened.config is None:
        print("what it learnt from did not come along: whoever trained it can ask more")
    else:
        print(f"ask more of it with: {called('report', place, '--seconds', 300)}")


if __name__ == "__main__":
    main()

"""Fill in what is hidden: the likeliest tokens at each [MASK], with their probabilities.

    minigrad fill RUN "To be or not to [MASK]"
"""
from bpe.console import typed, whole
from gpt.command import add_base, find_run, make_parser, report_errors
from gpt.models.masking import fill
from gpt.opening import open_model
from gpt.settings import ConfigError


def main(args=None):
    parser = make_parser("fill", "Fill in each [MASK] of a text.")
    parser.add_argument("run", help="the folder of a run with the task masked, or of a published "
                        "encoder such as BERT; last for the newest run")
    parser.add_argument("text", help="with one or more [MASK]")
    parser.add_argument("--n", type=whole, default=5, help="number of tokens for each [5]")
    parser.add_argument("--from_step", type=whole, help="a checkpoint other than the best")
    add_base(parser)
    args = parser.parse_args(args)
    if args.n < 1:
        parser.error(f"n is {args.n}, but must be at least 1")
    with report_errors(parser.prog):
        opened = open_model(find_run(args.run), args.from_step, args.base)
        if opened.task != "masked":
            raise ConfigError(f"{args.run} learnt the task {opened.task}: train one that fills in "
                              "with --task masked")
        found = fill(opened.model, opened.tokenizer, typed(args.text), args.n)
        for i, tokens in enumerate(found, 1):
            if len(found) > 1:
                print(f"---- {i} ----")
            for text, p in tokens:
                print(f"{p:6.1%}  {text!r}")


if __name__ == "__main__":
    main()

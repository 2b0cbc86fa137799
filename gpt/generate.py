"""Let a model write: token by token, with a cache of keys and values.

    python -m gpt.generate runs/NAME "Once upon a time" --temperature 0.8 --top_p 0.95 --n 3
"""
import sys

from gpt import called
from gpt.command import Parser, report_errors
from gpt.models.sampling import Sampling, write
from gpt.opening import open_model


def main(args=None):
    parser = Parser(prog=called("generate"), description="Let a trained model write.")
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("prompt", nargs="?", default="", help="the text to continue")
    parser.add_argument("--n", type=int, default=1, help="number of continuations [1]")
    parser.add_argument("--max_tokens", type=int, default=200, help="tokens of each [200]")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 for the likeliest [0.8]")
    parser.add_argument("--top_k", type=int, default=0, help="among the k likeliest tokens")
    parser.add_argument("--top_p", type=float, default=1.0, help="among those that reach p [1]")
    parser.add_argument("--min_p", type=float, default=0.0, help="at least p of the likeliest [0]")
    parser.add_argument("--repetition_penalty", type=float, default=1.0, help="above 1 to avoid")
    parser.add_argument("--stop", action="append", default=[], help="text to end before")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same text [0]")
    parser.add_argument("--from_step", type=int, help="a checkpoint other than the best")
    args = parser.parse_args(args)
    for name, least in (("n", 1), ("max_tokens", 0), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"{name} is {getattr(args, name)}, but must be at least {least}")
    if "" in args.stop:
        parser.error("--stop is empty: name the text to end before")
    with report_errors(parser.prog):
        opened = open_model(args.run, args.from_step)
        sampling = Sampling(args.repetition_penalty, args.temperature, args.top_k, args.top_p,
                            args.min_p)
        for i in range(args.n):
            if args.n > 1:
                print(f"---- {i + 1} ----")
            sys.stdout.write(args.prompt)
            for piece in write(opened.model, opened.tokenizer, args.prompt, sampling,
                               args.seed + i, args.max_tokens, args.stop):
                sys.stdout.write(piece)
                sys.stdout.flush()
            print()


if __name__ == "__main__":
    main()

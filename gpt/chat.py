"""Talk to a model: it remembers the conversation, and answers while it thinks.

    minigrad chat MODEL
    printf 'Hello\\nAnd now in French\\n' | minigrad chat MODEL
"""
import signal
import sys

import numpy as np

from bpe.console import read_lines, visible, whole
from gpt.command import add_base, find_run, interruptible, make_parser, report_errors
from gpt.conversation import Conversation
from gpt.data.templates import TEMPLATES, choose_template
from gpt.generate import add_sampling, sampling_of
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.checkpoint import CheckpointError
from gpt.training.tasks import TASKS

try:
    import readline                                   # lines can be edited and called back
except ImportError:                                   # on Windows the console does it
    readline = None


def main(args=None):
    parser = make_parser("chat", "Talk to a model. A line is a message; /help lists what else can "
                         "be said.")
    parser.add_argument("model", help="a run, last for the newest, a shared or published model")
    parser.add_argument("--template", help="how it is talked to, if it does not say so itself: "
                        + ", ".join(TEMPLATES))
    parser.add_argument("--adapter", metavar="RUN", help="a run whose adapters (--lora_rank) were "
                        "learnt beside the model; /adapter takes others")
    parser.add_argument("--system", help="what the system tells it before all else")
    parser.add_argument("--max_tokens", type=whole, default=512, help="of an answer [512]")
    add_sampling(parser)
    add_base(parser)
    args = parser.parse_args(args)
    if args.max_tokens < 1:
        parser.error(f"max_tokens is {args.max_tokens}, but must be at least 1")
    with report_errors(parser.prog):
        sampling = sampling_of(args)
        opened = opened_to_talk(args.model, args.base)
        name, template = choose_template(args.template, opened.template)
        rng = np.random.default_rng(args.seed)
        chat = Conversation(opened, template, sampling, rng, args.max_tokens, args.system)
        tell(f"{args.model}, context {chat.context:,} tokens, template {name}; /help lists what "
             "can be said, Ctrl-D ends")
        if args.adapter:
            adapt(chat, args.adapter)
        elif not args.template and not opened.template:
            tell("it says no template, so it may not have learnt to talk: it continues a dialogue")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for line in lines():
            respond(chat, line)


def opened_to_talk(name, base):
    """Open a model that writes."""
    opened = open_model(find_run(name), base=base)
    if opened.task not in TASKS or not TASKS[opened.task].writes:
        raise ConfigError(f"{name} learnt the task {opened.task}, and does not write: name a model "
                          "that does")
    return opened


def tell(text):
    """Say something that is no answer."""
    print(visible(text), file=sys.stderr, flush=True)


def lines():
    """Yield what the user types, or the lines of a pipe; Ctrl-C leaves where nothing is typed."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield from read_lines()
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return print()
        except KeyboardInterrupt:
            print()
            if not (readline and readline.get_line_buffer()):
                raise


def respond(chat, line):
    """Do what a line asks for; a mistake is told, and the conversation goes on."""
    word, _, rest = line.strip().partition(" ")
    try:
        if word.startswith("//"):
            stream(chat, chat.say(line.strip()[1:]))
        elif word[:1] not in ("", "/"):
            stream(chat, chat.say(line))
        elif word in COMMANDS:
            command, _, _ = COMMANDS[word]
            command(chat, rest.strip())
        elif word:
            raise ConfigError(f"there is no command {word}: /help lists all, and // begins a "
                              "message with /")
    except (ConfigError, CheckpointError, OSError) as error:
        tell(f"chat: {error}")


def stream(chat, answer):
    """Print an answer while it is made; Ctrl-C stops it."""
    show = visible if sys.stdout.isatty() else str
    if chat.forgets:
        tell(f"(the context is full: the oldest {chat.forgotten:,} messages are forgotten)")
    with interruptible("(stopped; Ctrl-C again leaves)") as asked:
        for piece in answer:
            sys.stdout.write(show(piece))
            sys.stdout.flush()
            if asked:
                break
    print(flush=True)
    if chat.is_cut and not asked:
        tell(f"(stopped after {chat.max_tokens:,} tokens: --max_tokens sets how many)")


def forget(chat, _):
    chat.reset()
    tell("everything is forgotten but what the system says")


def save(chat, path):
    chat.save(named(path))
    tell(f"saved in {path}")


def load(chat, path):
    chat.load(named(path))
    tell(f"{len(chat.said)} messages; the conversation goes on behind them")


def named(path):
    if not path:
        raise ConfigError("name a file, as in /save talk.json")
    return path


def instruct(chat, text):
    """Set what the system says, or tell what it says."""
    if text:
        chat.system = text
    says = chat.template.default if chat.system is None else chat.system
    tell(f"the system says: {says}" if says else "the system says nothing")


def retry(chat, _):
    stream(chat, chat.retry())


def adapt(chat, run):
    """Answer with the adapters of a run beside the model, or with the model alone."""
    opened, template = chat.alone
    if run:
        opened = opened_to_talk(run, opened)
        if opened.template:                           # by which it learnt to talk
            _, template = choose_template(None, opened.template)
    chat.answer_with(opened, template)
    tell(f"from now on {f'the adapters of {run} answer' if run else 'the model alone answers'}")


def list_commands(chat, _):
    for word, (_, takes, what) in COMMANDS.items():
        tell(f"    {word + takes:14} {what}")


def leave(chat, _):
    raise SystemExit(0)


COMMANDS = {
    "/reset": (forget, "", "forget the conversation"),
    "/save": (save, " FILE", "write it to a file"),
    "/load": (load, " FILE", "go on with one that was saved"),
    "/system": (instruct, " TEXT", "tell the model who it is; alone: what it was told"),
    "/retry": (retry, "", "answer the last message again"),
    "/adapter": (adapt, " RUN", "answer with the adapters of a run; alone: without any"),
    "/help": (list_commands, "", "list this"),
    "/quit": (leave, "", "leave; so does Ctrl-D")}


if __name__ == "__main__":
    main()

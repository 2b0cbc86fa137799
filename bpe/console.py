"""What commands share: arguments as people type them, errors in one sentence, any terminal."""
import argparse
import difflib
import os
import re
import sys
from pathlib import Path

_NUMBER = re.compile(r"-[\d.]")


class Parser(argparse.ArgumentParser):
    """Flags before, between and behind the words, until `--`; `--a-b` is `--a_b`.

    A mistake is one sentence on standard error and status 2. Words are never altered.

    Parameters
    ----------
    advise : callable of (str, collection of str) -> str, optional
        Says more about a flag that does not exist, of those that do; the nearest one by default.
    """

    def __init__(self, *, advise=None, **settings):
        super().__init__(allow_abbrev=False, **settings)
        self.advise = advise or nearest

    def error(self, message):
        print(f"{self.prog}: {on_one_line(message)}", file=sys.stderr)
        raise SystemExit(2)

    def parse_args(self, args=None, namespace=None):
        parsed, more = self.parse_known_args(args, namespace)
        for word in more:
            if word != "--":
                self.error(f"what is {word!r}? --help lists what can be said")
        return parsed

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args(self.flags_first(args), namespace)

    def flags_first(self, args):
        """Put the flags, each joined to its value, before the words."""
        flags, words, rest = [], [], iter(args)
        for arg in rest:
            name, equals, value = arg.partition("=")
            flag = self.known(name)
            if arg == "--":
                words += rest
            elif flag is None:
                self.refuse_flag(arg)
                words.append(arg)
            elif self._option_string_actions[flag].nargs != 0:
                flags.append(f"{flag}={value if equals else self.value_of(flag, rest)}")
            elif equals:
                self.error(f"{flag} takes no value, but {value!r} follows")
            else:
                flags.append(flag)
        return [*flags, "--", *words] if words else flags

    def known(self, name):
        """Return a flag in our spelling; None if there is no such flag."""
        ours = name[:2] + name[2:].replace("-", "_")
        return ours if ours in self._option_string_actions else None

    def value_of(self, flag, rest):
        value = next(rest, None)
        if value is None or self.known(value.partition("=")[0]):
            self.error(f"{flag} needs a value" + (f", but {value} follows" if value else ""))
        return value

    def refuse_flag(self, arg):
        """Refuse what looks like a flag; a dash alone, numbers and sentences do not."""
        if arg[:1] != "-" or len(arg) == 1 or _NUMBER.match(arg) or re.search(r"\s", arg):
            return
        name = arg.partition("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        self.error(f"there is no flag {name!r}: {self.advise(name, flags)}")


def nearest(name, flags):
    """Name the flag that is most like one that does not exist."""
    close = difflib.get_close_matches(name.replace("-", "_"), flags, n=1, cutoff=0.5)
    return (f"did you mean {close[0]}?" if close else
            "--help lists all, and -- stands before a text that begins with a dash")


# ---- types of arguments ----

MOST = 2**31 - 1                     # of whatever is counted


def whole(text):
    """Read a whole number from the command line."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if abs(number) > MOST:
        raise argparse.ArgumentTypeError(f"{text} is beyond {MOST:,}, the most that can be said")
    return number


def finite(text):
    """Read a number from the command line."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if abs(number) < float("inf"):
        return number
    raise argparse.ArgumentTypeError(f"{text} is no finite number")


# ---- terminals and files ----

def accept_any_encoding():
    """Write what standard output has no character for as an escape; without one, to nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def typed(text):
    """Read a text of the command line as UTF-8, whatever encoding the terminal is said to have."""
    return os.fsencode(text).decode("utf-8", "replace")


def visible(text):
    r"""Write what would move a cursor, ring or recolour as an escape; line ends and tabs stay.

    >>> visible("a\x1b[31mred")
    'a\\x1b[31mred'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda c: repr(c[0])[1:-1], text)


def on_one_line(message):
    return visible(str(message)).replace("\n", "\\n")


def is_stream(name):
    """Whether a name is `-`, standard input, or a pipe or a device such as /dev/fd/63."""
    path = Path(name)
    return str(name) == "-" or path.exists() and not path.is_file() and not path.is_dir()


def read_stream(name):
    """Read what is piped in, whole."""
    if str(name) != "-":
        return Path(name).read_bytes()
    if sys.stdin is None:
        raise OSError("there is no standard input: name a file")
    if sys.stdin.isatty():
        print("reading what you type, until Ctrl-D (on Windows Ctrl-Z)", file=sys.stderr)
    return sys.stdin.buffer.read()


def read_lines():
    """Yield the lines that are piped in, each as soon as it is there, without its end.

    Raises
    ------
    OSError
        If there is no standard input.
    """
    if sys.stdin is None:
        raise OSError("there is no standard input: pipe lines into it")
    if hasattr(sys.stdin, "reconfigure"):             # in place of what the terminal is said to do
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def check_writable(path):
    """Raise an OSError that says why, if a file cannot be written; to be asked before the work."""
    path = Path(path)
    if not path.parent.is_dir():
        raise OSError(f"{path}: there is no folder {str(path.parent)!r} to write it into")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: this is there and is no file: name another one to write")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"{path}: this may not be written: name another file")

"""Serve a model to programs that speak OpenAI's protocol, and to a browser.

    minigrad serve MODEL
    minigrad serve MODEL --host 0.0.0.0 --port 8080 --key SECRET
"""
import ipaddress
import logging
import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from bpe.console import whole
from gpt.command import find_run, make_parser, report_errors
from gpt.data.templates import TEMPLATES, choose_template
from gpt.embed import check_pooling
from gpt.models.encoder import Encoder
from gpt.opening import open_model
from gpt.serving.service import Service
from gpt.settings import ConfigError

try:
    from gpt.serving.app import make_app
except ImportError:                                   # without the extra `serve`
    make_app = None

LEAST = {"rows": 1, "waiting": 1, "max_tokens": 1, "context": 2}


def parse(args):
    """Read the command line."""
    parser = make_parser("serve", "Serve a model to programs that speak OpenAI's protocol, and to "
                         "a browser.")
    parser.add_argument("model", help="a run, last for the newest, a shared or published model")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen [127.0.0.1: programs "
                        "of this machine alone]")
    parser.add_argument("--port", type=whole, default=8000, help="0 for any that is free [8000]")
    parser.add_argument("--key", help="what clients must send as their API key; better as "
                        "MINIGRAD_KEY in the environment, where no other program sees it")
    parser.add_argument("--rows", type=whole, default=8, help="answers written at once [8]")
    parser.add_argument("--waiting", type=whole, default=64, help="answers that may wait [64]")
    parser.add_argument("--max_tokens", type=whole, default=512, help="of an answer, where a "
                        "client says none [512]")
    parser.add_argument("--context", type=whole, help="tokens of a prompt and its answer, each of "
                        "which takes memory [what the model has room for]")
    parser.add_argument("--template", help="how it is talked to, if it does not say so itself: "
                        + ", ".join(TEMPLATES))
    args = parser.parse_args(args)
    for name, least in LEAST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"{name} is {value}, but must be at least {least}")
    if not 0 <= args.port < 2**16:
        parser.error(f"port is {args.port}, but must be from 0 to {2**16 - 1}")
    return parser, args


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        key = args.key or os.environ.get("MINIGRAD_KEY")
        if not (key or is_loopback(args.host)):
            raise ConfigError(f"host is {args.host}, where other machines can ask: name a --key "
                              "that they must know")
        named = opened(args)
        if not (make_app and find_spec("uvicorn")):
            raise ConfigError("a server needs starlette and uvicorn: pip install starlette uvicorn")
        with listening(args.host, args.port) as place:
            service = Service(*named, key, args.max_tokens, args.context, args.rows, args.waiting)
            print(f"{service.name} is served at {address(place)}; Ctrl-C ends", file=sys.stderr)
            serve(service, place)


def is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def opened(args):
    """Open the model that is to be served: its name, itself, and how it is talked to."""
    place = find_run(args.model)
    found = open_model(place)
    if isinstance(found.model, Encoder):
        check_pooling(place, found.model)
    elif found.task != "causal":
        raise ConfigError(f"{args.model} learnt the task {found.task}, and neither writes nor "
                          "makes vectors: name a model that does")
    _, template = choose_template(args.template, found.template)
    return Path(place).resolve().name.removesuffix(".gguf"), found, template


def listening(host, port):
    """Return a socket that listens.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason, *_ = (error.strerror or str(error)).partition(" (while")
        raise ConfigError(f"{host}:{port} cannot be listened at ({reason}): choose another --port "
                          "or --host") from error


def address(place):
    host, port, *_ = place.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service, place):
    """Serve until Ctrl-C: then no new request is taken, and what is being written ends."""
    import uvicorn
    config = uvicorn.Config(make_app(service), log_level="warning", timeout_graceful_shutdown=2,
                            timeout_keep_alive=75)    # seconds: longer than clients do
    server = uvicorn.Server(config)
    logging.getLogger("asyncio").setLevel(logging.ERROR)    # it warns of clients that left

    def stop(number, frame):
        service.stop()
        uvicorn.Server.handle_exit(server, number, frame)
    server.handle_exit = stop
    signal.signal(signal.SIGINT, signal.default_int_handler)    # what the server ends with
    server.run(sockets=[place])


if __name__ == "__main__":
    main()

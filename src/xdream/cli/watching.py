"""The command `watch`: the live page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import webbrowser
from pathlib import Path

from xdream.cli.command import Subcommand
from xdream.errors import BadInput

DEFAULT_PORT = 8770


def _watch_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment, session, tuning or study")
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help=f"0: any free one (default {DEFAULT_PORT}, or any if it is taken)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; elsewhere than on this machine's own address, the page needs the token",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page in the browser, by a link that works once"
    )
    parser.add_argument("--framed", action="store_true", help=argparse.SUPPRESS)  # within a notebook
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)  # ends with its stdin


def _watch(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    try:
        from xdream.dashboard import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise BadInput(f"the live page needs the package {error.name}: pip install 'xdream[watch]'") from None
    from xdream.dashboard.access import Access

    if options.port is not None and not 0 <= options.port <= 65_535:
        raise BadInput(f"--port {options.port} is no port; give 0 to 65535")
    access = Access(options.host, framed=options.framed)
    page = server.Page(Path(options.folder), access)
    with server.listening(options.host, options.port, DEFAULT_PORT) as bound:
        number = bound.getsockname()[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
        url = f"http://{host}:{number}/#token={access.token}"
        if options.json:
            print(json.dumps({"url": url, "port": number}), flush=True)
        else:
            print(f"watch {options.folder}: {url}", flush=True)
            print(
                "whoever has this address can steer; Ctrl-C ends the page, and nothing else", file=sys.stderr
            )
        if options.open:
            # Not with the token: all users of the machine see what a browser is started with.
            webbrowser.open(f"http://{host}:{number}/open/{page.link.key}")
        if options.with_parent:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        server.run(page, bound)
    return 0


def _end_with_parent() -> None:
    """End when whoever started this page has gone, even if it was killed."""
    sys.stdin.buffer.read()
    os._exit(0)


COMMANDS = {"watch": Subcommand(_watch_flags, _watch)}

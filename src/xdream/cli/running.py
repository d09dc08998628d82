"""Long commands: a progress bar, what an interruption says, how an experiment or a tuning is printed."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xdream import report
from xdream.errors import INTERRUPTED, Interrupted, XDreamError
from xdream.report import parameters
from xdream.text import counted

if TYPE_CHECKING:
    from xdream.cli.progress import Bar
    from xdream.store import Record
    from xdream.studies.tuning import Tuning

T = TypeVar("T")
#: The latest events of a session are shown with its summary.
MOST_EVENTS = 12
#: Events that are not worth a line there.
USUAL_EVENTS = ("lease", "again")


def add_figure_flags(parser: argparse.ArgumentParser) -> None:
    """For commands that end with a summary and figures."""
    parser.add_argument("--no-figures", action="store_true", help="only the summary at the end")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def watched(
    work: Callable[[Bar], T],
    show: Callable[[T, argparse.Namespace], int],
    begun: Path,
    options: argparse.Namespace,
    again: str = "xdream resume",
    *,
    log: bool = False,
) -> int:
    """Run or resume with a progress bar, then show; an interruption says how to go on.

    begun: the file without which there is nothing to go on with. again: the command that goes on with it.
    log: whether what is said counts more than the bar: there is none where the output is no terminal.
    """
    from xdream.cli.progress import Bar

    bar = Bar(hidden=options.quiet, log=log)
    go_on = f"; continue with: {again} {shlex.quote(str(begun.parent))}"
    try:
        with bar:
            found = work(bar)
    except (KeyboardInterrupt, Interrupted):
        print(f"xdream: interrupted{go_on if begun.exists() else ''}", file=sys.stderr)
        return INTERRUPTED
    except XDreamError as error:
        if error.exit_status == 3 and begun.exists():
            print(f"xdream: stopped{go_on}", file=sys.stderr)
        raise
    return show(found, options)


@contextlib.contextmanager
def stopping(*, ignored: bool = True) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came: the commit under way is finished. A second one ends at once.

    ignored: whether a signal that this process was told to ignore (nohup, the background of a shell) is
    taken all the same.
    """
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    taken = [n for n in (signal.SIGINT, signal.SIGTERM) if ignored or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in taken}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_run(record: Record, options: argparse.Namespace, *, runs: Sequence[int] | None = None) -> int:
    """Summary and figures of an experiment or a session.

    runs: of several, those with figures of their own (None: the first ones).
    """
    summaries = report.summarise(record)
    # Before the first generation is complete a session has something to say all the same.
    begun = record.is_session and not any(one.generations for one in summaries)
    drawn = (
        None
        if options.no_figures or begun
        else report.show(
            record, runs=runs, file_format=getattr(options, "format", "png"), summaries=summaries
        )
    )
    out = sys.stderr if options.json else sys.stdout
    print(report.table(summaries), file=out)
    best = parameters.best_parameters(record)
    lines = parameters.table(best)
    if lines:
        print(lines, file=out)
    if len({summary.generator for summary in summaries}) > 1:
        for line in report.thread_lines(report.threads_of(record, summaries)):
            print(line, file=out)
    for line in _standing(record):
        print(line, file=out)
    events = [event for event in record.events() if event.kind not in USUAL_EVENTS]
    if len(events) > MOST_EVENTS:
        print(
            f"{counted(len(events) - MOST_EVENTS, 'earlier event')} left out; the last {MOST_EVENTS}:",
            file=out,
        )
    for event in events[-MOST_EVENTS:]:
        where = "" if event.generation is None else f" generation {event.generation + 1}:"
        print(f"{event.utc[:19]}{where} {event.kind}: {event.text}", file=out)
    if begun and not options.no_figures:
        print("note: no generation is complete yet, so there is no figure", file=sys.stderr)
    if drawn is not None:
        for warning in drawn.warnings:
            print(f"note: {warning}", file=sys.stderr)
        for figure in [one.figure for one in drawn.runs] if runs else [drawn.main]:
            print(f"figure: {figure}", file=out)
        written = parameters.write(best, drawn.main.parent)
        if written is not None:
            print(f"parameters of the best images: {written}", file=out)
        if drawn.overview and not drawn.runs:
            print(f"figures of one run: xdream show {shlex.quote(str(record.folder))} RUN", file=out)
    if options.json:
        objects = [summary.as_json() for summary in summaries]
        for one in best:
            [of_run] = [found for found in objects if found["run"] == one.run]
            of_run["parameters"] = parameters.as_json(one)
        whole = objects[0] if len(objects) == 1 else {"runs": objects, "seconds": record.seconds}
        print(json.dumps({"folder": str(record.folder)} | whole, allow_nan=False))
    return 0


def _standing(record: Record) -> Iterator[str]:
    """How a session stands that is not over: the generation under way, and what is wrong."""
    from xdream.laboratory.session.troubles import Troubles
    from xdream.store import since

    if record.finished:
        return
    under_way = since.under_way(record) if record.is_session else None
    if under_way is not None:
        generation, answered, planned = under_way
        yield f"generation {generation + 1} is under way: {answered} of {planned} responses"
    for one in Troubles(str, record.facts.get("troubles", "")).open:
        yield f"alarm since {one.since[:19]}: {one.text}"


def print_tuning(found: Tuning, options: argparse.Namespace) -> int:
    """Summary, table and figure of a tuning."""
    from xdream.studies import tuning

    out = sys.stderr if options.json else sys.stdout
    print(tuning.said(found), file=out)
    print(f"table: {tuning.table_of(found)}", file=out)
    if not options.no_figures:
        print(f"figure: {tuning.draw(found)}", file=out)
    if options.json:
        print(json.dumps(tuning.as_json(found), allow_nan=False))
    return 0

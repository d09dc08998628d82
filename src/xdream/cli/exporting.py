"""The command `export`: a record in the formats of other programs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from xdream.cli import flags
from xdream.cli.command import Subcommand
from xdream.cli.progress import Bar

FORMATS = ("csv", "parquet", "mat", "nwb", "images")


def _export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment or session, running or not")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument(
        "--out", required=True, metavar="PLACE", help="a new folder (csv, parquet, images) or file (mat, nwb)"
    )
    parser.add_argument(
        "--spikes", action="store_true", help="spike times in the tables, too (csv, parquet, mat)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    flags.add_settings(
        parser, text="what the plan lacks, e.g. session.animal.age=P7Y or session.nwb.lab=Ours"
    )


def _export(options: argparse.Namespace) -> int:
    """Write a record in another format."""
    from xdream.export.export import export

    changes: dict[str, Any] = {}
    flags.lay_over(changes, options.set, form="session.TABLE.KEY=VALUE", depth=(2, 2))
    with Bar(hidden=options.quiet) as bar:
        notes = export(
            options.folder,
            options.to,
            options.out,
            spikes=options.spikes,
            changes=changes,
            progress=bar.stage,
        )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps({"out": options.out, "notes": notes}))
    else:
        print(f"written: {options.out}")
    return 0


COMMANDS = {"export": Subcommand(_export_flags, _export)}

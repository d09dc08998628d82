"""The commands of studies: `study`, `merge`, and `resume` and `show` of a study."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdream import studies
from xdream.cli import flags
from xdream.cli.command import Subcommand
from xdream.cli.flags import FieldFlag
from xdream.errors import INTERRUPTED, BadInput
from xdream.studies import file_names

if TYPE_CHECKING:
    from xdream.studies import Study, StudyPlan, Table

#: What there is instead for single experiments, and for studies of packages that are not installed.
NO_REPORT = "there is no report of it; a single experiment has its own: xdream show FOLDER"


def _units(text: str) -> int | str:
    """A number is how many; anything else, a list of units: `3,` is the unit 3."""
    return int(text) if text.isdecimal() else text.rstrip(",")


STUDY_FLAGS = {
    "scale": FieldFlag(),
    "networks": FieldFlag("NETWORK"),
    "layers": FieldFlag("LAYER"),
    "units": FieldFlag("N|LIST", read=_units),
    "seeds": FieldFlag("N"),
    "presentations": FieldFlag("N"),
    "generators": FieldFlag("NAME"),
    "references": FieldFlag("PLACE"),
    "inverse": FieldFlag("NETWORK:LAYER"),
    "image_size_px": FieldFlag("PX", name="image-size"),
    "seed": FieldFlag("N"),
    "device": FieldFlag("NAME"),
    "threads": FieldFlag("N"),
    "batch": FieldFlag("N"),
}
#: Keys of a study's file that have no flag: its name stands first, the other is for files only.
STUDY_FILE_ONLY = ("study", "preprocessing")


def _study_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="its name (xdream list studies), or a plan file (TOML) with its keys")
    flags.add(parser, studies.StudyPlan, STUDY_FLAGS)
    parser.add_argument("--out", metavar="FOLDER", help="default studies/NAME-SCALE; an existing one goes on")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="print the shards and what they cost, run nothing")
    how.add_argument("--shard", metavar="i/N", help="only part i of N, from 1, e.g. of an array of jobs")
    how.add_argument(
        "--cluster", metavar="WHERE", help="local:N, dask:ADDRESS, slurm:CONFIG, pbs:CONFIG, lsf:CONFIG"
    )
    parser.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="what a shard needs of a worker, e.g. GPU=1 or MEMORY=8e9; may be given several times",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _merge_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "places", nargs="+", metavar="PLACE", help="folders of studies, shards or experiments; tables"
    )
    parser.add_argument("--out", required=True, metavar="TABLE", help="a name that ends in .csv or .parquet")
    parser.add_argument("--partial", action="store_true", help="include studies that are not finished")


def study(options: argparse.Namespace) -> int:
    """Run a study, or a part of it, or say what it would be."""
    plan = _plan(options)
    found = studies.named(plan.study)
    folder = Path(options.out or f"studies/{plan.study}-{plan.scale}")
    _check_part(options.shard)
    from xdream.studies import worker_pools

    if options.cluster is not None:
        worker_pools.check(options.cluster)
        _resources(options.resource, plan.device)
    if options.list:
        return _list(found, plan, folder, options)
    plan = studies.begin(found, plan, folder)
    numbers = [shard.number for shard in studies.shards_of(folder)]
    if options.shard is not None:
        return _here(found, plan, folder, _mine(options.shard, numbers), options)
    with studies.alone(folder):
        if options.cluster is None:
            status = _here(found, plan, folder, numbers, options)
        else:
            status = 3 if _on_cluster(found, plan, folder, options) else 0
        return status or _finished(folder, options)


def resume(folder: Path, options: argparse.Namespace) -> int:
    """Go on with a study here, shard by shard."""
    plan = studies.StudyPlan.read(folder / file_names.STUDY)
    numbers = [shard.number for shard in studies.shards_of(folder)]
    with studies.alone(folder):
        return _here(studies.named(plan.study), plan, folder, numbers, options) or _finished(folder, options)


def show(place: Path, options: argparse.Namespace) -> int:
    """Report and figure of a study's folder, finished or not, or of a table."""
    found = studies.gathered([place], partial=True)
    if not place.is_dir():
        return _print(found, place.absolute().parent, options, prefix=f"{place.stem}-")
    missing = studies.unfinished(place)
    again = f"continue with: xdream resume {shlex.quote(str(place))}"
    note = f"{len(missing)} shards are not done, so all of this is of a part; {again}" if missing else ""
    return _print(found, place, options, note=note)


def merge(options: argparse.Namespace) -> int:
    """Gather shards, studies and tables into one table."""
    from xdream.studies import table

    out = Path(options.out)
    table.check_name(out)
    found = studies.gathered([Path(place) for place in options.places], partial=options.partial)
    table.write(found, out)
    names = ", ".join(found.among("study"))
    reported = [name for name in found.among("study") if studies.STUDIES.has(name)]
    of = "" if len(reported) == len(found.among("study")) else f" of {', '.join(reported)}"
    said = f"report and figures{of}: xdream show {shlex.quote(str(out))}" if reported else NO_REPORT
    print(f"{len(found)} rows of {names}: {out}; {said}")
    if options.json:
        print(json.dumps({"out": str(out), "rows": len(found), "studies": found.among("study")}))
    return 0


# ------------------------------------------------------------------ the parts


def _plan(options: argparse.Namespace) -> StudyPlan:
    """A study's name or plan file, with the flags laid over it."""
    values: dict[str, Any] = {"study": options.study}
    if options.study.lower().endswith(".toml"):
        values = studies.StudyPlan.read(options.study).model_dump(exclude_unset=True)
    studies.named(values["study"])
    return studies.StudyPlan.make(**values | flags.given(options, STUDY_FLAGS))


def _check_part(text: str | None) -> None:
    """Raise BadInput for what is no part of an array."""
    first, slash, count = (text or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal()) or not 1 <= int(first) <= int(count):
        raise BadInput(f"--shard is '{text}'; give i/N with i from 1 to N, e.g. 3/8")


def _mine(text: str, numbers: Sequence[int]) -> list[int]:
    """The shards of part i of N: i, i + N, …; one each, where there are N."""
    first, _, count = text.partition("/")
    return list(numbers[int(first) - 1 :: int(count)])


def _here(
    found: Study, plan: StudyPlan, folder: Path, numbers: Sequence[int], options: argparse.Namespace
) -> int:
    """Shards one after the other in this process."""
    from xdream.cli.progress import Bar

    try:
        with Bar(hidden=options.quiet) as bar:
            for number in numbers:
                studies.run_shard(found, folder, number, bar)
    except KeyboardInterrupt:
        print(
            f"xdream: interrupted; continue with: xdream resume {shlex.quote(str(folder))}", file=sys.stderr
        )
        return INTERRUPTED
    if getattr(options, "shard", None) is not None:
        mine = [shard for shard in studies.shards_of(folder) if shard.number in numbers]
        names = ", ".join(f"{shard.number} {shard.name}" for shard in mine)
        print(f"shards done: {names or 'none: there are fewer than parts'}")
        if options.json:
            print(json.dumps({"folder": str(folder), "shards": list(numbers)}))
    return 0


def _on_cluster(found: Study, plan: StudyPlan, folder: Path, options: argparse.Namespace) -> bool:
    """All shards on a cluster; whether some failed."""
    from xdream.cli.progress import Bar
    from xdream.studies import cluster

    shards = {shard.number: shard.name for shard in studies.shards_of(folder)}
    with Bar(hidden=options.quiet) as bar:
        failures = cluster.run_on(
            options.cluster,
            functools.partial(_one, plan.study, folder.absolute()),
            shards,
            resources=_resources(options.resource, plan.device),
            threads=plan.threads,
            callback=bar,
        )
    if failures:
        print(f"{len(failures)} of {len(shards)} shards failed:", file=sys.stderr)
        for one in failures:
            print(f"  {one.number:>4}  {one.name:40} {one.reason}", file=sys.stderr)
        again = f"xdream resume {shlex.quote(str(folder))}"
        print(f"the others are kept; go on with the same command, or here with: {again}", file=sys.stderr)
        if options.json:
            print(json.dumps({"folder": str(folder), "failed": [vars(one) for one in failures]}))
    return bool(failures)


def _one(name: str, folder: Path, number: int) -> None:
    """In a worker: one shard."""
    studies.run_shard(studies.named(name), folder, number)


def _resources(pairs: Sequence[str], device: str) -> dict[str, float]:
    """`--resource NAME=AMOUNT`; a GPU where the device is one and nothing is said."""
    found = {"GPU": 1.0} if device.startswith("cuda") else {}
    for pair in pairs:
        name, equals, amount = pair.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            equals = ""
        if not equals or not name or not found.get(name, 0.0) > 0.0:
            raise BadInput(f"--resource '{pair}' is not NAME=AMOUNT, e.g. GPU=1 or MEMORY=8e9")
    return found


def _list(found: Study, plan: StudyPlan, folder: Path, options: argparse.Namespace) -> int:
    """The shards and what they cost at most; nothing is written."""
    from xdream.studies.gathering import RESULT, shard_folder

    plan, planned = studies.resolved(found, plan)
    shards: list[dict[str, Any]] = []
    for shard in planned:
        evolutions, presentations = studies.cost(found, plan, shard)
        done = (shard_folder(folder, shard) / RESULT).exists()
        shards.append(
            {"number": shard.number, "name": shard.name, "depth": shard.place.depth}
            | {"evolutions": evolutions, "presentations": presentations, "done": done}
        )
        print(
            f"{shard.number:>4}  {shard.name:40} {shard.place.depth:8} {evolutions:>7,} evolutions "
            f"{presentations:>13,} presentations{'  done' if done else ''}"
        )
    total = sum(shard["presentations"] for shard in shards)
    print(f"{len(shards)} shards, {total:,} presentations, in {folder}")
    if options.json:
        print(json.dumps({"folder": str(folder), "shards": shards}))
    return 0


def _finished(folder: Path, options: argparse.Namespace) -> int:
    """Table, report, claims and figure of a study whose shards are done."""
    from xdream.studies.study_folder import finished

    return _print(finished(folder), folder, options)


def _print(
    found: Table, folder: Path, options: argparse.Namespace, *, prefix: str = "", note: str = ""
) -> int:
    from xdream.studies import STUDIES, report

    known = [studies.named(name) for name in found.among("study") if STUDIES.has(name)]
    if not len(found):
        raise BadInput("the table is empty")
    if not known:
        raise BadInput(f"the table has no study of this release; {NO_REPORT}")
    wanted = not getattr(options, "no_figures", False)
    figures = studies.write_outputs(known, found, folder, prefix=prefix, note=note, figures=wanted)
    if note:
        print(f"note: {note}", file=sys.stderr)
    out = sys.stderr if options.json else sys.stdout
    for one in known:
        print(report.plain(one, found), file=out)
        if wanted:
            print(f"figure: {figures[one.name]}", file=out)
    if options.json:
        objects = [report.as_json(one, found) for one in known]
        for said in objects:
            said["figure"] = str(figures[said["study"]]) if wanted else None
        print(json.dumps({"folder": str(folder), "studies": objects}, allow_nan=False))
    return 0


COMMANDS = {
    "study": Subcommand(_study_flags, study),
    "merge": Subcommand(_merge_flags, merge),
}

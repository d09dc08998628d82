"""What a study says: its numbers beside the published ones, and a verdict on each claim."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from xdream.report.text_table import MISSING, number
from xdream.studies.base import Study
from xdream.studies.claims import Finding
from xdream.studies.statistics import FEWEST, summarised
from xdream.studies.table import Table

#: With fewer natural images than this the report warns of it.
LEAST_NATURAL_WITHOUT_WARNING = 10_000


def markdown(study: Study, table: Table, note: str = "") -> str:
    """The report of one study: what was done, the numbers, the claims."""
    some = table.where(study=study.name)
    question = f"{study.question[0].upper()}{study.question[1:]}"
    if study.figure_of:
        question += f" (Published as figure {study.figure_of}.)"
    lines = [f"# {study.name}", "", question, "", *([f"**{note}**", ""] if note else []), _what(some), ""]
    lines += _markdown_table(
        [
            "condition",
            "network",
            "depth",
            "units",
            f"{study.measure}: median",
            "quartiles",
            "published median",
        ],
        _numbers(study, some),
    )
    said = f"Median over units, from {FEWEST} units on with its 95 % bootstrap interval."
    if any(group.published is not None for group in study.groups(some)):
        said += (
            " Published: of the same layer where the network is one of the paper's, else of CaffeNet at that "
            "depth (Xiao & Kreiman 2020)."
        )
    lines += ["", said, ""]
    findings = list(study.findings(some))
    if findings:
        lines += [*claims_table(findings), "", "What counts as reproduced:", ""]
        lines += dict.fromkeys(f"- {one.claim}: {one.criterion}." for one in findings)
    return "\n".join(lines) + "\n"


def plain(study: Study, table: Table) -> str:
    """The same for the terminal."""
    some = table.where(study=study.name)
    heads = ["condition", "network", "depth", "units", "median", "quartiles", "published"]
    rows = [heads, *_numbers(study, some)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = [f"{study.name}: {study.question}", _what(some), f"{study.measure}, over units:"]
    lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    for one in study.findings(some):
        where = f" [{one.network}]" if one.network else ""
        lines.append(f"{_verdict(one)}{where}: {one.claim}")
        lines.append(f"    published: {one.published}")
        if one.ours:
            lines.append(f"    here: {one.ours}")
    return "\n".join(lines)


def claims_table(findings: Sequence[Finding]) -> list[str]:
    """Claim, published, ours, verdict."""
    rows = [
        [one.study, one.claim, one.published, one.network or "all", one.ours or MISSING, _verdict(one)]
        for one in findings
    ]
    return _markdown_table(["study", "claim", "published", "network", "ours", "verdict"], rows)


def claims_csv(findings: Sequence[Finding]) -> str:
    """The same, with the criterion of each."""
    text = io.StringIO()
    lines = csv.DictWriter(text, [field.name for field in fields(Finding)], lineterminator="\n")
    lines.writeheader()
    lines.writerows(asdict(one) for one in findings)
    return text.getvalue()


def as_json(study: Study, table: Table) -> dict[str, Any]:
    """For `--json`."""
    some = table.where(study=study.name)
    groups = []
    for group in study.groups(some):
        found = summarised(list(group.values.values()))
        numbers = {
            "median": found.median.value, "low": found.median.low, "high": found.median.high,
            "q1": found.q1, "q3": found.q3,
        }  # fmt: skip
        groups.append(
            {"condition": group.condition, "network": group.network, "depth": group.depth}
            | {"units": len(group.values), "published": group.published}
            | {key: None if math.isnan(value) else value for key, value in numbers.items()}
        )
    return {
        "study": study.name,
        "measure": study.measure,
        "groups": groups,
        "claims": [asdict(one) for one in study.findings(some)],
    }


def _numbers(study: Study, table: Table) -> Iterator[list[str]]:
    for group in study.groups(table):
        found = summarised(list(group.values.values()))
        units = found.median.n
        yield [
            group.condition,
            group.network,
            group.depth,
            str(units),
            number(found.median.value, 3) if units < FEWEST else str(found.median),
            f"{number(found.q1, 3)} to {number(found.q3, 3)}",
            number(group.published, 3),
        ]


def _what(table: Table) -> str:
    """How much was done."""
    presentations = [row.value for row in table.where(measure="presentations").rows]
    natural = [row.value for row in table.where(measure="natural images").rows]
    parts = []
    if presentations:
        each = f"{min(presentations):,.0f}"
        if max(presentations) > min(presentations):
            each = f"{each} to {max(presentations):,.0f}"
        parts.append(f"{len(presentations):,} evolutions of {each} presentations")
    if natural:
        count = max(natural)
        parts.append(f"{count:,.0f} natural images")
    text = ", ".join(parts) + "." if parts else ""
    left = [row for row in table.where(measure="units left out").rows if row.value > 0.0]
    if left:
        where = ", ".join(f"{row.value:.0f} of {row.network}:{row.layer or 'output'}" for row in left)
        text += f" Units without a response above 0 to natural images are left out: {where}."
    if natural and max(natural) < LEAST_NATURAL_WITHOUT_WARNING:
        text += (
            " With so few natural images their best is low and relative activation high; the paper had 1.43 "
            "million."
        )
    return text


def _verdict(one: Finding) -> str:
    return f"{one.verdict} ({one.why})" if one.why else one.verdict


def _markdown_table(heads: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "/") for cell in row] for row in rows]
    return [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]

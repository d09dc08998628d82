"""The summary of an experiment as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xdream.report.summary import RunSummary

#: With fewer references than this the table warns of it.
FEW_REFERENCES = 1_000
#: A table of more runs shows the first ones, the last one and the medians.
MOST_ROWS, FIRST_ROWS = 30, 10
MISSING = "\N{EN DASH}"


def table(summaries: Sequence[RunSummary]) -> str:
    """An aligned table for the terminal, one row per run, and what to know when reading it."""
    shown = [_row(s) for s in summaries]
    if len(summaries) > MOST_ROWS:
        shown = [*shown[:FIRST_ROWS], ["…"] + [""] * 8, shown[-1], _medians(summaries)]
    rows = [
        ["", "", "", "first", "last", "best", "best", "relative", ""],
        "target,seed,presentations,generation,generation,ever,reference,activation,seconds".split(","),
        *shown,
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    few = min((s.references for s in summaries if s.references), default=FEW_REFERENCES)
    if few < FEW_REFERENCES:
        lines.append(
            f"only {few} reference photograph{'s' if few > 1 else ''}: relative activation compares with the "
            "best of these, not of natural images at large"
        )
    return "\n".join(line.rstrip() for line in lines)


def _row(s: RunSummary) -> list[str]:
    reference = number(s.best_reference)
    return [
        s.target,
        str(s.seed),
        f"{s.presentations:,}",
        *map(number, (s.first_generation_best, s.last_generation_best, s.best_ever)),
        f"{reference} ({s.best_reference_name})" if s.best_reference_name else reference,
        number(s.relative_activation),
        number(s.seconds),
    ]


def _medians(summaries: Sequence[RunSummary]) -> list[str]:
    def median(name: str) -> str:
        values = [getattr(s, name) for s in summaries if getattr(s, name) is not None]
        return number(float(np.median(values)) if values else None)

    names = "first_generation_best last_generation_best best_ever best_reference relative_activation seconds"
    presentations = f"{np.median([s.presentations for s in summaries]):,.0f}"
    return [f"median of {len(summaries)} runs", "", presentations, *map(median, names.split())]


def number(value: float | None, digits: int = 4) -> str:
    """With so many significant digits; a dash for what is missing."""
    if value is None or np.isnan(value):
        return MISSING
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".removesuffix(".")

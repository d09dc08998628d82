"""The summary of an experiment as a table for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xdream.experiment.plan import DEFAULT_OBJECTIVE
from xdream.report.summary import RunSummary
from xdream.text import printable

#: With fewer references than this the table warns of it.
FEW_REFERENCES = 1_000
#: A table of more runs shows the first ones, the last one and the medians.
MOST_ROWS, FIRST_ROWS = 30, 10
MISSING = "\N{EN DASH}"
#: Of a name in the table.
MOST_LETTERS = 30


@dataclass(frozen=True)
class _Column:
    """Two words above, and the cell of a run: text, or a number of which a median can be taken."""

    heads: tuple[str, str]
    cell: Callable[[RunSummary], str | float | None]


_NAME = (_Column(("", "name"), lambda s: printable((s.name or MISSING)[:MOST_LETTERS])),)
_NUMBER = (_Column(("", "run"), lambda s: str(s.run)),)
_GENERATOR = (_Column(("", "generator"), lambda s: s.generator),)
_OPTIMIZER = (_Column(("", "optimizer"), lambda s: s.optimizer),)
_OBJECTIVE = (_Column(("", "objective"), lambda s: s.objective),)
_ENDING = (_Column(("ended", "by"), lambda s: s.ending or MISSING),)
_RUN = (
    _Column(("", "seed"), lambda s: str(s.seed)),
    _Column(("", "presentations"), lambda s: f"{s.presentations:,}"),
    _Column(("first", "generation"), lambda s: s.first_generation_best),
    _Column(("last", "generation"), lambda s: s.last_generation_best),
    _Column(("best", "ever"), lambda s: s.best_ever),
)
_RECOMMENDED = (_Column(("recommended", "code"), lambda s: s.recommended),)
_OBSERVED = (_Column(("last, as", "observed"), lambda s: s.observed_last_generation_best),)
_REFERENCES = (
    _Column(
        ("best", "reference"),
        lambda s: f"{number(s.best_reference)} ({printable(s.best_reference_name or MISSING)})",
    ),
)
_SEARCHED = (
    _Column(("last, as", "searched"), lambda s: s.searched_last_generation_best),
    _Column(("best, as", "searched"), lambda s: s.searched_best_ever),
)
_EXPECTED = (_Column(("expected", "best of as many"), lambda s: s.expected_best_reference),)
_RELATIVE = (
    _Column(("relative", "activation"), lambda s: s.relative_activation),
    _Column(("of the", "best ever"), lambda s: s.relative_activation_of_best_ever),
)


def table(summaries: Sequence[RunSummary]) -> str:
    """An aligned table for the terminal, one row per run, and what to know when reading it."""
    lower = any(s.precision != "float32" for s in summaries)
    clean = (s.searched_last_generation_best if lower else s.last_generation_best for s in summaries)
    noisy = any(s.observed_last_generation_best != one for s, one in zip(summaries, clean, strict=True))
    compared = any(s.references for s in summaries)
    fewer = any(s.presentations < s.references for s in summaries)
    columns = (
        _Column(("", "target"), lambda s: s.target),
        *(_NAME if any(s.name for s in summaries) else ()),
        *(_NUMBER if len(summaries) > 1 else ()),
        *(_GENERATOR if len({s.generator for s in summaries}) > 1 else ()),
        *(_OPTIMIZER if len({s.optimizer for s in summaries}) > 1 else ()),
        *(_OBJECTIVE if any(s.objective != DEFAULT_OBJECTIVE for s in summaries) else ()),
        *_RUN,
        *(_RECOMMENDED if any(s.recommended is not None for s in summaries) else ()),
        *(_SEARCHED if lower else ()),
        *(_OBSERVED if noisy else ()),
        *(_REFERENCES if compared else ()),
        *(_EXPECTED if fewer else ()),
        *(_RELATIVE if compared else ()),
        *(_ENDING if any(s.ending in ("plateau", "user") for s in summaries) else ()),
    )
    rows = [[_text(column.cell(s)) for column in columns] for s in summaries]
    if len(summaries) > MOST_ROWS:
        rows = [*rows[:FIRST_ROWS], ["…"] + [""] * (len(columns) - 1), rows[-1], _medians(columns, summaries)]
    rows = [[column.heads[0] for column in columns], [column.heads[1] for column in columns], *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), *_remarks(summaries)])


def _remarks(summaries: Sequence[RunSummary]) -> Iterator[str]:
    total = sum(s.presentations for s in summaries)
    seconds = summaries[0].seconds
    rate = f", {total / seconds:.1f} per second" if seconds > 0 else ""
    yield f"{total:,} presentations in {number(seconds, 3)} s{rate}"
    few = min((s.references for s in summaries if s.references), default=FEW_REFERENCES)
    if few < FEW_REFERENCES:
        yield (
            f"only {few} reference photograph{'s' if few > 1 else ''}: relative activation compares with the "
            "best of these, not of natural images at large"
        )
    yield from (f"note: {note}" for note in summaries[0].notes)


def _medians(columns: Sequence[_Column], summaries: Sequence[RunSummary]) -> list[str]:
    cells = [f"median of {len(summaries)} runs"]
    for column in columns[1:]:
        values = [column.cell(s) for s in summaries]
        numbers = [value for value in values if isinstance(value, float)]
        text = any(isinstance(value, str) for value in values)
        cells.append("" if text else number(float(np.median(numbers)) if numbers else None))
    return cells


def _text(cell: str | float | None) -> str:
    return cell if isinstance(cell, str) else number(cell)


def number(value: float | None, digits: int = 4) -> str:
    """With so many significant digits; a dash for what is missing."""
    if value is None or np.isnan(value):
        return MISSING
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".removesuffix(".")
